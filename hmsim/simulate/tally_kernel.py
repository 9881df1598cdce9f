"""The kernel that counts what a step's pieces ask of a memory, without making extents of them.

Which channels a block touches depends on its frame modulo a *period*, after which frames begin at the
same place of the same channel again. So blocks are counted by that remainder, reads and writes apart,
and the bursts of every channel follow from these counts. What comes out is what `count` of
`hmsim.memory.sampling_kernel` counts of the extents.
"""

from math import gcd
from typing import NamedTuple

import numpy as np

from hmsim.jit import record_inlined, record_kernel
from hmsim.memory.sampling_kernel import Learner, add_extent, sum_rises
from hmsim.simulate.extents_kernel import ITEMS
from hmsim.workload.steps import I64

MOST_PERIOD = 1 << 14  # frames: where more are unlike, extents are counted instead
MOST_BITS = 30  # of a frame doubled: with more, its product with the multiplier might not fit


class Tally(NamedTuple):
    """How one memory's frames repeat, and room to count blocks.

    n divided by the doubled period is n * multiplier >> shift: T. Granlund and P. Montgomery,
    Division by Invariant Integers using Multiplication (PLDI 1994).
    """

    blocks: I64  # [2 * period] reads and writes of frames of each remainder, zero between calls;
    # [0] where no period is short enough: extents are counted instead
    multiplier: int
    shift: int


def tally_of(learner: Learner, size: int, frames: int) -> Tally:
    """For a memory in which blocks of `size` bytes lie in so many frames."""
    around = learner.channels << learner.stripe
    period = around // gcd(around, size)
    bits = (2 * frames).bit_length()
    if learner.hashed or period > MOST_PERIOD or bits > MOST_BITS:
        return Tally(np.zeros(0, np.int64), 0, 0)
    shift = bits + (2 * period).bit_length()
    multiplier = (1 << shift) // (2 * period) + 1
    return Tally(np.zeros(2 * period, np.int64), multiplier, shift)


@record_inlined
def _touched(low, high, learner):
    """How many channels the bytes from `low` to `high` touch."""
    return min((high - 1 >> learner.stripe) - (low >> learner.stripe) + 1, learner.channels)


@record_kernel
def tally_pieces(layout, pieces, tally, learner, extra):
    """Count the pieces into `learner.bursts` and, as `count` does, `extra`."""
    blocks, doubled = tally.blocks, len(tally.blocks)
    bursts, rises, channels = learner.bursts, learner.rises, learner.channels
    stripe, burst = learner.stripe, learner.burst
    for c in range(channels):
        bursts[c] = 0
    written = runs = visits = 0
    begin, end = 0, -1  # of the latest run of bytes
    for i in range(pieces.filled[ITEMS]):
        item, size = pieces.item[i], layout.size
        low = layout.base + (item >> 1) * size
        if item >= 0:
            blocks[item - (item * tally.multiplier >> tally.shift) * doubled] += 1
            if low != end:  # nearly all: a run of its own, which is counted below
                begin = low
                end = low + size
                continue
            runs -= 1
            visits -= _touched(low, low + size, learner)
        else:
            low, size = pieces.address[~item], pieces.size[~item]
            if size == 0:
                continue
            add_extent(low, low + size, (low >> stripe) % channels, 1, stripe, burst, bursts, rises)
            lines = (low + size - 1 >> burst) - (low >> burst) + 1
            written += lines * pieces.write[~item]
        if low == end:
            visits -= _touched(begin, end, learner)
        else:
            runs += 1
            begin = low
        end = low + size
        visits += _touched(begin, end, learner)
    low, size = layout.base, layout.size
    c = (low >> stripe) % channels
    whole = size >> stripe  # chunks from a block to the next, or one more
    around = whole % channels
    for remainder in range(0, doubled, 2):
        times, writes = blocks[remainder] + blocks[remainder + 1], blocks[remainder + 1]
        if times > 0:  # of a long period many remainders are nobody's
            blocks[remainder] = blocks[remainder + 1] = 0
            add_extent(low, low + size, c, times, stripe, burst, bursts, rises)
            written += ((low + size - 1 >> burst) - (low >> burst) + 1) * writes
            runs += times
            visits += _touched(low, low + size, learner) * times
        c += around + (low + size >> stripe) - (low >> stripe) - whole
        c -= channels if c >= channels else 0
        low += size
    sum_rises(stripe, burst, bursts, rises)
    extra[0], extra[1], extra[2] = written, runs, visits
