"""`lookahead` with `scope = "layer"`, the paper's: a block comes in for one of its own layer that
none of the layer's next visits reads, the lowest slot first.
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.placement.policies.api import Own, policy_step
from hmsim.placement.policies.lookahead_kernel import count_reads, promote_ranked


@policy_step
def step(now, hbm, own, moves):
    """Count reads ahead, make place, promote by count; `memory` says how own is laid out."""
    words = hbm.resident.shape[1]
    lane, window = now.lane, own.ints[0]
    planes = own.bits[:-4]
    carry, missing, read, ranked = own.bits[-4:]
    visits, wanted = count_reads(now, hbm, window, planes, carry, missing, read)
    free = hbm.capacity - hbm.used[0]
    most = np.int64(np.ceil(own.floats[0] * wanted))
    one = np.uint64(1)
    for w in range(words):
        victims = hbm.resident[lane, w] & ~read[w]
        while victims != 0 and free + moves.count[1] < most:
            moves.demote[moves.count[1]] = (lane * words + w) * 64 + lowest_bit(victims)
            moves.count[1] += 1
            victims &= victims - one
    promote_ranked(now, visits, planes, missing, ranked, moves, min(most, free + moves.count[1]))


def memory(geometry, window, share):
    """What the step keeps.

    own.bits    [planes + 4, words], planes = bits of `window`
      planes    [planes, words]  reads ahead of each block, as bit planes, lowest first
      carry     [words]          scratch of the addition
      missing   [words]          read ahead, and not in HBM
      read      [words]          read ahead
      ranked    [words]          missing blocks of the count that is being taken
    own.ints    [1]
      window    1                visits to look ahead
    own.floats  [1]
      share     1                of the missing blocks, rounded up
    """
    rows = window.bit_length() + 4
    bits = np.zeros((rows, geometry.words), np.uint64)
    return Own(bits, np.array([window]), np.array([share]))
