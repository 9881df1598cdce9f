"""`lookahead`: the blocks that the next `window` tokens read most often come in first.

At every step, of the step's lane: collect the blocks that its next `window` visits read and that
are not in HBM, rank them by how often they are read (then by slot), and promote the top `share`,
into free room or for residents that none of those visits reads, lowest slot first.
Source: arXiv 2508.13231 section 4, the heuristic under its simulated annealing (see `sa`).
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.errors import InputError
from hmsim.placement.policies.api import Own, Policy, policy_step


@policy_step
def step(now, hbm, own, moves):
    """Own.bits: bit planes [.., words] of the number of reads, lowest first.

    Own.ints: window, then [window + 1] and 2 x [slots] of scratch; Own.floats: share.
    """
    words = hbm.resident.shape[1]
    lane, window = now.lane, own.ints[0]
    resident, alive = hbm.resident[lane], hbm.alive[lane]
    start = own.ints[1 : window + 2]
    found, ranked = own.ints[window + 2 :].reshape(2, 64 * words)
    planes = own.bits
    one = np.uint64(1)

    # Count the reads of all blocks at once, one plane of bits after another.
    planes[:] = 0
    visits = 0
    for row in range(now.row + 1, now.rows):
        if now.lanes_of[row] != lane:
            continue
        if visits == window:
            break
        visits += 1
        for w in range(words):
            carry = now.bits[row, w]
            plane = 0
            while carry != 0:
                over = planes[plane, w] & carry
                planes[plane, w] ^= carry
                carry = over
                plane += 1

    # Rank by counting: start[c] is where those with c reads begin.
    start[:] = 0
    total = 0
    for w in range(words):
        wanted = np.uint64(0)
        for plane in range(planes.shape[0]):
            wanted |= planes[plane, w]
        missing = wanted & alive[w] & ~resident[w]
        while missing != 0:
            bit = lowest_bit(missing)
            missing &= missing - one
            count = np.int64(0)
            for plane in range(planes.shape[0]):
                count += np.int64((planes[plane, w] >> np.uint64(bit)) & one) << plane
            found[total] = (w * 64 + bit) * (window + 1) + count
            start[count] += 1
            total += 1
    behind = 0
    for reads in range(window, 0, -1):
        here = start[reads]
        start[reads] = behind
        behind += here
    for i in range(total):
        slot, count = found[i] // (window + 1), found[i] % (window + 1)
        ranked[start[count]] = slot
        start[count] += 1

    room = hbm.capacity - hbm.used[0]
    victim_word = -1
    victims = np.uint64(0)
    for i in range(np.int64(np.ceil(own.floats[0] * total))):
        if room > 0:
            room -= 1
        else:
            while victims == 0:
                victim_word += 1
                if victim_word == words:
                    return
                victims = resident[victim_word]
                for plane in range(planes.shape[0]):
                    victims &= ~planes[plane, victim_word]
            moves.demote[moves.count[1]] = (lane * words + victim_word) * 64 + lowest_bit(victims)
            moves.count[1] += 1
            victims &= victims - one
        moves.promote[moves.count[0]] = lane * words * 64 + ranked[i]
        moves.count[0] += 1


class Lookahead(Policy):
    """`window` tokens of perfect foresight; the top `share` of what they miss is moved."""

    name = "lookahead"
    step = step

    def __init__(self, window: int = 1, share: float = 1.0):
        if not (isinstance(window, int) and 1 <= window <= 4096):
            raise InputError(
                f"policy {self.name}: window: {window!r}: a whole number from 1 to 4096"
            )
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InputError(f"policy {self.name}: share: {share!r}: from 0 to 1")
        self.ahead_tokens, self.share = window, float(share)

    def own(self, geometry, capacity, rates, resident):
        window = self.ahead_tokens
        planes = np.zeros((window.bit_length(), geometry.words), np.uint64)
        ints = np.zeros(window + 2 + 2 * geometry.slots, np.int64)
        ints[0] = window
        return Own(planes, ints, np.array([self.share]))
