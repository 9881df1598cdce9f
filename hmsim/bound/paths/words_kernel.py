"""The cheapest paths of whole tiles of blocks at given prices: cost forward, use backward.

A block's state is one number: how much more it costs, so far, to be in HBM than to be in DRAM. It
goes through a stretch (see `tables_kernel`) in a few additions and comparisons, 64 blocks at a
time, which is less than half a nanosecond a block and stretch. Forward, two words a stretch note
where the cheapest ways to end it in DRAM and in HBM came from; backward, popcounts of words tell
what paths use.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import popcount
from hmsim.bound.paths.tables_kernel import Prices, Tables, build, last_stay
from hmsim.bound.paths.words import BORN, DIED, GROWN, Events, Grid
from hmsim.jit import inlined, kernel
from hmsim.workload.steps import F64, I64, U64

ONE = np.uint64(1)


class Use(NamedTuple):
    """How many blocks do what, by step; sums of integers, so of no order."""

    promote: I64  # [T + 1]
    fill: I64  # promotions of blocks that are being read
    demote: I64
    arrive: I64  # blocks that begin their life in HBM, less those that end it there
    append: I64  # bytes appended in HBM
    hit: I64  # reads from HBM

    def occupied(self) -> I64:
        """[T] blocks in HBM at each step."""
        change = self.arrive.copy()
        change[1:] += self.promote[:-1] + self.fill[:-1] - self.demote[:-1]
        return np.cumsum(change)[:-1]


# What a block does within a stretch, that it begins in DRAM or in HBM: moves into HBM, out of it, or is
# in HBM at either end.
RISE, FALL, STAY = range(3)


class Scratch(NamedTuple):
    """Of one thread: of 64 blocks, and of the stretches of the longest lane."""

    ahead: F64  # [64] seconds by which being in HBM costs more
    dram: F64  # [64] seconds to be in DRAM
    dram_via_hbm: U64  # [stretches] blocks whose way to the stretch's end in DRAM began it in HBM
    hbm_via_hbm: U64  # [stretches] the same for its end in HBM
    state: U64  # [stretches + 1] blocks in HBM as the stretch begins, and after the last one
    did: I64  # [stretches, 2, 3] how many of a lane's blocks, not read and read, do what of the above


def new_use(steps: int) -> Use:
    """All zeros."""
    return Use(*np.zeros((6, steps + 1), np.int64))


def add_uses(uses: list[Use]) -> Use:
    """The use of several threads together."""
    return (
        uses[0]
        if len(uses) == 1
        else Use(*(np.sum(part, axis=0) for part in zip(*uses, strict=True)))
    )


def new_scratch(stretches: int) -> Scratch:
    """To be filled by `forward` and `backward`."""
    low, high, state = np.empty((3, stretches + 1), np.uint64)
    did = np.zeros((stretches, 2, 3), np.int64)
    return Scratch(np.empty(64), np.empty(64), low, high, state, did)


@kernel
def forward(
    tile: int,
    grid: Grid,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    scratch: Scratch,
) -> float:
    """Take a tile through all of its stretches at level 0 of its lane's `tables`.

    Returns the cost of its blocks' cheapest paths, relative to a life in DRAM.
    """
    ahead, dram, value = scratch.ahead, scratch.dram, tables.value
    dram_via_hbm, hbm_via_hbm = scratch.dram_via_hbm, scratch.hbm_via_hbm
    bits, event_stretch, event_bit = grid.bits, grid.event_stretch, grid.event_bit
    event_kind, event_value = grid.event_kind, grid.event_value
    ahead[:], dram[:] = 0.0, 0.0
    event, last_event = grid.event_offset[tile], grid.event_offset[tile + 1]
    base = grid.offset[tile]
    for j in range(len(stretch_step)):
        # What happens before the stretch's read, and the deaths in it.
        word, died = bits[base + j], np.uint64(0)
        while event < last_event and event_stretch[event] == j:
            i = event_bit[event]
            if event_kind[event] == BORN:
                ahead[i], dram[i] = 0.0, 0.0
            elif event_kind[event] == GROWN:
                ahead[i] += event_value[event] * prices.append[stretch_step[j]]
            else:
                bit = ONE << np.uint64(i)
                is_read = 1 if word & bit != 0 else 0
                ahead[i] += last_stay(stretch_step[j], event_value[event], is_read, prices)[0]
                dram[i] += min(ahead[i], 0.0)
                if ahead[i] < 0.0:
                    died |= bit
                ahead[i] = 0.0
                word &= ~bit  # an unread block costs nothing from here on
            event += 1
        low, high = cross(word, j, value, ahead, dram)
        dram_via_hbm[j], hbm_via_hbm[j] = low | died, high
    total = 0.0
    for i in range(64):
        total += dram[i] + min(ahead[i], 0.0)
    return total


@inlined
def cross(word, j, value, ahead, dram):
    """64 blocks through stretch `j`; those of `word` are read. See `Scratch` for what is returned."""
    idle_up, idle_down, idle_stay = value[0, 0, j, 1], value[0, 0, j, 2], value[0, 0, j, 3]
    read_up, read_down, read_stay = value[1, 0, j, 1], value[1, 0, j, 2], value[1, 0, j, 3]
    dram_via_hbm, hbm_via_hbm = np.uint64(0), np.uint64(0)
    for i in range(64):
        bit = ONE << np.uint64(i)
        is_read = (word & bit) != 0
        up = read_up if is_read else idle_up
        down = ahead[i] + (read_down if is_read else idle_down)
        stay = ahead[i] + (read_stay if is_read else idle_stay)
        gain = min(down, 0.0)
        ahead[i] = min(stay, up) - gain
        dram[i] += gain
        dram_via_hbm |= bit if down < 0.0 else np.uint64(0)
        hbm_via_hbm |= bit if stay < up else np.uint64(0)
    return dram_via_hbm, hbm_via_hbm


@kernel
def trace(tile: int, stretches: int, grid: Grid, scratch: Scratch) -> None:
    """After `forward`: `scratch.state` of the cheapest paths."""
    dram_via_hbm, hbm_via_hbm, states = scratch.dram_via_hbm, scratch.hbm_via_hbm, scratch.state
    event_stretch, event_bit, event_kind = grid.event_stretch, grid.event_bit, grid.event_kind
    state = np.uint64(0)
    for i in range(64):
        if scratch.ahead[i] < 0.0:
            state |= ONE << np.uint64(i)
    states[stretches] = state
    event, first = grid.event_offset[tile + 1] - 1, grid.event_offset[tile]
    last = stretches
    while last > 0:  # to the next stretch at whose beginning blocks are born, or to the first one
        while event >= first and event_kind[event] != BORN:
            event -= 1
        begin = event_stretch[event] if event >= first else 0
        for j in range(last - 1, begin - 1, -1):
            state = ~state & dram_via_hbm[j] | state & hbm_via_hbm[j]
            states[j] = state
        while event >= first and event_stretch[event] == begin:
            if event_kind[event] == BORN:
                state &= ~(ONE << np.uint64(event_bit[event]))
            event -= 1
        last = begin


@kernel
def tally(
    tile: int,
    states: U64,
    grid: Grid,
    stretch_step: I64,
    prices: Prices,
    did: I64,
    use: Use,
) -> None:
    """Count what paths through `states` [stretches + 1] of a tile's blocks do.

    What they do within stretches is added to `did` (see `Scratch`), for `add_up` to sort by step; what
    befalls them beside reads is added to `use` at once.
    """
    # Everything by its own name: to take an array out of a tuple costs more than to use it.
    bits, event_stretch, event_bit = grid.bits, grid.event_stretch, grid.event_bit
    event_kind, event_value = grid.event_kind, grid.event_value
    arrive, base = use.arrive, grid.offset[tile]
    for j in range(len(stretch_step)):
        word, begun, ended = bits[base + j], states[j], states[j + 1]
        rises, falls, stays = ~begun & ended, begun & ~ended, begun & ended
        idle, read = did[j, 0], did[j, 1]
        idle[RISE] += popcount(rises & ~word)
        idle[FALL] += popcount(falls & ~word)
        idle[STAY] += popcount(stays & ~word)
        read[RISE] += popcount(rises & word)
        read[FALL] += popcount(falls & word)
        read[STAY] += popcount(stays & word)
    arrive[0] += popcount(states[0])
    for event in range(grid.event_offset[tile], grid.event_offset[tile + 1]):
        j, bit = event_stretch[event], ONE << np.uint64(event_bit[event])
        if states[j] & bit == 0:
            continue
        if event_kind[event] == GROWN:
            use.append[stretch_step[j]] += event_value[event]
        elif event_kind[event] == BORN:  # here from this stretch on: it has not come by a move
            arrive[event_value[event]] += 1
            if j == 0:
                arrive[0] -= 1
            else:
                is_read = 1 if bits[base + j - 1] & bit != 0 else 0
                did[j - 1, is_read, RISE if states[j - 1] & bit == 0 else STAY] -= 1
        else:
            is_read = 1 if bits[base + j] & bit != 0 else 0
            use.hit[stretch_step[j]] += is_read
            if states[j + 1] & bit == 0:  # else another block is born in its place
                did[j, is_read, FALL] -= 1
            leaves = last_stay(stretch_step[j], event_value[event], is_read, prices)[1]
            if leaves >= 0:
                use.demote[leaves] += 1
            else:
                arrive[event_value[event]] -= 1


@kernel
def add_up(stretch_step: I64, tables: Tables, did: I64, use: Use) -> None:
    """Add to `use` what blocks of a lane `did`, and set that back to zeros."""
    via, moves = tables.via, tables.moves
    promote, demote = use.promote, use.demote
    for j in range(len(stretch_step)):
        step = stretch_step[j]
        use.hit[step] += did[j, 1, FALL] + did[j, 1, STAY]
        for read in range(2):
            ways, up, down, stay = (
                via[read, j],
                did[j, read, RISE],
                did[j, read, FALL],
                did[j, read, STAY],
            )
            did[j, read, RISE] = did[j, read, FALL] = did[j, read, STAY] = 0
            if up != 0:
                if ways & 2 == 0:
                    promote[moves[j, 0]] += up
                elif read == 1:
                    use.fill[step] += up
                else:
                    promote[step] += up
            if down != 0:
                demote[step if ways & 4 == 0 else moves[j, 1]] += down
            if stay != 0:
                if ways & 8 == 0:
                    demote[step] += stay
                    promote[moves[j, 0]] += stay
                elif moves[j, 2] >= 0:
                    demote[moves[j, 2]] += stay
                    promote[moves[j, 3]] += stay


@kernel
def sweep(
    first: int,
    last: int,
    grid: Grid,
    stretch_offset: I64,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    scratch: Scratch,
    counted: bool,
    use: Use,
    cost: F64,
) -> None:
    """Tiles `first` .. `last` - 1: the `cost` of each one's cheapest paths, and, where that is
    `counted`, their use, added.

    `tables` are to hold one lane's.
    """
    for tile in range(first, last):
        lane = grid.lane[tile]
        stretches = stretch_step[stretch_offset[lane] : stretch_offset[lane + 1]]
        if tile == first or grid.lane[tile - 1] != lane:
            build(stretches, len(prices.capacity), prices, tables)
        cost[tile] = forward(tile, grid, stretches, prices, tables, scratch)
        if counted:
            trace(tile, len(stretches), grid, scratch)
            tally(tile, scratch.state, grid, stretches, prices, scratch.did, use)
            if tile == last - 1 or grid.lane[tile + 1] != lane:
                add_up(stretches, tables, scratch.did, use)


@kernel
def stream(
    first_word: int,
    last_word: int,
    source: I64,
    first_stretch: int,
    waiting: U64,
    bits: U64,
    events: Events,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    ahead: F64,
    dram: F64,
) -> None:
    """Take words of a lane's blocks from stretch `first_stretch` on, through as many as `source`
    has.

    A stretch's reads are row `source[j]` of `bits`, or `waiting` for -1. `events` are the lane's,
    as `sort_events` leaves them; `ahead` and `dram` [slots] as in `Scratch`.
    """
    slot_of, event_stretch = events.block, events.stretch
    event_kind, event_value = events.kind, events.value
    value = tables.value
    event = np.searchsorted(slot_of >> 6, first_word)
    for word_at in range(first_word, last_word):
        mine, owed = ahead[64 * word_at : 64 * word_at + 64], dram[64 * word_at : 64 * word_at + 64]
        for k in range(len(source)):
            j = first_stretch + k
            word = bits[source[k], word_at] if source[k] >= 0 else waiting[word_at]
            while (
                event < len(slot_of)
                and slot_of[event] >> 6 == word_at
                and event_stretch[event] == j
            ):
                i = slot_of[event] & 63
                if event_kind[event] == GROWN:
                    mine[i] += event_value[event] * prices.append[stretch_step[j]]
                elif event_kind[event] == DIED:
                    bit = ONE << np.uint64(i)
                    is_read = 1 if word & bit != 0 else 0
                    mine[i] += last_stay(stretch_step[j], event_value[event], is_read, prices)[0]
                    owed[i] += min(mine[i], 0.0)
                    mine[i] = 0.0
                    word &= ~bit
                else:
                    mine[i] = 0.0
                event += 1
            cross(word, j, value, mine, owed)  # its two words are not used: the compiler drops them
