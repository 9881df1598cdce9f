"""`belady` with `scope = "all"`: a block comes in for one of any layer.

Of the residents that no known visit needs, the least recently used goes, as with `reactive`; those
that the step itself used last of all, by slot.
"""

import numpy as np

from hmsim.bits import lowest_bit, popcount
from hmsim.jit import kernel
from hmsim.placement.policies.api import policy_step
from hmsim.placement.policies.lru_kernel import evict, use
from hmsim.placement.policies.needs_kernel import note_first_needs
from hmsim.placement.policies.reactive import Reactive


@kernel
def _misses(now, hbm, mine, end):
    """How many misses the lane needs before row `end`; `mine` [window, words]: its first needs."""
    found, d = 0, 0
    for row in range(now.row + 1, end):
        if d == mine.shape[0]:
            break
        if now.lanes_of[row] == now.lane:
            for w in range(mine.shape[1]):
                found += popcount(now.bits[now.row, w] & ~hbm.resident[now.lane, w] & mine[d, w])
            d += 1
    return found


@kernel
def _demote_furthest(now, hbm, first, visits, mine, moves, most):
    """All that is left in HBM is needed: what is needed last goes, for misses needed before it.

    `most` misses have a place already; returns how many have one now.
    """
    words = mine.shape[1]
    window = mine.shape[0]
    one = np.uint64(1)
    visits[:] = 0
    for row in range(now.row + 1, now.rows):
        visits[now.lanes_of[row]] += 1
    for row in range(now.rows - 1, now.row, -1):
        lane = now.lanes_of[row]
        visits[lane] -= 1  # now those of the lane before this row
        if visits[lane] >= window:
            continue
        sooner = _misses(now, hbm, mine, row)
        if most >= sooner:
            break
        last = first[lane * window + visits[lane]]
        for w in range(words):
            victims = last[w] & hbm.resident[lane, w]
            while victims != 0 and most < sooner:
                moves.demote[moves.count[1]] = (lane * words + w) * 64 + lowest_bit(victims)
                moves.count[1] += 1
                most += 1
                victims &= victims - one
    return most


@kernel
def _promote_soonest(now, hbm, mine, moves, most):
    """Promote `most` misses, those needed soonest first, then by slot."""
    words = mine.shape[1]
    one = np.uint64(1)
    for d in range(mine.shape[0]):
        for w in range(words):
            misses = now.bits[now.row, w] & ~hbm.resident[now.lane, w] & mine[d, w]
            while misses != 0:
                if moves.count[0] == most:
                    return
                moves.promote[moves.count[0]] = (now.lane * words + w) * 64 + lowest_bit(misses)
                moves.count[0] += 1
                misses &= misses - one


@policy_step
def step(now, hbm, own, moves):
    """Note uses and needs, make place, promote; `memory` says how own is laid out."""
    lanes, words = hbm.resident.shape
    window = np.int64(own.floats[0])
    needed, first = own.bits[lanes + 2 : 2 * lanes + 2], own.bits[2 * lanes + 2 :]
    blocks = own.ints.size - lanes * words * 64
    visits = own.ints[blocks - lanes : blocks]
    mine = first[now.lane * window : (now.lane + 1) * window]
    use(now, hbm, own)
    note_first_needs(now, window, needed, first)
    wanted = _misses(now, hbm, mine, now.rows)
    free = hbm.capacity - hbm.used[0]
    evict(now, hbm, own, needed, moves, wanted - free)
    most = min(wanted, free + moves.count[1])
    if most < wanted:
        most = _demote_furthest(now, hbm, first, visits, mine, moves, most)
    _promote_soonest(now, hbm, mine, moves, most)


def memory(geometry, capacity, rates, resident, window):
    """That of `Reactive`, and

    own.bits    [lanes + lanes * window, words] more
      needed    [lanes, words]           read by one of the lane's next `window` visits
      first     [lanes, window, words]   needed by the lane's visit d from its last, by none before
    own.ints    [lanes] more, before `last`
      visits    [lanes]                  scratch: visits of each lane that are known
    own.floats  [1]
      window    1                        visits to look ahead
    """
    own = Reactive().own(geometry, capacity, rates, resident)
    more = np.zeros((geometry.lanes * (1 + window), geometry.words), np.uint64)
    blocks = geometry.lanes * geometry.slots
    ints = np.insert(own.ints, own.ints.size - blocks, np.zeros(geometry.lanes, np.int64))
    return own._replace(
        bits=np.concatenate([own.bits, more]), ints=ints, floats=np.array([float(window)])
    )
