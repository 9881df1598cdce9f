"""The kernel that takes a policy through a window of steps, carries out its moves and counts."""

from typing import NamedTuple

import numpy as np
from numba import typeof, types

from hmsim.bits import popcount
from hmsim.jit import compiled_for, kernel
from hmsim.placement.latency import (
    APPEND,
    APPEND_HBM,
    DEMOTED,
    FILLED,
    HITS,
    PROMOTED,
    READS,
    RESIDENT,
)
from hmsim.placement.policies.api import STEP, Hbm, Moves, Now, Own
from hmsim.workload.steps import I64, U64
from hmsim.workload.windows import Window

# What `advance` returns in `error`: [code, step, block]
OK, NOT_ALIVE, ALREADY_IN_HBM, NOT_IN_HBM, OVER_CAPACITY = range(5)


class State(NamedTuple):
    """A placement between two steps."""

    resident: U64  # [lanes, words]
    alive: U64  # [lanes, words]
    dying: U64  # [lanes, words], all zero between steps
    used: I64  # [1]
    capacity: int
    error: I64  # [3]


class Capture(NamedTuple):
    """Where blocks were when sampled steps began and, moves done, ended: for the memory kernels."""

    wanted: I64  # [rows] number of the sample, or -1
    before: U64  # [samples, lanes, words]
    after: U64  # [samples, lanes, words]


@kernel
def _bit(bits, lane, slot):
    return (bits[lane, slot >> 6] >> np.uint64(slot & 63)) & np.uint64(1)


@kernel
def _set(bits, lane, slot):
    bits[lane, slot >> 6] |= np.uint64(1) << np.uint64(slot & 63)


@kernel
def _clear(bits, lane, slot):
    bits[lane, slot >> 6] &= ~(np.uint64(1) << np.uint64(slot & 63))


@kernel
def _fail(state, code, step, block):
    state.error[0] = code
    state.error[1] = step
    state.error[2] = block


@kernel
def give_birth(window, row, state, place):
    """Blocks born at `row` begin to live, in HBM where `place` says so and there is room."""
    lane = window.lane[row]
    first = window.append_offset[row]
    for i in range(first, window.append_offset[row + 1]):
        if window.append_born[i] == 1:
            slot = window.append_slot[i]
            _set(state.alive, lane, slot)
            if place[i - first] == 1 and state.used[0] < state.capacity:
                _set(state.resident, lane, slot)
                state.used[0] += 1


@kernel
def _count(window, k, state, out):
    """Hits, appends and residents of row k."""
    lane = window.lane[k]
    hits = 0
    for w in range(window.bits.shape[1]):
        hits += popcount(window.bits[k, w] & state.resident[lane, w])
    appended = 0
    in_hbm = 0
    for i in range(window.append_offset[k], window.append_offset[k + 1]):
        appended += window.append_bytes[i]
        if _bit(state.resident, lane, window.append_slot[i]):
            in_hbm += window.append_bytes[i]
    out[READS] = window.reads[k]
    out[HITS] = hits
    out[RESIDENT] = state.used[0]
    out[APPEND] = appended
    out[APPEND_HBM] = in_hbm


@kernel
def _move(window, k, state, moves, out):
    """Carry out the moves decided at row k, and the deaths of row k + 1."""
    slots = window.bits.shape[1] * 64
    step = window.first + k
    read_lane = window.lane[k]
    deaths = window.death_offset[k + 2] > window.death_offset[k + 1]
    for i in range(window.death_offset[k + 1], window.death_offset[k + 2]):
        block = window.death_block[i]
        _set(state.dying, block // slots, block % slots)
    # Blocks come lane by lane, mostly: divide where the lane changes only.
    lane, base = read_lane, read_lane * slots
    for i in range(moves.count[1]):
        block = moves.demote[i]
        if block < base or block >= base + slots:
            lane = block // slots
            base = lane * slots
        slot = block - base
        if not _bit(state.resident, lane, slot):
            _fail(state, NOT_IN_HBM, step, block)
            return
        if not (deaths and _bit(state.dying, lane, slot)):
            _clear(state.resident, lane, slot)
            state.used[0] -= 1
            out[DEMOTED] += 1
    for i in range(window.death_offset[k + 1], window.death_offset[k + 2]):
        block = window.death_block[i]
        lane, slot = block // slots, block % slots
        if _bit(state.resident, lane, slot):
            _clear(state.resident, lane, slot)
            state.used[0] -= 1
    lane, base = read_lane, read_lane * slots
    for i in range(moves.count[0]):
        block = moves.promote[i]
        if block < base or block >= base + slots:
            lane = block // slots
            base = lane * slots
        slot = block - base
        if not _bit(state.alive, lane, slot):
            _fail(state, NOT_ALIVE, step, block)
            return
        if _bit(state.resident, lane, slot):
            _fail(state, ALREADY_IN_HBM, step, block)
            return
        if not (deaths and _bit(state.dying, lane, slot)):
            _set(state.resident, lane, slot)
            state.used[0] += 1
            out[PROMOTED] += 1
            if lane == read_lane and _bit(window.bits, k, slot):
                out[FILLED] += 1
    if state.used[0] > state.capacity:
        _fail(state, OVER_CAPACITY, step, state.used[0])
        return
    for i in range(window.death_offset[k + 1], window.death_offset[k + 2]):
        block = window.death_block[i]
        _clear(state.alive, block // slots, block % slots)
        _clear(state.dying, block // slots, block % slots)


_one, _two, _three = np.zeros(1, np.int64), *(np.zeros((1,) * n, np.uint64) for n in (2, 3))
_SIGNATURE = types.void(
    types.FunctionType(STEP),
    typeof(
        Window(
            0,
            0,
            _one,
            _one,
            _one,
            _two,
            _one,
            _one,
            _one,
            _one,
            _one,
            _one,
            np.zeros(1),
            np.zeros(1),
        )
    ),
    typeof(State(_two, _two, _two, _one, 0, _one)),
    typeof(Own(_two, _one, np.zeros(1))),
    typeof(Moves(_one, _one, _one, _one)),
    typeof(Capture(_one, _three, _three)),
    types.Array(types.int64, 2, "C"),
)


@compiled_for(_SIGNATURE)
def advance(step, window, state, own, moves, capture, counts):
    """Take `step` through the window's own rows; counts[k] describes row k.

    Stops at the first illegal move with `state.error` set.
    """
    total = window.lane.size
    for k in range(window.rows):
        out = counts[k]
        _count(window, k, state, out)
        sample = capture.wanted[k]
        if sample >= 0:
            capture.before[sample] = state.resident
        if k + 1 < total:  # there is a next step to move for
            before = window.append_offset[k]
            first, last = window.append_offset[k + 1], window.append_offset[k + 2]
            moves.count[:] = 0
            moves.place[: last - first] = 1
            now = Now(
                window.first + k, k, total, window.lane[k], window.lane[k + 1], window.lane,
                window.bits,
                window.append_slot[before:first],
                window.append_bytes[before:first],
                window.append_slot[first:last],
                window.hbm_bytes[k],
                window.compute_s[k],
            )  # fmt: skip
            hbm = Hbm(state.resident, state.alive, state.used, state.capacity)
            step(now, hbm, own, moves)
            _move(window, k, state, moves, out)
            if state.error[0] != OK:
                return
        if sample >= 0:
            capture.after[sample] = state.resident
        if k + 1 < total:
            give_birth(window, k + 1, state, moves.place)


def error_text(state: State) -> str:
    """The illegal move that `state.error` holds, in one line."""
    code, step, block = (int(part) for part in state.error)
    if code == OVER_CAPACITY:
        return f"step {step}: leaves {block} blocks in HBM, which holds {state.capacity}"
    lane, slot = divmod(block, state.resident.shape[1] * 64)
    what = {
        NOT_ALIVE: "promotes a block that does not exist",
        ALREADY_IN_HBM: "promotes a block that is in HBM already",
        NOT_IN_HBM: "demotes a block that is not in HBM",
    }[code]
    return f"step {step}: {what}: block {block} (slot {slot} of lane {lane})"
