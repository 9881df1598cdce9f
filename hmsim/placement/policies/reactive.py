"""`reactive`: a block read from DRAM is promoted; HBM full, the least recently used one goes.

True LRU over all lanes, in the order of last use (a read or an append). Newborns go to HBM while
there is room, as with `static`. A block used in the step itself is never evicted for another.
Source: arXiv 2508.13231 section 4 (its authors' simulator flushes a whole layer instead: see
`authors-reactive`).

The order costs by what changes: a block enters the list when its lane is visited again and does not
read it, and leaves the list when it is read again. Blocks used at their lane's last visit are in no
list: they are younger than all that are, and the lane visited longest ago holds the oldest of them.
"""

import numpy as np
from numba import njit

from hmsim.bits import lowest_bit
from hmsim.placement.policies.api import Own, Policy, policy_step

# Own.ints: oldest, youngest, last visit [lanes], older [blocks], younger [blocks]. In the links -1
# is the end of the list and -2 a block that is not in it.


@njit(cache=True, nogil=True)
def _in_hbm(resident, block):
    slots = resident.shape[1] * 64
    word = resident[block // slots, (block % slots) >> 6]
    return (word >> np.uint64(block & 63)) & np.uint64(1)


@njit(cache=True, nogil=True)
def _pop(ints, older, younger):
    """Take the oldest block out of the list."""
    block = ints[0]
    after = ints[younger + block]
    ints[0] = after
    if after >= 0:
        ints[older + after] = -1
    else:
        ints[1] = -1
    ints[older + block] = -2
    return block


@policy_step
def step(now, hbm, own, moves):
    """Promote what was read from DRAM; demote as many of the least recently used as that needs."""
    lanes, words = hbm.resident.shape
    slots = words * 64
    blocks = lanes * slots
    ints = own.ints
    visits = 2
    older = visits + lanes
    younger = older + blocks
    seen = own.bits  # [lanes, words] used at the lane's last visit
    used = own.bits[lanes]  # [words] in this one
    lane = now.lane
    one = np.uint64(1)

    used[:] = now.bits[now.row]
    for slot in now.appended:
        used[slot >> 6] |= one << np.uint64(slot & 63)
    for w in range(words):
        resident = hbm.resident[lane, w]
        leaving = seen[lane, w] & ~used[w] & resident
        while leaving != 0:
            block = lane * slots + w * 64 + lowest_bit(leaving)
            leaving &= leaving - one
            youngest = ints[1]
            ints[older + block] = youngest
            ints[younger + block] = -1
            if youngest >= 0:
                ints[younger + youngest] = block
            else:
                ints[0] = block
            ints[1] = block
        back = used[w] & ~seen[lane, w] & resident
        while back != 0:
            block = lane * slots + w * 64 + lowest_bit(back)
            back &= back - one
            before, after = ints[older + block], ints[younger + block]
            if before != -2:
                if before >= 0:
                    ints[younger + before] = after
                else:
                    ints[0] = after
                if after >= 0:
                    ints[older + after] = before
                else:
                    ints[1] = before
                ints[older + block] = -2
        seen[lane, w] = used[w]
    ints[visits + lane] = now.step

    # Promote, in ascending order, as long as there is room or a victim.
    room = hbm.capacity - hbm.used[0]
    victim_lane, victim_word, victims = -1, 0, np.uint64(0)
    oldest_visit = -1
    for w in range(words):
        misses = now.bits[now.row, w] & ~hbm.resident[lane, w]
        while misses != 0:
            slot = w * 64 + lowest_bit(misses)
            misses &= misses - one
            while ints[0] >= 0 and not _in_hbm(hbm.resident, ints[0]):
                _pop(ints, older, younger)  # it died in the list
            if room > 0:
                room -= 1
            elif ints[0] >= 0:
                moves.demote[moves.count[1]] = _pop(ints, older, younger)
                moves.count[1] += 1
            else:
                while victims == 0:
                    if victim_lane < 0 or victim_word == words:
                        # The next lane by age of its last visit, this one excepted.
                        youngest_visit = now.step
                        victim_lane = -1
                        for other in range(lanes):
                            visit = ints[visits + other]
                            if oldest_visit < visit < youngest_visit:
                                youngest_visit = visit
                                victim_lane = other
                        if victim_lane < 0:
                            return
                        oldest_visit = youngest_visit
                        victim_word = 0
                    victims = (
                        hbm.resident[victim_lane, victim_word] & seen[victim_lane, victim_word]
                    )
                    victim_word += 1
                moves.demote[moves.count[1]] = (
                    victim_lane * slots + (victim_word - 1) * 64 + lowest_bit(victims)
                )
                moves.count[1] += 1
                victims &= victims - one
            moves.promote[moves.count[0]] = lane * slots + slot
            moves.count[0] += 1


class Reactive(Policy):
    """Least recently used, without foresight."""

    name = "reactive"
    step = step

    def own(self, geometry, capacity, rates, resident):
        """`seen`, and the list with the prompt's residents in it, oldest tokens first."""
        blocks = geometry.lanes * geometry.slots
        ints = np.full(2 + geometry.lanes + 2 * blocks, -2, np.int64)
        ints[:2] = -1
        ints[2 : 2 + geometry.lanes] = -1
        older, younger = ints[2 + geometry.lanes :].reshape(2, blocks)
        bits = np.unpackbits(resident.view(np.uint8), axis=1, bitorder="little")
        slot, lane = np.nonzero(bits.T)
        order = lane * geometry.slots + slot
        if len(order):
            older[order[1:]], younger[order[:-1]] = order[:-1], order[1:]
            older[order[0]] = younger[order[-1]] = -1
            ints[0], ints[1] = order[0], order[-1]
        return Own(np.zeros((geometry.lanes + 1, geometry.words), np.uint64), ints, np.zeros(1))
