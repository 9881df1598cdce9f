"""The price tables of a lane: what any run of steps costs a block, in constant time.

A lane's time is cut into *cells*: one of its own steps and the steps of other lanes that follow it.
For given prices, a cell takes a block from a state (0 DRAM, 1 HBM) at its first step to a state at
the next cell's first step, at a least cost that depends only on whether the block is read: a 2 x 2
matrix of the (min, +) algebra, moves at every single step of the cell allowed. Products of
consecutive matrices are kept in a disjoint sparse table, so that the product over any range is two
look-ups. All costs are relative to a block that stays in DRAM throughout.

Level l >= 1 cuts the cells into spans of 2^l; an entry in the left half of a span is the product
from its cell to the middle, one in the right half the product from the middle to its cell. Level 0
holds the cells themselves.

An entry also leads along its optimal path: `jump` is the cell nearest to the entry's own end at
which something happens (-1 none), and bit `2 i + k` of `via` the state across the entry's own cell,
for the path from i to k. Nothing can be gained by more than one trip to DRAM between two steps at
which a block is read, nor by any trip to HBM, so one argument a case recalls a cell's moves.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from hmsim.workload.stream import F64, I64


class Prices(NamedTuple):
    """Seconds for one whole block (or, of `append`, for one byte) at each step, all [T]."""

    read: F64  # of a read from HBM, less that of the same from DRAM
    append: F64  # likewise, per byte
    room: F64  # of staying in HBM
    promote: F64
    fill: F64  # of a promotion of a block that is being read
    demote: F64


SPAN = 1024  # cells; no range straddles a multiple of it
LEVELS = 1 + SPAN.bit_length() - 1
LEVEL = np.array([n.bit_length() for n in range(SPAN)], np.int8)  # that joins a and c, at a ^ c


class Tables(NamedTuple):
    """Tables of lanes over J cells each; the second axis: not read, read."""

    value: F64  # [lanes, 2, LEVELS, J, 4] cost from i to k at 2 i + k
    jump: np.ndarray  # int32 [lanes, 2, LEVELS, J, 4]
    via: np.ndarray  # uint8 [lanes, 2, LEVELS, J]
    moves: np.ndarray  # int32 [lanes, J, 4] steps: promotion, demotion, trip's two moves

    def of(self, lane: int) -> "Tables":
        """One lane's tables, without the first axis."""
        return Tables(*(array[lane] for array in self))


def new_tables(lanes: int, cells: int) -> Tables:
    """Tables to be filled by `build`."""
    shape = (lanes, 2, LEVELS, cells)
    return Tables(
        np.empty((*shape, 4)),
        np.empty((*shape, 4), np.int32),
        np.empty(shape, np.uint8),
        np.empty((lanes, cells, 4), np.int32),
    )


@njit(cache=True, nogil=True)
def build(cell_step: I64, end: int, prices: Prices, tables: Tables) -> None:
    """Fill one lane's tables for cells that start at `cell_step` [J], up to `end`."""
    cells = len(cell_step)
    for j in range(cells):
        after = cell_step[j + 1] if j + 1 < cells else end
        _cell(j, cell_step[j], after, prices, tables)
    for read in range(2):
        value, jump, via = tables.value[read], tables.jump[read], tables.via[read]
        for level in range(1, value.shape[0]):
            half = 1 << (level - 1)
            if half >= cells:
                break
            _join(cells, half, value[0], jump[0], value[level], jump[level], via[level])


@njit(cache=True, nogil=True)
def _cell(j, step, after, prices, tables):
    """Level 0: all that a block can do from `step` to `after`."""
    # Steps beyond the first, where nothing is read: least costs between states, and where to move.
    up, down, trip, stay = np.inf, np.inf, np.inf, 0.0
    up_at, down_at, trip_down, trip_up = -1, -1, -1, -1
    if step + 1 < after:
        stay = prices.room[step + 1]
    for u in range(step + 1, after):
        back = down + prices.promote[u]
        if back < trip:
            trip, trip_down, trip_up = back, down_at, u
        if stay + prices.demote[u] < down:
            down, down_at = stay + prices.demote[u], u
        if prices.promote[u] < up:
            up, up_at = prices.promote[u], u
        if u + 1 < after:
            up += prices.room[u + 1]
            trip += prices.room[u + 1]
            stay += prices.room[u + 1]
    if trip < stay:
        stay = trip
    else:
        trip_down, trip_up = -1, -1
    tables.moves[j, 0], tables.moves[j, 1] = up_at, down_at
    tables.moves[j, 2], tables.moves[j, 3] = trip_down, trip_up
    trips = trip_down >= 0

    # The first step: its read, its move, then the rest from state 0 or 1.
    for read in range(2):
        rise = prices.fill[step] if read == 1 else prices.promote[step]
        own = prices.room[step] + (prices.read[step] if read == 1 else 0.0)
        fall = own + prices.demote[step]
        value = tables.value[read, 0, j]
        jump = tables.jump[read, 0, j]
        via = 0
        value[0], jump[0] = 0.0, -1
        value[1], jump[1] = up, j
        if rise + stay < up:
            value[1], via = rise + stay, via | 2
        value[2], jump[2] = fall, j
        if own + down < fall:
            value[2], via = own + down, via | 4
        value[3], jump[3], via = own + stay, j if trips else -1, via | 8
        if fall + up < value[3]:
            value[3], jump[3], via = fall + up, j, via & ~8
        tables.via[read, 0, j] = via


@njit(cache=True, nogil=True)
def _join(cells, half, cell, plain, value, jump, via):
    """One level from level 0: products up to, and from, each odd multiple of `half`."""
    for middle in range(half, cells, 2 * half):
        j = middle - 1
        for way in range(4):
            value[j, way], jump[j, way] = cell[j, way], plain[j, way]
        via[j] = 0b1010  # out of the cell: k itself
        for j in range(middle - 2, middle - half - 1, -1):
            bits = 0
            for way in range(4):
                i, k = way >> 1, way & 1
                stay = cell[j, 3 * i] + value[j + 1, 2 * i + k]
                move = cell[j, 1 + i] + value[j + 1, 2 - 2 * i + k]
                moves = move < stay
                value[j, way] = move if moves else stay
                bits |= (i ^ moves) << way
                quiet = (not moves) & (plain[j, 3 * i] < 0)
                jump[j, way] = jump[j + 1, way] if quiet else j
            via[j] = bits
        j = middle
        for way in range(4):
            value[j, way], jump[j, way] = cell[j, way], plain[j, way]
        via[j] = 0b1100  # into the cell: i itself
        for j in range(middle + 1, min(middle + half, cells)):
            bits = 0
            for way in range(4):
                i, k = way >> 1, way & 1
                stay = value[j - 1, 2 * i + k] + cell[j, 3 * k]
                move = value[j - 1, 2 * i + 1 - k] + cell[j, 2 - k]
                moves = move < stay
                value[j, way] = move if moves else stay
                bits |= (k ^ moves) << way
                quiet = (not moves) & (plain[j, 3 * k] < 0)
                jump[j, way] = jump[j - 1, way] if quiet else j
            via[j] = bits


@njit(cache=True, nogil=True, inline="always")
def through(v0, v1, matrix):
    """Costs after a (min, +) product."""
    return min(v0 + matrix[0], v1 + matrix[2]), min(v0 + matrix[1], v1 + matrix[3])


@njit(cache=True, nogil=True)
def last_stay(step, death, read, prices):
    """Cost of being in HBM at `step`, in whose cell the block dies, at `death`.

    Also the step of its demotion, -1 if it stays to the end.
    """
    hold = prices.room[step] + (prices.read[step] if read == 1 else 0.0)
    best, at = np.inf, -1
    for u in range(step, death - 1):
        if hold + prices.demote[u] < best:
            best, at = hold + prices.demote[u], u
        hold += prices.room[u + 1]
    if hold <= best:
        return hold, -1
    return best, at
