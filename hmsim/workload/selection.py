"""What a selection process is, and how its lanes share the processors."""

from collections.abc import Callable
from typing import Protocol

from hmsim.jit import in_threads, threads
from hmsim.workload.steps import I64, U64


class Selection(Protocol):
    """A process that says which blocks are read, called for consecutive chunks of token steps."""

    def fill(self, bits: U64, reads: I64, step: int) -> None:
        """Write token steps `step` .. `step + K - 1`.

        bits [K, lanes, words]: the blocks read, zero before; reads [K, lanes]: how many they are.
        """
        ...


def in_lanes(lanes: int, kernel: Callable[[tuple[int, int]], None]) -> None:
    """Run a kernel on ranges of lanes `(first, one past last)`, one in each thread."""
    count = threads(lanes)
    cuts = [lanes * i // count for i in range(count + 1)]
    in_threads(lambda i: kernel((cuts[i], cuts[i + 1])), count)
