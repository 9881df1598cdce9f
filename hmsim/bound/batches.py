"""A sample of blocks in batches: prices that climb by one batch at a time take far more steps.

What a step of an ascent costs is by the blocks that it looks at, and a few hundred of each lane say
well enough where prices should go; what one batch gets wrong, the next ones put right.
"""

import numpy as np

from hmsim.bound.paths.words import Grid
from hmsim.bound.prices import Dual, Lagrangian, Setting

BATCH_TILES = (
    4  # of each lane: with 1 the noise costs more than the steps gain, with 8 time. By trial
)
CHECK_BATCHES = 2  # by which prices of different steps are compared
SEED = 1  # of the order of batches: the same in every search


class Batches:
    """Evaluates prices on one batch after another, in a random order, all of them in turn.

    Attributes:
        setting: The problem but for its blocks.
        count: How many batches there are.
    """

    def __init__(self, setting: Setting, grid: Grid, weight: float) -> None:
        """`grid` has equally many tiles of each of its lanes; each block stands for `weight`."""
        self.setting = setting
        width = int((grid.lane == grid.lane[0]).sum())
        lanes = np.arange(grid.tiles // width)[:, None] * width
        blocks = weight * (grid.slot >= 0).sum()
        self.count = max(1, width // BATCH_TILES)
        apart = [np.arange(first, width, self.count) for first in range(self.count)]
        check = np.sort(np.concatenate(apart[:CHECK_BATCHES]))
        whole = Lagrangian(setting, grid)
        *self._batches, self._check = [
            whole.of(part, float(blocks / max(1, (part.slot >= 0).sum())))
            for part in (_tiles_of(grid, (lanes + own).ravel()) for own in (*apart, check))
        ]
        self.taken = whole.taken
        self._rng = np.random.default_rng(SEED)
        self._waiting: list[Lagrangian] = []

    def __call__(self, dual: Dual) -> Dual:
        """A supergradient of the next batch."""
        if not self._waiting:
            self._waiting = [self._batches[k] for k in self._rng.permutation(self.count)]
        return self._waiting.pop()(dual)[1]

    @property
    def passes(self) -> int:
        return len(self.taken)

    def value(self, dual: Dual) -> float:
        """The value of the same few batches whenever it is asked for."""
        return self._check.value(dual)


def _tiles_of(grid: Grid, tiles: np.ndarray) -> Grid:
    """Some tiles of a grid, in this order; the reads are shared with it."""
    counts = np.diff(grid.event_offset)[tiles]
    offset = np.append(0, np.cumsum(counts)).astype(np.int64)
    events = np.repeat(grid.event_offset[tiles] - offset[:-1], counts) + np.arange(offset[-1])
    return Grid(
        grid.lane[tiles], grid.slot[tiles], grid.offset[tiles], grid.bits, offset,
        grid.event_stretch[events], grid.event_bit[events], grid.event_kind[events],
        grid.event_value[events],
    )  # fmt: skip
