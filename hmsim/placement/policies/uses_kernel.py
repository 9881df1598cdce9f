"""What a step used and what it missed: where every policy without foresight begins."""

import numpy as np

from hmsim.bits import add, assign, lowest_bit, popcount
from hmsim.jit import kernel


@kernel
def note_used(now, used):
    """`used` [words]: what the step reads or appends to."""
    assign(used, now.bits[now.row])
    for slot in now.appended:
        add(used, slot)


@kernel
def demand(now, hbm):
    """Blocks that the step reads, and how many of them are in HBM."""
    reads, hits = 0, 0
    for w in range(hbm.resident.shape[1]):
        reads += popcount(now.bits[now.row, w])
        hits += popcount(now.bits[now.row, w] & hbm.resident[now.lane, w])
    return reads, hits


@kernel
def promote_misses(now, hbm, moves, most):
    """Promote what the step read from DRAM, in ascending order, `most` of it."""
    words = hbm.resident.shape[1]
    one = np.uint64(1)
    count = 0
    for w in range(words):
        misses = now.bits[now.row, w] & ~hbm.resident[now.lane, w]
        while misses != 0 and count < most:
            moves.promote[count] = (now.lane * words + w) * 64 + lowest_bit(misses)
            misses &= misses - one
            count += 1
    moves.count[0] = count
