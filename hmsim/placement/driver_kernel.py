"""The kernel that takes a policy through a window of steps, carries out its moves and counts."""

from typing import NamedTuple

import numpy as np
from numba import typeof, types

from hmsim.bits import add, has, popcount, remove
from hmsim.jit import compiled_for, inlined, kernel
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
from hmsim.placement.snapshots_kernel import Capture, keep, touch
from hmsim.placement.step import STEP, Hbm, Moves, Now, Own, read_only
from hmsim.workload.steps import I64, U64, Steps
from hmsim.workload.windows import Window

# What `advance` returns in `error`: [code, step, block]
OK, NOT_ALIVE, ALREADY_IN_HBM, NOT_IN_HBM, OVER_CAPACITY, NO_BLOCK, NO_COUNT = range(7)


class State(NamedTuple):
    """A placement between two steps."""

    resident: U64  # [lanes, words]
    alive: U64  # [lanes, words]
    dying: U64  # [lanes, words], all zero between steps
    used: I64  # [1]
    capacity: int
    error: I64  # [3]


class Seen(NamedTuple):
    """What the policy may look at, read-only: steps as in `Steps`, a placement as in `State`."""

    lane: I64
    bits: U64
    append_slot: I64
    append_bytes: I64
    resident: U64
    alive: U64
    used: I64


def seen_of(steps: Steps, state: State) -> Seen:
    """The policy's view of the steps and the placement."""
    arrays = (
        steps.lane, steps.bits, steps.append_slot, steps.append_bytes,
        state.resident, state.alive, state.used,
    )  # fmt: skip
    return Seen(*map(read_only, arrays))


@kernel
def _fail(state, code, step, block):
    state.error[0] = code
    state.error[1] = step
    state.error[2] = block


@kernel
def give_birth(steps, row, state, place):
    """Blocks born at `row` begin to live, in HBM where `place` says so and capacity is left."""
    lane = steps.lane[row]
    first = steps.append_offset[row]
    for i in range(first, steps.append_offset[row + 1]):
        if steps.append_born[i] == 1:
            slot = steps.append_slot[i]
            add(state.alive[lane], slot)
            if place[i - first] == 1 and state.used[0] < state.capacity:
                add(state.resident[lane], slot)
                state.used[0] += 1


@kernel
def _count(steps, k, state, out):
    """Hits, appends and residents of row k."""
    resident = state.resident[steps.lane[k]]
    hits = 0
    for w in range(resident.size):
        hits += popcount(steps.bits[k, w] & resident[w])
    appended = 0
    in_hbm = 0
    for i in range(steps.append_offset[k], steps.append_offset[k + 1]):
        appended += steps.append_bytes[i]
        if has(resident, steps.append_slot[i]):
            in_hbm += steps.append_bytes[i]
    out[READS] = steps.reads[k]
    out[HITS] = hits
    out[RESIDENT] = state.used[0]
    out[APPEND] = appended
    out[APPEND_HBM] = in_hbm


@kernel
def _move(steps, k, state, moves, capture, out):
    """Carry out the moves decided at row k, and the deaths of row k + 1."""
    # Bitsets of global block numbers: `bits.py` says why lanes may be laid flat.
    resident, alive = state.resident.reshape(-1), state.alive.reshape(-1)
    dying = state.dying.reshape(-1)
    step, read = steps.first + k, steps.bits[k]
    slots = read.size * 64
    first_read = steps.lane[k] * slots
    dead = steps.death_block[steps.death_offset[k + 1] : steps.death_offset[k + 2]]
    blocks = resident.size * 64
    for count in moves.count:
        if count < 0 or count > blocks:
            _fail(state, NO_COUNT, step, count)
            return
    lane = -slots  # of the block before, by its first one
    for block in dead:
        add(dying, block)
        lane = touch(capture, slots, block, lane)
    for block in moves.demote[: moves.count[1]]:
        if block < 0 or block >= blocks:
            _fail(state, NO_BLOCK, step, block)
            return
        if not has(resident, block):
            _fail(state, NOT_IN_HBM, step, block)
            return
        lane = touch(capture, slots, block, lane)
        if not (dead.size > 0 and has(dying, block)):
            remove(resident, block)
            state.used[0] -= 1
            out[DEMOTED] += 1
    for block in dead:
        if has(resident, block):
            remove(resident, block)
            state.used[0] -= 1
    for block in moves.promote[: moves.count[0]]:
        if block < 0 or block >= blocks:
            _fail(state, NO_BLOCK, step, block)
            return
        if not has(alive, block):
            _fail(state, NOT_ALIVE, step, block)
            return
        if has(resident, block):
            _fail(state, ALREADY_IN_HBM, step, block)
            return
        lane = touch(capture, slots, block, lane)
        if not (dead.size > 0 and has(dying, block)):
            add(resident, block)
            state.used[0] += 1
            out[PROMOTED] += 1
            slot = block - first_read
            if 0 <= slot < slots and has(read, slot):
                out[FILLED] += 1
    if state.used[0] > state.capacity:
        _fail(state, OVER_CAPACITY, step, state.used[0])
        return
    for block in dead:
        remove(alive, block)
        remove(dying, block)


@inlined
def _now(steps, seen, k):
    """What the policy sees at row k, which is not the last."""
    before, first, last = (
        steps.append_offset[k],
        steps.append_offset[k + 1],
        steps.append_offset[k + 2],
    )
    return Now(
        step=steps.first + k,
        row=k,
        rows=steps.lane.size,
        lane=steps.lane[k],
        next_lane=steps.lane[k + 1],
        lanes_of=seen.lane,
        bits=seen.bits,
        appended=seen.append_slot[before:first],
        appended_bytes=seen.append_bytes[before:first],
        coming=seen.append_slot[first:last],
        hbm_bytes=steps.hbm_bytes[k],
        compute_s=steps.compute_s[k],
    )


_one, _two, _rows = np.zeros(1, np.int64), np.zeros((1, 1), np.uint64), np.zeros((1, 1), np.int64)
_SIGNATURE = types.void(
    types.FunctionType(STEP),
    typeof(Window(Steps.empty(1), 0)),
    typeof(State(_two, _two, _two, _one, 0, _one)),
    typeof(seen_of(Steps.empty(1), State(_two, _two, _two, _one, 0, _one))),
    typeof(Own(_two, _one, np.zeros(1))),
    typeof(Moves(_one, _one, _one, _one)),
    typeof(Capture(_one, _two, _one, _one, _one, _rows, _rows)),
    types.Array(types.int64, 2, "C"),
)


@compiled_for(_SIGNATURE, handed_on=False)
def advance(step, window, state, seen, own, moves, capture, counts):
    """Take `step` through the window's own rows; counts[k] describes row k.

    Stops at the first illegal move with `state.error` set.
    """
    steps = window.steps
    total = steps.lane.size
    for k in range(window.rows):
        out = counts[k]
        _count(steps, k, state, out)
        sample = capture.wanted[k]
        if sample >= 0:
            keep(capture, state.resident, capture.before[sample])
        if k + 1 < total:  # there is a next step to move for
            now = _now(steps, seen, k)
            moves.count[:] = 0
            moves.place[: now.coming.size] = 1
            hbm = Hbm(seen.resident, seen.alive, seen.used, state.capacity)
            step(now, hbm, own, moves)
            _move(steps, k, state, moves, capture, out)
            if state.error[0] != OK:
                return
        if sample >= 0:
            keep(capture, state.resident, capture.after[sample])
        if k + 1 < total:
            give_birth(steps, k + 1, state, moves.place)
            capture.touched[steps.lane[k + 1]] = 1


def error_text(state: State) -> str:
    """The illegal move that `state.error` holds, in one line."""
    code, step, block = (int(part) for part in state.error)
    if code == OVER_CAPACITY:
        return f"step {step}: leaves {block} blocks in HBM, which holds {state.capacity}"
    if code == NO_COUNT:
        return f"step {step}: says that it makes {block} moves"
    if code == NO_BLOCK:
        most = state.resident.size * 64 - 1
        return f"step {step}: moves block {block}: blocks are numbered from 0 to {most}"
    lane, slot = divmod(block, state.resident.shape[1] * 64)
    what = {
        NOT_ALIVE: "promotes a block that does not exist",
        ALREADY_IN_HBM: "promotes a block that is in HBM already",
        NOT_IN_HBM: "demotes a block that is not in HBM",
    }[code]
    return f"step {step}: {what}: block {block} (slot {slot} of lane {lane})"
