"""The cheapest paths of blocks at given prices: their cost forward, what they use backward.

A block's life is a chain of *segments*: runs of its lane's cells over which it is read throughout,
or not at all; a new one also starts where bytes are appended. Segments come in order of their end,
so that all blocks of a lane move through its tables together. Forward, a segment is two look-ups;
backward, its moves are jumped to. The work is proportional to segments and moves, whatever the
number of steps.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from hmsim.placement.bound.tables_kernel import LEVEL, Prices, Tables, last_stay, through
from hmsim.workload.stream import F64, I64

UNREAD, READ, DEATH = 0, 1, 2  # kinds of segments; DEATH is a flag


class Segments(NamedTuple):
    """Segments in order of their end. Of a kind with DEATH: the cell that a death cuts short."""

    lane: np.ndarray  # int16
    block: np.ndarray  # int32, global number
    first: np.ndarray  # int32, first cell
    last: np.ndarray  # int32, last cell; with DEATH the step of the death
    kind: np.ndarray  # int8
    append: np.ndarray  # int32 bytes appended at the first cell's own step


class Paths(NamedTuple):
    """Per block [lanes * slots]: least costs so far, to be in DRAM and in HBM; then the state."""

    dram: F64
    hbm: F64
    state: np.ndarray  # uint8


class Use(NamedTuple):
    """How many blocks the cheapest paths take where; sums of integers, so of no order."""

    promote: I64  # [T + 1] by step
    fill: I64
    demote: I64
    arrive: I64  # [T + 1] blocks that begin their life in HBM, less those that end it there
    append: I64  # [T + 1] bytes appended in HBM
    hit: I64  # [cells of all lanes + 1] change, from the cell before, of the reads from HBM


def new_paths(blocks: int) -> Paths:
    """All blocks at the start of their life, free to choose."""
    return Paths(np.zeros(blocks), np.zeros(blocks), np.zeros(blocks, np.uint8))


def new_use(steps: int, cells: int) -> Use:
    """All zeros."""
    promote, fill, demote, arrive, append = np.zeros((5, steps + 1), np.int64)
    return Use(promote, fill, demote, arrive, append, np.zeros(cells + 1, np.int64))


@njit(cache=True, nogil=True)
def forward(
    begin: int,
    end: int,
    segments: Segments,
    first_lane: int,
    base: I64,
    cell_offset: I64,
    cell_step: I64,
    prices: Prices,
    tables: Tables,
    paths: Paths,
    trace: np.ndarray,
) -> None:
    """Take blocks through segments `begin` .. `end` - 1, and note their choices in `trace`.

    `tables` hold lanes from `first_lane` on, each from cell `base[lane]` on. Bits of `trace`
    (uint8, by segment): for each state at the end the one at the middle, above them (if there is a
    middle) for each state at the middle the one at the start; of a death the state.
    """
    for k in range(begin, end):
        lane, n = segments.lane[k], segments.block[k]
        a, c, kind = segments.first[k], segments.last[k], segments.kind[k]
        v0, v1 = paths.dram[n], paths.hbm[n]
        if segments.append[k] != 0:
            v1 += segments.append[k] * prices.append[cell_step[cell_offset[lane] + a]]
        if kind >= DEATH:
            step = cell_step[cell_offset[lane] + a]
            v1 += last_stay(step, c, kind - DEATH, prices)[0]
            trace[k] = v1 < v0
            paths.dram[n], paths.hbm[n] = min(v0, v1), np.inf
            continue
        value = tables.value[lane - first_lane, kind]
        a -= base[lane]
        c -= base[lane]
        bits = 0
        if a == c:
            entry = value[0, a]
        else:
            level = LEVEL[a ^ c]
            left, entry = value[level, a], value[level, c]
            bits = (v1 + left[2] < v0 + left[0]) << 2 | (v1 + left[3] < v0 + left[1]) << 3
            v0, v1 = through(v0, v1, left)
        trace[k] = bits | (v1 + entry[2] < v0 + entry[0]) | (v1 + entry[3] < v0 + entry[1]) << 1
        paths.dram[n], paths.hbm[n] = through(v0, v1, entry)


@njit(cache=True, nogil=True)
def settle(begin: int, end: int, block: np.ndarray, paths: Paths) -> None:
    """The state in which each block of these segments ends."""
    for k in range(begin, end):
        n = block[k]
        paths.state[n] = 1 if paths.hbm[n] < paths.dram[n] else 0


@njit(cache=True, nogil=True)
def backward(
    begin: int,
    end: int,
    segments: Segments,
    first_lane: int,
    cell_offset: I64,
    cell_step: I64,
    prices: Prices,
    tables: Tables,
    paths: Paths,
    trace: np.ndarray,
    use: Use,
) -> None:
    """Undo `forward`, counting what each block's cheapest path uses.

    `paths.state` enters as the states at the end of the segments, leaves as those at the start.
    """
    for k in range(end - 1, begin - 1, -1):
        lane, n = segments.lane[k], segments.block[k]
        a, c = np.int64(segments.first[k]), np.int64(segments.last[k])
        read = np.int64(segments.kind[k])
        first_cell = cell_offset[lane]
        step = cell_step[first_cell + a]
        bits = np.int64(trace[k])
        if read >= DEATH:
            read -= DEATH
            if bits == 1:
                leaves = last_stay(step, c, read, prices)[1]
                if leaves >= 0:
                    use.demote[leaves] += 1
                else:
                    use.arrive[c] -= 1
                use.hit[first_cell + a] += read
                use.hit[first_cell + a + 1] -= read
            paths.state[n] = bits
            use.append[step] += segments.append[k] * bits
            continue

        row = lane - first_lane
        state = np.int64(paths.state[n])
        entered = bits >> state & 1
        if read == READ:
            use.hit[first_cell + c + 1] -= state
        if a == c:
            if entered != state or tables.jump[row, read, 0, a, 3 * state] >= 0:
                _count_moves(a, entered, state, read, row, first_cell, cell_step, tables, use)
        else:
            middle = entered
            level = LEVEL[a ^ c]
            half = c >> (level - 1) << (level - 1)
            # Right of the middle, from the end back.
            at = c
            while at >= half:
                way = 2 * middle + state
                at = np.int64(tables.jump[row, read, level, at, way])
                if at < 0:
                    break
                before = np.int64(tables.via[row, read, level, at]) >> way & 1
                _count_moves(at, before, state, read, row, first_cell, cell_step, tables, use)
                state = before
                at -= 1
            # Left of the middle, from the start on.
            entered = bits >> (2 + middle) & 1
            now, at = entered, a
            while at < half:
                way = 2 * now + middle
                at = np.int64(tables.jump[row, read, level, at, way])
                if at < 0:
                    break
                after = np.int64(tables.via[row, read, level, at]) >> way & 1
                _count_moves(at, now, after, read, row, first_cell, cell_step, tables, use)
                now = after
                at += 1
        if read == READ:
            use.hit[first_cell + a] += entered
        if entered == 1:
            use.append[step] += segments.append[k]
        paths.state[n] = entered


@njit(cache=True, nogil=True)
def _count_moves(j, i, k, read, lane, first_cell, cell_step, tables, use):
    """Count the moves of a path that crosses cell `j` from state `i` to `k`."""
    step = cell_step[first_cell + j]
    moves = tables.moves[lane, j]
    m = tables.via[lane, read, 0, j] >> (2 * i + k) & 1
    if m > i:
        if read == READ:
            use.fill[step] += 1
        else:
            use.promote[step] += 1
    elif m < i:
        use.demote[step] += 1
    if k > m:
        use.promote[moves[0]] += 1
    elif k < m:
        use.demote[moves[1]] += 1
    elif m == 1 and moves[2] >= 0:
        use.demote[moves[2]] += 1
        use.promote[moves[3]] += 1
    if read == READ:
        use.hit[first_cell + j + 1] += k - i
