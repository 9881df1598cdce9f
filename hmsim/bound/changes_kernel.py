"""What blocks do that follow prices, told move by move, and moves of several runs brought together."""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.bound.paths.tables_kernel import Prices, Tables, last_stay
from hmsim.bound.paths.words import BORN, GROWN, Grid
from hmsim.jit import inlined, kernel
from hmsim.workload.steps import I64, U64

ONE = np.uint64(1)
BLOCK_BITS = 31
TIME_SHIFT = BLOCK_BITS + 1
BLOCK_MASK = (1 << BLOCK_BITS) - 1
MOST_MOVES = 4  # of a block in a stretch: its birth, its death, a trip


def move_of(time, block, up):
    """Moves of blocks that are elsewhere from step `time` on; as `put` has them."""
    return (time << TIME_SHIFT) | (block << 1) | up


@inlined
def room(stretches):
    """What a tile of so many stretches may tell at most."""
    return 64 * MOST_MOVES * (stretches + 1)


@kernel
def put(step, mask, up, block, moves, count):
    """After `step` the blocks [64] in `mask` move, `up` (1) or down (0); how many moves there are."""
    while mask != 0:
        i = lowest_bit(mask)
        mask &= mask - ONE
        moves[count] = (step + 1) << TIME_SHIFT | block[i] << 1 | up
        count += 1
    return count


@kernel
def tell(
    tile: int,
    states: U64,
    grid: Grid,
    block: I64,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    moves: I64,
    count: int,
) -> int:
    """Add to `moves` what `words_kernel.tally` counts: of paths through `states` [stretches + 1] of a
    tile's blocks, whose numbers are `block` [64]. There must be `room`; how many there are."""
    bits, event_stretch, event_bit = grid.bits, grid.event_stretch, grid.event_bit
    event_kind, event_value = grid.event_kind, grid.event_value
    via, later = tables.via, tables.moves
    event, last = grid.event_offset[tile], grid.event_offset[tile + 1]
    base = grid.offset[tile]

    first = states[0]
    while event < last and event_stretch[event] == 0 and event_kind[event] == BORN:
        bit = ONE << np.uint64(event_bit[event])
        count = put(event_value[event] - 1, first & bit, 1, block, moves, count)
        first &= ~bit
        event += 1
    count = put(-1, first, 1, block, moves, count)
    for j in range(len(stretch_step)):
        word, begun, ended = bits[base + j], states[j], states[j + 1]
        step = stretch_step[j]
        dead = np.uint64(0)
        while event < last and event_stretch[event] == j:
            bit = begun & (ONE << np.uint64(event_bit[event]))
            if bit != 0 and event_kind[event] != GROWN:
                dead |= bit
                is_read = 1 if word & bit != 0 else 0
                leaves = last_stay(step, event_value[event], is_read, prices)[1]
                if leaves >= 0:
                    count = put(leaves, bit, 0, block, moves, count)
            event += 1
        while event < last and event_stretch[event] == j + 1 and event_kind[event] == BORN:
            bit = ONE << np.uint64(event_bit[event])
            count = put(event_value[event] - 1, ended & bit, 1, block, moves, count)
            ended &= ~bit
            event += 1
        rises, falls, stays = ~begun & ended, begun & ~ended & ~dead, begun & ended
        for read in range(2):
            these = word if read == 1 else ~word
            ways = via[read, j]
            up = step if ways & 2 != 0 else later[j, 0]
            down = step if ways & 4 == 0 else later[j, 1]
            count = put(up, rises & these, 1, block, moves, count)
            count = put(down, falls & these, 0, block, moves, count)
            if ways & 8 == 0:
                count = put(step, stays & these, 0, block, moves, count)
                count = put(later[j, 0], stays & these, 1, block, moves, count)
            elif later[j, 2] >= 0:
                count = put(later[j, 2], stays & these, 0, block, moves, count)
                count = put(later[j, 3], stays & these, 1, block, moves, count)
    return count


@kernel
def merge(runs, begins, moves):
    """Bring runs together by steps: step t's of run r are `runs[begins[r, t]:begins[r, t + 1]]`.

    Into `moves`: where each step's begin, and then all of them.
    """
    steps = begins.shape[1] - 1
    count = steps + 1
    for t in range(steps):
        moves[t] = count
        for r in range(len(begins)):
            for i in range(begins[r, t], begins[r, t + 1]):
                moves[count] = np.int64(runs[i])
                count += 1
    moves[steps] = count
