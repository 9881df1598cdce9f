"""What several commands share: progress, and JSON on standard output."""

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

QUIET_SECONDS = 2.0  # work that takes less shows no progress


class Progress:
    """A bar on standard error that appears only once work takes long; call it with more work."""

    def __init__(self, total: int, unit: str, title: str):
        self._total, self._unit, self._title = total, unit, title
        self._began = time.perf_counter()
        self._done = 0
        self._bar: Any = None
        self._interrupted = False

    def interrupt(self, *_: object) -> None:
        """A signal handler. What it raises is lost where Python happens to be in a destructor: so
        it is raised again with the next report of progress."""
        self._interrupted = True
        raise KeyboardInterrupt

    def __call__(self, more: int) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._done += more
        if self._bar is None:
            if time.perf_counter() - self._began < QUIET_SECONDS:
                return
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total, unit=self._unit, unit_scale=True, desc=self._title,
                file=sys.stderr, mininterval=0.5, initial=0,
            )  # fmt: skip
            more = self._done
        self._bar.update(more)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


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
