"""Blocks whose reads seldom change: cheapest paths a run of reads at a time.

A block's life is a chain of *segments*: runs of its lane's stretches over which it is read
throughout, or not at all; a new one also starts where bytes are appended. Segments come in order of
their end, so that all blocks of a lane move through its tables together; each is two look-ups,
whatever its length.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bound.paths.tables_kernel import LEVEL, Prices, Tables, last_stay, through
from hmsim.jit import kernel
from hmsim.workload.steps import F64, I64

DEATH = 2  # added to a segment's kind: 0 not read, 1 read


class Segments(NamedTuple):
    """Segments in order of their end. Of a kind with DEATH: the stretch that a death cuts short."""

    lane: np.ndarray  # int16
    block: np.ndarray  # int32, global number
    first: np.ndarray  # int32, first stretch
    last: np.ndarray  # int32, last stretch; with DEATH the step of the death
    kind: np.ndarray  # int8
    append: np.ndarray  # bytes appended at the first stretch's own step


def byte_count(block_bytes: int) -> type:
    """The smallest type that holds the bytes appended to a block of that size."""
    return np.int32 if block_bytes < 2**31 else np.int64


@kernel
def forward(
    segments: Segments,
    first_lane: int,
    base: I64,
    stretch_offset: I64,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    ahead: F64,
    dram: F64,
) -> None:
    """Take blocks through segments: `dram` and `ahead` [blocks] as in `words_kernel.Scratch`.

    `tables` hold lanes from `first_lane` on, each from stretch `base[lane]` on.
    """
    for k in range(len(segments.block)):
        lane, n = segments.lane[k], segments.block[k]
        a, c, kind = segments.first[k], segments.last[k], segments.kind[k]
        step = stretch_step[stretch_offset[lane] + a]
        gap = ahead[n]
        if segments.append[k] != 0:
            gap += segments.append[k] * prices.append[step]
        if kind >= DEATH:
            dram[n] += min(0.0, gap + last_stay(step, c, kind - DEATH, prices)[0])
            ahead[n] = 0.0
            continue
        value = tables.value[lane - first_lane, kind]
        a -= base[lane]
        c -= base[lane]
        low, high = 0.0, gap
        if a != c:
            level = LEVEL[a ^ c]
            low, high = through(low, high, value[level, a])
            low, high = through(low, high, value[level, c])
        else:
            low, high = through(low, high, value[0, a])
        dram[n] += low
        ahead[n] = high - low
