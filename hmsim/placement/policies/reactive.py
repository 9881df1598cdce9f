"""Least recently used, without foresight: a block read from DRAM is promoted; HBM full, the least
recently used one goes.

Newborns go to HBM as long as capacity is left, as with `static`.
Source: arXiv 2508.13231 section 4 (its authors' simulator flushes a whole layer instead: see
`authors-reactive`).
"""

import numpy as np

from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.policies.lru_kernel import HEAD, PLACE, promote, use


@policy_step
def step(now, hbm, own, moves):
    """Promote all that was read from DRAM."""
    use(now, hbm, own)
    promote(now, hbm, own, moves, hbm.capacity)


class Reactive(Policy):
    """Least recently used.

    own.bits    [lanes + 2, words]
      seen      [lanes, words]   used at the lane's last visit
      used      [words]          used in this step
      batch     [words]          what is left of the batch that victims come from
    own.ints    [2 + lanes + steps + blocks]
      PLACE     1                how far the never used blocks of the prompt have been gone through
      STEP      1                step of the batch, -1 before the first
      visit     [lanes]          step of each lane's last visit, or -1
      lane_of   [steps]          lane of each step so far
      last      [blocks]         step of each block's last use, where it is written down; or -1
    own.floats  not used
    """

    name = "reactive"
    step = step

    def own(self, geometry, capacity, rates, resident):
        """No block is used yet."""
        lanes = geometry.lanes
        ints = np.full(HEAD + lanes + geometry.steps + lanes * geometry.slots, -1, np.int64)
        ints[PLACE] = 0
        return Own(np.zeros((lanes + 2, geometry.words), np.uint64), ints, np.zeros(1))
