"""The `hmsim` command. Thin: each command imports what it needs when it runs."""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from hmsim import __version__
from hmsim.cli.common import help_of
from hmsim.errors import InputError, InputWarning, ProgramError, SolverError, did_you_mean
from hmsim.interrupts import polite

TRACEBACK = "--traceback"  # anywhere in a call: show where an unexpected error came from


class _Parser(argparse.ArgumentParser):
    """Errors of the call are InputErrors, so that they read like all others; help has examples."""

    def format_help(self) -> str:
        from hmsim.cli.examples import EXAMPLES

        lines = [f"  {call}" for call in EXAMPLES.get(self.prog, ())]
        return "\n".join([super().format_help(), "examples:", *lines]) + "\n"

    def error(self, message: str) -> None:  # type: ignore[override]
        command = self.prog.partition(" ")[2]
        raise InputError(f"{command}: {message}" if command else message)


class _PrintCompletion(argparse.Action):
    """`--print-completion SHELL`, by shtab."""

    def __call__(self, parser: Any, namespace: Any, shell: Any, option: str | None = None) -> None:
        try:
            import shtab
        except ImportError:
            raise InputError(f"{option}: needs shtab: pip install 'hmsim[completion]'") from None
        if shell not in shtab.SUPPORTED_SHELLS:
            raise InputError(f"{option}: {shell!r}{did_you_mean(shell, shtab.SUPPORTED_SHELLS)}")
        print(shtab.complete(parser, shell))
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from hmsim.cli import (
        bound,
        info,
        measure,
        plot,
        presets,
        replay,
        report,
        run,
        schema,
        sweep,
        workload,
    )

    root = _Parser(
        prog="hmsim",
        description="A memory-hierarchy microsimulator for sparse-attention LLM decoding.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"hmsim {__version__}")
    root.add_argument(
        "--print-completion", action=_PrintCompletion, metavar="SHELL",
        help="print a completion script for bash, zsh and others, and exit",
    )  # fmt: skip
    root.set_defaults(command=help_of(root))
    commands = root.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    for module in (
        run, replay, measure, workload, bound, sweep, plot, report, presets, info, schema,
    ):  # fmt: skip
        module.add(commands)
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code: 0 done, 2 wrong input, 130 interrupted, 1 anything else.

    Whatever happens, it is one line on standard error; `--traceback` shows where it came from.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    show = TRACEBACK in given
    given = [each for each in given if each != TRACEBACK]
    _streams()
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except InputError as error:
        return _end(2, str(error), show)
    except ProgramError as error:
        return _end(1, f"error of the program: {error}; please report it", show)
    except SolverError as error:
        return _end(1, str(error), show)
    except KeyboardInterrupt as error:
        return _end(130, f"interrupted; {error}" if str(error) else "interrupted", show)
    except BrokenPipeError:  # the reader of our output has gone: nothing to complain about
        _mute()
        return 0
    except MemoryError:
        return _end(1, "out of memory", show)
    except RecursionError:
        return _end(1, "the input is nested too deep", show)
    except OSError as error:
        # Standard output cannot take what it is given; the interpreter would try again at its end.
        _mute()
        return _end(1, f"{error.filename or 'output'}: {error.strerror or error}", show)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _end(1, f"unexpected error: {text:.300} ({TRACEBACK} shows where)", show)


def _run(given: list[str]) -> int:
    from hmsim.cli.inputs import check_environment

    check_environment()
    root = parser()
    _known_command(root, given)
    options = root.parse_args(given)
    command: Callable[[argparse.Namespace], int] = options.command
    with polite(), warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _one_line
        return command(options)


def _end(code: int, line: str, show: bool) -> int:
    if show:
        traceback.print_exc()
    print(f"hmsim: {' '.join(line.splitlines())}", file=sys.stderr)
    return code


def _streams() -> None:
    """Standard streams that can be written to, whatever the characters and whoever closed them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    for number in range(3):  # a file opened later must not get the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _mute() -> None:
    """Nothing more goes to standard output."""
    if sys.stdout is not None:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError):  # no file of the system's, as in a notebook
            sys.stdout = None


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Warnings as users read them: what is meant by them stands in their text."""
    print(f"hmsim: warning: {message}", file=sys.stderr)


def _known_command(root: argparse.ArgumentParser, given: list[str]) -> None:
    """A better line for a mistyped command than argparse has."""
    commands = next(
        action.choices for action in root._actions if isinstance(action.choices, dict)
    )  # argparse has no public way to list subcommands
    if given and not given[0].startswith("-") and given[0] not in commands:
        raise InputError(f"{given[0]!r} is no command{did_you_mean(given[0], commands)}")
