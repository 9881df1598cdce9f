"""`bound`: how far from optimal any schedule of a workload can be, by the method asked for.

lp      the exact optimum of the relaxation; small instances
milp    the exact optimum of schedules; tiny ones
dual    certified prices: on everything where blocks fit in memory, else optimised on a sample and
        certified by one streamed pass
anneal  the dual's after a short run, and the time to spend on schedules
"""

from collections.abc import Callable

from hmsim.bound import sampled, whole
from hmsim.bound.exact.problem import check_setting
from hmsim.bound.objective import TIME, Objective, energy
from hmsim.bound.prices import Dual
from hmsim.bound.results import BoundResult, EnergyBound
from hmsim.bound.search import Search
from hmsim.config.enumerations import GAP, METHODS
from hmsim.errors import InputError
from hmsim.placement.joules import Joules
from hmsim.placement.latency import Rates
from hmsim.progress import nothing
from hmsim.workload.steps import Workload


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
        return whole.exact(search, method)
    return by_prices(search, method)


def by_prices(search: Search, method: str = "dual") -> BoundResult:
    """By prices; with `anneal`, for the schedule's sake."""
    return whole.find(search, method) if search.is_small() else sampled.find(search)


def near(search: Search, start: Dual, share: float) -> BoundResult:
    """A `share` of the work of `by_prices`, from the prices of a machine much like this one."""
    return (whole if search.is_small() else sampled).near(search, start, share)


def check_call(rates: Rates, variant: str, barrier: str, gap: float, time_s: float | None) -> None:
    """InputError for an argument that is out of range."""
    check_setting(variant, barrier, rates)
    if not 0 <= gap < 1:
        raise InputError(f"gap: {gap!r} must be at least 0 and below 1")
    if time_s is not None and not time_s > 0:
        raise InputError(f"time: {time_s!r} seconds must be above zero")
