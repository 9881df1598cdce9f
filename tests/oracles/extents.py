"""Where bytes lie, and so what each memory is asked for in a step: plain lists of extents.

Weights fill the bottom of a memory, in pieces of 1 MiB, layer after layer. Above them, from the
next whole MiB on, lie blocks. The blocks in HBM, in the order of their numbers, take frames by a
fixed random permutation; a block in DRAM keeps one place for life, by another.
"""

from typing import NamedTuple

import numpy as np

from tests.oracles.job import Job
from tests.oracles.times import Bytes

PIECE = 1 << 20


class Extent(NamedTuple):
    address: int
    size: int
    write: int


class Places:
    """The addresses of one run's blocks."""

    def __init__(self, job: Job, capacity_blocks: int):
        rng, blocks = np.random.default_rng(0), job.lanes * job.slots
        self.size = job.block_bytes
        self.frame = [int(frame) % max(1, capacity_blocks) for frame in rng.permutation(blocks)]
        self.home = [int(home) for home in rng.permutation(blocks)]
        self.base = -(-int(job.resident_bytes) // PIECE) * PIECE

    def in_hbm(self, residents: set[int], block: int) -> int:
        rank = sum(other < block for other in residents)
        return self.base + self.frame[rank] * self.size

    def in_dram(self, block: int) -> int:
        return self.base + self.home[block] * self.size


def weights(size: float, lane: int) -> list[Extent]:
    whole = round(size)
    start = lane * (-(-whole // PIECE) * PIECE)
    return [Extent(start + at, min(PIECE, whole - at), 0) for at in range(0, whole, PIECE)]


def of_step(
    places: Places,
    step,
    before: set[int],
    after: set[int],
    dying: set[int],
    moved: Bytes,
    copies: bool,
) -> tuple[list[Extent], list[Extent]]:
    """HBM's and DRAM's extents: reads first, then appends, then moves.

    `before`: in HBM while the step runs; `after`: once its moves are done and `dying` are gone.
    `copies`: DRAM has a copy of everything, so that what HBM holds may be read from either side, a
    promotion of what is being read costs no read of its own, and a demotion nothing.
    """
    size = places.size
    hits = sorted(step.read & before)
    count = min(len(hits), round(moved.attention_hbm / size))
    near = [hits[i * len(hits) // count] for i in range(count)]
    far = sorted(step.read - before) + [block for block in hits if block not in near]
    promoted = sorted(after - before)
    demoted = [] if copies else sorted(before - after - dying)
    fetched = [block for block in promoted if not (copies and block in step.read)]
    hbm = weights(moved.weights_hbm, step.lane)
    hbm += [Extent(places.in_hbm(before, block), size, 0) for block in near]
    hbm += [
        Extent(places.in_hbm(before, block), grown, 1)
        for block, grown, _ in step.appends
        if block in before
    ]
    hbm += [Extent(places.in_hbm(after, block), size, 1) for block in promoted]
    hbm += [Extent(places.in_hbm(before, block), size, 0) for block in demoted]
    dram = weights(moved.weights_dram, step.lane)
    dram += [Extent(places.in_dram(block), size, 0) for block in far]
    dram += [
        Extent(places.in_dram(block), grown, 1)
        for block, grown, _ in step.appends
        if copies or block not in before
    ]
    dram += [Extent(places.in_dram(block), size, 0) for block in fetched]
    dram += [Extent(places.in_dram(block), size, 1) for block in demoted]
    return hbm, dram
