"""`belady` with `scope = "layer"`: a block comes in for one of its own layer.

Of the residents that no known visit needs, the one goes whose last use by its lane is furthest
back, then of the lowest slot.
"""

import numpy as np

from hmsim.bits import assign, lowest_bit
from hmsim.jit import kernel
from hmsim.placement.policies.api import Own, policy_step
from hmsim.placement.policies.needs_kernel import first_needs
from hmsim.placement.policies.uses_kernel import note_used


@kernel
def _take_oldest(idle, last, visit, oldest, rest):
    """Move those of `idle` whose last use is least to `oldest`; False if there are none.

    A search from the highest plane down, for all blocks at once. `visit`: no last use is later.
    """
    found = np.uint64(0)
    for w in range(idle.size):
        oldest[w] = idle[w]
        found |= idle[w]
    if found == 0:
        return False
    plane = last.shape[0]
    while plane > 0:
        plane -= 1
        if visit >> plane == 0:
            continue
        found = np.uint64(0)
        for w in range(idle.size):
            rest[w] = oldest[w] & ~last[plane, w]
            found |= rest[w]
        if found != 0:
            assign(oldest, rest)
    for w in range(idle.size):
        idle[w] &= ~oldest[w]
    return True


@policy_step
def step(now, hbm, own, moves):
    """Note uses, see what is needed when, then promote; `memory` says how own is laid out."""
    lanes, words = hbm.resident.shape
    lane, planes = now.lane, own.ints[0]
    last = own.bits[lane * planes : (lane + 1) * planes]
    wanted, idle, oldest, rest = own.bits[lanes * planes : lanes * planes + 4]
    first = own.bits[lanes * planes + 4 :]
    read, resident = now.bits[now.row], hbm.resident[lane]
    one = np.uint64(1)

    # All blocks of a word at once: what is used now takes the number of this visit.
    own.ints[1 + lane] += 1
    visit = own.ints[1 + lane]
    note_used(now, idle)
    for plane in range(planes):
        if (visit >> plane) & 1:
            for w in range(words):
                last[plane, w] |= idle[w]
        else:
            for w in range(words):
                last[plane, w] &= ~idle[w]

    # first[d]: the blocks that the lane's visit d from here needs, and none before it.
    known = first_needs(now, lane, wanted, first)
    for w in range(words):
        idle[w] = resident[w] & ~wanted[w]

    free = hbm.capacity - hbm.used[0]
    stage = known + 1  # victims: the least recently used of `idle`; needed at visit `stage`
    victim_word = words
    victims = np.uint64(0)
    for soon in range(known):
        for w in range(words):
            misses = read[w] & ~resident[w] & first[soon, w]
            while misses != 0:
                miss = (lane * words + w) * 64 + lowest_bit(misses)
                misses &= misses - one
                if free > 0:
                    free -= 1
                else:
                    while victims == 0 or stage <= soon + 1:
                        if victim_word == words:
                            victim_word = 0
                            if stage <= known or not _take_oldest(idle, last, visit, oldest, rest):
                                stage -= 1
                        if stage <= soon + 1:
                            return
                        if stage > known:
                            victims = oldest[victim_word]
                        else:
                            victims = resident[victim_word] & first[stage - 1, victim_word]
                        victim_word += 1
                    victim = (lane * words + victim_word - 1) * 64 + lowest_bit(victims)
                    victims &= victims - one
                    moves.demote[moves.count[1]] = victim
                    moves.count[1] += 1
                moves.promote[moves.count[0]] = miss
                moves.count[0] += 1


def memory(geometry, window):
    """Nothing was used yet.

    own.bits    [lanes * planes + 4 + window, words]
      last      [lanes, planes, words]  visit that used a block last, as bit planes, lowest first
      wanted    [words]                 needed by a known visit
      idle      [words]                 in HBM and needed by none
      oldest    [words]                 of those, the least recently used
      rest      [words]                 scratch of the search for them
      first     [window, words]         row d: needed by the lane's visit d from here, by none before
    own.ints    [1 + lanes]
      planes    1                       bits of the number of the workload's steps
      visits    [lanes]                 visits of each lane
    own.floats  not used
    """
    planes = geometry.steps.bit_length()
    rows = geometry.lanes * planes + 4 + window
    ints = np.zeros(1 + geometry.lanes, np.int64)
    ints[0] = planes
    return Own(np.zeros((rows, geometry.words), np.uint64), ints, np.zeros(1))
