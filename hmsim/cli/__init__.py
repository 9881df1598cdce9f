"""The `hmsim` command. Thin: each command imports what it needs when it runs."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from hmsim import __version__
from hmsim.cli.common import help_of
from hmsim.errors import InputError, InputWarning, ProgramError, SolverError, did_you_mean


class _Parser(argparse.ArgumentParser):
    """Errors of the call are InputErrors, so that they read like all others; help has examples."""

    def format_help(self) -> str:
        from hmsim.cli.examples import EXAMPLES

        lines = [f"  {call}" for call in EXAMPLES.get(self.prog, ())]
        return "\n".join([super().format_help(), "examples:", *lines]) + "\n"

    def error(self, message: str) -> None:  # type: ignore[override]
        raise InputError(f"{self.prog}: {message}")


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
    for module in (run, replay, workload, bound, sweep, plot, report, presets, info, schema):
        module.add(commands)
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code: 0 done, 2 wrong input, 130 interrupted, 1 anything else."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        root = parser()
        _known_command(root, given)
        options = root.parse_args(given)
        command: Callable[[argparse.Namespace], int] = options.command
        with warnings.catch_warnings():
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = _one_line
            return command(options)
    except InputError as error:
        print(f"hmsim: {error}", file=sys.stderr)
        return 2
    except ProgramError as error:
        print(f"hmsim: error of the program: {error}; please report it", file=sys.stderr)
        return 1
    except SolverError as error:
        print(f"hmsim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hmsim: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone: nothing to complain about
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


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
