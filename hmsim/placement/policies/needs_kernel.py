"""What the next visits of every lane read: for oracles that see all of HBM."""

import numpy as np

from hmsim.jit import kernel


@kernel
def note_needs(now, window, needed):
    """`needed[lane]` [lanes, words]: what one of the next `window` visits of the lane reads.

    That of the step's own lane changes; at step 0 all are found.
    """
    for lane in range(needed.shape[0]):
        if lane != now.lane and now.step > 0:
            continue
        needed[lane] = 0
        known = 0
        for row in range(now.row + 1, now.rows):
            if now.lanes_of[row] == lane:
                needed[lane] |= now.bits[row]
                known += 1
                if known == window:
                    break


@kernel
def first_needs(now, lane, needed, first):
    """What a lane's next visits read, as many as `first` has rows. `first[d]` [words]: what visit d
    needs, and none before it; `needed` [words]: what any does. Returns how many visits are known.
    """
    needed[:] = 0
    known = 0
    for row in range(now.row + 1, now.rows):
        if now.lanes_of[row] != lane:
            continue
        if known == first.shape[0]:
            break
        for w in range(needed.size):
            first[known, w] = now.bits[row, w] & ~needed[w]
            needed[w] |= now.bits[row, w]
        known += 1
    first[known:] = np.uint64(0)
    return known


@kernel
def note_first_needs(now, window, needed, first):
    """As `note_needs`; and `first[lane * window + d]` [lanes * window, words]: what the lane's
    visit d from its last one (from step 0) needs, and none before it.
    """
    for lane in range(needed.shape[0]):
        if lane == now.lane or now.step == 0:
            first_needs(now, lane, needed[lane], first[lane * window : (lane + 1) * window])
