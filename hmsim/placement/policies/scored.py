"""`lfu` and `ema`: what was used most keeps its place, without foresight.

lfu  a block's score is the number of its uses (reads and appends) so far
ema  an exponential moving average: at every visit of its lane, score := (1 - weight) * score, plus
     weight if the block is used; compared in whole factors of 1 - weight

A block read from DRAM is promoted into free room, or for the resident of lowest score if that is
lower than its own. Blocks that their lane's last visit used are spared; among equals, the one that
fell out of use first goes. Misses are taken in ascending order.
Sources: least frequently used is folklore, the comparison before admission TinyLFU's (G. Einziger,
R. Friedman, B. Manes, ACM Transactions on Storage 13(4), 2017).

The cost is by what changes: a block's score is brought up to date when a run of uses begins or
ends, and those out of use wait in one list a score, in which the time that passes moves nobody.
"""

import math

import numpy as np
from numba import njit

from hmsim.bits import lowest_bit
from hmsim.errors import InputError
from hmsim.placement.policies import links
from hmsim.placement.policies.api import Own, Policy, policy_step


@njit(cache=True, nogil=True)
def _grown(score, uses, power):
    """The score after so many more visits with a use. `power[n]` = (1 - weight) ** n, or empty."""
    if power.size == 0:
        return score + uses
    return 1.0 - (1.0 - score) * power[uses]


@njit(cache=True, nogil=True)
def _faded(score, visits, power):
    """The score after so many more visits without one."""
    return score if power.size == 0 else score * power[visits]


@njit(cache=True, nogil=True)
def _list_of(score, visit, decay, offset):
    """The list for a score as of a visit; the lowest is 0, of what was never used."""
    if score == 0.0:
        return 0
    if decay == 0.0:
        return np.int64(score)
    return visit + offset + np.int64(np.floor(np.log(score) / decay))


@policy_step
def step(now, hbm, own, moves):
    """Own.bits: `seen` [lanes, words], used at the lane's last visit; and `used` of this one.

    Own.ints: number of lists, lowest one in use, offset of `_list_of`, visits [lanes], lists as in
    `links`, and for every block the list it is in and the visit that its score is as of.
    Own.floats: -log(1 - weight) or 0, scores [blocks], `power`.
    """
    lanes, words = hbm.resident.shape
    blocks = lanes * words * 64
    ints, seen, used = own.ints, own.bits, own.bits[lanes]
    lists, offset = ints[0], ints[2]
    ends = ints[3 + lanes : 3 + lanes + 2 * lists]
    before, after, kept_in, as_of = ints[3 + lanes + 2 * lists :].reshape(4, blocks)
    decay, score, power = own.floats[0], own.floats[1 : blocks + 1], own.floats[blocks + 1 :]
    lane = now.lane
    resident = hbm.resident[lane]
    one = np.uint64(1)
    ints[3 + lane] += 1
    visit = ints[3 + lane]
    lowest = ints[1]

    used[:] = now.bits[now.row]
    for slot in now.appended:
        used[slot >> 6] |= one << np.uint64(slot & 63)
    for w in range(words):
        changed = seen[lane, w] ^ used[w]
        while changed != 0:
            bit = np.uint64(lowest_bit(changed))
            changed &= changed - one
            block = (lane * words + w) * 64 + np.int64(bit)
            visits = visit - 1 - as_of[block]
            as_of[block] = visit - 1
            if (used[w] >> bit) & one:  # a run of uses begins
                score[block] = _faded(score[block], visits, power)
                if before[block] != links.OUTSIDE:
                    links.remove(ends, before, after, kept_in[block], block)
            else:
                score[block] = _grown(score[block], visits, power)
                if (resident[w] >> bit) & one:
                    which = _list_of(score[block], visit - 1, decay, offset)
                    kept_in[block] = which
                    links.append(ends, before, after, which, block)
                    lowest = min(lowest, which)
        seen[lane, w] = used[w]

    room = hbm.capacity - hbm.used[0]
    for w in range(words):
        misses = now.bits[now.row, w] & ~resident[w]
        while misses != 0:
            miss = (lane * words + w) * 64 + lowest_bit(misses)
            misses &= misses - one
            if room > 0:
                room -= 1
            else:
                victim = -1
                while lowest < lists and victim < 0:
                    victim = ends[2 * lowest]
                    if victim < 0:
                        lowest += 1
                        continue
                    alive = hbm.resident[victim // (words * 64), victim // 64 % words]
                    if not (alive >> np.uint64(victim & 63)) & one:  # it died in the list
                        links.remove(ends, before, after, lowest, victim)
                        victim = -1
                if victim < 0:
                    break
                own_score = _grown(score[miss], visit - as_of[miss], power)
                if _list_of(own_score, visit, decay, offset) <= lowest:
                    continue
                links.remove(ends, before, after, lowest, victim)
                moves.demote[moves.count[1]] = victim
                moves.count[1] += 1
            moves.promote[moves.count[0]] = miss
            moves.count[0] += 1
    ints[1] = lowest


class Lfu(Policy):
    """Least frequently used."""

    name = "lfu"
    step = step
    weight = 0.0

    def own(self, geometry, capacity, rates, resident):
        """Scores of 0, and the prompt's residents in the lowest list, oldest tokens first."""
        lanes, blocks = geometry.lanes, geometry.lanes * geometry.slots
        decay, offset, power = 0.0, 0, np.zeros(0)
        if self.weight:
            decay = -math.log1p(-self.weight)
            # The least score of what was used in the last visit is `weight`.
            offset = 1 + math.ceil(-math.log(self.weight) / decay)
            power = (1.0 - self.weight) ** np.arange(geometry.steps + 1)
        lists = geometry.steps + offset + 2
        linked = links.empty(lists, blocks)
        ends, before, after = np.split(linked, [2 * lists, 2 * lists + blocks])
        for block in links.oldest_first(resident):
            links.append(ends, before, after, 0, block)
        head = np.array([lists, 0, offset, *[0] * lanes], np.int64)
        return Own(
            np.zeros((lanes + 1, geometry.words), np.uint64),
            np.concatenate([head, linked, np.zeros(2 * blocks, np.int64)]),
            np.concatenate([[decay], np.zeros(blocks), power]),
        )


class Ema(Lfu):
    """Exponential moving average of uses."""

    name = "ema"

    def __init__(self, weight: float = 0.1):
        if not (isinstance(weight, float) and 0.001 <= weight <= 0.999):
            raise InputError(f"policy {self.name}: weight: {weight!r}: from 0.001 to 0.999")
        self.weight = weight
