"""The Lagrangian of the placement problem, its gradient, and prices that raise it.

Each barrier group splits one second's worth of price over the terms of its time (HBM, the terms of
t_e, the compute floor); each step prices a block's share of HBM's capacity. Whatever the prices,
each block's cheapest path alone, less what all the capacity costs, cannot exceed the time of any
schedule. Where the objective is energy, a second costs `power` joules and bytes have prices of their
own beside: the same paths, and the same inequality, in joules.
"""

import time
from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import numba
import numpy as np

from hmsim.bound import prices_kernel as kernel
from hmsim.bound.objective import TIME, Objective
from hmsim.bound.paths.runs import Timeline
from hmsim.bound.paths.tables_kernel import Prices, new_tables
from hmsim.bound.paths.words import Grid
from hmsim.bound.paths.words_kernel import Use, add_uses, new_scratch, new_use, sweep
from hmsim.jit import in_threads, threads
from hmsim.placement.latency import Rates, latency_of
from hmsim.placement.latency_kernel import APPEND, READ
from hmsim.workload.steps import F64, I64, group_starts

THREAD_WORDS = 20_000  # of a pass that is worth more than one thread
THREAD_PRICES = 20_000  # groups or steps that are worth a thread, where each takes some 10 ns


class Dual(NamedTuple):
    """Prices, all >= 0: of terms [G, terms + floor], rows that sum to 1; of capacity [T], seconds
    (of energy: joules) a block."""

    term: F64
    capacity: F64


class Demand(NamedTuple):
    """What groups [G] need wherever blocks are: bytes, and compute floors in seconds."""

    hbm_bytes: F64  # other reads of HBM
    reads: F64
    appended: F64
    floor_s: F64


def in_slices(work: Callable[[int, int], None], count: int) -> None:
    """Call `work(first, last)` for about equal parts of `count` groups or steps, side by side if they
    are many."""
    parts = threads(count // THREAD_PRICES)
    in_threads(lambda i: work(count * i // parts, count * (i + 1) // parts), parts)


class Setting:
    """The problem but for its blocks: what turns prices of terms into prices of what blocks do."""

    def __init__(
        self,
        timeline: Timeline,
        rates: Rates,
        variant: str,
        barrier: str,
        block_bytes: int,
        capacity: int,
        objective: Objective = TIME,
    ) -> None:
        self.timeline, self.rates, self.block_bytes, self.capacity = (
            timeline,
            rates,
            block_bytes,
            capacity,
        )
        self.objective = objective
        self.variant, self.barrier = variant, barrier
        self.latency = latency_of(variant, rates)
        self.start: I64 = group_starts(timeline.table.token, barrier)
        groups = len(self.start)
        self.group: I64 = np.repeat(
            np.arange(groups), np.diff(self.start, append=timeline.steps)
        ).astype(np.int64)
        # Seconds of each term if every block stays in DRAM: the costs of paths are relative to it.
        steps, grown = timeline.table, timeline.append_bytes
        reads = block_bytes * steps.reads.astype(float)
        columns = [steps.hbm_bytes / rates.hbm]
        columns += [term[READ] * reads + term[APPEND] * grown for term in self.latency.term]
        columns.append(steps.compute_s)
        self.all_in_dram: F64 = np.stack([self.by_group(column) for column in columns], axis=1)
        self.demand = Demand(*map(self.by_group, (steps.hbm_bytes, reads, grown, steps.compute_s)))
        self.fixed = float(  # what bytes cost beside the time, if every block stays in DRAM
            objective.weights_hbm * steps.hbm_bytes.sum()
            + objective.attention_dram * reads.sum()
            + objective.append_dram * grown.sum()
        )

    def by_group(self, values: np.ndarray) -> F64:
        """Sums over each group's steps."""
        values = values.astype(np.float64)
        return values if len(self.start) == len(values) else np.add.reduceat(values, self.start)

    def prices(self, dual: Dual) -> Prices:
        """What the prices of terms and capacity make a block's deeds cost."""
        read, append, promote, fill, demote = np.empty((5, self.timeline.steps))
        prices = Prices(read, append, dual.capacity, promote, fill, demote)

        def work(first: int, last: int) -> None:
            kernel.price(
                first, last, self.start, dual.term, float(self.block_bytes), self.latency,
                self.objective, prices,
            )  # fmt: skip

        in_slices(work, len(self.start))
        return prices

    def constant(self, dual: Dual) -> float:
        """The Lagrangian without its blocks."""
        seconds = np.einsum("gk,gk->g", dual.term, self.all_in_dram).sum()
        held = self.capacity * dual.capacity.sum()
        return float(self.objective.power * seconds - held + self.fixed)

    def gradient(self, dual: Dual, use: Use, weight: float) -> Dual:
        """Seconds of each term (of energy: times the power), and occupancy less capacity, where blocks
        do `weight` times `use`."""
        term = np.empty_like(self.all_in_dram)

        def work(first: int, last: int) -> None:
            kernel.lengthen(
                first, last, self.start, dual.term, float(self.block_bytes), self.latency,
                self.objective, use, weight, self.all_in_dram, term,
            )  # fmt: skip

        in_slices(work, len(self.start))
        occupied = use.occupied().astype(np.float64)
        occupied *= weight
        occupied -= self.capacity
        return Dual(term, occupied)


class Lagrangian:
    """Evaluates prices on gathered blocks, each of which stands for `weight` blocks."""

    def __init__(self, setting: Setting, grid: Grid, weight: float = 1.0) -> None:
        self.setting = setting
        threads = min(grid.tiles, numba.get_num_threads()) if grid.bits.size > THREAD_WORDS else 1
        longest = int(np.diff(setting.timeline.stretch_offset).max())
        self._tables = [new_tables(1, longest, 1).of(0) for _ in range(threads)]
        self._scratch = [new_scratch(longest) for _ in range(threads)]
        self.taken: list[float] = []  # `time.perf_counter()` after each pass
        self._take(grid, weight)

    def _take(self, grid: Grid, weight: float) -> None:
        threads = len(self._tables)
        self.grid, self.weight = grid, weight
        self._cuts = [grid.tiles * i // threads for i in range(threads + 1)]
        self._cost = np.empty(grid.tiles)

    def of(self, grid: Grid, weight: float) -> "Lagrangian":
        """The same of other blocks, with the same clock and arrays to work in."""
        other = copy(self)
        other._take(grid, weight)
        return other

    @property
    def passes(self) -> int:
        return len(self.taken)

    @property
    def pairs(self) -> int:
        """Pairs of a block and a stretch that a pass goes through."""
        return 64 * self.grid.bits.size

    def __call__(self, dual: Dual) -> tuple[float, Dual]:
        """The value at `dual` and a supergradient."""
        uses = [new_use(self.setting.timeline.steps) for _ in self._tables]
        value = self._pass(dual, uses, True)
        return value, self.setting.gradient(dual, add_uses(uses), self.weight)

    def value(self, dual: Dual) -> float:
        """The value alone, which is found faster."""
        return self._pass(dual, [new_use(0) for _ in self._tables], False)

    def _pass(self, dual: Dual, uses: list[Use], counted: bool) -> float:
        prices = self.setting.prices(dual)
        timeline = self.setting.timeline

        def work(i: int) -> None:
            sweep(
                self._cuts[i], self._cuts[i + 1], self.grid, timeline.stretch_offset,
                timeline.stretch_step, prices, self._tables[i], self._scratch[i], counted, uses[i],
                self._cost,
            )  # fmt: skip

        in_threads(work, len(uses))
        self.taken.append(time.perf_counter())
        return self.setting.constant(dual) + self.weight * float(self._cost.sum())
