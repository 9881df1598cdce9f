"""From a stream of steps to what the dual works on: the time line, and segments of blocks."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.bound.paths.runs_kernel import DEATH, Segments, byte_count
from hmsim.bound.paths.tables_kernel import SPAN
from hmsim.jit import kernel
from hmsim.workload.steps import I64, U64, Geometry, Steps

MORE, CROSSING, DONE = range(3)  # why `_cut` returns


class Timeline(NamedTuple):
    """What every block sees alike, of a whole run. A lane's stretches: see `tables_kernel`."""

    table: Steps  # all T steps, without blocks
    append_bytes: I64  # [T]
    stretch_offset: I64  # [lanes + 1]
    stretch_step: I64  # first step of each stretch, by lane

    @property
    def steps(self) -> int:
        return self.table.rows

    @property
    def lanes(self) -> int:
        return len(self.stretch_offset) - 1

    def stretches_of(self, lane: int) -> I64:
        return self.stretch_step[self.stretch_offset[lane] : self.stretch_offset[lane + 1]]


class Part(NamedTuple):
    """A share of the blocks: ranges of lanes and of words, without the last."""

    first_lane: int
    last_lane: int
    first_word: int
    last_word: int


class Open(NamedTuple):
    """The segment that each block is in."""

    known: U64  # [lanes, words] blocks met and alive
    reading: U64  # [lanes, words] of those, the ones read
    first: np.ndarray  # int32 [lanes * slots] stretch at which the segment began
    append: np.ndarray  # [lanes * slots] bytes appended there
    stretches: I64  # [lanes] stretches begun
    crossed: I64  # [lanes] multiples of SPAN crossed


def parts_of(geometry: Geometry, count: int) -> list[Part]:
    """The blocks in about `count` shares: of lanes where there are enough, else of words."""
    lanes, words = geometry.lanes, geometry.words
    if lanes >= count:
        cuts = [lanes * i // count for i in range(count + 1)]
        return [Part(a, b, 0, words) for a, b in pairwise(cuts)]
    cuts = sorted({words * i // count for i in range(count + 1)})
    return [Part(0, lanes, a, b) for a, b in pairwise(cuts)]


def open_segments(geometry: Geometry, first_lane: int, parts: int) -> list[Open]:
    """Each part's state before step 0, which is `first_lane`'s; what is by block is shared."""
    shape = (geometry.lanes, geometry.words)
    blocks = geometry.lanes * geometry.slots
    shared = Open(
        np.zeros(shape, np.uint64),
        np.zeros(shape, np.uint64),
        np.zeros(blocks, np.int32),
        np.zeros(blocks, byte_count(geometry.block_bytes)),
        np.ones(geometry.lanes, np.int64),
        np.zeros(geometry.lanes, np.int64),
    )
    shared.stretches[first_lane] = 0
    return [
        shared._replace(stretches=shared.stretches.copy(), crossed=shared.crossed.copy())
        for _ in range(parts)
    ]


def cut(steps: Steps, part: Part, state: Open) -> Iterator[tuple[Segments, int]]:
    """Segments that end in these steps, batch by batch, and the lane that crosses a SPAN's end.

    The lane is -1 for none. Every segment is cut where its lane crosses.
    """
    row, size = 0, 1 << 16
    while row < steps.rows:
        out = _new_segments(size, state)
        row, count, lane, reason = _cut(steps, row, part, state, out)
        if reason == MORE and count == 0:
            size *= 2
            continue
        yield Segments(*(column[:count] for column in out)), lane


def close(part: Part, state: Open) -> Segments:
    """The segments still open after the last step."""
    out = _new_segments(int(np.bitwise_count(state.known).sum()), state)
    count = 0
    for lane in range(part.first_lane, part.last_lane):
        count = _close_lane(lane, part, state, out, count)
    return Segments(*(column[:count] for column in out))


def timeline_of(steps: Steps, lanes: int) -> Timeline:
    """The time line of a whole run, of which the bits are not needed."""
    grown = np.bincount(steps.append_row, steps.append_bytes, steps.rows).astype(np.int64)
    return Timeline(steps.without_blocks(), grown, *_stretches_by_lane(steps.lane, lanes))


def _stretches_by_lane(lane: I64, lanes: int) -> tuple[I64, I64]:
    """Offsets and first steps of stretches: a lane's own steps, and step 0 if they begin later."""
    by_lane = [np.flatnonzero(lane == each) for each in range(lanes)]
    by_lane = [own if len(own) and own[0] == 0 else np.append(0, own) for own in by_lane]
    offset = np.cumsum([0] + [len(own) for own in by_lane])
    return offset.astype(np.int64), np.concatenate(by_lane).astype(np.int64)


def _new_segments(size: int, state: Open) -> Segments:
    kinds = (np.int16, np.int32, np.int32, np.int32, np.int8, state.append.dtype)
    return Segments(*(np.empty(size, kind) for kind in kinds))


@kernel
def _cut(steps, row, part, state, out):
    """Segments that end at rows from `row` on: (row reached, how many, lane, reason)."""
    slots = 64 * state.known.shape[1]
    low, high = 64 * part.first_word, 64 * part.last_word
    known, reading = state.known, state.reading
    first, append = state.first, state.append
    count = 0
    for k in range(row, len(steps.lane)):
        lane = steps.lane[k]
        mine = part.first_lane <= lane < part.last_lane
        appends = steps.append_offset[k + 1] - steps.append_offset[k]
        deaths = steps.death_offset[k + 1] - steps.death_offset[k]
        if count + 2 * deaths + appends + high - low > len(out.block):
            return k, count, -1, MORE
        for i in range(steps.death_offset[k], steps.death_offset[k + 1]):
            block = steps.death_block[i]
            if part.first_lane <= block // slots < part.last_lane and low <= block % slots < high:
                count = _die(block, slots, steps.first + k, state, out, count)
        if not mine:
            continue
        stretch = state.stretches[lane]
        if stretch // SPAN > state.crossed[lane]:
            count = _close_lane(lane, part, state, out, count)
            state.crossed[lane] = stretch // SPAN
            return k, count, lane, CROSSING
        for i in range(steps.append_offset[k], steps.append_offset[k + 1]):
            slot = steps.append_slot[i]
            word, bit = slot >> 6, np.uint64(1) << np.uint64(slot & 63)
            if not low <= slot < high:
                continue
            block = lane * slots + slot
            if steps.append_born[i] == 1:
                state.first[block] = stretch
            else:
                count = _put(
                    lane, block, stretch, state.reading[lane, word] & bit, state, out, count
                )
            state.append[block] = steps.append_bytes[i]
            state.known[lane, word] |= bit
            state.reading[lane, word] &= ~bit
            state.reading[lane, word] |= steps.bits[k, word] & bit
        for word in range(part.first_word, part.last_word):
            before = reading[lane, word]
            changed = steps.bits[k, word] ^ before
            if changed == 0:
                continue
            reading[lane, word] = before ^ changed
            known[lane, word] |= changed
            # As `_put`, by hand: handing all these arrays over would cost ten times the work.
            while changed != 0:
                place = lowest_bit(changed)
                changed &= changed - np.uint64(1)
                block = lane * slots + 64 * word + place
                if first[block] < stretch:
                    out.lane[count] = lane
                    out.block[count] = block
                    out.first[count] = first[block]
                    out.last[count] = stretch - 1
                    out.kind[count] = np.int64(before >> np.uint64(place)) & 1
                    out.append[count] = append[block]
                    append[block] = 0
                    first[block] = stretch
                    count += 1
        state.stretches[lane] = stretch + 1
    return len(steps.lane), count, -1, DONE


@kernel
def _put(lane, block, stretch, read, state, out, count):
    """End a block's segment before `stretch`, unless it would be empty, and begin another."""
    if state.first[block] < stretch:
        out.lane[count] = lane
        out.block[count] = block
        out.first[count] = state.first[block]
        out.last[count] = stretch - 1
        out.kind[count] = 1 if read != 0 else 0
        out.append[count] = state.append[block]
        count += 1
        state.append[block] = 0
        state.first[block] = stretch
    return count


@kernel
def _die(block, slots, step, state, out, count):
    """End a block's life at the beginning of `step`: the stretch that runs is cut short."""
    lane, slot = block // slots, block % slots
    word, bit = slot >> 6, np.uint64(1) << np.uint64(slot & 63)
    if state.known[lane, word] & bit == 0:
        return count
    read = state.reading[lane, word] & bit
    count = _put(lane, block, state.stretches[lane] - 1, read, state, out, count)
    out.lane[count] = lane
    out.block[count] = block
    out.first[count] = state.first[block]
    out.last[count] = step
    out.kind[count] = DEATH + (1 if read != 0 else 0)
    out.append[count] = state.append[block]
    state.known[lane, word] &= ~bit
    state.reading[lane, word] &= ~bit
    return count + 1


@kernel
def _close_lane(lane, part, state, out, count):
    """End the segments of all blocks of a lane before its next stretch, and begin others."""
    slots = 64 * state.known.shape[1]
    for word in range(part.first_word, part.last_word):
        left = state.known[lane, word]
        while left != 0:
            slot = 64 * word + lowest_bit(left)
            bit = left & (~left + np.uint64(1))
            left ^= bit
            read = state.reading[lane, word] & bit
            count = _put(lane, lane * slots + slot, state.stretches[lane], read, state, out, count)
    return count
