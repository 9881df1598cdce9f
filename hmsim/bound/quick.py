"""As rigorous a bound as a search's, from few passes over few blocks; no schedule is sought."""

from typing import NamedTuple

from hmsim.bound.ascent import Ascent, ascend, coarse_start
from hmsim.bound.exact.problem import check_setting
from hmsim.bound.paths.runs import Timeline
from hmsim.bound.paths.words import Grid, gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.bound.results import BoundResult, history_of
from hmsim.bound.search import Search, thinning, weight_of
from hmsim.placement.latency import Rates
from hmsim.progress import nothing
from hmsim.workload.steps import F64, Workload, group_starts

QUICK_PAIRS = 3e7  # of a quick bound's sample: 15 ms a pass. By trial
QUICK_LANES = 4  # lanes that sample comes from, as tables are by lane. By trial

# Passes, and the step's length in `ascend`: at first, at last. All by trial.
QUICK_PASSES, QUICK_STEPS, QUICK_CAPACITY_STEP = 80, (1.0, 3e-3), 0.25  # quick, of all blocks
PIECES, PIECE_PASSES = 32, 15  # a quick bound's first differ between so many pieces of time only
THIN_PASSES, THIN_STEPS = 50, (0.3, 1e-3)  # then from token to token


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
    setting, dual, history = _prices(search, quick_sample(workload))
    value = search.certified(setting, dual)
    return search.result("dual", value, None, len(history), history, dual)


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
    setting, dual, values = _prices(search, sample or quick_sample(workload))
    return setting, dual, history_of(values, search.seconds())


def quick_sample(workload: Workload) -> Sample:
    """A sample for `quick_prices`: of few blocks, and of few lanes.

    Tables are by lane, and would take longer than the blocks.

    Args:
        workload: Whose blocks.

    Returns:
        The sample.
    """
    geometry = workload.geometry
    every = thinning(workload, QUICK_PAIRS)
    lanes_every = min(every, max(1, geometry.lanes // QUICK_LANES))
    timeline, grid = gather(workload, every // lanes_every, lanes_every)
    weight = weight_of(timeline.lanes, every // lanes_every, lanes_every)
    return Sample(timeline, grid, weight, every == 1)


def _prices(search: Search, sample: Sample) -> tuple[Setting, Dual, list[float]]:
    """Prices from a sample of few blocks, the same in all steps of a token."""
    setting = search.setting_of(sample.timeline)
    lagrangian = search.kept(Lagrangian(setting, sample.grid, sample.weight))
    if not sample.whole:
        # Lanes that are left out would have no say in prices of their own steps.
        apart = len(group_starts(lagrangian.setting.timeline.table.token, "token"))
        found = _few_passes(search, lagrangian, THIN_PASSES, apart)
    else:
        start = coarse_start(lagrangian)
        found = ascend(lagrangian, start.dual, QUICK_PASSES, QUICK_STEPS, QUICK_CAPACITY_STEP)
        history = start.history + [max(start.value, value) for value in found.history]
        best = max(start, found, key=lambda ascent: ascent.value)
        found = best._replace(history=history)
    return lagrangian.setting, found.dual, found.history


def _few_passes(
    search: Search, lagrangian: Lagrangian, passes: int, apart: int | None = None
) -> Ascent:
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
            search.capacity_step(),
            pieces,
            search.watch,
        )
        history += [max(best.value, value) for value in found.history]
        best = max(best, found, key=lambda ascent: ascent.value)
    return best._replace(history=history)
