"""Prices that answer to what other blocks take, and blocks that follow them."""

import numpy as np

from hmsim.bound.changes_kernel import room, tell
from hmsim.bound.paths.tables_kernel import Prices, Tables, build
from hmsim.bound.paths.words import Grid
from hmsim.bound.paths.words_kernel import Scratch, Use, add_up, forward, tally, trace
from hmsim.bound.prices import Demand
from hmsim.bound.prices_kernel import end_of
from hmsim.jit import kernel
from hmsim.placement.latency_kernel import Latency, term_seconds
from hmsim.workload.steps import F64, I64, U64

LEAST_TERM_PRICE = 1e-3  # so that a term which the dual thought idle can gain weight. By trial
MOST_PRICE_CHANGE = 20.0  # factor on the price of capacity, up or down. By trial


@kernel
def reprice(
    first_group: int,
    last_group: int,
    group_start: I64,
    share: float,
    gain: float,
    term: F64,
    size: float,
    demand: Demand,
    latency: Latency,
    use: Use,
    repriced: F64,
) -> None:
    """Prices of terms [G, terms + floor] that lean towards the terms that are longer than they
    should.

    `use` is that of a `share` of the blocks, `term` the prices to start from.
    """
    count = term.shape[1]
    steps = len(use.hit) - 1
    times = np.empty(count)
    copies = latency.copies
    for g in range(first_group, last_group):
        first, last = group_start[g], end_of(g, group_start, steps)
        hits, grown, promoted, fetched, demoted = 0, 0, 0, 0, 0
        for t in range(first, last):
            hits += use.hit[t]
            grown += use.append[t]
            promoted += use.promote[t] + use.fill[t]
            fetched += use.promote[t] + copies.fill * use.fill[t]
            demoted += copies.demote * use.demote[t]
        term_seconds(
            demand.hbm_bytes[g] + (grown + size * (promoted + demoted)) / share,
            demand.reads[g],
            size * hits / share,
            demand.appended[g] - (1 - copies.append) * grown / share,
            size * fetched / share,
            size * demoted / share,
            demand.floor_s[g],
            latency,
            times,
        )
        mean = 0.0
        for k in range(count):
            mean += term[g, k] * times[k]
        total = 0.0
        for k in range(count):
            lead = gain * (times[k] - mean) / mean if mean > 0.0 else 0.0
            repriced[g, k] = max(term[g, k], LEAST_TERM_PRICE) * np.exp(min(max(lead, -20.0), 20.0))
            total += repriced[g, k]
        for k in range(count):
            repriced[g, k] /= total


@kernel
def price_capacity(
    left: float,
    most: int,
    power: float,
    capacity: int,
    occupied: I64,
    price: F64,
    repriced: F64,
) -> None:
    """Prices of capacity [T] that rise where less is left than a share `left` of the capacity.

    As that power of how much less. Infinite where `most` blocks more would not fit.
    """
    for t in range(len(price)):
        free = capacity - occupied[t]
        if free < most:
            repriced[t] = np.inf
        else:
            change = (left * capacity / free) ** power
            repriced[t] = price[t] * min(max(change, 1 / MOST_PRICE_CHANGE), MOST_PRICE_CHANGE)


@kernel
def _choose(tile, begins_lane, grid, stretches, prices, tables, scratch, mask):
    """Blocks in `mask` of a tile take their cheapest paths: their `scratch.state`."""
    if begins_lane:
        build(stretches, len(prices.capacity), prices, tables)
    forward(tile, grid, stretches, prices, tables, scratch)
    trace(tile, len(stretches), grid, scratch)
    for j in range(len(stretches) + 1):
        scratch.state[j] &= mask


@kernel
def commit(
    tiles: I64,
    masks: U64,
    grid: Grid,
    stretch_offset: I64,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    scratch: Scratch,
    use: Use,
) -> None:
    """Blocks in `masks` of tiles, in order of their lanes, take their cheapest paths."""
    for k in range(len(tiles)):
        tile, lane = tiles[k], grid.lane[tiles[k]]
        stretches = stretch_step[stretch_offset[lane] : stretch_offset[lane + 1]]
        begins_lane = k == 0 or grid.lane[tiles[k - 1]] != lane
        _choose(tile, begins_lane, grid, stretches, prices, tables, scratch, masks[k])
        tally(tile, scratch.state, grid, stretches, prices, scratch.did, use)
        if k == len(tiles) - 1 or grid.lane[tiles[k + 1]] != lane:
            add_up(stretches, tables, scratch.did, use)


@kernel
def commit_and_tell(
    first: int,
    tiles: I64,
    masks: U64,
    slots: int,
    grid: Grid,
    stretch_offset: I64,
    stretch_step: I64,
    prices: Prices,
    tables: Tables,
    scratch: Scratch,
    use: Use,
    moves: I64,
) -> tuple[int, int]:
    """The same from tile `first` on, and what they do into `moves`, as long as it has room: the
    tiles done, and how many moves."""
    count, block = 0, np.empty(64, np.int64)
    for k in range(first, len(tiles)):
        tile, lane = tiles[k], grid.lane[tiles[k]]
        stretches = stretch_step[stretch_offset[lane] : stretch_offset[lane + 1]]
        if k > first and count + room(len(stretches)) > len(moves):
            return k, count
        begins_lane = k == first or grid.lane[tiles[k - 1]] != lane
        _choose(tile, begins_lane, grid, stretches, prices, tables, scratch, masks[k])
        tally(tile, scratch.state, grid, stretches, prices, scratch.did, use)
        add_up(stretches, tables, scratch.did, use)
        for i in range(64):
            block[i] = lane * slots + grid.slot[tile, i]
        count = tell(
            tile, scratch.state, grid, block, stretches, prices, tables, moves, count
        )  # fmt: skip
    return len(tiles), count
