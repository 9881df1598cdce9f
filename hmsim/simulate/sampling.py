"""Which barrier groups of a run go through the memory kernels: a systematic sample of them."""

import numpy as np

from hmsim.workload.steps import I64

DEFAULT_SAMPLE = 16  # groups replayed where the configuration does not say


class Sampling:
    """Every `period`-th group (0: so many that DEFAULT_SAMPLE are taken), each after a warm-up."""

    def __init__(self, period: int, groups: int):
        self.period = period or max(1, groups // DEFAULT_SAMPLE)
        self._offset = self.period // 2

    def measured(self, group: I64) -> np.ndarray:
        """Whether each of these groups is measured."""
        return group % self.period == self._offset

    def taken(self, group: I64) -> np.ndarray:
        """Whether each of these groups is replayed: measured ones, and one before each as warm-up."""
        return self.measured(group) | self.measured(group + 1)
