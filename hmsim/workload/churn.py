"""The churn selection: a read set that slides along the context, block by block."""

import numpy as np

from hmsim.workload import churn_kernel
from hmsim.workload.batch import Schedule
from hmsim.workload.selection import in_lanes
from hmsim.workload.steps import I64, U64


class Churn:
    """Read sets of the founding paper's churn process, one chunk of token steps after another.

    With N blocks that hold the past tokens, k = round((1 - sparsity)(N - 1)) of them are read, and
    new ones come from the newest part of the context, floor((1 - th)(N - 1)) .. N - 1, where
    th = min(1, (1 - sparsity) + reach * sparsity). Each step grows the set to k and then swaps a
    uniform 0 .. floor(drift * k) blocks: the oldest leave, new ones are drawn from outside the set.
    Source: arXiv 2508.13231 and its authors' simulator.
    """

    def __init__(
        self, schedule: Schedule, lanes: int, sparsity: float, drift: float, reach: float, seed: int
    ) -> None:
        blocks = np.arange(int(schedule.blocks.max(initial=0)) + 1)
        newest = min(1.0, (1 - sparsity) + reach * sparsity)
        self.quota: I64 = np.rint((1 - sparsity) * np.maximum(blocks - 1, 0)).astype(np.int64)
        self.oldest: I64 = np.floor((1 - newest) * np.maximum(blocks - 1, 0)).astype(np.int64)
        self.schedule, self.drift, self.seed = schedule, drift, seed
        self.state: U64 = np.zeros((lanes, int(schedule.word[-1])), np.uint64)
        self.size: I64 = np.zeros((lanes, schedule.start.size), np.int64)

    def fill(self, bits: U64, reads: I64, step: int) -> None:
        """As `Selection.fill`."""
        in_lanes(
            bits.shape[1],
            lambda lanes: churn_kernel.fill(
                bits, reads, lanes, step, self.schedule, self.state, self.size,
                self.quota, self.oldest, self.drift, self.seed,
            ),
        )  # fmt: skip
