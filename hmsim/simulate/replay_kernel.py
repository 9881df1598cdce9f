"""The kernel that takes a window's sampled groups through the memories, one after another."""

from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from hmsim.bits import assign
from hmsim.jit import compiled_for, kernel, record_kernel
from hmsim.memory.burst_state import ACTIVATIONS, ROW_HITS
from hmsim.memory.device import Extents
from hmsim.memory.sampling_kernel import LEARN, REPLAY
from hmsim.memory.superchip_kernel import (
    CHIP,
    REASONS,
    SERVED,
    add_wire_bytes,
    conclude,
    recall,
    serve,
)
from hmsim.simulate.extents_kernel import (
    ITEMS,
    OTHERS,
    Layout,
    Pieces,
    Placement,
    expand,
    most_pieces,
    place,
    place_weights,
    read_from_hbm,
)
from hmsim.simulate.ledger_kernel import Ledger, Ledgers, count_reads
from hmsim.simulate.tally_kernel import Tally, tally_pieces
from hmsim.workload.steps import I64, U64, Steps

F64 = NDArray[np.float64]


class Sampled(NamedTuple):
    """The groups of a window that are replayed, and where blocks are in each of their steps."""

    first: I64  # [groups] row of the steps
    last: I64  # [groups] one past the last
    sample: I64  # [rows] which of the placements is that of a row
    lanes: U64  # [n, words], see `Placement`
    held: I64  # [n]
    before: I64  # [samples, lanes]
    after: I64  # [samples, lanes]
    moved: F64  # [rows, MOVED] bytes, see extents_kernel


class Replayed(NamedTuple):
    """What each group took: seconds [groups]; row_hits and activations [groups, 2]; bus_ticks
    [groups, 2, REASONS]."""

    seconds: F64
    row_hits: I64
    activations: I64
    bus_ticks: I64

    @classmethod
    def empty(cls, groups: int) -> "Replayed":
        return cls(
            np.zeros(groups),
            np.zeros((groups, 2), np.int64),
            np.zeros((groups, 2), np.int64),
            np.zeros((groups, 2, REASONS), np.int64),
        )


@kernel
def _longer(numbers, room):
    """The same numbers, with room for so many."""
    longer = np.empty(room, np.int64)
    assign(longer[: len(numbers)], numbers)
    return longer


@kernel
def _with_room(pieces, items, others):
    """The same pieces, with room for so many more."""
    items += pieces.filled[ITEMS]
    others += pieces.filled[OTHERS]
    item, address, size, write = pieces.item, pieces.address, pieces.size, pieces.write
    if len(item) < items:
        item = _longer(item, 2 * items)
    if len(address) < others:
        address, size = _longer(address, 2 * others), _longer(size, 2 * others)
        write = _longer(write, 2 * others)
    return Pieces(item, address, size, write, pieces.filled)


@kernel
def _none():
    none = np.empty(0, np.int64)
    return Pieces(none, none, none, none, np.zeros(2, np.int64))


@record_kernel
def _clear(pieces, part):
    """Nothing is moved, and nothing counted."""
    pieces.filled[ITEMS] = pieces.filled[OTHERS] = 0
    for c in range(part.learner.channels):
        part.learner.bursts[c] = 0
    for i in range(len(part.extra)):
        part.extra[i] = 0


@record_kernel
def _serve(replay, learn, part, layout, tally, pieces, whole, extents, position, now, counts):
    """Ticks that one memory takes. Extents are made only where it has something to learn: of `whole`
    pieces, else below 0."""
    n = pieces.filled[ITEMS]
    for i in range(len(counts)):
        counts[i] = 0
    if n == 0:
        return 0
    able = part.sampled == 1 and len(tally.blocks) > 0
    if able and tally_pieces(layout, pieces, tally, part.learner, part.extra):
        ticks = recall(replay, learn, part, now, counts)
        if ticks >= 0:
            return ticks
    if not whole:
        return -1
    expand(layout, pieces, extents, position)
    made = Extents(extents.address[:n], extents.size[:n], extents.write[:n])
    return serve(replay, learn, part, made, position, now, counts)


@record_kernel
def _set_wire_bytes(link, size, pieces, wire):
    """What pieces take on the link, blocks of so many bytes among them; see `add_wire_bytes`."""
    wire[0] = wire[1] = 0
    blocks = written = 0
    for i in range(pieces.filled[ITEMS]):
        item = pieces.item[i]
        blocks += item >= 0
        written += item & int(item >= 0)
    add_wire_bytes(link, size, 0, blocks - written, wire)
    add_wire_bytes(link, size, 1, written, wire)
    for i in range(pieces.filled[OTHERS]):
        if pieces.write[i] < 0:
            add_wire_bytes(link, size, 0, -pieces.write[i], wire)
        else:
            add_wire_bytes(link, pieces.size[i], pieces.write[i], 1, wire)


_one, _two = np.zeros(1, np.int64), np.zeros((1, 1), np.int64)
_LAYOUT = Layout(_one, _one, np.zeros(1, np.uint64), _one, 0, 0)
_SAMPLED = Sampled(
    _one, _one, _one, np.zeros((1, 1), np.uint64), _one, _two, _two, np.zeros((1, 1))
)

_words = np.zeros((1, 1), np.uint64)
_LEDGER = Ledger(
    _one, np.zeros(1, np.uint16), _one, _words, _words, np.zeros(1, np.uint64), _two, _one, _one,
    _one, Tally(_one, _one, 0, 0), 1, 0, 0,
)  # fmt: skip
_LEDGERS = Ledgers(_LEDGER, _LEDGER, np.zeros(1, np.uint64))


@compiled_for(
    types.void(
        types.FunctionType(REPLAY), types.FunctionType(LEARN), CHIP, SERVED, typeof(_LAYOUT),
        typeof(_LEDGERS), typeof(Steps.empty(1)), typeof(_SAMPLED),
        typeof(Replayed.empty(1)),
    ),
    handed_on=False,
)  # fmt: skip
def replay_groups(replay, learn, chip, served, layout, ledgers, steps, sampled, out):
    """Put groups through the superchip, in order. `served`: work space."""
    hbm, dram, position = _none(), _none(), np.empty(0, np.int64)
    extents = Extents(position, position, position)
    able = len(ledgers.every) > 0
    for group in range(len(sampled.first)):
        now, counts = chip.now[0], served.counts
        hbm_ticks = dram_ticks = np.int64(-1)
        whole = not able
        while hbm_ticks < 0 or dram_ticks < 0:
            _clear(hbm, chip.hbm)
            _clear(dram, chip.dram)
            for row in range(sampled.first[group], sampled.last[group]):
                k, moved, lane = sampled.sample[row], sampled.moved[row], steps.lane[row]
                placed = Placement(sampled.lanes, sampled.held, sampled.before[k], sampled.after[k])
                items, others = most_pieces(layout, steps, row, placed, moved)
                hbm, dram = _with_room(hbm, items, others), _with_room(dram, items, others)
                place_weights(moved, lane, hbm, dram)
                counted = False
                if not whole:
                    near, read = read_from_hbm(layout, moved), steps.bits[row]
                    counted = count_reads(layout, read, placed, lane, near, ledgers, hbm, dram)
                place(layout, steps, row, placed, moved, hbm, dram, counted)
            room = max(len(hbm.item), len(dram.item))
            if len(position) <= room:
                position = np.empty(room + 1, np.int64)
                extents = Extents(
                    np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
                )
            if hbm_ticks < 0:
                hbm_ticks = _serve(
                    replay, learn, chip.hbm, layout, ledgers.hbm.tally, hbm, whole, extents,
                    position, now, counts[0],
                )  # fmt: skip
            if dram_ticks < 0:
                dram_ticks = _serve(
                    replay, learn, chip.dram, layout, ledgers.dram.tally, dram, whole, extents,
                    position, now, counts[1],
                )  # fmt: skip
            whole = True
        _set_wire_bytes(chip.link, layout.size, dram, served.wire)
        conclude(chip, hbm.filled[ITEMS] > 0, dram.filled[ITEMS] > 0, hbm_ticks, dram_ticks, served)
        out.seconds[group] = served.seconds[0]
        for memory in range(2):
            out.row_hits[group, memory] = counts[memory, ROW_HITS]
            out.activations[group, memory] = counts[memory, ACTIVATIONS]
            assign(out.bus_ticks[group, memory], served.bus_ticks[memory])
