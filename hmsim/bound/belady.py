"""A schedule of any size where copies stay behind in DRAM: Belady's, over all of HBM.

There a block comes to HBM with a read of it, and leaves, for nothing, so that what passes the link is
what misses, and the fewest misses are found in one go. They come unevenly, though, and a step that has
few is no shorter than HBM makes it: so what later steps would miss is promoted in the time that such
a step has left. Where HBM is too full for that, room is reserved, and all is chosen again.
"""

from collections.abc import Callable

import numpy as np

from hmsim.bound import belady_kernel as kernel
from hmsim.bound.changes import TOLD_AT_ONCE, Changes
from hmsim.bound.changes_kernel import room
from hmsim.bound.objective import TIME
from hmsim.bound.paths.runs import Timeline
from hmsim.bound.paths.words import Grid
from hmsim.bound.paths.words_kernel import Use, add_uses, new_use
from hmsim.bound.prices import Setting
from hmsim.jit import in_threads, threads
from hmsim.placement.latency_kernel import PROMOTE, READ, Bytes, time_groups
from hmsim.workload.steps import F64, I64

# By trial on scripts/bound_scale.py's high variation, of which no sweep is kept: they change how short a
# schedule is found, not whether it is one.
FURTHEST = 32  # stretches that a block waits in HBM at most
THRIFT = 1.0  # visits by which a wait counts as ending later for each visit that it lasts longer
SHARE = 0.5  # of the room that is short, by which more is reserved
ROUNDS = 12
ACCURACY = 5e-4  # of what is told after a round; by trial
MORE_PROMOTIONS = 1.5  # times a round's: room for later ones', or those are found twice; not swept
LEAST_GAIN = 1e-4  # of the time, below which no further round is worth it


def applies(setting: Setting) -> bool:
    """Whether copies stay behind, and time is what counts."""
    return setting.latency.copies.either_side == 1 and setting.objective == TIME


class Scheduled:
    """Such a schedule, which tells its moves when it is made again.

    `grid` holds all blocks of the workload. After each round it asks whether to `stop` at about so
    many seconds.

    Attributes:
        use: What it does.
    """

    def __init__(
        self, setting: Setting, grid: Grid, stop: Callable[[float], bool] = lambda seconds: False
    ) -> None:
        self._setting, self._grid = setting, grid
        plan, self._reserved = _planned(setting, grid, stop)
        self.use = plan.use()

    def tell(self, changes: Changes) -> None:
        """Chosen from the same room."""
        plan = _Plan(self._setting, self._grid)
        plan.reserved = self._reserved
        plan.choose()
        plan.use(changes)


def _planned(setting: Setting, grid: Grid, stop: Callable[[float], bool]) -> "tuple[_Plan, I64]":
    """The plan, and what room is reserved in it."""
    plan = _Plan(setting, grid)
    best, reserved = np.inf, plan.reserved
    for _ in range(ROUNDS):
        tried = plan.reserved.copy()
        seconds = plan.choose()
        gained = seconds < best * (1 - LEAST_GAIN)
        if seconds < best:
            best, reserved = seconds, tried
        if not gained or stop(best):
            break
        plan.reserve()
    if reserved is not tried:  # else the plan is as it was chosen last
        plan.reserved = reserved
        plan.choose()
    return plan, reserved


class _Plan:
    """A schedule by numbers of blocks alone, and what it takes to change it."""

    def __init__(self, setting: Setting, grid: Grid) -> None:
        self._setting, self._grid = setting, grid
        timeline = setting.timeline
        self._line = line = _line(timeline)
        self._threads = threads(timeline.lanes)
        self._row = line.offset[line.lane] + line.lane + line.stretch + 1  # of each step
        rows = len(timeline.stretch_step) + timeline.lanes
        self._count, self._kept, self._ahead = np.zeros((3, rows, FURTHEST), np.int32)
        self._promotions = _room_for(0)
        self._waits, self._promote, self._gained, self._free, self.reserved = np.zeros(
            (5, timeline.steps), np.int64
        )
        # A birth is booked with the read in its step, and so one step too late: for that, room is left.
        births = np.bincount(grid.event_value[grid.event_kind == kernel.BORN], minlength=1)
        self._capacity = max(0, setting.capacity - int(births.max()))
        self._by_lane(
            lambda i, first, last, lane: kernel.count_waits(
                first, last, lane, grid, line, self._count
            )
        )

    def choose(self) -> float:
        """Choose anew, and about how many seconds that takes."""
        setting, line = self._setting, self._line
        thrift = int(THRIFT * setting.timeline.lanes)
        holds = np.maximum(self._capacity - self.reserved, 0)
        self._kept.fill(0)
        kernel.choose(line, holds, self._count, thrift, self._waits, self._kept)
        kernel.leave_free(line, self._capacity, self._kept, self._free)
        # As likely as any other, a block that stays from a read on was in HBM already.
        reads = setting.timeline.table.reads
        missed = np.divide(reads - self._waits, reads, out=np.zeros(len(reads)), where=reads > 0)
        self._fill = self._kept.sum(axis=1)[self._row] * missed
        self._promote[:] = 0
        hits = setting.by_group(self._waits)
        most = self._times(setting.demand.reads)[0] / setting.block_bytes
        # Blocks: a group could promote as many before HBM, of which it has hits to spare, is what it
        # waits for; or it wants so many more hits.
        hbm, term = 1 / setting.latency.hbm, setting.latency.term
        slower = term[:, PROMOTE].max() - hbm
        each = (term[:, READ].max() + hbm) / slower if slower > 0 else 0.0
        slack = (np.maximum(hits - most, 0.0) * each).astype(np.int64)
        wanted = np.ceil(np.maximum(most - hits, 0.0)).astype(np.int64)
        free = self._free
        while True:
            self._slack, self._wanted, self._free = slack.copy(), wanted.copy(), free.copy()
            listed = kernel.spread(
                line, setting.group, self._count, self._kept, self._slack, self._wanted, self._free,
                self._ahead, self._promotions, self._promote, self._gained,
            )  # fmt: skip
            if listed <= len(self._promotions.step):
                break
            self._promotions = _room_for(int(MORE_PROMOTIONS * listed))
        hits = setting.by_group(self._waits + self._gained)
        return float(self._times(hits * setting.block_bytes)[1].sum())

    def reserve(self) -> None:
        """Keep more room for what could have been promoted."""
        kernel.reserve(
            self._slack, self._wanted, self._setting.group, self._free, SHARE, self.reserved
        )

    def use(self, changes: Changes | None = None) -> Use:
        """What the schedule does, which is told to `changes`; once only."""
        # Lanes share a step: a lane's first stretch begins at step 0, whoever's that is.
        uses = [new_use(self._setting.timeline.steps) for _ in range(self._threads)]
        slots, present = 0 if changes is None else changes.slots, []

        def settle(i: int, first: int, last: int, lane: int) -> None:
            moves = np.empty(0 if changes is None else self._most_moves(), np.int64)
            while first < last:
                first, there, told = kernel.settle(
                    first, last, lane, self._grid, self._line, self._kept, self._ahead,
                    self._promotions, uses[i], slots, moves,
                )  # fmt: skip
                present.append(there)
                if changes is not None:
                    changes.add(moves[:told])

        self._by_lane(settle)
        use = add_uses(uses)
        use.arrive[0] += sum(present)
        use.promote[:-1] += self._promote
        return use

    def _most_moves(self) -> int:
        return room(int(np.diff(self._line.offset).max())) + TOLD_AT_ONCE

    def _times(self, hits: F64) -> tuple[F64, F64]:
        """[G] bytes of `hits` that HBM serves, and seconds."""
        setting, size = self._setting, self._setting.block_bytes
        demand, (near, nothing, seconds) = setting.demand, np.zeros((3, len(hits)))
        promoted = size * setting.by_group(self._promote)
        other = demand.hbm_bytes + size * setting.by_group(self._fill) + promoted
        moved = Bytes(
            other, demand.reads, hits, demand.appended, promoted, nothing, demand.floor_s
        )  # fmt: skip
        time_groups(moved, setting.latency, near, seconds)
        return near, seconds

    def _by_lane(self, work: Callable[[int, int, int, int], object]) -> None:
        """Call `work(thread, first tile, last, lane)` for every lane; several lanes side by side."""
        lanes, parts = self._setting.timeline.lanes, self._threads
        width = self._grid.tiles // lanes

        def some(i: int) -> None:
            for lane in range(lanes * i // parts, lanes * (i + 1) // parts):
                work(i, lane * width, (lane + 1) * width, lane)

        in_threads(some, parts)


def _room_for(count: int) -> kernel.Promotions:
    return kernel.Promotions(*np.empty((3, count), np.int32))


def _line(timeline: Timeline) -> kernel.Line:
    lane, stretch = timeline.table.lane, np.empty(timeline.steps, np.int64)
    for each in range(timeline.lanes):
        begun = timeline.stretches_of(each)
        own = np.flatnonzero(lane[begun] == each)
        stretch[begun[own]] = own
    return kernel.Line(lane, stretch, timeline.stretch_offset, timeline.stretch_step)
