"""Which barrier groups of a run go through the memory kernels, and what they tell of all groups.

The groups are cut into stretches as they come, and one of each, at random, is measured: replayed
after the group before it, which leaves rows open as they are then. How long stretches are is given,
or follows from what is known when one begins: the less the times of the groups measured so far
differ from what a regression makes of their traffic, the longer.
"""

import numpy as np
from numpy.typing import NDArray

from hmsim.simulate.estimate import F64, Estimate, quantile, regression_estimate, spread
from hmsim.workload.steps import I64

LEAST = 64  # groups measured, if the run has as many
PILOT = 32  # of them in the first window
AIM = 0.75  # of the error asked for: what is to come may differ more than what has been


class Sampling:
    """The sample of one policy's groups.

    `groups`: how many the run has. `period`: groups in a stretch; 0: as many as keep the 95 %
    interval of the run's time within `error` of it. `seed`: of the draws, which depend on nothing
    else but these groups' times. `most`: groups measured in one window where `period` is 0.
    """

    def __init__(self, groups: int, period: int, error: float, seed: int, most: float = np.inf):
        self._groups, self._error, self._most = groups, error, most
        self._period = 1 if error == 0 and period == 0 else period
        self._rng = np.random.default_rng(seed)
        self._next = 0  # the first group that has not come yet
        self._end = 0  # of the stretch that the last of them was in
        self._pick = -1  # the group of that stretch that is measured
        self._stands_for = 0  # groups of that stretch
        self._weight: list[F64] = []  # of the groups measured
        self._known: list[F64] = []
        self._seconds: list[F64] = []
        self._totals: F64 | float = 0.0

    @property
    def measured(self) -> int:
        """Groups measured so far."""
        return sum(map(len, self._seconds))

    @property
    def weight(self) -> F64:
        """How many groups each of those measured stands for, of the last draw."""
        return self._weight[-1]

    def draw(self, count: int) -> tuple[I64, NDArray[np.bool_]]:
        """Which of the next `count` groups are replayed, numbered from 0, ascending; and which of
        these are measured. The others come before a measured one, and open the rows for it."""
        first, last = self._next, self._next + count
        length = self._period or self._length(count)
        picked, weight = [], []
        while True:
            if first <= self._pick <= last:
                picked.append(self._pick)
                weight.append(self._stands_for)
            if self._end > last or self._end == self._groups:
                break
            begin, self._end = self._end, min(self._end + length, self._groups)
            self._stands_for = self._end - begin
            self._pick = begin + int(self._rng.integers(self._stands_for))
        self._next = last
        numbers = np.array(picked, np.int64) - first
        self._weight.append(np.array(weight, np.float64)[numbers < count])
        replayed = np.union1d(numbers, numbers - 1)
        replayed = replayed[(replayed >= 0) & (replayed < count)]
        return replayed, np.isin(replayed, numbers)

    def add(self, known: F64, measured: I64, seconds: F64) -> None:
        """What came of the groups drawn last.

        known: float64 [groups, columns] of all of them, see `regression_estimate`. measured: int64
        [n], those that were. seconds: float64 [n], what these took.
        """
        self._totals = self._totals + known.sum(axis=0)
        self._known.append(known[measured])
        self._seconds.append(seconds)

    def estimate(self) -> Estimate | None:
        """Of the groups so far; None where none of them was measured."""
        if not self.measured:
            return None
        return regression_estimate(*self._sample())

    def _sample(self) -> tuple[F64, F64, F64, F64]:
        weight, known = np.concatenate(self._weight), np.concatenate(self._known)
        return np.concatenate(self._seconds), weight, known, np.asarray(self._totals)

    def _length(self, count: int) -> int:
        """Groups in a stretch for the next `count`, so that the interval will be as asked for."""
        longest = max(1, self._groups // LEAST)
        shortest = max(1, int(np.ceil(count / self._most)))
        length = max(1, min(longest, count // PILOT))
        if self.measured > 1:
            _, _, known, totals = sample = self._sample()
            length = longest
            if known[:, 0].any():
                found, done = spread(*sample), totals[1]
                whole = found.time_s * self._groups / done
                allowed = (AIM * self._error * whole / quantile(max(found.freedom, 1))) ** 2
                ahead = (self._groups - done) * found.of_group
                if ahead > 0:
                    length = int(min(longest, 1 + max(0.0, allowed - found.variance) / ahead))
        return max(shortest, length)
