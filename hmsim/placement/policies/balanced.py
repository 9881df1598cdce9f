"""`reactive` until HBM holds the best share of what the step reads: more is slower.

Source of the best share: `unlimited` of arXiv 2508.13231 section 4.
"""

import numpy as np

from hmsim.placement.policies.api import policy_step
from hmsim.placement.policies.lru_kernel import promote, use
from hmsim.placement.policies.reactive import Reactive
from hmsim.placement.policies.uses_kernel import demand

SPLIT, SIZE = 0, 1  # in own.floats, see `Balanced`


@policy_step
def step(now, hbm, own, moves):
    """Promote until HBM's share of the step's reads is the best one."""
    use(now, hbm, own)
    reads, hits = demand(now, hbm)
    split, size = own.floats[SPLIT], own.floats[SIZE]
    best = (split * (now.hbm_bytes + size * reads) - now.hbm_bytes) / size
    promote(now, hbm, own, moves, max(0, np.int64(np.ceil(best)) - hits))


class Balanced(Reactive):
    """Least recently used, up to the best split.

    Its memory is that of `Reactive`, and

        own.floats  [2]
          SPLIT     1                best share of a step's bytes to read from HBM
          SIZE      1                bytes of a block
    """

    name = "balanced"
    step = step

    def own(self, geometry, capacity, rates, resident):
        own = super().own(geometry, capacity, rates, resident)
        return own._replace(floats=np.array([rates.split, float(geometry.block_bytes)]))
