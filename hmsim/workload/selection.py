"""What a selection process is, and how its lanes share the processors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numba

from hmsim.workload.stream import I64, U64


class Selection(Protocol):
    """A process that says which pages are read, called for consecutive chunks of token steps."""

    def fill(self, bits: U64, reads: I64, step: int) -> None:
        """Write token steps `step` .. `step + K - 1`.

        bits [K, lanes, words]: the pages read, zero before; reads [K, lanes]: how many they are.
        """
        ...


def in_lanes(lanes: int, kernel: Callable[[tuple[int, int]], None]) -> None:
    """Run a `nogil` kernel on ranges of lanes `(first, one past last)`, one a Numba thread."""
    threads = min(numba.get_num_threads(), lanes)
    cuts = [lanes * i // threads for i in range(threads + 1)]
    if threads == 1:
        kernel((0, lanes))
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, cut) for cut in pairwise(cuts)]:
            done.result()
