"""A policy of your own: promote some of what was read from DRAM, for what was not read at all.

    hmsim run my.toml --policy static --policy my_policy:PromoteSome

in the folder of this file.

After the reads of every step, `step` says what moves before the next one. `now` is the step, `hbm`
what exists and what is in HBM, `own` this policy's memory, `moves` the answer; all are plain arrays
(hmsim/placement/policies/api.py describes them). A lane, the layer usually, is a row of bitsets
with a bit for each of its slots; block = lane * slots + slot. The driver carries the moves out, and
refuses what is not possible.
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.placement.policies.api import Own, Policy, policy_step


@policy_step
def step(now, hbm, own, moves):
    """Swap misses, `most` of them, against the lane's lowest slots that the step did not read."""
    words = hbm.resident.shape[1]
    first = now.lane * words * 64  # the lane's first block
    resident, read = hbm.resident[now.lane], now.bits[now.row]
    room = hbm.capacity - hbm.used[0]
    word, victims = 0, np.uint64(0)
    for w in range(words):
        misses = read[w] & ~resident[w]
        while misses != 0 and moves.count[0] < own.ints[0]:
            if room > 0:
                room -= 1
            else:
                while victims == 0 and word < words:
                    victims = resident[word] & ~read[word]
                    word += 1
                if victims == 0:
                    return
                moves.demote[moves.count[1]] = first + (word - 1) * 64 + lowest_bit(victims)
                moves.count[1] += 1
                victims &= victims - np.uint64(1)
            moves.promote[moves.count[0]] = first + w * 64 + lowest_bit(misses)
            moves.count[0] += 1
            misses &= misses - np.uint64(1)


class PromoteSome(Policy):
    """Its options come from the run's [policies.options]."""

    name = "promote-some"
    step = step

    def __init__(self, most: int = 64):
        self.most = most

    def own(self, geometry, capacity, rates, resident):
        return Own(np.zeros((1, 1), np.uint64), np.array([self.most]), np.zeros(1))
