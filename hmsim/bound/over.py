"""`bound_over`: the bounds of one workload on many machines, each from its neighbour's prices.

The workload is gone through once, the first machine gets a whole search, and each other one starts
from the prices of the one before it. Machines are taken from the largest capacity down: what is
proven of one with more HBM holds for the next at once, at the same bandwidths, since prices of its
capacity buy the less of it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numba
import numpy as np

from hmsim import units
from hmsim.bound.certificate import Certificate
from hmsim.bound.exact.problem import capacity_in_blocks
from hmsim.bound.prices import Dual
from hmsim.bound.results import BoundResult, gap_of
from hmsim.bound.search import Gathered, Search
from hmsim.bound.solve import by_prices, check_call, near
from hmsim.config.enumerations import GAP
from hmsim.errors import InputError
from hmsim.placement.latency import Rates
from hmsim.progress import nothing
from hmsim.workload.steps import Workload

MORE_THAN_ONE = 3.0  # whole searches that all machines but the first may take together
MOST_OF_ONE = 0.5  # of a whole search, for one of them


class Machine(NamedTuple):
    """What a bound needs to know of a superchip.

    Attributes:
        rates: Bandwidths in bytes per second, such as `analytic_rates(system)`.
        capacity: All of HBM in bytes, the weights included.
    """

    rates: Rates
    capacity: float


def bound_over(
    workload: Workload,
    machines: Sequence[Machine],
    variant: str = "text",
    barrier: str = "layer",
    gap: float = GAP,
    time_s: float | None = None,
    progress: Callable[[str], None] = nothing,
) -> list[BoundResult]:
    """The bound of each machine, in about the time of four.

    Every bound is proven as `bound`'s are; prices that come from a neighbour, and fewer passes, can
    only make one less tight. Of schedules one is sought a machine; one of a machine with less HBM and
    the same bandwidths counts as well.

    Args:
        workload: What is read at which step.
        machines: One or more, such as of some capacities; the nearer neighbours are, the better.
        variant: The latency model: `text`, `code`, `exclusive` or `inclusive`.
        barrier: Where memories wait for each other: `layer` or `token`.
        gap: The share of a schedule's time at which a gap is small enough, as for `bound`.
        time_s: Seconds to spend on all of them, about; None for no limit.
        progress: Called with a line of text now and then.

    Returns:
        A result for each machine, in their order; `policy` and `method` as for `bound`.

    Raises:
        InputError: An argument is out of range, or there is no machine, or weights do not fit in one.
    """
    if not machines:
        raise InputError("machines: none; give one at least")
    shape = workload.geometry
    for rates, capacity in machines:
        check_call(rates, variant, barrier, gap, time_s)
        capacity_in_blocks(
            capacity, shape.resident_bytes, shape.block_bytes, shape.lanes * shape.slots
        )
    others, gathered = len(machines) - 1, Gathered(workload)
    share = min(MOST_OF_ONE, MORE_THAN_ONE / max(1, others))
    whole_s = None if time_s is None else time_s / (1 + share * others)
    found: dict[int, BoundResult] = {}
    searches: dict[int, Search] = {}
    before = -1
    for n, k in enumerate(sorted(range(len(machines)), key=lambda k: -machines[k].capacity)):
        rates, capacity = machines[k]
        searches[k] = Search(
            workload, rates, capacity, variant, barrier, gap,
            whole_s if n == 0 or whole_s is None else share * whole_s,
            _numbered(progress, n + 1, len(machines)), gathered=gathered,
        )  # fmt: skip
        if n == 0:
            found[k] = by_prices(searches[k])
        else:
            slower = machines[before].rates.off_package / rates.off_package
            prices = _prices(found[before])
            start = Dual(prices.term, slower * prices.capacity)
            found[k] = near(searches[k], start, share)
        before = k
    _certify(workload, searches, found)
    _share_schedules(machines, found)
    return [found[k] for k in range(len(machines))]


def format_points(key: str, values: Sequence[str], results: Sequence[BoundResult]) -> str:
    """The results for people, a line for each machine.

    Args:
        key: What the machines differ in.
        values: Its values.
        results: Of `bound_over`.

    Returns:
        A table as text.
    """
    from hmsim.results.summary import aligned  # brings HDF5

    rows = [(key, "bound", "achievable", "certified gap", "passes")]
    for value, result in zip(values, results, strict=True):
        has_schedule = result.achievable_s is not None and result.gap is not None
        rows.append((
            value, units.show_seconds(result.bound_s),
            units.show_seconds(result.achievable_s or 0.0) if has_schedule else "-",
            f"{100 * (result.gap or 0.0):.3g} %" if has_schedule else "-",
            str(result.iterations),
        ))  # fmt: skip
    return "\n".join(aligned(rows))


def _numbered(progress: Callable[[str], None], number: int, count: int) -> Callable[[str], None]:
    """The same, each line with the machine's number before it."""
    return lambda line: progress(f"{number} of {count}: {line}")


def _prices(result: BoundResult) -> Dual:
    assert result.prices is not None  # only `milp` has none
    return result.prices


def _certify(
    workload: Workload, searches: dict[int, Search], found: dict[int, BoundResult]
) -> None:
    """Certify what has prices of a sample only, all in one pass over the workload."""
    waiting = [k for k, result in found.items() if np.isinf(result.bound_s)]
    certificates = [
        Certificate(
            searches[k].setting(), workload.geometry, _prices(found[k]), numba.get_num_threads()
        )
        for k in waiting
    ]
    for chunk in workload.chunks() if waiting else ():
        for certificate in certificates:
            certificate.feed(chunk)
    for k, certificate in zip(waiting, certificates, strict=True):
        found[k] = found[k]._replace(bound_s=certificate.value())


def _share_schedules(machines: Sequence[Machine], found: dict[int, BoundResult]) -> None:
    """A schedule is one of every machine with as much HBM and the same bandwidths, too."""
    for k, (rates, capacity) in enumerate(machines):
        best = found[k]
        for j, other in enumerate(machines):
            schedule = found[j].achievable_s
            fits = other.rates == rates and other.capacity <= capacity
            if fits and schedule is not None and schedule < (best.achievable_s or np.inf):
                best = best._replace(achievable_s=schedule, policy=found[j].policy)
        if best.achievable_s is not None:
            found[k] = best._replace(gap=gap_of(best.bound_s, best.achievable_s))
