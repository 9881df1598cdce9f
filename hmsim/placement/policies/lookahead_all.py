"""`lookahead` with `scope = "all"`: a block comes in for one of any layer that none of that layer's
next visits reads, the least recently used first.
"""

import numpy as np

from hmsim.placement.policies.api import policy_step
from hmsim.placement.policies.lookahead_kernel import count_reads, promote_ranked
from hmsim.placement.policies.lru_kernel import evict, use
from hmsim.placement.policies.needs_kernel import note_needs
from hmsim.placement.policies.reactive import Reactive


@policy_step
def step(now, hbm, own, moves):
    """Count reads ahead, make place, promote by count; `memory` says how own is laid out."""
    lanes = hbm.resident.shape[0]
    window = np.int64(own.floats[1])
    needed, planes = own.bits[lanes + 2 : 2 * lanes + 2], own.bits[2 * lanes + 2 : -4]
    carry, missing, read, ranked = own.bits[-4:]
    use(now, hbm, own)
    note_needs(now, window, needed)
    visits, wanted = count_reads(now, hbm, window, planes, carry, missing, read)
    free = hbm.capacity - hbm.used[0]
    most = np.int64(np.ceil(own.floats[0] * wanted))
    evict(now, hbm, own, needed, moves, most - free)
    promote_ranked(now, visits, planes, missing, ranked, moves, min(most, free + moves.count[1]))


def memory(geometry, capacity, rates, resident, window, share):
    """That of `Reactive`, and

    own.bits    [lanes + planes + 4, words] more, planes = bits of `window`
      needed    [lanes, words]   read by one of the lane's next `window` visits
      planes    [planes, words]  reads ahead of each block, as bit planes, lowest first
      carry     [words]          scratch of the addition
      missing   [words]          read ahead, and not in HBM
      read      [words]          read ahead
      ranked    [words]          missing blocks of the count that is being taken
    own.floats  [2]
      share     1                of the missing blocks, rounded up
      window    1                visits to look ahead
    """
    own = Reactive().own(geometry, capacity, rates, resident)
    more = np.zeros((geometry.lanes + window.bit_length() + 4, geometry.words), np.uint64)
    floats = np.array([share, float(window)])
    return own._replace(bits=np.concatenate([own.bits, more]), floats=floats)
