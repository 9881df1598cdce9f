"""What long work says of itself: a bar, and now and then a line, on standard error or in a notebook."""

import sys
import time
import warnings
from typing import Any, Self

from hmsim import interrupts

QUIET_SECONDS = 2.0  # work that takes less shows no progress


def nothing(_: Any) -> None:
    """The progress of work that says nothing of itself.

    Args:
        _: What it would say.
    """


class Progress:
    """A bar that appears only once work takes long; call it with more work."""

    def __init__(self, total: int, unit: str, title: str):
        self._total, self._unit, self._title = total, unit, title
        self._began = time.perf_counter()
        self._done = 0
        self._bar: Any = None

    def begin(self, total: int) -> None:
        """How much work there is in all, once that is known."""
        self._total = total

    def tell(self, line: str) -> None:
        """A line for people, once work takes long."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._is_long():
            print(line, file=sys.stderr)

    def __call__(self, more: int) -> None:
        interrupts.check()
        self._done += more
        if self._bar is None:
            if not self._is_long():
                return
            with warnings.catch_warnings():  # a notebook without widgets gets a bar of text
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm

            self._bar = tqdm(
                total=self._total, unit=self._unit, unit_scale=True, desc=self._title,
                file=sys.stderr, mininterval=0.5, initial=0,
            )  # fmt: skip
            more = self._done
        self._bar.update(more)

    def _is_long(self) -> bool:
        return time.perf_counter() - self._began >= QUIET_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
