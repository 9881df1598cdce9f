"""Counts of reads ahead, as bit planes: what `lookahead` ranks blocks by, whichever make place."""

import numpy as np

from hmsim.bits import assign, lowest_bit, popcount
from hmsim.jit import kernel


@kernel
def count_reads(now, hbm, window, planes, carry, missing, read):
    """Fill `planes` [planes, words], the reads of the lane's next `window` visits, lowest first,
    `read`, whether there are any, and `missing`, of what exists and is not in HBM.

    All blocks of a word are counted at once. Returns how many visits are known and how many blocks
    are missing.
    """
    words, lane = carry.size, now.lane
    planes[:] = 0
    visits = 0
    for row in range(now.row + 1, now.rows):
        if now.lanes_of[row] != lane:
            continue
        if visits == window:
            break
        visits += 1
        assign(carry, now.bits[row])
        plane = 0
        while visits >> plane != 0:
            for w in range(words):
                over = planes[plane, w] & carry[w]
                planes[plane, w] ^= carry[w]
                carry[w] = over
            plane += 1
    wanted = 0
    for w in range(words):
        read[w] = 0
        for plane in range(planes.shape[0]):
            read[w] |= planes[plane, w]
        missing[w] = read[w] & hbm.alive[lane, w] & ~hbm.resident[lane, w]
        wanted += popcount(missing[w])
    return visits, wanted


@kernel
def promote_ranked(now, visits, planes, missing, ranked, moves, most):
    """Promote `most` of `missing`, those that are read most often first, then by slot."""
    words, lane = missing.size, now.lane
    one = np.uint64(1)
    for count in range(visits, 0, -1):
        assign(ranked, missing)
        for plane in range(planes.shape[0]):
            flip = np.uint64(0) if (count >> plane) & 1 else ~np.uint64(0)
            for w in range(words):
                ranked[w] &= planes[plane, w] ^ flip
        for w in range(words):
            while ranked[w] != 0:
                if moves.count[0] == most:
                    return
                moves.promote[moves.count[0]] = (lane * words + w) * 64 + lowest_bit(ranked[w])
                moves.count[0] += 1
                ranked[w] &= ranked[w] - one
