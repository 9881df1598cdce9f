"""What no placement undercuts: the bounds of a run, found along its own stream of steps."""

from typing import NamedTuple

import numpy as np

from hmsim.bound import bound, quick_prices
from hmsim.bound.certificate import Certificate
from hmsim.config.run import BoundSpec
from hmsim.placement.latency import Groups, Rates, pooled_bound, split_bound
from hmsim.simulate import overlap
from hmsim.workload.steps import F64, Steps, Workload


class Bounds(NamedTuple):
    """Seconds that no placement undercuts: at the analytic rates, and at the pins (rigorous).

    The pooled ones hold also where weights may be read from either memory, as the founding authors
    count.
    """

    analytic_s: float
    analytic_pooled_s: float
    rigorous_s: float
    rigorous_pooled_s: float


class Certifier:
    """All bounds of a run, fed with its steps in order.

    With the method `dual` the analytic one is the certified dual bound of the run's latency model
    wherever that is above the split: both are proven, and prices from few passes need not beat it.
    """

    def __init__(
        self, spec: BoundSpec, workload: Workload, capacity: float, rates: Rates, pins: Rates,
        variant: str, barrier: str,
    ):  # fmt: skip
        self.iterations = 0  # passes of the search for a tighter bound; 0 for the cheap ones
        self.achievable_s: float | None = None  # of a schedule, where a gap was asked for
        self.history = np.zeros((0, 3))
        self._rates, self._pins = rates, pins
        self._block_bytes = workload.geometry.block_bytes
        self._split = np.zeros(len(Bounds._fields))
        self._certificate: Certificate | None = None
        self._value = 0.0
        if spec.method == "split":
            return
        if spec.gap > 0:
            found = bound(
                workload, rates, capacity, variant, barrier, gap=spec.gap, time_s=spec.time
            )
            self._value, self.iterations = found.bound_s, found.iterations
            self.achievable_s, self.history = found.achievable_s, found.history
        else:
            setting, prices, self.history = quick_prices(
                workload, rates, capacity, variant, barrier
            )
            self._certificate = Certificate(setting, workload.geometry, prices, overlap.threads())

    def feed(self, steps: Steps, groups: Groups) -> None:
        """The next steps, and their barrier groups."""
        self._split += self._split_bounds(steps, groups)
        if self._certificate is not None:
            self._certificate.feed(steps)

    def bounds(self) -> Bounds:
        """All of them, once the last steps were fed."""
        value = self._value if self._certificate is None else self._certificate.value()
        analytic, *rest = map(float, self._split)
        return Bounds(max(analytic, value), *rest)

    def _split_bounds(self, steps: Steps, groups: Groups) -> F64:
        """Seconds at analytic and at pin rates below which no placement serves these steps."""
        start = groups.start
        reads = np.add.reduceat(steps.reads * float(self._block_bytes), start)
        weights = np.add.reduceat(steps.hbm_bytes, start)
        floor = np.add.reduceat(steps.compute_s, start)
        return np.array(
            [
                np.maximum(seconds, floor).sum()
                for rates in (self._rates, self._pins)
                for seconds in (
                    split_bound(reads, weights, rates),
                    pooled_bound(reads + weights, rates),
                )
            ]
        )
