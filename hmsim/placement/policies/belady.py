"""`belady`: what is used furthest in the future makes room; least recently used beyond foresight.

At every step, of the step's lane: a block that was read from DRAM and that one of the lane's next
`window` visits reads is promoted, the soonest needed first (then the lowest slot), into free room
or for the resident needed last: first those that no known visit needs, the least recently used
first, then those needed furthest ahead, as long as that is later than the newcomer.
Source: L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM
Systems Journal 5(2), 1966; with a window, and with leave to pass a block by.
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.errors import InputError
from hmsim.placement.policies import links
from hmsim.placement.policies.api import Own, Policy, policy_step


@policy_step
def step(now, hbm, own, moves):
    """Own.bits: `seen` [lanes, words], `used` and `wanted` [words], `first` [window, words].

    Own.ints: one list a lane, as in `links`, of residents in the order of last use.
    """
    lanes, words = hbm.resident.shape
    blocks = lanes * words * 64
    lane = now.lane
    ends = own.ints[: 2 * lanes]
    before = own.ints[2 * lanes : 2 * lanes + blocks]
    after = own.ints[2 * lanes + blocks :]
    used, wanted, first = own.bits[lanes], own.bits[lanes + 1], own.bits[lanes + 2 :]
    resident = hbm.resident[lane]
    one = np.uint64(1)
    links.record_use(now, hbm.resident, own.bits, used, ends, before, after, lane)

    # first[d]: the blocks that the lane's visit d from here needs, and none before it.
    wanted[:] = 0
    known = 0
    for row in range(now.row + 1, now.rows):
        if now.lanes_of[row] != lane:
            continue
        if known == first.shape[0]:
            break
        for w in range(words):
            first[known, w] = now.bits[row, w] & ~wanted[w]
            wanted[w] |= now.bits[row, w]
        known += 1

    room = hbm.capacity - hbm.used[0]
    unused = ends[2 * lane]  # next in the order of last use
    stage = known + 1  # victims: the list; used in this step; needed at visit stage
    victim_word = 0
    victims = np.uint64(0)
    for soon in range(known):
        for w in range(words):
            misses = now.bits[now.row, w] & ~resident[w] & first[soon, w]
            while misses != 0:
                miss = (lane * words + w) * 64 + lowest_bit(misses)
                misses &= misses - one
                victim = -1
                if room > 0:
                    room -= 1
                else:
                    while unused >= 0 and victim < 0:
                        block, unused = unused, after[unused]
                        word, bit = block // 64 % words, np.uint64(block & 63)
                        if not (resident[word] >> bit) & one:
                            links.remove(ends, before, after, lane, block)  # it died
                        elif not (wanted[word] >> bit) & one:
                            victim = block
                    while victim < 0 and (victims == 0 or stage <= soon + 1):
                        if victim_word == words:
                            stage -= 1
                            victim_word = 0
                        if stage <= soon + 1:
                            return
                        if stage == known + 1:
                            victims = resident[victim_word] & used[victim_word]
                            victims &= ~wanted[victim_word]
                        else:
                            victims = resident[victim_word] & first[stage - 1, victim_word]
                        victim_word += 1
                    if victim < 0:
                        victim = (lane * words + victim_word - 1) * 64 + lowest_bit(victims)
                        victims &= victims - one
                    if before[victim] != links.OUTSIDE:
                        links.remove(ends, before, after, lane, victim)
                    moves.demote[moves.count[1]] = victim
                    moves.count[1] += 1
                moves.promote[moves.count[0]] = miss
                moves.count[0] += 1


class Belady(Policy):
    """Furthest next use within `window` tokens."""

    name = "belady"
    step = step

    def __init__(self, window: int = 8):
        if not (isinstance(window, int) and 1 <= window <= 4096):
            raise InputError(
                f"policy {self.name}: window: {window!r}: a whole number from 1 to 4096"
            )
        self.ahead_tokens = window

    def own(self, geometry, capacity, rates, resident):
        lanes, blocks = geometry.lanes, geometry.lanes * geometry.slots
        ints = links.empty(lanes, blocks)
        ends, before, after = np.split(ints, [2 * lanes, 2 * lanes + blocks])
        for block in links.oldest_first(resident):
            links.append(ends, before, after, block // geometry.slots, block)
        bits = np.zeros((lanes + 2 + self.ahead_tokens, geometry.words), np.uint64)
        return Own(bits, ints, np.zeros(1))
