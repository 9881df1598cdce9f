"""Blocks' reads as bits, in tiles of 64 blocks that go through the price tables together.

In this folder a *tile* is 64 blocks of one lane: neighbours, or those of a sample. It has one word
for each of the lane's stretches, all of a tile's next to each other; bit i of the word says whether
block i is read in that stretch. At one bit a block and stretch, all of the founding paper's
workload (13.6 billion) takes 1.7 GB.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import has
from hmsim.bound.paths.runs import Timeline, timeline_of
from hmsim.jit import kernel
from hmsim.workload.steps import I64, U64, Geometry, Steps, Workload

BORN, GROWN, DIED = range(3)  # kinds of events, in this order within a stretch


class Grid(NamedTuple):
    """Tiles of blocks, by lane. Events are what befalls blocks beside reads, CSR by tile."""

    lane: I64  # [tiles]
    slot: I64  # [tiles, 64] of each bit; -1 none
    offset: I64  # [tiles] of the words of each tile
    bits: U64  # bit i of bits[offset[p] + j]: block i of tile p is read in stretch j
    event_offset: I64  # [tiles + 1]
    event_stretch: I64  # ascending within a tile
    event_bit: I64
    event_kind: I64
    event_value: I64  # of BORN and DIED the step, of GROWN the bytes

    @property
    def tiles(self) -> int:
        return len(self.lane)


class Events(NamedTuple):
    """What befalls blocks beside reads, in any order."""

    block: I64  # global number
    stretch: I64  # of the block's lane
    kind: I64
    value: I64  # of BORN and DIED the step, of GROWN the bytes


def new_events() -> Events:
    """None."""
    return Events(*np.empty((4, 0), np.int64))


def events_of(steps: Steps, slots: int, timeline: Timeline) -> Events:
    """The events of some steps."""
    block, step = steps.append_block(slots), steps.first + steps.append_row
    born, died = steps.append_born == 1, steps.first + steps.death_row
    parts = (
        (block[born], step[born], BORN, step[born]),
        (block, step, GROWN, steps.append_bytes),
        (steps.death_block, died - 1, DIED, died),
    )
    blocks, begun, value = (np.concatenate([part[i] for part in parts]) for i in (0, 1, 3))
    kind = np.repeat([BORN, GROWN, DIED], [len(part[0]) for part in parts])
    stretch = np.empty_like(blocks)
    lane = blocks // slots
    for each in np.unique(lane):
        mine = lane == each
        stretch[mine] = np.searchsorted(timeline.stretches_of(each), begun[mine], side="right") - 1
    return Events(blocks, stretch, kind, value)


def sort_events(events: Events, slots: int) -> Events:
    """Of one lane: by word, stretch and kind; `block` is then the slot."""
    slot = events.block % slots
    order = np.lexsort((events.kind, events.stretch, slot >> 6))
    return Events(slot[order], events.stretch[order], events.kind[order], events.value[order])


def gather(
    workload: Workload, every: int, lanes_every: int = 1, timeline: Timeline | None = None
) -> tuple[Timeline, Grid]:
    """One pass over a workload: its time line, and the reads of one block in `every`.

    With `lanes_every`, only blocks of one lane in that many. Where the time line is known already,
    giving it halves the memory.
    """
    geometry = workload.geometry
    lane, slot = _tiles(geometry, every, lanes_every)
    width = int((lane == lane[0]).sum())  # tiles, the same in every lane that has any
    first_tile = np.full(geometry.lanes, -1)
    first_tile[lane[::width]] = np.arange(0, len(lane), width)
    grid = None if timeline is None else _unread(timeline, lane)
    parts, packed = [], []
    for chunk in workload.chunks():
        parts.append(chunk.without_bits())
        rows = np.flatnonzero(first_tile[chunk.lane] >= 0)
        words = np.empty((len(rows), width), np.uint64)
        _pack(chunk.bits, rows, first_tile[chunk.lane[rows]], slot, every == 1, words)
        if timeline is None or grid is None:
            packed.append(words)
        else:
            stretches = _stretches(timeline, chunk.first + rows)
            _deal(words, first_tile[chunk.lane[rows]], stretches, *grid)
    steps = Steps.join(parts)
    line = timeline_of(steps, geometry.lanes)
    if grid is None:
        grid = _unread(line, lane)
        rows = np.flatnonzero(first_tile[steps.lane] >= 0)
        _deal(np.concatenate(packed), first_tile[steps.lane[rows]], _stretches(line, rows), *grid)
    place = np.full(geometry.lanes * geometry.slots, -1)
    tile, bit = np.nonzero(slot >= 0)
    place[lane[tile] * geometry.slots + slot[tile, bit]] = 64 * tile + bit
    events = events_of(steps, geometry.slots, line)
    events = Events(*(column[place[events.block] >= 0] for column in events))
    tile, bit = np.divmod(place[events.block], 64)
    order = np.lexsort((events.kind, events.stretch, tile))
    return line, Grid(
        lane, slot, *grid,
        np.searchsorted(tile[order], np.arange(len(lane) + 1)).astype(np.int64),
        events.stretch[order], bit[order], events.kind[order], events.value[order],
    )  # fmt: skip


def _tiles(geometry: Geometry, every: int, lanes_every: int) -> tuple[I64, I64]:
    """Lane [tiles] and slots [tiles, 64] of a sample; equally many tiles in each lane that has any.

    Of each `every` neighbours one slot, at random; a tile's are from all over its lane, so that tiles
    are alike.
    """
    lanes = np.flatnonzero(np.arange(geometry.lanes) % lanes_every == lanes_every // 2)
    strata = -(-geometry.slots // every)
    rng = np.random.default_rng(every)
    slot = np.full((len(lanes), -(-strata // 64) * 64), -1)
    slot[:, :strata] = np.arange(strata) * every + rng.integers(0, every, (len(lanes), strata))
    slot[slot >= geometry.slots] = -1
    if every > 1:
        slot = np.ascontiguousarray(slot.reshape(len(lanes), 64, -1).swapaxes(1, 2))
    slot = slot.reshape(-1, 64)
    return np.repeat(lanes, len(slot) // len(lanes)), slot


def _unread(timeline: Timeline, lane: I64) -> tuple[I64, U64]:
    """`offset` and `bits` of a Grid, nothing read yet."""
    ends = np.cumsum(np.diff(timeline.stretch_offset)[lane])
    return np.append(0, ends[:-1]), np.zeros(ends[-1], np.uint64)


def _stretches(timeline: Timeline, rows: I64) -> I64:
    """The stretch, of its own lane, that each of these steps begins."""
    number = np.empty(len(rows), np.int64)
    for lane in range(timeline.lanes):
        mine = timeline.table.lane[rows] == lane
        number[mine] = np.searchsorted(timeline.stretches_of(lane), rows[mine])
    return number


@kernel
def _pack(bits, rows, first_tile, slot, whole, words):
    """The sampled bits of rows, in order of tiles; `whole` where tiles are just words."""
    for k in range(len(rows)):
        row = bits[rows[k]]
        for p in range(words.shape[1]):
            if whole:
                words[k, p] = row[p]
                continue
            word = np.uint64(0)
            for i in range(64):
                at = slot[first_tile[k] + p, i]
                if at >= 0:
                    word |= np.uint64(has(row, at)) << np.uint64(i)
            words[k, p] = word


@kernel
def _deal(words, first_tile, stretch, offset, bits):
    """Words of rows to their tiles; 8 tiles at a time, for the sake of the cache."""
    for p in range(0, words.shape[1], 8):
        for k in range(len(words)):
            for q in range(p, min(p + 8, words.shape[1])):
                bits[offset[first_tile[k] + q] + stretch[k]] = words[k, q]
