"""Where blocks are as sampled steps begin and end, kept for the memory kernels.

A step changes a lane or two, if any. So lanes are kept one by one, each time that one is not as it
was when it was last looked at; and none is looked at that nobody has touched since.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import assign
from hmsim.jit import record_inlined, record_kernel
from hmsim.workload.steps import I64, U64


class Capture(NamedTuple):
    """What is kept of a window. Which rows: int64 [rows], the number of the sample, or -1."""

    wanted: I64
    lanes: U64  # [n, words] bitsets of lanes
    kept: I64  # [1] so many so far
    latest: I64  # [lanes] the last one of each lane, or -1
    touched: I64  # [lanes] 1: may not be as the last one of it
    before: I64  # [samples, lanes] which of them is the lane's as the step begins
    after: I64  # [samples, lanes] and, its moves done, ends


@record_kernel
def keep(capture, resident, which):
    """Keep what is in HBM now, U64[lanes, words]; which: `before` or `after` of a sample."""
    for lane in range(len(resident)):
        last = capture.latest[lane]
        changed = np.uint64(last < 0)
        if last >= 0 and capture.touched[lane] != 0:
            found, before = resident[lane], capture.lanes[last]
            for w in range(len(found)):
                changed |= found[w] ^ before[w]
        if changed != 0:
            last = capture.kept[0]
            capture.kept[0] += 1
            capture.latest[lane] = last
            assign(capture.lanes[last], resident[lane])
        capture.touched[lane] = 0
        which[lane] = last


@record_inlined
def touch(capture, slots, block, first):
    """Note that a block's lane is touched, but where that is noted of the lane that begins with block
    `first`; the first of the block's lane."""
    if block < first or block >= first + slots:
        lane = block // slots
        capture.touched[lane] = 1
        first = lane * slots
    return first


@record_kernel
def touch_all(capture):
    """Note that every lane may be touched."""
    for lane in range(len(capture.touched)):
        capture.touched[lane] = 1
