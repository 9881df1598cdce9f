"""`lookahead`: the blocks that the next `window` tokens read most often come in first.

At every step, of the step's lane: collect the blocks that its next `window` visits read and that
are not in HBM, rank them by how often they are read (then by slot), and promote the top `share`, as
long as capacity is left, or for residents that none of those visits reads, lowest slot first.
Source: arXiv 2508.13231 section 4, the heuristic under its simulated annealing (see `sa`).
"""

import numpy as np

from hmsim.bits import lowest_bit, popcount
from hmsim.errors import InputError
from hmsim.placement.policies.api import Own, Policy, policy_step


@policy_step
def step(now, hbm, own, moves):
    """Count reads ahead, then promote by their count; `Lookahead` says how own is laid out.

    All blocks of a word are counted, and picked out by their count, at once.
    """
    words = hbm.resident.shape[1]
    lane, window = now.lane, own.ints[0]
    resident, alive = hbm.resident[lane], hbm.alive[lane]
    planes = own.bits[:-4]
    carry, missing, victims, ranked = own.bits[-4:]
    one = np.uint64(1)

    planes[:] = 0
    visits = 0
    for row in range(now.row + 1, now.rows):
        if now.lanes_of[row] != lane:
            continue
        if visits == window:
            break
        visits += 1
        carry[:] = now.bits[row]
        plane = 0
        while visits >> plane != 0:
            for w in range(words):
                over = planes[plane, w] & carry[w]
                planes[plane, w] ^= carry[w]
                carry[w] = over
            plane += 1

    wanted = 0
    for w in range(words):
        read = np.uint64(0)
        for plane in range(planes.shape[0]):
            read |= planes[plane, w]
        missing[w] = read & alive[w] & ~resident[w]
        victims[w] = resident[w] & ~read
        wanted += popcount(missing[w])

    room = hbm.capacity - hbm.used[0]
    left = np.int64(np.ceil(own.floats[0] * wanted))
    victim_word = 0
    for count in range(visits, 0, -1):  # the most often read come first
        ranked[:] = missing
        for plane in range(planes.shape[0]):
            flip = np.uint64(0) if (count >> plane) & 1 else ~np.uint64(0)
            for w in range(words):
                ranked[w] &= planes[plane, w] ^ flip
        for w in range(words):
            while ranked[w] != 0:
                if left == 0:
                    return
                left -= 1
                if room > 0:
                    room -= 1
                else:
                    while victim_word < words and victims[victim_word] == 0:
                        victim_word += 1
                    if victim_word == words:
                        return
                    moves.demote[moves.count[1]] = (lane * words + victim_word) * 64 + lowest_bit(
                        victims[victim_word]
                    )
                    moves.count[1] += 1
                    victims[victim_word] &= victims[victim_word] - one
                moves.promote[moves.count[0]] = (lane * words + w) * 64 + lowest_bit(ranked[w])
                moves.count[0] += 1
                ranked[w] &= ranked[w] - one


class Lookahead(Policy):
    """`window` tokens of perfect foresight; the top `share` of what they miss is moved.

        own.bits    [planes + 4, words], planes = bits of `window`
          planes    [planes, words]  reads ahead of each block, as bit planes, lowest first
          carry     [words]          scratch of the addition
          missing   [words]          read ahead, and not in HBM
          victims   [words]          in HBM, and not read ahead
          ranked    [words]          missing blocks of the count that is being taken
        own.ints    [1]
          window    1                visits to look ahead
        own.floats  [1]
          share     1                of the missing blocks, rounded up

    Args:
        window: How many tokens ahead it looks, 1 to 4096.
        share: Of the blocks that are missing, 0 to 1.
    """

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
        rows = self.ahead_tokens.bit_length() + 4
        ints = np.array([self.ahead_tokens])
        return Own(np.zeros((rows, geometry.words), np.uint64), ints, np.array([self.share]))
