"""The price tables of a lane: what any run of steps costs a block, in constant time.

A lane's time is cut into *stretches*: one of its own steps and the steps of other lanes that follow
it. For given prices, a stretch takes a block from a state (0 DRAM, 1 HBM) at its first step to a
state at the next stretch's first step, at a least cost that depends only on whether the block is
read: a 2 x 2 matrix of the (min, +) algebra, moves at every single step of the stretch allowed.
Products of consecutive matrices are kept in a disjoint sparse table, so that the product over any
range is two look-ups. All costs are relative to a block that stays in DRAM throughout.

Level l >= 1 cuts the stretches into spans of 2^l; an entry in the left half of a span is the
product from its stretch to the middle, one in the right half the product from the middle to its
stretch. Level 0 holds the stretches themselves.

Lemma. Within a stretch, some cheapest path never makes a trip to HBM (from DRAM and back), and
makes
one trip to DRAM at most. Proof. Take a stay in HBM that begins and ends with a move in the stretch:
no read falls into it, so it costs a promotion, capacity and a demotion, none of which is negative;
without it the path is no dearer. Two trips to DRAM have such a stay between them.

So a path that begins and ends in DRAM stays there, one that changes its memory moves once, and one
that begins and ends in HBM stays, or makes one trip. Each of these is found in one go through the
steps, and `Tables.moves` recalls where the moves after the first step are:

    column 0   the promotion of a path from DRAM to HBM
    column 1   the demotion of a path from HBM to DRAM
    column 2   the demotion of the trip, -1 where staying is cheaper
    column 3   the promotion of the trip, likewise

The move of the first step, after its read, has prices of its own; `Tables.via` recalls it.
"""

from typing import NamedTuple

import numpy as np

from hmsim.jit import inlined, kernel
from hmsim.workload.steps import F64, I64


class Prices(NamedTuple):
    """Seconds for one whole block (or, of `append`, for one byte) at each step, all [T]."""

    read: F64  # of a read from HBM, less that of the same from DRAM
    append: F64  # likewise, per byte
    capacity: F64  # of being in HBM
    promote: F64
    fill: F64  # of a promotion of a block that is being read
    demote: F64


SPAN = 1024  # stretches; no range straddles a multiple of it
LEVELS = 1 + SPAN.bit_length() - 1
LEVEL = np.array([n.bit_length() for n in range(SPAN)], np.int8)  # that joins a and c, at a ^ c


class Tables(NamedTuple):
    """Tables of lanes over J stretches each; the second axis: not read, read."""

    value: F64  # [lanes, 2, LEVELS, J, 4] cost from i to k at 2 i + k
    via: np.ndarray  # uint8 [lanes, 2, J] bit 2 i + k: the state after the first step's move
    moves: np.ndarray  # int32 [lanes, J, 4] later steps: promotion, demotion, trip's two moves

    def of(self, lane: int) -> "Tables":
        """One lane's tables, without the first axis."""
        return Tables(*(array[lane] for array in self))


def new_tables(lanes: int, stretches: int, levels: int = LEVELS) -> Tables:
    """Tables to be filled by `build`, which stops at the first `levels` levels."""
    shape = (lanes, 2, levels, stretches)
    return Tables(
        np.empty((*shape, 4)),
        np.empty((lanes, 2, stretches), np.uint8),
        np.empty((lanes, stretches, 4), np.int32),
    )


@kernel
def build(stretch_step: I64, end: int, prices: Prices, tables: Tables) -> None:
    """Fill one lane's tables for stretches that start at `stretch_step` [J], up to `end`."""
    stretches = len(stretch_step)
    _stretches(stretch_step, end, prices, tables)
    for read in range(2):
        value = tables.value[read]
        for level in range(1, value.shape[0]):
            half = 1 << (level - 1)
            if half >= stretches:
                break
            _join(stretches, half, value[0], value[level])


@kernel
def _stretches(stretch_step, end, prices, tables):
    """Level 0: all that a block can do from each stretch's first step to the next one's."""
    capacity, promote, demote = prices.capacity, prices.promote, prices.demote
    fill, gain = prices.fill, prices.read
    value, via, moves = tables.value, tables.via, tables.moves
    stretches = len(stretch_step)
    for j in range(stretches):
        step = stretch_step[j]
        after = stretch_step[j + 1] if j + 1 < stretches else end
        # Steps beyond the first, where nothing is read: least costs between states, and where to
        # move.
        up, down, trip, stay = np.inf, np.inf, np.inf, 0.0
        up_at, down_at, trip_down, trip_up = -1, -1, -1, -1
        if step + 1 < after:
            stay = capacity[step + 1]
        for u in range(step + 1, after):
            back = down + promote[u]
            if back < trip:
                trip, trip_down, trip_up = back, down_at, u
            if stay + demote[u] < down:
                down, down_at = stay + demote[u], u
            if promote[u] <= up:  # late, where it is all the same
                up, up_at = promote[u], u
            if u + 1 < after:
                up += capacity[u + 1]
                trip += capacity[u + 1]
                stay += capacity[u + 1]
        if trip < stay:
            stay = trip
        else:
            trip_down, trip_up = -1, -1
        moves[j, 0], moves[j, 1], moves[j, 2], moves[j, 3] = up_at, down_at, trip_down, trip_up

        # The first step: its read, its move, then the rest from state 0 or 1.
        for read in range(2):
            rise = fill[step] if read == 1 else promote[step]
            own = capacity[step] + (gain[step] if read == 1 else 0.0)
            fall = own + demote[step]
            ways = 0
            rises, falls, keeps = up, fall, own + stay
            if rise + stay < up:
                rises, ways = rise + stay, ways | 2
            if own + down < fall:
                falls, ways = own + down, ways | 4
            if fall + up < keeps:
                keeps = fall + up
            else:
                ways |= 8
            value[read, 0, j, 0], value[read, 0, j, 1] = 0.0, rises
            value[read, 0, j, 2], value[read, 0, j, 3] = falls, keeps
            via[read, j] = ways


@kernel
def _join(stretches, half, stretch, value):
    """One level from level 0: products up to, and from, each odd multiple of `half`."""
    for middle in range(half, stretches, 2 * half):
        value[middle - 1] = stretch[middle - 1]
        for j in range(middle - 2, middle - half - 1, -1):
            for way in range(4):
                i, k = way >> 1, way & 1
                value[j, way] = min(
                    stretch[j, 2 * i] + value[j + 1, k], stretch[j, 2 * i + 1] + value[j + 1, 2 + k]
                )
        value[middle] = stretch[middle]
        for j in range(middle + 1, min(middle + half, stretches)):
            for way in range(4):
                i, k = way >> 1, way & 1
                value[j, way] = min(
                    value[j - 1, 2 * i] + stretch[j, k], value[j - 1, 2 * i + 1] + stretch[j, 2 + k]
                )


@inlined
def through(v0, v1, matrix):
    """Costs after a (min, +) product."""
    return min(v0 + matrix[0], v1 + matrix[2]), min(v0 + matrix[1], v1 + matrix[3])


@kernel
def last_stay(step, death, read, prices):
    """Cost of being in HBM at `step`, in whose stretch the block dies, at `death`.

    Also the step of its demotion, -1 if it stays to the end.
    """
    hold = prices.capacity[step] + (prices.read[step] if read == 1 else 0.0)
    best, at = np.inf, -1
    for u in range(step, death - 1):
        if hold + prices.demote[u] < best:
            best, at = hold + prices.demote[u], u
        hold += prices.capacity[u + 1]
    if hold <= best:
        return hold, -1
    return best, at
