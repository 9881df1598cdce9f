"""A schedule of any size, from the bound's own prices.

Blocks choose one after another, a few at a time: each takes its cheapest path at prices that answer
to what the others have taken so far. Capacity that runs short becomes dearer, and is closed where
there is none left; a term that grows longer than the others of its group gains price. No block ever
chooses again, so all that is kept is what the schedule does at each step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from hmsim.bits import pack
from hmsim.bound import rounding_kernel as kernel
from hmsim.bound.ascent import capacity_unit
from hmsim.bound.changes import TOLD_AT_ONCE, Changes
from hmsim.bound.changes_kernel import room
from hmsim.bound.paths.tables_kernel import new_tables
from hmsim.bound.paths.words import Grid
from hmsim.bound.paths.words_kernel import Use, add_uses, new_scratch, new_use
from hmsim.bound.prices import THREAD_WORDS, Dual, Setting
from hmsim.jit import in_threads
from hmsim.placement.latency import (
    APPEND,
    APPEND_HBM,
    COUNTS,
    DEMOTED,
    FILLED,
    HITS,
    PROMOTED,
    READS,
    RESIDENT,
    Groups,
    variant_traffic,
)
from hmsim.workload.steps import I64, U64

# How schedules follow prices. By trial on the workloads of scripts/bound_scale.py, of which no sweep is
# kept: they change how short a schedule is found, not whether it is one.
LEAST_BATCH = 5e-5  # share of the capacity, in blocks
LEAST_CAPACITY_PRICE = 1e-4  # reads from DRAM, a block and step: what is free is taken by anybody
TERM_GAIN = 1.0  # exponent by which a term that is longer gains price, at half the blocks
SHORTAGE_POWER = 6.0  # of how much less is left than should be, by which capacity becomes dearer
SHORTAGE_BATCH = (
    2e-3  # share of the blocks in a batch above which that power falls: or prices swing
)
GOLDEN_RATIO = (
    np.sqrt(5.0) - 1.0
) / 2.0  # its multiples modulo 1 spread batches evenly over a lane


class Pace(NamedTuple):
    """How often prices answer to what has been chosen.

    Attributes:
        most: Blocks that choose together at the same prices, at most.
        batches: Fewer blocks choose in about so many batches, at least.
        last: Batches to which what is left would always amount: they shrink towards the end.
    """

    most: int
    batches: int
    last: int


# On the founding paper's workload at high variation, text, from the same prices: gaps of 0.64 and
# 0.94 %, in 34 and 9 s of processor time.
CAREFUL, QUICK = Pace(4096, 320, 16), Pace(52_000, 25, 4)


def rounded(
    setting: Setting,
    grid: Grid,
    dual: Dual,
    late: Callable[[], bool] = lambda: False,
    pace: Pace = CAREFUL,
    changes: Changes | None = None,
) -> tuple[Use, Dual]:
    """A schedule within capacity that follows prices, and the mean of the prices it followed.

    `grid` holds all blocks of the workload. Blocks that have not chosen when it is `late` stay in
    DRAM. What blocks do is told to `changes`.
    """
    dual = Dual(dual.term, np.maximum(dual.capacity, LEAST_CAPACITY_PRICE * capacity_unit(setting)))
    blocks = int((grid.slot >= 0).sum())
    most = min(pace.most, max(1, blocks // pace.batches))
    rounding = _Rounding(setting, grid, dual, most / max(1, blocks), changes)
    term, capacity = np.zeros_like(dual.term), np.zeros_like(dual.capacity)
    least = max(1, int(LEAST_BATCH * setting.capacity))
    for tiles, masks in _batches(grid, blocks, min(least, most), most, pace.last):
        count = int(np.bitwise_count(masks).sum())
        followed = rounding.reprice(rounding.committed / blocks, count)
        rounding.commit(tiles, masks, followed)
        rounding.committed += count
        term += count * followed.term
        closed = np.isinf(followed.capacity)
        capacity += count * np.where(
            closed, kernel.MOST_PRICE_CHANGE * dual.capacity, followed.capacity
        )
        if late():
            break
    committed = max(1, rounding.committed)
    return rounding.use(), Dual(term / committed, capacity / committed)


class Followed:
    """A schedule that follows prices, which tells its moves when it is made again."""

    def __init__(
        self,
        setting: Setting,
        grid: Grid,
        dual: Dual,
        late: Callable[[], bool] = lambda: False,
        pace: Pace = CAREFUL,
    ) -> None:
        self._setting, self._grid, self._dual, self._pace = setting, grid, dual, pace
        self._batches = 0

        def counted() -> bool:
            self._batches += 1
            return late()

        self.use, self.mean = rounded(setting, grid, dual, counted, pace)

    def tell(self, changes: Changes) -> None:
        """As many batches choose as did then."""
        left = iter(range(self._batches - 1, -1, -1))
        rounded(self._setting, self._grid, self._dual, lambda: next(left) == 0, self._pace, changes)


class _Rounding:
    """What the blocks that have chosen do, and arrays for each thread to work in."""

    def __init__(
        self, setting: Setting, grid: Grid, dual: Dual, step: float, changes: Changes | None
    ) -> None:
        self._setting, self._grid, self._dual = setting, grid, dual
        self._step = step  # share of the blocks in a batch
        self._threads = numba.get_num_threads() if grid.bits.size > THREAD_WORDS else 1
        longest = int(np.diff(setting.timeline.stretch_offset).max())
        threads = range(self._threads)
        self._tables = [new_tables(1, longest, 1).of(0) for _ in threads]
        self._scratch = [new_scratch(longest) for _ in threads]
        self._uses = [new_use(setting.timeline.steps) for _ in threads]
        self._changes = changes
        most = 0 if changes is None else room(longest) + TOLD_AT_ONCE
        self._moves = [np.empty(most, np.int64) for _ in threads]
        self.committed = 0

    def use(self) -> Use:
        return add_uses(self._uses)

    def reprice(self, share: float, count: int) -> Dual:
        """Prices for the next `count` blocks, after a `share` of all."""
        setting, dual, use = self._setting, self._dual, self.use()
        capacity = np.empty_like(dual.capacity)
        power = SHORTAGE_POWER * min(1.0, SHORTAGE_BATCH / self._step)
        kernel.price_capacity(
            1.0 - share, count, power, setting.capacity, use.occupied(), dual.capacity, capacity
        )
        if share == 0.0:
            return Dual(dual.term, capacity)
        term, groups = np.empty_like(dual.term), len(dual.term)
        gain = TERM_GAIN * share / (1.05 - share)

        def work(i: int) -> None:
            first, last = (groups * k // self._threads for k in (i, i + 1))
            kernel.reprice(
                first, last, setting.start, share, gain, dual.term, float(setting.block_bytes),
                setting.demand, setting.latency, use, term,
            )  # fmt: skip

        in_threads(work, self._threads)
        return Dual(term, capacity)

    def commit(self, tiles: I64, masks: U64, dual: Dual) -> None:
        """Blocks in `masks` of `tiles` choose."""
        timeline, prices = self._setting.timeline, self._setting.prices(dual)
        changes, line = self._changes, (timeline.stretch_offset, timeline.stretch_step)

        def work(i: int) -> None:
            own = slice(len(tiles) * i // self._threads, len(tiles) * (i + 1) // self._threads)
            mine = (tiles[own], masks[own])
            space = (self._tables[i], self._scratch[i], self._uses[i])
            if changes is None:
                kernel.commit(*mine, self._grid, *line, prices, *space)
                return
            done, moves = 0, self._moves[i]
            while done < len(mine[0]):
                done, count = kernel.commit_and_tell(
                    done, *mine, changes.slots, self._grid, *line, prices, *space, moves
                )
                changes.add(moves[:count])

        in_threads(work, self._threads)


def cost_of(setting: Setting, use: Use) -> float:
    """Seconds or joules of a schedule, from what it moves and reads at every step."""
    timeline, steps = setting.timeline, setting.timeline.steps
    occupied = use.occupied()
    assert occupied.min() >= 0, "a schedule takes out of HBM what is not there"
    assert occupied.max() <= setting.capacity, "a schedule breaks capacity"
    counts = np.zeros((steps, len(COUNTS)), np.int64)
    counts[:, READS], counts[:, HITS] = timeline.table.reads, use.hit[:steps]
    counts[:, APPEND], counts[:, APPEND_HBM] = timeline.append_bytes, use.append[:steps]
    counts[:, PROMOTED] = use.promote[:steps] + use.fill[:steps]
    counts[:, FILLED], counts[:, DEMOTED] = use.fill[:steps], use.demote[:steps]
    # Where capacity is so dear that a move is lost in it, leaving after the last step looks as cheap as
    # staying; but nobody has to.
    counts[-1:, DEMOTED] = 0
    counts[:, RESIDENT] = occupied
    groups = Groups(timeline.table.hbm_bytes, timeline.table.compute_s, setting.start)
    traffic = variant_traffic(counts, groups, setting.block_bytes, setting.rates, setting.variant)
    return setting.objective.of(traffic)


def _batches(grid: Grid, blocks: int, least: int, most: int, last: int) -> list[tuple[I64, U64]]:
    """All blocks as batches of tiles, by lane, and masks; each from all over lanes and slots."""
    members = pack(grid.slot >= 0)[:, 0]
    width = int((grid.lane == grid.lane[0]).sum())
    lanes = len(grid.lane) // width
    golden = np.argsort(np.arange(width) * GOLDEN_RATIO % 1.0)
    turn = np.arange(lanes) * width // lanes  # each lane begins elsewhere
    order = golden[(np.arange(width)[:, None] + turn) % width] + np.arange(lanes) * width
    batches: list[tuple[I64, U64]] = []
    tiles: list[int] = []
    masks: list[int] = []
    count, left = 0, blocks

    def finish() -> None:
        nonlocal count, left
        if tiles:
            by_tile = np.argsort(tiles, kind="stable")  # tiles go by lane
            batches.append((np.array(tiles)[by_tile], np.array(masks, np.uint64)[by_tile]))
            tiles.clear()
            masks.clear()
        count, left = 0, left - count

    for tile in order.ravel():
        word = int(members[tile])
        while word:
            size = min(most, max(least, left // last))
            taken = _lowest(word, size - count)
            word ^= taken
            tiles.append(int(tile))
            masks.append(taken)
            count += taken.bit_count()
            if count >= size:
                finish()
    finish()
    return batches


def _lowest(word: int, count: int) -> int:
    """The `count` lowest bits that are set, or all."""
    if word.bit_count() <= count:
        return word
    taken = 0
    for _ in range(count):
        taken |= word & -word
        word &= word - 1
    return taken
