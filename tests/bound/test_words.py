"""What the paths of a tile's blocks do, block by block and stretch by stretch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound.paths.tables_kernel import Prices, build, last_stay, new_tables
from hmsim.bound.paths.words import BORN, DIED, GROWN, Grid
from hmsim.bound.paths.words_kernel import Use, add_up, new_scratch, new_use, tally


def a_tile(rng: np.random.Generator, steps: np.ndarray, end: int) -> tuple[Grid, np.ndarray]:
    """Reads, and events of blocks: some are born, grow and die, and others are born in their places;
    and states of them, out of HBM where they do not live."""
    stretches = len(steps)
    after = np.append(steps[1:], end)
    bits, states = rng.integers(0, 2, (stretches, 64)), rng.integers(0, 2, (stretches + 1, 64))
    events = []
    for i in range(64):
        if rng.random() < 0.5:
            continue
        dead_from = 0  # the stretch from which its place is free
        while dead_from < stretches and rng.random() < 0.8:
            born = int(rng.integers(dead_from, stretches))
            died = int(rng.integers(born, stretches))
            states[dead_from:born, i] = 0
            events.append((born, BORN, i, int(steps[born])))
            events.append((int(rng.integers(born, died + 1)), GROWN, i, int(rng.integers(1, 9))))
            events.append((died, DIED, i, int(rng.integers(steps[died] + 1, after[died] + 1))))
            dead_from = died + 1
        if dead_from > 0:
            states[dead_from:, i] = 0
    events.sort()
    stretch, kind, bit, value = np.array(events, np.int64).reshape(-1, 4).T.copy()
    words = (bits.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    held = (states.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    grid = Grid(
        np.zeros(1, np.int64), np.arange(64)[None], np.zeros(1, np.int64), words,
        np.array([0, len(events)]), stretch, bit, kind, value,
    )  # fmt: skip
    return grid, held


def has(word: np.uint64, i: int) -> bool:
    return bool(int(word) >> i & 1)


def counted(grid: Grid, states, steps, prices, tables) -> Use:
    """The same, one block after another."""
    use = new_use(len(prices.capacity))
    events = list(
        zip(grid.event_stretch, grid.event_kind, grid.event_bit, grid.event_value, strict=True)
    )
    for i in range(64):
        mine = [(int(j), int(kind), int(value)) for j, kind, bit, value in events if bit == i]
        born = {j: value for j, kind, value in mine if kind == BORN}
        died = {j: value for j, kind, value in mine if kind == DIED}
        if has(states[0], i) and 0 not in born:
            use.arrive[0] += 1
        for j, kind, value in mine:
            if has(states[j], i) and kind == BORN:
                use.arrive[value] += 1
            if has(states[j], i) and kind == GROWN:
                use.append[steps[j]] += value
        for j, step in enumerate(steps):
            begun, read = has(states[j], i), int(has(grid.bits[j], i))
            ended = has(states[j + 1], i) and j + 1 not in born
            use.hit[step] += begun and read
            up, down, leave, back = tables.moves[j]
            if begun and j in died:
                leaves = last_stay(step, died[j], read, prices)[1]
                if leaves >= 0:
                    use.demote[leaves] += 1
                else:
                    use.arrive[died[j]] -= 1
            elif ended and not begun:
                at_once = tables.via[read, j] & 2
                (use.fill if read and at_once else use.promote)[step if at_once else up] += 1
            elif begun and not ended:
                use.demote[down if tables.via[read, j] & 4 else step] += 1
            elif begun and ended and not tables.via[read, j] & 8:
                use.demote[step] += 1
                use.promote[up] += 1
            elif begun and ended and leave >= 0:
                use.demote[leave] += 1
                use.promote[back] += 1
    return use


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_tile_is_counted_as_its_blocks_are(seed):
    """Also where a block is born in the place of one that has just died."""
    rng = np.random.default_rng(seed)
    stretches, end = int(rng.integers(1, 9)), 40
    steps = np.sort(rng.choice(end, stretches, replace=False))
    prices = Prices(*rng.random((6, end)) * rng.choice([0.1, 1.0, 5.0], (6, 1)))
    tables, scratch = new_tables(1, stretches, 1).of(0), new_scratch(stretches)
    build(steps, end, prices, tables)
    found, naive = new_use(end), new_use(end)
    for _ in range(2):  # tiles of one lane are added up together
        grid, states = a_tile(rng, steps, end)
        tally(0, states, grid, steps, prices, scratch.did, found)
        for column, more in zip(naive, counted(grid, states, steps, prices, tables), strict=True):
            column += more
    add_up(steps, tables, scratch.did, found)
    assert not scratch.did.any()
    for name, ours, theirs in zip(Use._fields, found, naive, strict=True):
        np.testing.assert_array_equal(ours, theirs, name)
