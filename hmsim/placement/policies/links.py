"""Doubly linked lists of blocks for kernels: append and take out anywhere, in O(1).

`ends` [2 * lists] holds the first and the last block of each list, `before` and `after` [blocks]
the neighbours; NOBODY ends a list, OUTSIDE marks a block that is in none. A block is in one list at
most.
"""

import numpy as np
from numba import njit

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


def empty(lists: int, blocks: int) -> I64:
    """`ends`, `before` and `after` in one array, all lists empty."""
    ints = np.full(2 * lists + 2 * blocks, OUTSIDE, np.int64)
    ints[: 2 * lists] = NOBODY
    return ints


def oldest_first(resident: U64) -> I64:
    """Numbers of the blocks [lanes, words] by slot, then lane."""
    lanes, words = resident.shape
    bits = np.unpackbits(resident.view(np.uint8), axis=1, bitorder="little")
    slot, lane = np.nonzero(bits.T)
    return lane * (64 * words) + slot
