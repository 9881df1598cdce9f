"""The exceptions with a line for the user: the input is wrong, hmsim itself is, or a solver."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what the user gave: one line that says where, what and what is allowed.

    The command line prints it without a traceback and exits with 2.
    """


class PolicyError(InputError):
    """A mistake of one policy of a run, which the others have no part in; `policy` names it."""

    def __init__(self, line: str, policy: str):
        super().__init__(line)
        self.policy = policy


class ProgramError(RuntimeError):
    """A result that contradicts itself: hmsim is wrong, not what the user gave.

    One line, which the command line prints without a traceback; it exits with 1.
    """


class SolverError(RuntimeError):
    """A solver's answer that failed its check, so that nothing is printed but this.

    One line, which the command line prints without a traceback; it exits with 1.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known name, else the list of all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(known))}"


class InputWarning(UserWarning):
    """Something in the input that was left out: one line that says where and what."""
