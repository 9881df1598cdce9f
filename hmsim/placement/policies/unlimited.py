"""`unlimited`: no capacity limit, every read split between both memories as suits it best.

Not a schedule but a closed form, below every schedule's time. Source: arXiv 2508.13231.
"""

import numpy as np

from hmsim.placement.driver import Run, Samples, capacity_blocks, sampled_rows
from hmsim.placement.latency import COUNTS, HITS, READS, Groups, Rates, Traffic, unlimited_traffic
from hmsim.placement.policies.api import BasePolicy
from hmsim.workload.steps import I64, Workload
from hmsim.workload.windows import Window


class Unlimited(BasePolicy):
    """There is nothing to decide; it is its own bound."""

    name = "unlimited"
    is_schedule = False
    bound_kind = "own"

    def start(
        self,
        workload: Workload,
        capacity: float,
        rates: Rates,
        variant: str,
        barrier: str = "layer",
        prompt: str = "oldest",
    ) -> Run:
        capacity_blocks(workload, capacity)  # the weights must fit
        return _UnlimitedRun(workload, rates)


class _UnlimitedRun:
    """The closed form. As a placement: every block is in HBM."""

    def __init__(self, workload: Workload, rates: Rates):
        self._workload, self._rates = workload, rates

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, Samples]:
        counts = np.zeros((window.rows, len(COUNTS)), np.int64)
        counts[:, READS] = counts[:, HITS] = window.own.reads
        geometry = self._workload.geometry
        everything = np.full((1, geometry.words), ~np.uint64(0))
        rows = 1 + int(sampled_rows(window, wanted).max(initial=-1))
        of = np.zeros((rows, geometry.lanes), np.int64)
        return counts, Samples(everything, of, of)

    def traffic(self, counts: I64, groups: Groups) -> Traffic:
        return unlimited_traffic(counts, groups, self._workload.geometry.block_bytes, self._rates)
