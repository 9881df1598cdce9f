"""What a bound is told by: the result of a search, its gap, and a table for people."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim import units
from hmsim.bound.prices import Dual
from hmsim.workload.steps import F64


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
        return history_of(self.convergence, self.seconds)


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


def gap_of(bound_s: float, achievable_s: float) -> float:
    if achievable_s == np.inf:
        return 1.0
    return max(0.0, achievable_s - bound_s) / achievable_s if achievable_s > 0 else 0.0


def history_of(values: list[float], seconds: list[float]) -> F64:
    return np.column_stack([np.arange(1, len(values) + 1), values, seconds[: len(values)]])


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
