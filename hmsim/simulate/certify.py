"""What no placement undercuts: the bounds of a run, found along its own stream of steps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim.bound import bound, quick_prices, quick_sample
from hmsim.bound.certificate import Certificate
from hmsim.bound.prices import Setting
from hmsim.config.run import BoundSpec, LatencySpec
from hmsim.placement.latency import TABLE, Groups, Rates, pooled_bound, split_bound
from hmsim.progress import nothing
from hmsim.simulate import overlap
from hmsim.workload.steps import F64, Steps, Workload

# Where the dual of a large run's own variant is above the split of reads by less than this, that of
# the faster machine which a replay can be is not worth another pass over every block.
WORTH_A_PASS = 1.01


class Bounds(NamedTuple):
    """Seconds that no placement undercuts: at the analytic rates, and at the pins (rigorous).

    The split ones hold without a limit to HBM's capacity; the pooled ones also where weights may be
    read from either memory, as the founding authors count.
    """

    analytic_s: float
    analytic_pooled_s: float
    rigorous_s: float
    rigorous_pooled_s: float
    rigorous_split_s: float


class Certifier:
    """All bounds of a run, fed with its steps in order.

    With the method `dual` the analytic one is the certified dual bound of the run's latency model,
    and the rigorous one, where the run is `replayed`, that of the physical variant of its copies at
    the pins; each wherever it is above the split: both are proven, and prices from few passes need
    not beat it.
    """

    def __init__(
        self, spec: BoundSpec, workload: Workload, capacity: float, rates: Rates, pins: Rates,
        latency: LatencySpec, replayed: bool, tell: Callable[[str], None] = nothing,
    ):  # fmt: skip
        self.iterations = 0  # passes of the search for a tighter bound; 0 for the cheap ones
        self.achievable_s: float | None = None  # of a schedule, where a gap was asked for
        self.history = np.zeros((0, 3))
        self._rates, self._pins = rates, pins
        self._block_bytes = workload.geometry.block_bytes
        self._split = np.zeros(4)
        self._proven_s = 0.0
        self._analytic: Certificate | None = None
        self._rigorous: Certificate | None = None
        if spec.method == "split":
            return
        variant, barrier = latency.variant, latency.barrier
        sample, worth = None, True
        if spec.gap > 0:
            found = bound(
                workload, rates, capacity, variant, barrier, gap=spec.gap, time_s=spec.time,
                progress=tell,
            )  # fmt: skip
            self._proven_s, self.iterations = found.bound_s, found.iterations
            self.achievable_s, self.history = found.achievable_s, found.history
        else:
            sample = quick_sample(workload)
            setting, prices, self.history = quick_prices(
                workload, rates, capacity, variant, barrier, sample
            )
            self._analytic = Certificate(setting, workload.geometry, prices, overlap.threads())
            worth = sample.whole or self.history[-1, 1] > WORTH_A_PASS * _split_s(setting)
        if replayed and worth:
            copies = TABLE[variant].copies
            setting, prices, _ = quick_prices(workload, pins, capacity, copies, barrier, sample)
            self._rigorous = Certificate(setting, workload.geometry, prices, overlap.threads())

    def feed(self, steps: Steps, groups: Groups) -> None:
        """The next steps, and their barrier groups."""
        self._split += self._split_bounds(steps, groups)
        for certificate in (self._analytic, self._rigorous):
            if certificate is not None:
                certificate.feed(steps)

    def bounds(self) -> Bounds:
        """All of them, once the last steps were fed."""
        proven = self._proven_s if self._analytic is None else self._analytic.value()
        rigorous = 0.0 if self._rigorous is None else self._rigorous.value()
        split, pooled, pins, pins_pooled = map(float, self._split)
        return Bounds(max(split, proven), pooled, max(pins, rigorous), pins_pooled, pins)

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


def _split_s(setting: Setting) -> float:
    """Seconds with every read split at best between the memories, whatever the capacity."""
    demand = setting.demand
    split = split_bound(demand.reads, demand.hbm_bytes, setting.rates)
    return float(np.maximum(split, demand.floor_s).sum())
