"""Every move of a schedule, in order of time, whatever algorithm found it.

A search keeps only what a schedule adds up to at each step. Once it has ended, the best schedule is
made again, and this time block after block tells where it goes. What is told is sorted by steps in
runs of some millions of moves, which lie in memory, or, where they are many, in a temporary file; a
window of steps is read from all runs at once. So what must fit in memory is one run and one window.
"""

import tempfile
import weakref
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np

from hmsim.bits import pack, unpack
from hmsim.bound import changes_kernel as kernel
from hmsim.bound.exact.problem import Problem
from hmsim.errors import InputError
from hmsim.workload.steps import I64, U64, Geometry

TOLD_AT_ONCE = 1 << 20  # moves that a thread tells at once, beside a whole tile's: 8 MB
RUN_MOVES = 1 << 23  # of a run, in memory while it is sorted: 64 MB, twice
SPILL_BYTES = 1 << 28  # of all runs, above which they lie in a file; 4 bytes a move
DENSE_CELLS = 1 << 24  # blocks x steps of a dense schedule that are gone through at once


class Told(Protocol):
    """A schedule that can say what its blocks do."""

    def tell(self, changes: "Changes") -> None: ...


class Changes:
    """The moves of a schedule; `step` -1 is what is there as step 0 begins.

    A move is a number, see `changes_kernel.put`. A block's birth in HBM is a move into it after the
    step before; what dies in HBM makes none.
    """

    def __init__(self, geometry: Geometry) -> None:
        blocks = geometry.lanes * geometry.slots
        if blocks > 1 << kernel.BLOCK_BITS:
            raise InputError(f"a schedule of {blocks:,} blocks: too many to number")
        self.slots, self._lanes, self._steps = geometry.slots, geometry.lanes, geometry.steps
        self._lock = Lock()
        self._waiting: list[I64] = []
        self._count = 0
        self._first = np.zeros(blocks, np.uint8)
        # Of each run, where it begins in the file: steps + 1 places of its moves, and then the moves.
        self._begins: list[int] = []
        self._end = 0  # of the file
        self._file = tempfile.SpooledTemporaryFile(SPILL_BYTES, prefix="hmsim-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)  # and it is gone, as it is when the process dies

    def add(self, moves: I64) -> None:
        """Take some moves, in any order; they are copied."""
        with self._lock:
            self._waiting.append(moves.copy())
            self._count += len(moves)
            if self._count >= RUN_MOVES:
                self._put_by()

    def finish(self) -> None:
        """All have been told."""
        self._put_by()

    def first(self) -> U64:
        """What is in HBM as step 0 begins, a bitset [lanes, words]."""
        return pack(self._first.reshape(self._lanes, -1))

    def between(self, first: int, last: int) -> I64:
        """The moves after steps `first` .. `last` - 1: where each step's begin [last - first + 1],
        and then all of them; of `changes_kernel.put`, without the step."""
        rows = last - first
        begins, parts, count = np.empty((len(self._begins), rows + 1), np.int64), [], 0
        for run, begin in enumerate(self._begins):
            own = self._read(begin + 4 * first, rows + 1).astype(np.int64)
            parts.append(
                self._read(begin + 4 * (self._steps + 1 + int(own[0])), int(own[-1] - own[0]))
            )
            begins[run] = own - own[0] + count
            count += len(parts[-1])
        moves = np.empty(rows + 1 + count, np.int64)
        kernel.merge(np.concatenate([*parts, np.empty(0, np.uint32)]), begins, moves)
        return moves

    def _read(self, begin: int, count: int) -> np.ndarray:
        self._file.seek(begin)
        return np.frombuffer(self._file.read(4 * count), np.uint32)

    def _put_by(self) -> None:
        moves = np.concatenate([*self._waiting, np.empty(0, np.int64)])
        self._waiting, self._count = [], 0
        moves.sort()
        # After step t is time t + 1; after the last step nothing moves.
        times = np.searchsorted(moves, np.arange(self._steps + 1) << kernel.TIME_SHIFT)
        self._first[moves[: times[1]] >> 1 & kernel.BLOCK_MASK] = 1
        if times[1] == times[-1]:
            return
        places = np.append(times[1:], times[-1]) - times[1]
        try:
            for part in (places, moves[times[1] : times[-1]]):
                self._file.write(part.astype(np.uint32).data)
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"a schedule of so many moves that they do not fit in {tempfile.gettempdir()} "
                f"({error.strerror}); say in TMPDIR where there is more room"
            ) from None
        self._begins.append(self._end)
        self._end += 4 * (self._steps + 1 + int(times[-1] - times[1]))


class Dense(NamedTuple):
    """A schedule with a byte for each block and step."""

    problem: Problem
    x: np.ndarray  # [N, T], 1 in HBM

    def tell(self, changes: Changes) -> None:
        _tell_rows(changes, self.problem, lambda first, last: self.x[first:last])


class Paths(NamedTuple):
    """A schedule with a bit for each block and step."""

    problem: Problem
    path: U64  # as `revision_kernel.Books` has it

    def tell(self, changes: Changes) -> None:
        _tell_rows(
            changes, self.problem,
            lambda first, last: unpack(self.path[first:last])[:, : self.problem.steps],
        )  # fmt: skip


def _tell_rows(changes: Changes, problem: Problem, rows: Callable[[int, int], np.ndarray]) -> None:
    """The moves of blocks, `rows(first, last)` of which is where they are, 1 in HBM."""
    some = max(1, DENSE_CELLS // max(1, problem.steps))
    for first in range(0, problem.blocks, some):
        last = min(problem.blocks, first + some)
        here = rows(first, last).astype(np.int8)
        change = np.diff(here, axis=1, prepend=np.int8(0))
        block, time = np.nonzero(change)
        up = change[block, time] > 0
        # Before its birth, and from its death on, a block is nowhere.
        kept = up | (time < problem.death[first + block])
        block, time, up = block[kept], time[kept], up[kept]
        changes.add(kernel.move_of(time, problem.number[first + block], up))
