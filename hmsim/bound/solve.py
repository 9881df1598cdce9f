"""`bound`: how far from optimal any schedule of a workload can be, by the method asked for.

lp      the exact optimum of the relaxation; small instances
milp    the exact optimum of schedules; tiny ones
dual    certified prices: on everything where blocks fit in memory, else optimised on a sample and
        certified by one streamed pass
anneal  the dual's after a short run, and the time to spend on schedules
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from hmsim import units
from hmsim.bound import belady, revision
from hmsim.bound.ascent import Ascent, ascend, ascend_by_batches, coarse_start
from hmsim.bound.batches import Batches
from hmsim.bound.certificate import Certificate
from hmsim.bound.changes import Dense, Paths, Told
from hmsim.bound.exact import anneal, lp
from hmsim.bound.exact.problem import (
    MAX_READS,
    Problem,
    capacity_in_blocks,
    check_setting,
    collect,
)
from hmsim.bound.objective import TIME, Objective, energy
from hmsim.bound.paths.runs import Timeline
from hmsim.bound.paths.words import Grid, gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.bound.revision_kernel import Books
from hmsim.bound.rounding import Followed, cost_of
from hmsim.config.enumerations import GAP, METHODS
from hmsim.errors import InputError
from hmsim.placement.joules import Joules
from hmsim.placement.latency import Groups, Rates
from hmsim.progress import nothing
from hmsim.workload.steps import F64, Workload, group_starts
from hmsim.workload.windows import windows

# Sizes are pairs of a block and a stretch of its lane: a pass takes half a nanosecond a pair. Where a
# number was found by trial, on the workloads of scripts/bound_tightness.py and bound_scale.py, no
# sweep of it is kept; all of them trade time for tightness, none can make a bound invalid.
WHOLE_PAIRS = 1e8  # up to here every pass takes all blocks: 50 ms a pass. By trial
SAMPLE_PAIRS = 2e9  # of the sample that stands for more blocks than that. By trial
LEAST_THINNING = 2  # of that sample: then a batch's blocks are from all over their lanes
GRID_PAIRS = 3.2e10  # above this not even one bit a pair fits in memory: 4 GB
QUICK_PAIRS = 3e7  # of a quick bound's sample: 15 ms a pass. By trial
QUICK_LANES = 4  # lanes that sample comes from, as tables are by lane. By trial

# Passes, and the step's length in `ascend`: at first, at last. All by trial.
FIRST_PASSES = 200  # first stage of a whole search
LEAST_PASSES, MOST_PASSES = 1000, 4000  # second stage: within these as many as
SECOND_STAGE_PAIRS = 2e9  # go through so many pairs, a second
QUICK_PASSES, QUICK_STEPS, QUICK_CAPACITY_STEP = 80, (1.0, 3e-3), 0.25  # quick, of all blocks
PIECES, PIECE_PASSES = 32, 15  # a quick bound's first differ between so many pieces of time only
THIN_PASSES, THIN_STEPS = 50, (0.3, 1e-3)  # then from token to token
SAMPLED_PASSES, SAMPLED_STEPS = 600, (1.0, 3e-3)  # of a batch each, to prices from step to step
MORE_PASSES, MORE_STEPS = 300, (0.01, 1e-3)  # likewise, from there, where the gap is too wide
FULL_ROUNDS = 4  # of a schedule and such passes, at most
NEAR_STEPS = (0.5, 1e-3)  # from the prices of a machine much like this one
SAMPLE_TIME_SHARE = 0.4  # of the time to spend, for the sample. By trial
GAP_WHERE_PRICES_MISLEAD = 0.05  # above it policies may beat following prices, and are tried
TOLD_SECONDS = 2.0  # from line to line of progress
FIRST_MOVES = 500_000  # flips of the first stage's annealing: about 0.2 s. By trial
# Policies that stand for a schedule where prices mislead, or where none can be found by them.
CANDIDATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("static", {}),
    ("lookahead", {"window": 6, "share": 0.5}),
    ("belady", {}),
    ("slack", {}),
    ("lfu", {}),
    ("online-dual", {}),
)


class BoundResult(NamedTuple):
    """A certified gap: no schedule takes less than `bound_s`, and one takes `achievable_s`.

    Attributes:
        bound_s: Seconds that every schedule takes at least. Proven.
        achievable_s: Seconds of the best schedule found; None where none was asked for.
        gap: (achievable - bound) / achievable, as a share; 0 where both are 0, None without a
            schedule.
        method: As asked for.
        variant: The latency model.
        barrier: Where memories wait for each other.
        iterations: Passes over the (sampled) blocks; 0 where HiGHS did it all.
        wall_s: Seconds that it took.
        convergence: The best value after each pass in seconds, of the sample where there is one.
        seconds: When each pass ended, in seconds from the start.
        prices: The prices that prove the bound; None for `milp`.
        policy: The policy whose schedule takes `achievable_s`, where that is shorter than what
            follows the prices; None where it is not.
    """

    bound_s: float
    achievable_s: float | None
    gap: float | None
    method: str
    variant: str
    barrier: str
    iterations: int
    wall_s: float
    convergence: list[float]
    seconds: list[float]
    prices: Dual | None
    policy: str | None = None

    @property
    def history(self) -> F64:
        """How it was found, float64 [passes, 3]: pass, best value so far in seconds, seconds taken."""
        return _history(self.convergence, self.seconds)


class EnergyBound(NamedTuple):
    """As `BoundResult`, in joules: no schedule takes less than `bound_J`, and one takes `achievable_J`.

    Attributes:
        bound_J: Joules that every schedule takes at least, by the nominal coefficients. Proven.
        achievable_J: Joules of the best schedule found.
        gap: (achievable - bound) / achievable, as a share.
        method: As asked for.
        variant: The latency model, by which the time that standby flows is reckoned.
        barrier: Where memories wait for each other.
        iterations: Passes over the (sampled) blocks; 0 where HiGHS did it all.
        wall_s: Seconds that it took.
        convergence: The best value after each pass in joules, of the sample where there is one.
        seconds: When each pass ended, in seconds from the start.
        prices: The prices that prove the bound; None for `milp`.
        policy: The policy whose schedule takes `achievable_J`, where that is less than what follows
            the prices; None where it is not.
    """

    bound_J: float
    achievable_J: float | None
    gap: float | None
    method: str
    variant: str
    barrier: str
    iterations: int
    wall_s: float
    convergence: list[float]
    seconds: list[float]
    prices: Dual | None
    policy: str | None = None


class Sample(NamedTuple):
    """Some of a workload's blocks, and its whole time line.

    Attributes:
        timeline: Of all steps.
        grid: The blocks' reads.
        weight: How many blocks each of them stands for.
        whole: Whether it holds every block.
    """

    timeline: Timeline
    grid: Grid
    weight: float
    whole: bool


def bound(
    workload: Workload,
    rates: Rates,
    capacity: float,
    variant: str = "text",
    barrier: str = "layer",
    method: str = "dual",
    gap: float = GAP,
    time_s: float | None = None,
    progress: Callable[[str], None] = nothing,
) -> BoundResult:
    """Prove a lower bound on the time of every schedule, and find a schedule.

    docs/placement.md has the mathematics. Work ends once the gap is small enough, the time is up,
    or neither side gains any more.

    Args:
        workload: What is read at which step (`hmsim.open_workload`).
        rates: Bandwidths in bytes per second, such as `analytic_rates(system)`.
        capacity: All of HBM in bytes, the weights included.
        variant: The latency model: `text`, `code`, `exclusive` or `inclusive`.
        barrier: Where memories wait for each other: `layer` or `token`.
        method: `dual` for prices, certified; `lp` for the exact optimum of the relaxation, of small
            instances; `milp` for that of schedules, of tiny ones; `anneal` to spend the time on the
            schedule.
        gap: The share of the schedule's time at which the gap is small enough; from 0, below 1.
        time_s: Seconds to spend, about; None for no limit.
        progress: Called with a line of text now and then.

    Returns:
        The bound, the schedule's time, and how they were found.

    Raises:
        InputError: An argument is out of range, or the instance is too large for the method.
        SolverError: HiGHS gave an answer that fails its check.
    """
    return _found(workload, rates, capacity, TIME, variant, barrier, method, gap, time_s, progress)


def energy_bound(
    workload: Workload,
    rates: Rates,
    capacity: float,
    joules: Joules,
    variant: str = "text",
    barrier: str = "layer",
    method: str = "dual",
    gap: float = GAP,
    time_s: float | None = None,
    progress: Callable[[str], None] = nothing,
) -> EnergyBound:
    """Prove a lower bound on the joules of every schedule, and find a schedule.

    A schedule's energy is what its bytes take, and standby and refresh over its time: the bound is on
    their sum, with one set of prices for both.

    Args:
        workload: What is read at which step (`hmsim.open_workload`).
        rates: Bandwidths in bytes per second, such as `analytic_rates(system)`.
        capacity: All of HBM in bytes, the weights included.
        joules: Of a byte and of a second, as `hmsim.simulate.joules.joules_of(system, ...)` makes
            them.
        variant: The latency model: `text`, `code`, `exclusive` or `inclusive`.
        barrier: Where memories wait for each other: `layer` or `token`.
        method: As for `bound`.
        gap: The share of the schedule's energy at which the gap is small enough; from 0, below 1.
        time_s: Seconds to spend, about; None for no limit.
        progress: Called with a line of text now and then.

    Returns:
        The bound, the schedule's energy, and how they were found.

    Raises:
        InputError: An argument is out of range, or the instance is too large for the method.
        SolverError: HiGHS gave an answer that fails its check.
    """
    return EnergyBound(*_found(
        workload, rates, capacity, energy(joules), variant, barrier, method, gap, time_s, progress
    ))  # fmt: skip


def _found(
    workload: Workload, rates: Rates, capacity: float, objective: Objective, variant: str,
    barrier: str, method: str, gap: float, time_s: float | None, progress: Callable[[str], None],
) -> BoundResult:  # fmt: skip
    """The bound of an objective; its unit is that of the result's numbers."""
    if method not in METHODS:
        raise InputError(f"method: {method!r} is not one of {', '.join(METHODS)}")
    check_call(rates, variant, barrier, gap, time_s)
    search = Search(workload, rates, capacity, variant, barrier, gap, time_s, progress, objective)
    if method in ("lp", "milp"):
        return search.exact(method)
    return search.dual(method)


def check_call(rates: Rates, variant: str, barrier: str, gap: float, time_s: float | None) -> None:
    """InputError for an argument that is out of range."""
    check_setting(variant, barrier, rates)
    if not 0 <= gap < 1:
        raise InputError(f"gap: {gap!r} must be at least 0 and below 1")
    if time_s is not None and not time_s > 0:
        raise InputError(f"time: {time_s!r} seconds must be above zero")


def quick_bound(
    workload: Workload, rates: Rates, capacity: float, variant: str = "text", barrier: str = "layer"
) -> BoundResult:
    """As rigorous a bound as `bound`'s, from few passes over few blocks; no schedule is sought.

    Args:
        workload: What is read at which step.
        rates: Bandwidths in bytes per second.
        capacity: All of HBM in bytes, the weights included.
        variant: The latency model: `text`, `code`, `exclusive` or `inclusive`.
        barrier: Where memories wait for each other: `layer` or `token`.

    Returns:
        The bound; `achievable_s` and `gap` are None.

    Raises:
        InputError: An argument is out of range.
    """
    check_setting(variant, barrier, rates)
    search = Search(workload, rates, capacity, variant, barrier, 0.0, None, nothing)
    setting, dual, history = search.quick_prices(quick_sample(workload))
    value = search._certified(setting, dual)
    return search.result("dual", value, None, len(history), history, dual)


def quick_sample(workload: Workload) -> Sample:
    """A sample for `quick_prices`: of few blocks, and of few lanes.

    Tables are by lane, and would take longer than the blocks.

    Args:
        workload: Whose blocks.

    Returns:
        The sample.
    """
    geometry = workload.geometry
    every = _thinning(workload, QUICK_PAIRS)
    lanes_every = min(every, max(1, geometry.lanes // QUICK_LANES))
    timeline, grid = gather(workload, every // lanes_every, lanes_every)
    weight = _weight(timeline.lanes, every // lanes_every, lanes_every)
    return Sample(timeline, grid, weight, every == 1)


def quick_prices(
    workload: Workload,
    rates: Rates,
    capacity: float,
    variant: str = "text",
    barrier: str = "layer",
    sample: Sample | None = None,
) -> tuple[Setting, Dual, F64]:
    """What a `Certificate` needs, for a caller that streams the workload anyway.

    Args:
        workload: What is read at which step.
        rates: Bandwidths in bytes per second.
        capacity: All of HBM in bytes, the weights included.
        variant: The latency model: `text`, `code`, `exclusive` or `inclusive`.
        barrier: Where memories wait for each other: `layer` or `token`.
        sample: A caller who needs prices of several models takes one `quick_sample` for all; made
            unless given.

    Returns:
        The setting, the prices, and how they were found, float64 [passes, 3] as
        `BoundResult.history`.

    Raises:
        InputError: An argument is out of range.
    """
    check_setting(variant, barrier, rates)
    search = Search(workload, rates, capacity, variant, barrier, 0.0, None, nothing)
    setting, dual, values = search.quick_prices(sample or quick_sample(workload))
    return setting, dual, _history(values, search.seconds())


def format_table(result: BoundResult | EnergyBound) -> str:
    """The result for people.

    Args:
        result: Of `bound`, `energy_bound` or `quick_bound`.

    Returns:
        A few lines of text.
    """
    shown: Callable[[float], str]
    if isinstance(result, EnergyBound):
        bound, achievable, shown = result.bound_J, result.achievable_J, units.show_joules
    else:
        bound, achievable, shown = result.bound_s, result.achievable_s, units.show_seconds
    rows = [
        ("bound", shown(bound)),
        ("method", f"{result.method}, {result.iterations} passes"),
        ("variant", f"{result.variant}, barrier a {result.barrier}"),
        ("wall time", units.show_seconds(result.wall_s)),
    ]
    if achievable is not None and result.gap is not None:
        by = "" if result.policy is None else f", by {result.policy}: prices are no guide here"
        rows.insert(1, ("achievable", shown(achievable) + by))
        rows.insert(2, ("certified gap", f"{100 * result.gap:.3g} %"))
    return "\n".join(f"{name:<14}{value}" for name, value in rows)


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
    """One call's arguments and clock."""

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
        self._gathered = Gathered(workload) if gathered is None else gathered
        self.began = time.perf_counter()
        self.workload, self.rates, self.capacity = workload, rates, capacity
        self.variant, self.barrier, self.gap = variant, barrier, gap
        self.time_s = np.inf if time_s is None else time_s
        self.progress = progress
        self._told = self.began
        self._clocks: list[list[float]] = []  # of each Lagrangian
        self._policy: str | None = None  # whose schedule is the best found; else it is
        self.schedule: Told | None = None
        self.keeps_paths = False  # of blocks that chose again, which take memory
        self._latest: Told | None = None  # the schedule that was looked at last
        geometry = workload.geometry
        self.capacity_blocks = capacity_in_blocks(
            capacity, geometry.resident_bytes, geometry.block_bytes, geometry.lanes * geometry.slots
        )

    def seconds(self) -> list[float]:
        """When each pass ended, from the start."""
        return sorted(taken - self.began for clock in self._clocks for taken in clock)

    def watch(self, value: float, share: float = 1.0) -> bool:
        """After a pass, with the best value so far: says it now and then; is it late?"""
        now = time.perf_counter()
        if now >= self._told + TOLD_SECONDS:
            self._told = now
            passes = sum(map(len, self._clocks))
            self.progress(f"pass {passes:,}: {value:.6g} {self.unit}")
        return self.late(share)

    def late(self, share: float = 1.0) -> bool:
        """Whether that share of the time to spend is over."""
        return time.perf_counter() >= self.began + share * self.time_s

    def exact(self, method: str) -> BoundResult:
        """By HiGHS. The LP's bound is the Lagrangian's value at its prices."""
        problem = self._gathered.problem(self.capacity)
        lp.check_size(problem, method)
        lagrangian = self._lagrangian(1)
        if method == "milp":
            left = max(0.1, self.began + self.time_s - time.perf_counter())
            limit = None if np.isinf(left) else left
            solved = lp.solve_milp(problem, lagrangian, self.gap, limit)
            return self.result(method, solved.bound_s, solved.time_s, 0, [], None)
        solved = lp.solve_lp(problem, lagrangian)
        achievable = self._schedule(
            problem, lagrangian.setting, [solved.prices], solved.bound_s, 4 * FIRST_MOVES
        )
        return self.result(method, solved.bound_s, achievable, 0, [], solved.prices)

    def dual(self, method: str) -> BoundResult:
        """By prices; with `anneal`, for the schedule's sake."""
        return self.whole(method) if self._is_small() else self.sampled()

    def _is_small(self) -> bool:
        """Whether every pass takes all blocks."""
        geometry = self.workload.geometry
        return geometry.slots * geometry.steps <= WHOLE_PAIRS

    def whole(self, method: str) -> BoundResult:
        """Prices and schedules of all blocks, in stages: two, and then, if there is a time to
        spend, ever longer ones."""
        lagrangian = self._lagrangian(1)
        problem = self._small_problem()
        revised = None if problem is not None else self._revision(lagrangian.setting)
        best = coarse_start(lagrangian)
        history = list(best.history)
        achievable, moves, passes, stage = np.inf, FIRST_MOVES, FIRST_PASSES, 0
        while True:
            if method != "anneal" or stage == 0:
                found = ascend(lagrangian, best.dual, passes, stop=self.watch)
                history += [max(best.value, value) for value in found.history]
                best = max(best, found, key=lambda ascent: ascent.value)
            if stage == 0 and problem is None:
                achievable = self._by_belady(lagrangian.setting, lagrangian.grid, best.value)
            if problem is not None:
                found_s = self._schedule(
                    problem, lagrangian.setting, [best.dual], best.value, moves
                )
                achievable = self._shorter(achievable, found_s)
            elif gap_of(best.value, achievable) > self.gap:
                found_s = self._revised(revised, lagrangian, best.dual, stage)
                achievable = self._shorter(achievable, found_s)
            if stage == 0:
                achievable = self._policies_where_misled(best.value, achievable)
            self.progress(
                f"bound {best.value:.6g} {self.unit}, achievable {achievable:.6g} {self.unit}"
            )
            met = gap_of(best.value, achievable) <= self.gap
            if met or self.late() or (stage > 0 and np.isinf(self.time_s)):
                break
            moves *= 4
            passes *= 4
            if stage == 0:
                passes = _second_passes(lagrangian)
            stage += 1
        return self.result(method, best.value, achievable, lagrangian.passes, history, best.dual)

    def sampled(self) -> BoundResult:
        """Prices of a sample of blocks, then a few passes over all of them, and a schedule."""
        batches = self._batches(max(LEAST_THINNING, _thinning(self.workload, SAMPLE_PAIRS)))
        setting, geometry = batches.setting, self.workload.geometry
        limit = self.began + SAMPLE_TIME_SHARE * self.time_s
        found = self._by_batches(
            batches, coarse_start(batches), SAMPLED_PASSES, SAMPLED_STEPS, limit
        )
        passes = len(found.history)
        self.progress(f"sample: {found.value:.6g} {self.unit} after {passes} passes")
        if geometry.slots * geometry.steps > GRID_PAIRS:
            value = self._certified(setting, found.dual)
            self.progress(f"bound {value:.6g} {self.unit}; looking for a schedule")
            achievable = self._policies_time(np.inf)
            return self.result("dual", value, achievable, passes, found.history, found.dual)

        everything = self._lagrangian(1)
        best = found._replace(value=everything.value(found.dual))
        history, followed = [*found.history, best.value], found.dual
        achievable = self._by_belady(setting, everything.grid, best.value)
        for k in range(FULL_ROUNDS):
            if gap_of(best.value, achievable) <= self.gap or (achievable < np.inf and self.late()):
                break
            before = achievable
            late = self.late if k else lambda: False
            self._latest = again = Followed(setting, everything.grid, followed, late)
            achievable = self._shorter(achievable, cost_of(setting, again.use))
            followed = again.mean
            if k == 0:
                achievable = self._policies_where_misled(best.value, achievable)
            self.progress(
                f"bound {best.value:.6g} {self.unit}, achievable {achievable:.6g} {self.unit}"
            )
            if gap_of(best.value, achievable) <= self.gap or self.late():
                break
            if k > 0 and achievable > before * (1 - 1e-3):
                break
            limit = (time.perf_counter() + self.began + self.time_s) / 2
            found = self._by_batches(batches, best, MORE_PASSES, MORE_STEPS, limit)
            history += found.history[len(best.history) :]
            if found.dual is best.dual:  # the same prices lead to the same schedule
                break
            found = found._replace(value=everything.value(found.dual))
            history.append(found.value)
            best = max(best, found, key=lambda ascent: ascent.value)
            followed = best.dual
        return self.result("dual", best.value, achievable, len(history), history, best.dual)

    def near(self, start: Dual, share: float) -> BoundResult:
        """A `share` of the work of `dual`, from the prices of a machine much like this one."""
        search = self._near_whole if self._is_small() else self._near_sampled
        return search(start, share)

    def _near_whole(self, start: Dual, share: float) -> BoundResult:
        lagrangian = self._lagrangian(1)
        setting, problem = lagrangian.setting, self._small_problem()
        best, from_start = coarse_start(lagrangian), lagrangian.value(start)
        if from_start > best.value:
            best = best._replace(dual=start, value=from_start)
        history, achievable = [*best.history, best.value], np.inf
        books = self._gathered.books
        revised = None if books is None else self._revision(setting, books)
        stages = [(_second_passes(lagrangian), 4 * FIRST_MOVES)]
        if problem is not None:  # else a schedule takes too long for two
            stages.insert(0, (FIRST_PASSES, FIRST_MOVES))
        for passes, moves in stages:
            found = ascend(
                lagrangian, best.dual, int(np.ceil(share * passes)), NEAR_STEPS, stop=self.watch
            )
            history += [max(best.value, value) for value in found.history]
            best = max(best, found, key=lambda ascent: ascent.value)
            if problem is not None:
                found_s = self._schedule(
                    problem, setting, [best.dual], best.value, int(share * moves)
                )
            else:
                found_s = self._revised(revised, lagrangian, best.dual, 0, revision.FEWER_ROUNDS)
            achievable = min(achievable, found_s)
            if gap_of(best.value, achievable) <= self.gap or self.late():
                break
        return self.result("dual", best.value, achievable, lagrangian.passes, history, best.dual)

    def _near_sampled(self, start: Dual, share: float) -> BoundResult:
        """Where not even the reads fit in memory, the bound is left at minus infinity: to be
        certified."""
        batches = self._batches(max(LEAST_THINNING, _thinning(self.workload, SAMPLE_PAIRS)))
        setting, geometry = batches.setting, self.workload.geometry
        before, from_start = coarse_start(batches), batches.value(start)
        if from_start > before.value:
            before = Ascent(start, from_start, before.history)
        before.history.append(before.value)
        count = int(np.ceil(share * SAMPLED_PASSES))
        limit = self.began + self.time_s
        found = self._by_batches(batches, before, count, NEAR_STEPS, limit)
        if geometry.slots * geometry.steps > GRID_PAIRS:
            count = len(found.history)
            return self.result("dual", -np.inf, None, count, found.history, found.dual)
        everything = self._lagrangian(1)
        value = everything.value(found.dual)
        history = [*found.history, value]
        achievable = self._by_belady(setting, everything.grid, value)
        if gap_of(value, achievable) > self.gap:
            again = Followed(setting, everything.grid, found.dual)
            achievable = min(achievable, cost_of(setting, again.use))
        return self.result("dual", value, achievable, len(history), history, found.dual)

    def _by_belady(self, setting: Setting, grid: Grid, bound_s: float) -> float:
        """Time of the schedule that keeps what is read again first; infinite where it does not apply."""
        if not belady.applies(setting):
            return np.inf

        def stop(seconds: float) -> bool:
            self.watch(bound_s)
            near = gap_of(bound_s, seconds * (1 + belady.ACCURACY))
            return self.late() or near <= self.gap

        self.schedule = again = belady.Scheduled(setting, grid, stop)
        found = cost_of(setting, again.use)
        self.progress(f"bound {bound_s:.6g} {self.unit}, achievable {found:.6g} {self.unit}")
        return found

    def _certified(self, setting: Setting, dual: Dual) -> float:
        """The bound that these prices prove, by one pass over the stream."""
        certificate = Certificate(setting, self.workload.geometry, dual, numba.get_num_threads())
        for chunk in self.workload.chunks():
            certificate.feed(chunk)
        return certificate.value()

    def quick_prices(self, sample: Sample) -> tuple[Setting, Dual, list[float]]:
        """Prices from a sample of few blocks, the same in all steps of a token."""
        setting = self._setting(sample.timeline)
        lagrangian = self._kept(Lagrangian(setting, sample.grid, sample.weight))
        if not sample.whole:
            # Lanes that are left out would have no say in prices of their own steps.
            apart = len(group_starts(lagrangian.setting.timeline.table.token, "token"))
            found = self._few_passes(lagrangian, THIN_PASSES, apart)
        else:
            start = coarse_start(lagrangian)
            found = ascend(lagrangian, start.dual, QUICK_PASSES, QUICK_STEPS, QUICK_CAPACITY_STEP)
            history = start.history + [max(start.value, value) for value in found.history]
            best = max(start, found, key=lambda ascent: ascent.value)
            found = best._replace(history=history)
        return lagrangian.setting, found.dual, found.history

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

    def _lagrangian(self, every: int) -> Lagrangian:
        """Of one block in `every`."""
        timeline, grid = self._gathered.sample(every)
        weight = _weight(timeline.lanes, every, 1)
        return self._kept(Lagrangian(self._setting(timeline), grid, weight))

    def problem(self) -> Problem:
        """Every block of the workload; InputError where that does not fit in memory."""
        return self._gathered.problem(self.capacity)

    def setting(self) -> Setting:
        """Of the workload's whole time line."""
        return self._setting(self._gathered.timeline())

    def _setting(self, timeline: Timeline) -> Setting:
        size = self.workload.geometry.block_bytes
        return Setting(
            timeline, self.rates, self.variant, self.barrier, size, self.capacity_blocks,
            self.objective,
        )  # fmt: skip

    def _batches(self, every: int) -> Batches:
        """Of one block in `every`."""
        timeline, grid = self._gathered.sample(every)
        batches = Batches(self._setting(timeline), grid, _weight(timeline.lanes, every, 1))
        self._clocks.append(batches.taken)
        return batches

    def _by_batches(
        self, batches: Batches, start: Ascent, count: int, steps: tuple[float, float], limit: float
    ) -> Ascent:
        """From the prices of `start`, whose history goes before; to end at that time at the latest."""
        begun = time.perf_counter()

        def spent(value: float) -> float:
            self.watch(value)
            now = time.perf_counter()
            return 1.0 if now >= limit else (now - begun) / (limit - begun)

        found = ascend_by_batches(
            batches, start.dual, count, steps, self._capacity_step(), spent
        )  # fmt: skip
        return found._replace(history=start.history + found.history)

    def _kept(self, lagrangian: Lagrangian) -> Lagrangian:
        """The same, and its clock will be read."""
        self._clocks.append(lagrangian.taken)
        return lagrangian

    def _few_passes(self, lagrangian: Lagrangian, passes: int, apart: int | None = None) -> Ascent:
        """From the same prices at every step, over pieces of time, to `passes` with `apart` pieces
        (None: every step's its own)."""
        best = coarse_start(lagrangian)
        history = list(best.history)
        for count, pieces in ((PIECE_PASSES, PIECES), (passes, apart)):
            found = ascend(
                lagrangian,
                best.dual,
                count,
                THIN_STEPS,
                self._capacity_step(),
                pieces,
                self.watch,
            )
            history += [max(best.value, value) for value in found.history]
            best = max(best, found, key=lambda ascent: ascent.value)
        return best._replace(history=history)

    def _capacity_step(self) -> float:
        """A step's capacity is worth the less, the more steps there are to a token."""
        return min(0.3, 3.0 / self.workload.geometry.lanes)

    def _small_problem(self) -> Problem | None:
        """The problem if a dense schedule of it fits in memory."""
        geometry = self.workload.geometry
        if geometry.lanes * geometry.slots * geometry.steps > anneal.MAX_PAIRS:
            return None
        return self._gathered.problem(self.capacity)

    def _revision(self, setting: Setting, books: Books | None = None) -> revision.Revised | None:
        """The means to let blocks choose again, if what that takes fits in memory."""
        geometry = self.workload.geometry
        pairs = geometry.lanes * geometry.slots * geometry.steps
        if pairs > revision.MOST_PAIRS or setting.timeline.table.reads.sum() > MAX_READS:
            return None
        return revision.Revised(self._gathered.problem(self.capacity), setting, books)

    def _revised(
        self, revised: revision.Revised | None, lagrangian: Lagrangian, dual: Dual, stage: int,
        rounds: tuple[revision.Round, ...] = revision.ROUNDS,
    ) -> float:  # fmt: skip
        """Cost of the best schedule of blocks that choose again, or, where that is too much or there
        is no time for it, of blocks that choose once."""
        found = np.inf
        if revised is not None:
            seed = self.workload.seed + stage
            found = revised.follow(dual, seed, rounds, self.late, self.keeps_paths)
            self._gathered.books = revised.books
            self._latest = None if revised.best is None else Paths(revised.problem, revised.best)
        if np.isinf(found):
            cut = self.late if stage else lambda: False  # the first is a schedule at least
            self._latest = again = Followed(lagrangian.setting, lagrangian.grid, dual, cut)
            found = cost_of(lagrangian.setting, again.use)
        return found

    def _schedule(
        self, problem: Problem, setting: Setting, duals: list[Dual], bound_s: float, moves: int
    ) -> float:
        """Time of the best schedule that rounding and annealing find."""
        schedule = anneal.Schedule(problem, setting)
        found = anneal.improve(
            schedule, duals, self.workload.seed, moves,
            lambda found: self.late() or gap_of(bound_s, found) <= self.gap,
        )  # fmt: skip
        self._latest = Dense(problem, schedule.x)
        return found

    def _shorter(self, achievable: float, found_s: float) -> float:
        """The shorter of the best time so far and that of a schedule from prices."""
        if found_s < achievable:
            self._policy, self.schedule = None, self._latest
        return min(achievable, found_s)

    def _policies_where_misled(self, bound_s: float, achievable: float) -> float:
        """The best time, policies' too where what follows the prices is far from the bound."""
        if gap_of(bound_s, achievable) > GAP_WHERE_PRICES_MISLEAD:
            return self._policies_time(achievable)
        return achievable

    def _policies_time(self, achievable: float) -> float:
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


def _history(values: list[float], seconds: list[float]) -> F64:
    return np.column_stack([np.arange(1, len(values) + 1), values, seconds[: len(values)]])


def _second_passes(lagrangian: Lagrangian) -> int:
    """Of a whole search's second stage."""
    wanted = SECOND_STAGE_PAIRS / max(1, lagrangian.pairs)
    return int(np.clip(wanted, LEAST_PASSES, MOST_PASSES))


def _weight(lanes: int, every: int, lanes_every: int) -> float:
    """How many blocks one of a sample stands for: one in `every` of one lane in `lanes_every`."""
    kept = (np.arange(lanes) % lanes_every == lanes_every // 2).sum()
    return float(every * lanes / kept)


def _thinning(workload: Workload, pairs: float) -> int:
    """One block in how many (a power of two) to keep for at most about so many pairs."""
    geometry = workload.geometry
    every = geometry.slots * geometry.steps / pairs
    return 1 if every <= 1 else 1 << int(np.ceil(np.log2(every)))


def gap_of(bound_s: float, achievable_s: float) -> float:
    if achievable_s == np.inf:
        return 1.0
    return max(0.0, achievable_s - bound_s) / achievable_s if achievable_s > 0 else 0.0
