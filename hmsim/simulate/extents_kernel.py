"""The kernel that finds a step's extents: from bitsets of blocks to frames, in compiled code.

Nearly all that a step moves are whole blocks, which lie in frames as large as they. So a step is
written down as *pieces*, a number for each; extents are made of these where they are needed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.bits import add, cardinality, has, lowest_bit, popcount, remove
from hmsim.jit import record_expanded, record_inlined, record_kernel
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
ITEMS, OTHERS = range(2)
_ONE = np.uint64(1)


class Layout(NamedTuple):
    """Where blocks lie; see `hmsim.simulate.extents.AddressMap`."""

    hbm_frame: I64  # [blocks] of the block of that rank among the residents
    dram_frame: I64  # [blocks]
    marks: U64  # [lanes * words] work space, all zero between calls
    moved: I64  # [lanes] how many blocks are moved: set by `most_pieces`
    base: int  # first byte above the weights
    size: int  # bytes of a block


class Placement(NamedTuple):
    """Which blocks are in HBM as a step begins and, its moves done, ends. Lanes that are alike may
    be kept once."""

    lanes: U64  # [n, words]
    held: I64  # [n] how many blocks that is, or -1 where nobody has counted yet
    before: I64  # [lanes] which of these bitsets is each lane's
    after: I64  # [lanes]


class Pieces(NamedTuple):
    """What is moved in one memory, in the order of issue.

    item: int64 [n]: a block's frame doubled, and 1 more where it is written; or, below 0, what is no
    whole block: ~i, where address[i], size[i] and write[i] say what. Where write[i] is below 0, it
    stands for -write[i] blocks that are read and counted already (`ledger_kernel`), the first from byte
    address[i] on, the last up to byte size[i]. filled: [2], so many of either.
    """

    item: I64
    address: I64
    size: I64
    write: I64
    filled: I64

    @classmethod
    def empty(cls, items: int, others: int) -> "Pieces":
        """With room for so many."""
        address, size, write = np.zeros((3, others), np.int64)
        return cls(np.zeros(items, np.int64), address, size, write, np.zeros(2, np.int64))


@record_kernel
def most_pieces(layout, steps, row, placed, moved):
    """How many items a step can have in either memory, at most, and others among them; counts blocks
    by lane."""
    lanes, held = placed.lanes, placed.held
    appends = steps.append_offset[row + 1] - steps.append_offset[row]
    found = steps.reads[row]
    for lane in range(len(layout.moved)):
        before, after = placed.before[lane], placed.after[lane]
        for each in (before, after):
            if held[each] < 0:
                held[each] = cardinality(lanes[each])
        changed = np.int64(0)
        if before != after:
            for w in range(lanes.shape[1]):
                changed += popcount(lanes[before, w] ^ lanes[after, w])
        layout.moved[lane] = changed
        found += changed
    weights = max(moved[WEIGHTS_HBM], moved[WEIGHTS_DRAM]) / WEIGHT_EXTENT
    others = 2 * appends + np.int64(weights) + 3
    return found + others, others


@record_inlined
def put(pieces, address, size, write):
    """Add what is no whole block."""
    n, other = pieces.filled[ITEMS], pieces.filled[OTHERS]
    pieces.address[other] = address
    pieces.size[other] = size
    pieces.write[other] = write
    pieces.item[n] = ~other
    pieces.filled[ITEMS] = n + 1
    pieces.filled[OTHERS] = other + 1


@record_kernel
def place_weights(moved, lane, hbm, dram):
    """Add the layer's weights, as a sequence of extents."""
    for pieces, total in ((hbm, moved[WEIGHTS_HBM]), (dram, moved[WEIGHTS_DRAM])):
        size = np.int64(np.rint(total))
        start = lane * ((size + WEIGHT_EXTENT - 1) // WEIGHT_EXTENT * WEIGHT_EXTENT)
        for offset in range(0, size, WEIGHT_EXTENT):
            put(pieces, start + offset, min(WEIGHT_EXTENT, size - offset), 0)


@record_inlined
def held_before(placed, rows, lanes):
    """How many blocks are in HBM in the first so many lanes."""
    total = 0
    for lane in range(lanes):
        total += placed.held[rows[lane]]
    return total


@record_inlined
def _put_homes(items, n, frame, first, blocks, write):
    """Add the blocks of a word, whose homes in DRAM are frame[first] on; how many items there are."""
    while blocks != 0:
        items[n] = 2 * frame[first + lowest_bit(blocks)] + write
        blocks &= blocks - _ONE
        n += 1
    return n


@record_inlined
def _put_ranked(items, n, frame, first, blocks, inside, write):
    """Add those of the residents `inside` of a word that are among the blocks; the residents lie in
    frame[first] on."""
    while blocks != 0:
        below = (blocks & (~blocks + _ONE)) - _ONE
        items[n] = 2 * frame[first + popcount(inside & below)] + write
        blocks &= blocks - _ONE
        n += 1
    return n


@record_kernel
def _reads(layout, read, placed, lane, blocks, hbm, dram):
    """What attention reads: of the blocks in HBM so many, spread evenly, from there; of the others,
    those that have no copy in HBM first, from DRAM."""
    words = len(read)
    here = placed.lanes[placed.before[lane]]
    home, first = layout.dram_frame, lane * words * 64
    d = dram.filled[ITEMS]
    hits = 0
    for w in range(words):
        hits += popcount(read[w] & here[w])
        d = _put_homes(dram.item, d, home, first + 64 * w, read[w] & ~here[w], 0)
    near = min(hits, blocks)
    h = hbm.filled[ITEMS]
    frame, rank = layout.hbm_frame, held_before(placed, placed.before, lane)
    number = 0  # of the hit
    # The i-th read from HBM is hit i * hits // near.
    chosen = 0 if near > 0 else -1
    over, whole, part = 0, hits // max(near, 1), hits % max(near, 1)
    for w in range(words):
        inside = here[w]
        both = read[w] & inside
        while both != 0:
            bit = both & (~both + _ONE)
            if number == chosen:
                hbm.item[h] = 2 * frame[rank + popcount(inside & (bit - _ONE))]
                h += 1
                chosen += whole
                over += part
                if over >= near:
                    over -= near
                    chosen += 1
            else:
                dram.item[d] = 2 * home[first + w * 64 + lowest_bit(both)]
                d += 1
            number += 1
            both &= both - _ONE
        rank += popcount(inside)
    hbm.filled[ITEMS] = h
    dram.filled[ITEMS] = d


@record_kernel
def _address(layout, placed, rows, lane, slot):
    """Where in HBM a block among the residents lies; rows: `before` or `after`."""
    word, lanes = slot >> 6, placed.lanes[rows[lane]]
    rank = held_before(placed, rows, lane) + cardinality(lanes[:word])
    rank += popcount(lanes[word] & ((_ONE << np.uint64(slot & 63)) - _ONE))
    return layout.base + layout.hbm_frame[rank] * layout.size


@record_kernel
def _appends(layout, steps, row, placed, moved, hbm, dram):
    """What the step appends. Blocks that the step itself placed in HBM are left marked."""
    lane = steps.lane[row]
    here, after = placed.lanes[placed.before[lane]], placed.lanes[placed.after[lane]]
    first = lane * len(here) * 64
    entries = range(steps.append_offset[row], steps.append_offset[row + 1])
    total = early = 0
    for i in entries:
        size, slot = steps.append_bytes[i], steps.append_slot[i]
        total += size
        if moved[APPEND_HBM] > 0 and has(here, slot):
            early += size
            put(hbm, _address(layout, placed, placed.before, lane, slot), size, 1)
    for i in entries:
        size, slot = steps.append_bytes[i], steps.append_slot[i]
        inside = moved[APPEND_HBM] > 0 and has(here, slot)
        # The authors' strategies place a newborn within its step.
        if not inside and moved[APPEND_HBM] > early and has(after, slot):
            put(hbm, _address(layout, placed, placed.after, lane, slot), size, 1)
            add(layout.marks, first + slot)
        if moved[APPEND_DRAM] > 0 and not (moved[APPEND_DRAM] < total and inside):
            put(dram, layout.base + layout.dram_frame[first + slot] * layout.size, size, 1)


@record_kernel
def _moves(layout, steps, row, placed, moved, hbm, dram):
    """What promotions and demotions carry, marked newborns and dying blocks apart."""
    read, own = steps.bits[row], steps.lane[row]
    words = len(read)
    marks, frame, home = layout.marks, layout.hbm_frame, layout.dram_frame
    h, d = hbm.filled[ITEMS], dram.filled[ITEMS]
    promoted = 0
    for lane in range(len(layout.moved)):
        here, after = placed.lanes[placed.before[lane]], placed.lanes[placed.after[lane]]
        for w in range(words if layout.moved[lane] > 0 else 0):
            promoted += popcount(after[w] & ~here[w] & ~marks[lane * words + w])
    filled = np.int64(np.rint(moved[PROMOTION_DRAM] / layout.size)) < promoted  # on read
    rank = 0
    for lane in range(len(layout.moved)):
        here, after = placed.lanes[placed.before[lane]], placed.lanes[placed.after[lane]]
        at = rank
        for w in range(words if layout.moved[lane] > 0 else 0):
            found = after[w] & ~here[w] & ~marks[lane * words + w]
            h = _put_ranked(hbm.item, h, frame, at, found, after[w], 1)
            if filled and lane == own:
                found &= ~read[w]
            d = _put_homes(dram.item, d, home, (lane * words + w) * 64, found, 0)
            at += popcount(after[w])
        rank += placed.held[placed.after[lane]]
    for i in range(steps.append_offset[row], steps.append_offset[row + 1]):
        remove(marks, own * words * 64 + steps.append_slot[i])
    dead = steps.death_block[:0]
    if row + 1 < len(steps.lane):
        dead = steps.death_block[steps.death_offset[row + 1] : steps.death_offset[row + 2]]
    for block in dead:
        add(marks, block)
    rank = 0
    for lane in range(
        len(layout.moved) if moved[DEMOTION_DRAM] != 0 else 0
    ):  # else DRAM has copies
        here, after = placed.lanes[placed.before[lane]], placed.lanes[placed.after[lane]]
        at = rank
        for w in range(words if layout.moved[lane] > 0 else 0):
            found = here[w] & ~after[w] & ~marks[lane * words + w]
            h = _put_ranked(hbm.item, h, frame, at, found, here[w], 0)
            d = _put_homes(dram.item, d, home, (lane * words + w) * 64, found, 1)
            at += popcount(here[w])
        rank += placed.held[placed.before[lane]]
    for block in dead:
        remove(marks, block)
    hbm.filled[ITEMS] = h
    dram.filled[ITEMS] = d


@record_expanded
def read_from_hbm(layout, moved):
    """How many blocks attention reads from HBM."""
    return np.int64(np.rint(moved[ATTENTION_HBM] / layout.size))


@record_expanded
def place(layout, steps, row, placed, moved, hbm, dram, counted):
    """Add the pieces of row `row` of the steps, weights apart, which come first; and what attention
    reads, unless that is `counted` already.

    moved: float64 [MOVED]. hbm, dram: with place for `most_pieces`, which has to be asked just
    before. The row after it has to be among the steps, unless it is the workload's last.
    """
    if not counted:
        blocks = read_from_hbm(layout, moved)
        _reads(layout, steps.bits[row], placed, steps.lane[row], blocks, hbm, dram)
    _appends(layout, steps, row, placed, moved, hbm, dram)
    _moves(layout, steps, row, placed, moved, hbm, dram)


@record_kernel
def expand(layout, pieces, extents, position):
    """Make extents of the pieces; position: int64 [n + 1], bytes before each of them, and in all."""
    total = 0
    for i in range(pieces.filled[ITEMS]):
        item = pieces.item[i]
        if item >= 0:
            extents.address[i] = layout.base + (item >> 1) * layout.size
            extents.size[i] = layout.size
            extents.write[i] = item & 1
        else:
            extents.address[i] = pieces.address[~item]
            extents.size[i] = pieces.size[~item]
            extents.write[i] = pieces.write[~item]
        position[i] = total
        total += extents.size[i]
    position[pieces.filled[ITEMS]] = total
