"""What a run does at the same time: as much as it may have threads.

With one Numba thread (a sweep's worker, beside others) everything happens in turn: threads that
overlap would only take the processor from other points, and a small point's time is mostly theirs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numba

MOST = 2  # threads that policies share

Item = TypeVar("Item")


def threads() -> int:
    """How many threads a run's policies share."""
    return min(MOST, numba.get_num_threads())


def pool() -> Executor:
    """Where policies work on a window."""
    return ThreadPoolExecutor(MOST) if threads() > 1 else _Here()


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, each made in the background while the one before is in use."""
    if threads() == 1:
        yield from items
        return
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


class _Here(Executor):
    """Does at once what is submitted, in the caller's thread."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future
