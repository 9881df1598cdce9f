"""Doubly linked lists of blocks for kernels: append, and take out anywhere, in O(1).

`ends` [2 * lists] holds the first and the last block of each list, `before` and `after` [blocks]
the neighbours; NOBODY ends a list, OUTSIDE marks a block that is in none. A block is in one list at
most.
"""

import numpy as np
from numba import njit

from hmsim.bits import lowest_bit
from hmsim.workload.stream import I64, U64

NOBODY, OUTSIDE = -1, -2


@njit(cache=True, nogil=True)
def append(ends, before, after, which, block):
    """Put a block that is outside at the end of list `which`."""
    last = ends[2 * which + 1]
    before[block] = last
    after[block] = NOBODY
    if last >= 0:
        after[last] = block
    else:
        ends[2 * which] = block
    ends[2 * which + 1] = block


@njit(cache=True, nogil=True)
def remove(ends, before, after, which, block):
    """Take a block out of list `which`, which it is in."""
    ahead, behind = before[block], after[block]
    if ahead >= 0:
        after[ahead] = behind
    else:
        ends[2 * which] = behind
    if behind >= 0:
        before[behind] = ahead
    else:
        ends[2 * which + 1] = ahead
    before[block] = OUTSIDE


@njit(cache=True, nogil=True)
def record_use(now, resident, seen, used, ends, before, after, which):
    """Keep list `which` in the order of last use, a read or an append.

    In the list are residents [lanes, words] that their lane's last visit did not use; those that it
    did use are in `seen` [lanes, words], and are younger. `used` [words]: of this step, returned.
    """
    lane, words = now.lane, resident.shape[1]
    one = np.uint64(1)
    used[:] = now.bits[now.row]
    for slot in now.appended:
        used[slot >> 6] |= one << np.uint64(slot & 63)
    for w in range(words):
        base = (lane * words + w) * 64
        leaving = seen[lane, w] & ~used[w] & resident[lane, w]
        while leaving != 0:
            append(ends, before, after, which, base + lowest_bit(leaving))
            leaving &= leaving - one
        back = used[w] & ~seen[lane, w] & resident[lane, w]
        while back != 0:
            block = base + lowest_bit(back)
            back &= back - one
            if before[block] != OUTSIDE:
                remove(ends, before, after, which, block)
        seen[lane, w] = used[w]


def empty(lists: int, blocks: int) -> I64:
    """`ends`, `before` and `after` in one array, all lists empty."""
    ints = np.full(2 * lists + 2 * blocks, OUTSIDE, np.int64)
    ints[: 2 * lists] = NOBODY
    return ints


def oldest_first(resident: U64) -> I64:
    """Numbers of the blocks [lanes, words] by slot, then lane."""
    slots = 64 * resident.shape[1]
    bits = np.unpackbits(resident.view(np.uint8), axis=1, bitorder="little")
    slot, lane = np.nonzero(bits.T)
    return lane * slots + slot
