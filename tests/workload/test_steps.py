"""The table of steps against plain lists of steps, and the windows that are cut from it."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.workload.steps import Steps, group_starts
from hmsim.workload.windows import windows
from tests.oracles.random_workloads import random_blocks

pytestmark = pytest.mark.nojit
WORDS = 2
SLOTS = 64 * WORDS


class Row(NamedTuple):
    """One step, as a person would write it down."""

    lane: int
    token: int
    reads: tuple
    appends: tuple  # slot, bytes, born
    deaths: tuple
    hbm_bytes: float
    compute_s: float


slots = st.lists(st.integers(0, SLOTS - 1), unique=True, max_size=5).map(sorted)
numbers = st.integers(0, 2**40)
appends = st.tuples(slots, st.lists(st.tuples(numbers, st.integers(0, 1)), min_size=5, max_size=5))
rows = st.lists(
    st.builds(
        Row,
        lane=st.integers(0, 3),
        token=st.integers(0, 9),
        reads=slots.map(tuple),
        appends=appends.map(
            lambda found: tuple((s, *rest) for s, rest in zip(*found, strict=False))
        ),
        deaths=st.lists(numbers, max_size=4).map(tuple),
        hbm_bytes=st.floats(0, 1e9),
        compute_s=st.floats(0, 1),
    ),
    max_size=12,
)


def table(first, rows):
    """The table of these steps."""
    bits = np.zeros((len(rows), WORDS), np.uint64)
    for k, row in enumerate(rows):
        for slot in row.reads:
            bits[k, slot // 64] |= np.uint64(1 << slot % 64)
    entries = [entry for row in rows for entry in row.appends]
    return Steps(
        first,
        np.array([row.lane for row in rows], np.int64),
        np.array([row.token for row in rows], np.int64),
        bits,
        np.array([len(row.reads) for row in rows], np.int64),
        np.cumsum([0] + [len(row.appends) for row in rows]),
        *np.array(entries, np.int64).reshape(-1, 3).T.copy(),
        np.cumsum([0] + [len(row.deaths) for row in rows]),
        np.array([block for row in rows for block in row.deaths], np.int64),
        np.array([row.hbm_bytes for row in rows], np.float64),
        np.array([row.compute_s for row in rows], np.float64),
    )


def listed(steps):
    """The steps of a table; what a kernel asks of its arrays holds, too."""
    kinds = {"bits": np.uint64, "hbm_bytes": np.float64, "compute_s": np.float64}
    for name, column in steps._asdict().items():
        if name != "first":
            assert column.dtype == kinds.get(name, np.int64), name
            assert column.flags.c_contiguous, name
    for offset, columns in (
        (steps.append_offset, (steps.append_slot, steps.append_bytes, steps.append_born)),
        (steps.death_offset, (steps.death_block,)),
    ):
        assert offset[0] == 0
        assert len(offset) == steps.rows + 1
        assert {len(column) for column in columns} == {offset[-1]}
    for column in (steps.bits, steps.reads, steps.token, steps.hbm_bytes, steps.compute_s):
        assert len(column) == steps.rows
    assert np.array_equal(np.bitwise_count(steps.bits).sum(axis=1), steps.reads)
    found = []
    for k in range(steps.rows):
        reads = [s for s in range(SLOTS) if int(steps.bits[k, s // 64]) >> s % 64 & 1]
        here = range(steps.append_offset[k], steps.append_offset[k + 1])
        entries = zip(*(column[list(here)].tolist() for column in (
            steps.append_slot, steps.append_bytes, steps.append_born,
        )), strict=True)  # fmt: skip
        deaths = steps.death_block[steps.death_offset[k] : steps.death_offset[k + 1]].tolist()
        found.append(
            Row(
                int(steps.lane[k]),
                int(steps.token[k]),
                tuple(reads),
                tuple(entries),
                tuple(deaths),
                float(steps.hbm_bytes[k]),
                float(steps.compute_s[k]),
            )
        )
    return found


def cut_at(data, steps):
    """Some cuts from 0 to the number of rows, with empty pieces among them."""
    inner = data.draw(st.lists(st.integers(0, steps.rows), max_size=4).map(sorted))
    return [0, *inner, steps.rows]


@given(first=st.integers(0, 9), rows=rows, data=st.data())
def test_a_slice_holds_its_rows_and_nothing_else(first, rows, data):
    steps = table(first, rows)
    assert listed(steps) == rows
    a, b = sorted(data.draw(st.integers(0, len(rows))) for _ in range(2))
    part = steps.slice(a, b)
    assert part.first == first + a
    assert listed(part) == rows[a:b]


@given(first=st.integers(0, 9), rows=rows, data=st.data())
def test_a_slice_of_a_slice_is_a_slice(first, rows, data):
    steps = table(first, rows)
    a, b = sorted(data.draw(st.integers(0, len(rows))) for _ in range(2))
    c, d = sorted(data.draw(st.integers(0, b - a)) for _ in range(2))
    again, once = steps.slice(a, b).slice(c, d), steps.slice(a + c, a + d)
    assert again.first == once.first
    assert all(np.array_equal(*pair) for pair in zip(again, once, strict=True))


@given(first=st.integers(0, 9), rows=rows, data=st.data())
def test_joining_undoes_cutting(first, rows, data):
    steps = table(first, rows)
    cuts = cut_at(data, steps)
    parts = [steps.slice(a, b) for a, b in pairwise(cuts)]
    joined = Steps.join(parts)
    assert listed(joined) == rows
    assert joined.first == first
    for part, (a, b) in zip(parts, pairwise(cuts), strict=True):
        assert listed(joined.slice(a, b)) == listed(part)


@given(first=st.integers(0, 9), rows=rows, data=st.data())
def test_entries_know_their_rows_and_blocks(first, rows, data):
    a, b = sorted(data.draw(st.integers(0, len(rows))) for _ in range(2))
    steps, own = table(first, rows).slice(a, b), rows[a:b]
    expected = [
        (k, row.lane * SLOTS + slot) for k, row in enumerate(own) for slot, *_ in row.appends
    ]
    found = zip(steps.append_row.tolist(), steps.append_block(SLOTS).tolist(), strict=True)
    assert list(found) == expected
    assert steps.death_row.tolist() == [k for k, row in enumerate(own) for _ in row.deaths]


@given(first=st.integers(0, 9), rows=rows, data=st.data())
def test_steps_without_bits_or_blocks_are_tables_too(first, rows, data):
    steps = table(first, rows)
    cuts = cut_at(data, steps)
    pieces = [steps.slice(a, b) for a, b in pairwise(cuts)]
    bare = [row._replace(reads=(), appends=(), deaths=()) for row in rows]
    for leave_out, expected in (
        (Steps.without_bits, [row._replace(reads=()) for row in rows]),
        (Steps.without_blocks, bare),
    ):
        joined = Steps.join([leave_out(piece) for piece in pieces])
        assert joined.bits.shape == (len(rows), 0)
        assert joined.reads.tolist() == [len(row.reads) for row in rows]
        full = joined._replace(bits=np.zeros_like(steps.bits), reads=np.zeros_like(steps.reads))
        assert listed(full) == expected


def test_what_need_not_be_copied_is_not():
    steps = table(3, [Row(0, t, (t,), ((t, 1, 1),), (), 0.0, 0.0) for t in range(5)])
    assert steps.slice(0, 5) is steps
    assert Steps.join([steps.slice(5, 5), steps, steps.slice(0, 0)]) is steps
    assert steps.slice(1, 4).bits.base is steps.bits
    assert listed(Steps.empty(WORDS)) == []
    assert Steps.join([Steps.empty(WORDS), Steps.empty(WORDS)]).rows == 0


@given(
    seed=st.integers(0, 2**32),
    chunk_tokens=st.integers(1, 8),
    ahead=st.integers(0, 5),
    most_rows=st.sampled_from([1, 2, 3, 7, 20, np.inf]),
)
def test_windows_hold_every_step_once_and_look_ahead(seed, chunk_tokens, ahead, most_rows):
    blocks = random_blocks(np.random.default_rng(seed), steps=40, blocks=12)
    whole = Steps.join(list(blocks.chunks()))
    count = chunk_tokens * blocks.lanes
    at = 0
    for window in windows(blocks._replace(rows=count), ahead, most_rows):
        steps = window.steps
        assert steps.first == window.own.first == at
        assert 0 < window.rows <= max(min(most_rows, count), blocks.lanes)
        end = at + steps.rows
        for found, expected in ((steps, (at, end)), (window.own, (at, at + window.rows))):
            assert all(map(np.array_equal, found, whole.slice(*expected)))
        assert len(group_starts(window.own.token, "token")) == len(set(window.own.token.tolist()))
        at += window.rows
        assert at == whole.rows or whole.token[at] > window.own.token[-1]
        in_sight = min(whole.token[-1], window.own.token[-1] + max(1, ahead))
        assert steps.token[-1] >= in_sight
        if most_rows == np.inf:
            assert steps.token[-1] == in_sight
    assert at == whole.rows
