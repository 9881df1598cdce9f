"""The kernel that finds a step's extents: from bitsets of blocks to addresses, in compiled code."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.bits import add, cardinality, has, lowest_bit, popcount, remove
from hmsim.jit import kernel
from hmsim.workload.steps import I64, U64

F64 = NDArray[np.float64]

WEIGHT_EXTENT = 1 << 20  # weights stream in extents of this many bytes
# What of a step's traffic the extents depend on, in bytes: columns of an array [rows, MOVED].
(
    ATTENTION_HBM,
    WEIGHTS_HBM,
    WEIGHTS_DRAM,
    APPEND_HBM,
    APPEND_DRAM,
    PROMOTION_DRAM,
    DEMOTION_DRAM,
    MOVED,
) = range(8)
_ONE = np.uint64(1)


class Layout(NamedTuple):
    """Where blocks lie; see `hmsim.simulate.extents.AddressMap`."""

    hbm_frame: I64  # [blocks] of the block of that rank among the residents
    dram_frame: I64  # [blocks]
    marks: U64  # [lanes * words] work space, all zero between calls
    before: I64  # [lanes] how many blocks are in HBM: set by `most_extents`
    after: I64  # [lanes]
    moved: I64  # [lanes] how many are so either before or after
    base: int  # first byte above the weights
    size: int  # bytes of a block


@kernel
def most_extents(layout, steps, row, before, after, moved):
    """How many extents a step can have in either memory, at most; counts blocks by lane."""
    found = steps.reads[row] + 2 * (steps.append_offset[row + 1] - steps.append_offset[row])
    words = steps.bits.shape[1]
    for lane in range(len(layout.before)):
        here = later = changed = np.int64(0)
        for w in range(lane * words, (lane + 1) * words):
            here += popcount(before[w])
            later += popcount(after[w])
            changed += popcount(before[w] ^ after[w])
        layout.before[lane], layout.after[lane], layout.moved[lane] = here, later, changed
        found += changed
    pieces = max(moved[WEIGHTS_HBM], moved[WEIGHTS_DRAM]) / WEIGHT_EXTENT
    return found + np.int64(pieces) + 2


@kernel
def _put(extents, n, address, size, write):
    extents.address[n] = address
    extents.size[n] = size
    extents.write[n] = write
    return n + 1


@kernel
def _weights(extents, n, total, lane):
    """The layer's weights, as a sequence of extents."""
    size = np.int64(np.rint(total))
    start = lane * ((size + WEIGHT_EXTENT - 1) // WEIGHT_EXTENT * WEIGHT_EXTENT)
    for offset in range(0, size, WEIGHT_EXTENT):
        n = _put(extents, n, start + offset, min(WEIGHT_EXTENT, size - offset), 0)
    return n


@kernel
def _frame(layout, residents, block):
    """Where in HBM a block among the residents lies."""
    word = block >> 6
    rank = cardinality(residents[:word])
    rank += popcount(residents[word] & ((_ONE << np.uint64(block & 63)) - _ONE))
    return layout.base + layout.hbm_frame[rank] * layout.size


@kernel
def _reads(layout, read, here, lane, blocks, hbm, h, dram, d):
    """What attention reads: of the blocks in HBM so many, spread evenly, from there; of the others,
    those that have no copy in HBM first, from DRAM."""
    words = read.size
    first = lane * words
    hits = 0
    for w in range(words):
        both = read[w] & here[first + w]
        hits += popcount(both)
        missing = read[w] & ~both
        while missing != 0:
            block = (first + w) * 64 + lowest_bit(missing)
            missing &= missing - _ONE
            address = layout.base + layout.dram_frame[block] * layout.size
            d = _put(dram, d, address, layout.size, 0)
    near = min(hits, blocks)
    rank = layout.before[:lane].sum()
    number = 0  # of the hit
    # The i-th read from HBM is hit i * hits // near.
    chosen = 0 if near > 0 else -1
    over, whole, part = 0, hits // max(near, 1), hits % max(near, 1)
    for w in range(words):
        inside = here[first + w]
        both = read[w] & inside
        while both != 0:
            bit = both & (~both + _ONE)
            if number == chosen:
                at = rank + popcount(inside & (bit - _ONE))
                address = layout.base + layout.hbm_frame[at] * layout.size
                h = _put(hbm, h, address, layout.size, 0)
                chosen += whole
                over += part
                if over >= near:
                    over -= near
                    chosen += 1
            else:
                block = (first + w) * 64 + lowest_bit(both)
                address = layout.base + layout.dram_frame[block] * layout.size
                d = _put(dram, d, address, layout.size, 0)
            number += 1
            both &= both - _ONE
        rank += popcount(inside)
    return h, d


@kernel
def _appends(layout, steps, row, here, after, moved, hbm, h, dram, d):
    """What the step appends. Blocks that the step itself placed in HBM are left marked."""
    lane = steps.lane[row] * steps.bits.shape[1] * 64
    entries = range(steps.append_offset[row], steps.append_offset[row + 1])
    total = early = 0
    for i in entries:
        total += steps.append_bytes[i]
        block = lane + steps.append_slot[i]
        if moved[APPEND_HBM] > 0 and has(here, block):
            early += steps.append_bytes[i]
            h = _put(hbm, h, _frame(layout, here, block), steps.append_bytes[i], 1)
    for i in entries:
        block = lane + steps.append_slot[i]
        inside = moved[APPEND_HBM] > 0 and has(here, block)
        # The authors' strategies place a newborn within its step.
        if not inside and moved[APPEND_HBM] > early and has(after, block):
            h = _put(hbm, h, _frame(layout, after, block), steps.append_bytes[i], 1)
            add(layout.marks, block)
        if moved[APPEND_DRAM] > 0 and not (moved[APPEND_DRAM] < total and inside):
            address = layout.base + layout.dram_frame[block] * layout.size
            d = _put(dram, d, address, steps.append_bytes[i], 1)
    return h, d


@kernel
def _moves(layout, steps, row, here, after, moved, hbm, h, dram, d):
    """What promotions and demotions carry, marked newborns and dying blocks apart."""
    read = steps.bits[row]
    words = read.size
    first = steps.lane[row] * words
    marks, size = layout.marks, layout.size
    promoted = rank = 0
    for lane in range(len(layout.moved)):
        before = rank
        rank += layout.after[lane]
        if layout.moved[lane] == 0:
            continue
        for w in range(lane * words, (lane + 1) * words):
            found = after[w] & ~here[w] & ~marks[w]
            promoted += popcount(found)
            while found != 0:
                bit = found & (~found + _ONE)
                at = before + popcount(after[w] & (bit - _ONE))
                h = _put(hbm, h, layout.base + layout.hbm_frame[at] * size, size, 1)
                found &= found - _ONE
            before += popcount(after[w])
    filled = np.int64(np.rint(moved[PROMOTION_DRAM] / size)) < promoted  # on read
    for lane in range(len(layout.moved) if promoted > 0 else 0):
        for w in range(lane * words, (lane + 1) * words if layout.moved[lane] > 0 else 0):
            found = after[w] & ~here[w] & ~marks[w]
            if filled and first <= w < first + words:
                found &= ~read[w - first]
            while found != 0:
                block = w * 64 + lowest_bit(found)
                d = _put(dram, d, layout.base + layout.dram_frame[block] * size, size, 0)
                found &= found - _ONE
    for i in range(steps.append_offset[row], steps.append_offset[row + 1]):
        remove(marks, first * 64 + steps.append_slot[i])
    if moved[DEMOTION_DRAM] == 0:  # DRAM has its copy already
        return h, d
    dead = steps.death_block[:0]
    if row + 1 < steps.lane.size:
        dead = steps.death_block[steps.death_offset[row + 1] : steps.death_offset[row + 2]]
    for block in dead:
        add(marks, block)
    rank = 0
    for lane in range(len(layout.moved)):
        before = rank
        rank += layout.before[lane]
        if layout.moved[lane] == 0:
            continue
        for w in range(lane * words, (lane + 1) * words):
            found = here[w] & ~after[w] & ~marks[w]
            while found != 0:
                bit = found & (~found + _ONE)
                at = before + popcount(here[w] & (bit - _ONE))
                h = _put(hbm, h, layout.base + layout.hbm_frame[at] * size, size, 0)
                block = w * 64 + lowest_bit(found)
                d = _put(dram, d, layout.base + layout.dram_frame[block] * size, size, 1)
                found &= found - _ONE
            before += popcount(here[w])
    for block in dead:
        remove(marks, block)
    return h, d


@kernel
def place(layout, steps, row, before, after, moved, hbm, h, dram, d):
    """Write the extents of row `row` of the steps from places h and d on; where they end.

    before, after: uint64 [lanes * words], the blocks in HBM as the step begins and, its moves done,
    ends. moved: float64 [MOVED]. hbm, dram: Extents with place for `most_extents`, which has to be
    asked just before. The row after it has to be among the steps, unless it is the workload's last.
    """
    lane = steps.lane[row]
    h = _weights(hbm, h, moved[WEIGHTS_HBM], lane)
    d = _weights(dram, d, moved[WEIGHTS_DRAM], lane)
    blocks = np.int64(np.rint(moved[ATTENTION_HBM] / layout.size))
    h, d = _reads(layout, steps.bits[row], before, lane, blocks, hbm, h, dram, d)
    h, d = _appends(layout, steps, row, before, after, moved, hbm, h, dram, d)
    return _moves(layout, steps, row, before, after, moved, hbm, h, dram, d)
