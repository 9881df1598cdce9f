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

WRITTEN, RUNS, TOUCHED = range(3)  # of `extra`, see `count`
MOST_PERIOD = 1 << 14  # frames: where more are unlike, extents are counted instead
MOST_BITS = 30  # of a frame doubled: with more, its product with the multiplier might not fit


class Tally(NamedTuple):
    """How one memory's frames repeat, and room to count blocks.

    n divided by the doubled period is n * multiplier >> shift: T. Granlund and P. Montgomery,
    Division by Invariant Integers using Multiplication (PLDI 1994).
    """

    blocks: I64  # [2 * period] reads and writes of frames of each remainder, zero between calls;
    # [0] where no period is short enough: extents are counted instead
    channel: I64  # [period] in which frames of each remainder begin
    multiplier: int
    shift: int


def tally_of(learner: Learner, base: int, size: int, frames: int) -> Tally:
    """For a memory in which blocks of `size` bytes lie in so many frames, from byte `base` on."""
    around = learner.channels << learner.stripe
    period = around // gcd(around, size)
    bits = (2 * frames).bit_length()
    if learner.hashed or period > MOST_PERIOD or bits > MOST_BITS:
        none = np.zeros(0, np.int64)
        return Tally(none, none, 0, 0)
    shift = bits + (2 * period).bit_length()
    multiplier = (1 << shift) // (2 * period) + 1
    channel = (base + np.arange(period) * size >> learner.stripe) % learner.channels
    return Tally(np.zeros(2 * period, np.int64), channel, multiplier, shift)


@record_inlined
def remainder_of(item, tally):
    """Of an item, a frame doubled: what is left of the frame, doubled likewise."""
    return item - (item * tally.multiplier >> tally.shift) * len(tally.blocks)


@record_inlined
def touched(low, high, learner):
    """How many channels the bytes from `low` to `high` touch."""
    return min((high - 1 >> learner.stripe) - (low >> learner.stripe) + 1, learner.channels)


@record_inlined
def add_blocks(layout, tally, learner, remainder, times, bursts, rises):
    """Count the bursts of so many blocks of a remainder (doubled); the channels that they touch, one by
    one. bursts, rises: see `add_extent`."""
    low = layout.base + (remainder >> 1) * layout.size
    high, c = low + layout.size, tally.channel[remainder >> 1]
    add_extent(low, high, c, times, learner.stripe, learner.burst, bursts, rises)
    return touched(low, high, learner) * times


@record_kernel
def tally_pieces(layout, pieces, tally, learner, extra):
    """Add what the pieces come to to `learner.bursts` and, as `count` does, to `extra`. False, and in
    vain, where a piece follows blocks that were counted before at once, or comes just before them."""
    blocks, doubled = tally.blocks, len(tally.blocks)
    bursts, rises = learner.bursts, learner.rises
    stripe, burst = learner.stripe, learner.burst
    written = runs = visits = whole = 0
    begin, end = 0, -1  # of the latest run of bytes
    alone = True
    for i in range(pieces.filled[ITEMS]):
        item, size = pieces.item[i], layout.size
        low = layout.base + (item >> 1) * size
        if item >= 0:
            whole += 1
            blocks[remainder_of(item, tally)] += 1
            if low != end:  # nearly all: a run of its own, which is counted below
                begin = low
                end = low + size
                continue
            runs -= 1
            visits -= touched(low, low + size, learner)
        else:
            low, size, write = pieces.address[~item], pieces.size[~item], pieces.write[~item]
            if write < 0:
                alone &= low != end
                begin, end = -1, size
                continue
            if size == 0:
                continue
            c = (low >> stripe) % learner.channels
            add_extent(low, low + size, c, 1, stripe, burst, bursts, rises)
            written += ((low + size - 1 >> burst) - (low >> burst) + 1) * write
        if low == end:
            alone &= begin >= 0
            visits -= touched(begin, end, learner)
        else:
            runs += 1
            begin = low
        end = low + size
        visits += touched(begin, end, learner)
    for remainder in range(0, doubled if whole > 0 else 0, 2):
        times, writes = blocks[remainder] + blocks[remainder + 1], blocks[remainder + 1]
        if times > 0:  # of a long period many remainders are nobody's
            blocks[remainder] = blocks[remainder + 1] = 0
            visits += add_blocks(layout, tally, learner, remainder, times, bursts, rises)
            low = layout.base + (remainder >> 1) * layout.size
            written += ((low + layout.size - 1 >> burst) - (low >> burst) + 1) * writes
            runs += times
    sum_rises(stripe, burst, bursts, rises)
    extra[WRITTEN] += written
    extra[RUNS] += runs
    extra[TOUCHED] += visits
    return alone
