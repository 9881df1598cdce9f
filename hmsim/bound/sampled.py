"""A search where there are too many blocks for every pass to take all: prices of a sample, then a few
passes over all of them, and a schedule.
"""

import time

import numpy as np

from hmsim.bound import belady
from hmsim.bound.ascent import Ascent, ascend_by_batches, coarse_start
from hmsim.bound.batches import Batches
from hmsim.bound.prices import Dual, Lagrangian
from hmsim.bound.results import BoundResult, gap_of
from hmsim.bound.rounding import CAREFUL, QUICK, Followed, Pace, cost_of
from hmsim.bound.search import NEAR_STEPS, Search, thinning, weight_of
from hmsim.workload.steps import F64

SAMPLE_PAIRS = 2e9  # of the sample that stands for more blocks than that. By trial
LEAST_THINNING = 2  # of that sample: then a batch's blocks are from all over their lanes
GRID_PAIRS = 3.2e10  # above this not even one bit a pair fits in memory: 4 GB

# Passes, and the step's length in `ascend_by_batches`: at first, at last. All by trial. A third of the
# passes leaves a bound 0.2 to 0.7 % lower, and a quick schedule is 0.3 % longer: enough where the gap
# may be LOOSE. The schedule that needs no prices (`belady.py`) is longer: its bound must be near.
FEW_PASSES, LOOSE = 200, 0.01
SAMPLED_PASSES, SAMPLED_STEPS = 600, (1.0, 3e-3)  # of a batch each, to prices from step to step
MORE_PASSES, MORE_STEPS = 300, (0.01, 1e-3)  # likewise, from there, where the gap is too wide
FULL_ROUNDS = 4  # of a schedule and such passes, at most
MOST_TIMES = 6  # careful schedules from the same prices, at most,
WORTH_MORE = 5e-4  # as long as each is so much shorter than the one before
MOST_CHANGE = 4.0  # factor of a price, from one to the next
FEW_READS = 1e7  # where prices mislead, so few blocks choose again: some 15 us a read
SAMPLE_TIME_SHARE = 0.4  # of the time to spend, for the sample. By trial


def find(search: Search) -> BoundResult:
    """Prices of a sample of blocks, then a few passes over all of them, and a schedule."""
    batches = _batches(search)
    setting, fits = batches.setting, _fits(search)
    limit = search.began + SAMPLE_TIME_SHARE * search.time_s
    few = fits and search.gap >= LOOSE and not belady.applies(setting)
    count = FEW_PASSES if few else SAMPLED_PASSES
    found = _by_batches(search, batches, coarse_start(batches), count, SAMPLED_STEPS, limit)
    passes = len(found.history)
    search.progress(f"sample: {found.value:.6g} {search.unit} after {passes} passes")
    if not fits:
        value = search.certified(setting, found.dual)
        search.progress(f"bound {value:.6g} {search.unit}; looking for a schedule")
        achievable = search.policies_time(np.inf)
        return search.result("dual", value, achievable, passes, found.history, found.dual)

    everything = search.lagrangian(1)
    best = found._replace(value=everything.value(found.dual))
    history = [*found.history, best.value]
    achievable = search.by_belady(setting, everything.grid, best.value)
    for k in range(FULL_ROUNDS):
        if gap_of(best.value, achievable) <= search.gap or (achievable < np.inf and search.late()):
            break
        before = achievable
        paces = (QUICK, CAREFUL) if few and k == 0 else (CAREFUL,) * MOST_TIMES
        achievable = _follow(search, everything, best, paces, achievable)
        if k == 0 and search.is_misled(best.value, achievable):
            revised = search.revised(everything.setting, most_reads=FEW_READS)
            if revised is not None:
                found_s, schedule = search.choose_again(revised, best.dual, search.workload.seed)
                achievable = search.shorter(achievable, found_s, schedule)
            achievable = search.policies_where_misled(best.value, achievable)
        search.tell(best.value, achievable)
        if gap_of(best.value, achievable) <= search.gap or search.late():
            break
        if k > 0 and achievable > before * (1 - 1e-3):
            break
        limit = (time.perf_counter() + search.began + search.time_s) / 2
        more = (SAMPLED_PASSES, SAMPLED_STEPS) if few and k == 0 else (MORE_PASSES, MORE_STEPS)
        found = _by_batches(search, batches, best, *more, limit)
        history += found.history[len(best.history) :]
        if found.dual is best.dual and not (few and k == 0):  # all was tried from these prices
            break
        found = found._replace(value=everything.value(found.dual))
        history.append(found.value)
        best = max(best, found, key=lambda ascent: ascent.value)
    return search.result("dual", best.value, achievable, len(history), history, best.dual)


def near(search: Search, start: Dual, share: float) -> BoundResult:
    """A `share` of the work of `find`, from the prices `start` of a machine much like this one.

    Where not even the reads fit in memory, the bound is left at minus infinity: to be certified.
    """
    batches = _batches(search)
    setting = batches.setting
    before, from_start = coarse_start(batches), batches.value(start)
    if from_start > before.value:
        before = Ascent(start, from_start, before.history)
    before.history.append(before.value)
    count = int(np.ceil(share * SAMPLED_PASSES))
    limit = search.began + search.time_s
    found = _by_batches(search, batches, before, count, NEAR_STEPS, limit)
    if not _fits(search):
        count = len(found.history)
        return search.result("dual", -np.inf, None, count, found.history, found.dual)
    everything = search.lagrangian(1)
    value = everything.value(found.dual)
    history = [*found.history, value]
    achievable = search.by_belady(setting, everything.grid, value)
    if gap_of(value, achievable) > search.gap:
        schedule = Followed(setting, everything.grid, found.dual, pace=QUICK)
        achievable = min(achievable, cost_of(setting, schedule.use))
    return search.result("dual", value, achievable, len(history), history, found.dual)


def _follow(
    search: Search, everything: Lagrangian, best: Ascent, paces: tuple[Pace, ...], achievable: float
) -> float:
    """The best time so far and that of schedules, the first of which follows the best prices.

    While blocks choose, prices answer. Each next schedule begins with those that were followed in the
    mean, and as far beyond, which takes half as many; or, if that was too far, not beyond.
    """
    prices, mean = best.dual, None
    for pace in paces:
        late = search.late if achievable < np.inf else lambda: False
        schedule = Followed(everything.setting, everything.grid, prices, late, pace)
        found_s = cost_of(everything.setting, schedule.use)
        is_worth_more = found_s <= achievable * (1 - WORTH_MORE)
        achievable = search.shorter(achievable, found_s, schedule)
        if gap_of(best.value, achievable) <= search.gap or search.late():
            break
        if is_worth_more:
            mean = schedule.mean
            prices = _beyond(prices, mean)
        elif mean is not None:  # that was too far
            prices, mean = mean, None
        else:
            break
        search.tell(best.value, achievable)
    return achievable


def _beyond(before: Dual, after: Dual) -> Dual:
    """Prices that changed once more by the same factors, of MOST_CHANGE at most."""

    def factor(old: F64, new: F64) -> F64:
        ratio = np.divide(new, old, out=np.full_like(new, np.inf), where=old > 0)
        return np.clip(ratio, 1 / MOST_CHANGE, MOST_CHANGE)

    term = after.term * factor(before.term, after.term)
    term /= term.sum(axis=1, keepdims=True)
    return Dual(term, after.capacity * factor(before.capacity, after.capacity))


def _fits(search: Search) -> bool:
    """Whether all reads fit in memory, for a schedule of all blocks."""
    geometry = search.workload.geometry
    return geometry.slots * geometry.steps <= GRID_PAIRS


def _batches(search: Search) -> Batches:
    """Of a sample of all blocks."""
    every = max(LEAST_THINNING, thinning(search.workload, SAMPLE_PAIRS))
    timeline, grid = search.gathered.sample(every)
    batches = Batches(search.setting_of(timeline), grid, weight_of(timeline.lanes, every, 1))
    search.clocks.append(batches.taken)
    return batches


def _by_batches(
    search: Search,
    batches: Batches,
    start: Ascent,
    count: int,
    steps: tuple[float, float],
    limit: float,
) -> Ascent:
    """From the prices of `start`, whose history goes before; to end at that time at the latest."""
    begun = time.perf_counter()

    def spent(value: float) -> float:
        search.watch(value)
        now = time.perf_counter()
        return 1.0 if now >= limit else (now - begun) / (limit - begun)

    found = ascend_by_batches(
        batches, start.dual, count, steps, search.capacity_step(), spent
    )  # fmt: skip
    return found._replace(history=start.history + found.history)
