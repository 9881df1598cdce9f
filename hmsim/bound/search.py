"""`Search`: what every way to a bound shares: the arguments, the clock, what was gathered, schedules
that need no prices.

`whole.py` searches where every pass takes all blocks, `sampled.py` where there are too many, and
`quick.py` is for a bound of few passes and no schedule.
"""

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from hmsim.bound import belady, revision
from hmsim.bound.certificate import Certificate
from hmsim.bound.changes import Paths, Told
from hmsim.bound.exact.problem import MAX_READS, Problem, capacity_in_blocks, collect
from hmsim.bound.objective import TIME, Objective
from hmsim.bound.paths.runs import Timeline
from hmsim.bound.paths.words import Grid, gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.bound.results import BoundResult, gap_of
from hmsim.bound.revision_kernel import Books
from hmsim.bound.rounding import cost_of
from hmsim.placement.latency import Groups, Rates
from hmsim.workload.steps import Workload
from hmsim.workload.windows import windows

# Sizes are pairs of a block and a stretch of its lane: a pass takes half a nanosecond a pair. Where a
# number of these files was found by trial, on the workloads of scripts/bound_tightness.py and
# bound_scale.py, no sweep of it is kept; all of them trade time for tightness, none can make a bound
# invalid.
WHOLE_PAIRS = 1e8  # up to here every pass takes all blocks: 50 ms a pass. By trial
GAP_WHERE_PRICES_MISLEAD = 0.05  # above it policies may beat following prices, and are tried
TOLD_SECONDS = 2.0  # from line to line of progress
NEAR_STEPS = (0.5, 1e-3)  # of an ascent from the prices of a machine much like this one
# Policies that stand for a schedule where prices mislead, or where none can be found by them.
CANDIDATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("static", {}),
    ("lookahead", {"window": 6, "share": 0.5}),
    ("belady", {}),
    ("slack", {}),
    ("lfu", {}),
    ("online-dual", {}),
)


class Gathered:
    """What a search keeps of a workload, for others of the same workload as well."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._timeline: Timeline | None = None
        self._grids: dict[int, Grid] = {}
        self._problem: Problem | None = None
        self.books: Books | None = None  # of the last schedule of blocks that chose again

    def sample(self, every: int) -> tuple[Timeline, Grid]:
        """The time line, and one block in `every`."""
        if every not in self._grids:
            line, self._grids[every] = gather(self._workload, every, timeline=self._timeline)
            self._timeline = self._timeline or line
        return self.timeline(), self._grids[every]

    def timeline(self) -> Timeline:
        """The time line, once there is a sample."""
        assert self._timeline is not None
        return self._timeline

    def problem(self, capacity: float) -> Problem:
        """Every block, where HBM holds so many bytes."""
        geometry = self._workload.geometry
        every = geometry.lanes * geometry.slots
        if self._problem is None:
            self._problem = collect(self._workload, capacity)
        blocks = capacity_in_blocks(capacity, geometry.resident_bytes, geometry.block_bytes, every)
        return self._problem._replace(capacity=blocks)


class Search:
    """One call's arguments, its clock, and what every way of searching uses."""

    def __init__(
        self,
        workload: Workload,
        rates: Rates,
        capacity: float,
        variant: str,
        barrier: str,
        gap: float,
        time_s: float | None,
        progress: Callable[[str], None],
        objective: Objective = TIME,
        gathered: Gathered | None = None,
    ) -> None:
        self.objective, self.unit = objective, "s" if objective == TIME else "J"
        self.gathered = Gathered(workload) if gathered is None else gathered
        self.began = time.perf_counter()
        self.workload, self.rates, self.capacity = workload, rates, capacity
        self.variant, self.barrier, self.gap = variant, barrier, gap
        self.time_s = np.inf if time_s is None else time_s
        self.progress = progress
        self._told = self.began
        self.clocks: list[list[float]] = []  # of each Lagrangian
        self._policy: str | None = None  # whose schedule is the best found; else it is
        self.schedule: Told | None = None
        self.keeps_paths = False  # of blocks that chose again, which take memory
        geometry = workload.geometry
        self.capacity_blocks = capacity_in_blocks(
            capacity, geometry.resident_bytes, geometry.block_bytes, geometry.lanes * geometry.slots
        )

    def seconds(self) -> list[float]:
        """When each pass ended, from the start."""
        return sorted(taken - self.began for clock in self.clocks for taken in clock)

    def watch(self, value: float) -> bool:
        """After a pass, with the best value so far: says it now and then; is it late?"""
        now = time.perf_counter()
        if now >= self._told + TOLD_SECONDS:
            self._told = now
            passes = sum(map(len, self.clocks))
            self.progress(f"pass {passes:,}: {value:.6g} {self.unit}")
        return self.late()

    def late(self) -> bool:
        """Whether the time to spend is over."""
        return time.perf_counter() >= self.began + self.time_s

    def tell(self, bound_s: float, achievable: float) -> None:
        """Say where the search stands."""
        self.progress(f"bound {bound_s:.6g} {self.unit}, achievable {achievable:.6g} {self.unit}")

    def is_small(self) -> bool:
        """Whether every pass takes all blocks."""
        geometry = self.workload.geometry
        return geometry.slots * geometry.steps <= WHOLE_PAIRS

    def lagrangian(self, every: int) -> Lagrangian:
        """Of one block in `every`."""
        timeline, grid = self.gathered.sample(every)
        weight = weight_of(timeline.lanes, every, 1)
        return self.kept(Lagrangian(self.setting_of(timeline), grid, weight))

    def problem(self) -> Problem:
        """Every block of the workload; InputError where that does not fit in memory."""
        return self.gathered.problem(self.capacity)

    def setting(self) -> Setting:
        """Of the workload's whole time line."""
        return self.setting_of(self.gathered.timeline())

    def setting_of(self, timeline: Timeline) -> Setting:
        size = self.workload.geometry.block_bytes
        return Setting(
            timeline, self.rates, self.variant, self.barrier, size, self.capacity_blocks,
            self.objective,
        )  # fmt: skip

    def kept(self, lagrangian: Lagrangian) -> Lagrangian:
        """The same, and its clock will be read."""
        self.clocks.append(lagrangian.taken)
        return lagrangian

    def capacity_step(self) -> float:
        """A step's capacity is worth the less, the more steps there are to a token."""
        return min(0.3, 3.0 / self.workload.geometry.lanes)

    def by_belady(self, setting: Setting, grid: Grid, bound_s: float) -> float:
        """Time of the schedule that keeps what is read again first; infinite where it does not apply."""
        if not belady.applies(setting):
            return np.inf

        def stop(seconds: float) -> bool:
            self.watch(bound_s)
            near = gap_of(bound_s, seconds * (1 + belady.ACCURACY))
            return self.late() or near <= self.gap

        self.schedule = again = belady.Scheduled(setting, grid, stop)
        found = cost_of(setting, again.use)
        self.tell(bound_s, found)
        return found

    def revised(
        self, setting: Setting, books: Books | None = None, most_reads: float = MAX_READS
    ) -> revision.Revised | None:
        """The means to let blocks choose again, if what that takes fits in memory."""
        geometry = self.workload.geometry
        pairs = geometry.lanes * geometry.slots * geometry.steps
        if pairs > revision.MOST_PAIRS or setting.timeline.table.reads.sum() > most_reads:
            return None
        return revision.Revised(self.problem(), setting, books)

    def choose_again(
        self,
        revised: revision.Revised,
        dual: Dual,
        seed: int,
        rounds: tuple[revision.Round, ...] = revision.ROUNDS,
    ) -> tuple[float, Told | None]:
        """Cost of the best schedule of blocks that choose again, infinite if it is late before there is
        one; and that schedule, if paths are kept."""
        self.progress(f"{revised.problem.blocks:,} blocks choose again, {len(rounds)} times")
        found = revised.follow(dual, seed, rounds, self.late, self.keeps_paths)
        self.gathered.books = revised.books
        return found, None if revised.best is None else Paths(revised.problem, revised.best)

    def certified(self, setting: Setting, dual: Dual) -> float:
        """The bound that these prices prove, by one pass over the stream."""
        certificate = Certificate(setting, self.workload.geometry, dual, numba.get_num_threads())
        for chunk in self.workload.chunks():
            certificate.feed(chunk)
        return certificate.value()

    def shorter(self, achievable: float, found_s: float, schedule: Told | None) -> float:
        """The shorter of the best time so far and that of a schedule from prices."""
        if found_s < achievable:
            self._policy, self.schedule = None, schedule
        return min(achievable, found_s)

    def is_misled(self, bound_s: float, achievable: float) -> bool:
        """Whether what follows the prices is far from the bound."""
        return gap_of(bound_s, achievable) > GAP_WHERE_PRICES_MISLEAD

    def policies_where_misled(self, bound_s: float, achievable: float) -> float:
        """The best time, policies' too where what follows the prices is far from the bound."""
        if self.is_misled(bound_s, achievable):
            return self.policies_time(achievable)
        return achievable

    def policies_time(self, achievable: float) -> float:
        """The best time with that of CANDIDATES, by one pass over the workload."""
        from hmsim.placement import policies

        chosen = [policies.make(name, dict(options)) for name, options in CANDIDATES]
        taken = [
            policy.start(self.workload, self.capacity, self.rates, self.variant, self.barrier)
            for policy in chosen
        ]
        total = np.zeros(len(taken))
        for window in windows(self.workload, max(p.ahead_tokens for p in chosen)):
            groups = Groups.of(window.own, self.barrier)
            for k, run in enumerate(taken):
                counts, _ = run.advance(window)
                total[k] += self.objective.of(run.traffic(counts, groups))
        if total.min() < achievable:
            self._policy = chosen[int(total.argmin())].name
        return min(achievable, float(total.min()))

    def result(
        self,
        method: str,
        bound_s: float,
        achievable: float | None,
        passes: int,
        history: list[float],
        dual: Dual | None,
    ) -> BoundResult:
        history = np.maximum.accumulate(history).tolist() if history else []
        return BoundResult(
            bound_s, achievable, None if achievable is None else gap_of(bound_s, achievable),
            method, self.variant, self.barrier, passes, time.perf_counter() - self.began,
            history, self.seconds()[: len(history)], dual, self._policy,
        )  # fmt: skip


def thinning(workload: Workload, pairs: float) -> int:
    """One block in how many (a power of two) to keep for at most about so many pairs."""
    geometry = workload.geometry
    every = geometry.slots * geometry.steps / pairs
    return 1 if every <= 1 else 1 << int(np.ceil(np.log2(every)))


def weight_of(lanes: int, every: int, lanes_every: int) -> float:
    """How many blocks one of a sample stands for: one in `every` of one lane in `lanes_every`."""
    kept = (np.arange(lanes) % lanes_every == lanes_every // 2).sum()
    return float(every * lanes / kept)
