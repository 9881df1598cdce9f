"""The working set, without foresight: HBM keeps what the last visits of a layer have used.

A block's lane is visited once a token. At each visit what is read from DRAM is promoted, in ascending
order and as long as there is capacity, and what none of the last `window` visits read or appended to
is demoted, whether its place is needed or not. Nothing is evicted for another: where working sets are
larger than HBM, the rest of the reads stays in DRAM.

Newborns go to HBM as long as capacity is left. HBM begins with the oldest blocks of the prompt, which
count as used before the first visit.
Source: P. J. Denning, "The working set model for program behavior", Communications of the ACM 11(5),
1968; in serving, the union of a request's recent selections is what SparseServe (arXiv 2509.24626)
plans its batches by.
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.policies.scope import check_window
from hmsim.placement.policies.uses_kernel import note_used, promote_misses

WINDOW, VISITS = range(2)  # places in own.ints, see `WorkingSet`


@policy_step
def step(now, hbm, own, moves):
    """Note uses, demote what has left the working set, promote misses."""
    lanes, words = hbm.resident.shape
    last = own.ints[VISITS + lanes :]
    used = own.bits[0]
    first = now.lane * words * 64
    one = np.uint64(1)
    note_used(now, used)
    own.ints[VISITS + now.lane] += 1
    visit = own.ints[VISITS + now.lane]
    for w in range(words):
        busy = used[w]
        while busy != 0:
            last[first + w * 64 + lowest_bit(busy)] = visit
            busy &= busy - one
        idle = hbm.resident[now.lane, w] & ~used[w]
        while idle != 0:
            block = first + w * 64 + lowest_bit(idle)
            idle &= idle - one
            if last[block] <= visit - own.ints[WINDOW]:
                moves.demote[moves.count[1]] = block
                moves.count[1] += 1
    promote_misses(now, hbm, moves, hbm.capacity - hbm.used[0] + moves.count[1])


class WorkingSet(Policy):
    """The union of the last selections.

        own.bits    [1, words]
          used      [words]    used in this step
        own.ints    [1 + lanes + blocks]
          WINDOW    1          visits for which a block stays
          VISITS    [lanes]    visits of each lane
          last      [blocks]   visit at which each block was used last, from 1; or 0
        own.floats  not used

    Args:
        window: Visits of its lane (tokens) for which a block stays after a use, the visit of that use
            included, 1 to 4096.
    """

    name = "working-set"
    step = step

    def __init__(self, window: int = 8):
        check_window(self.name, window)
        self.window = window

    def own(self, geometry, capacity, rates, resident):
        """No lane has been visited."""
        ints = np.zeros(VISITS + geometry.lanes * (1 + geometry.slots), np.int64)
        ints[WINDOW] = self.window
        return Own(np.zeros((1, geometry.words), np.uint64), ints, np.zeros(1))
