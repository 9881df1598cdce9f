"""What several commands share: progress, and JSON on standard output."""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any


def help_of(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """The command of a call that names none: its help, on standard error, and exit code 2."""

    def command(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    return command


@contextlib.contextmanager
def nothing_printed() -> Iterator[None]:
    """Whatever is written to standard output meanwhile, also by libraries, goes to standard error.

    A command's own output must be all that stands there.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def print_json(data: Any) -> None:
    """One object on standard output; what is not a number (NaN, inf) becomes null."""
    print(json.dumps(_plain(data), indent=2, allow_nan=False))


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if hasattr(data, "tolist"):  # NumPy's: of an HDF5 attribute, say
        return _plain(data.tolist())
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
