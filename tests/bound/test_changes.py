"""Schedules told move by move are what their search counted, in memory as in a file."""

from itertools import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bits import unpack
from hmsim.bound import belady, changes, revision, rounding
from hmsim.bound.changes import Changes, Dense, Paths
from hmsim.bound.exact import anneal
from hmsim.bound.rounding import cost_of
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.errors import InputError
from hmsim.workload.steps import Geometry
from tests.bound.test_prices import random_prices
from tests.bound.test_rounding import an_instance
from tests.oracles.schedules import schedule_time

KINDS = ("dense", "paths", "followed", "cut short", "scheduled")


def geometry_of(setting, grid):
    lanes, slots = setting.timeline.lanes, int(grid.slot.max()) + 1
    return Geometry(setting.timeline.steps, lanes, slots, setting.block_bytes, 1, lanes, 1, 0.0)


def made(kind, rng, problem, setting, grid):
    """A schedule, and what it costs."""
    dual = random_prices(rng, setting)
    if kind == "dense":
        schedule = anneal.Schedule(problem, setting)
        cost = anneal.improve(schedule, [dual], 1, 300)
        return Dense(problem, schedule.x), cost
    if kind == "paths":
        revised = revision.Revised(problem, setting)
        cost = revised.follow(dual, 1, keeps=True)
        return Paths(problem, revised.best), cost
    if kind == "scheduled":
        told = belady.Scheduled(setting, grid)
    else:
        late = iter([False, False, True]) if kind == "cut short" else repeat(False)
        told = rounding.Followed(setting, grid, dual, lambda: next(late))
    return told, cost_of(setting, told.use)


def played(told, problem, geometry):
    """The schedule [N, T] that its moves make, each of which must change something."""
    moves = Changes(geometry)
    told.tell(moves)
    moves.finish()
    here = unpack(moves.first()).reshape(-1)[problem.number].astype(np.int64)
    assert here.sum() == np.bitwise_count(moves.first()).sum()
    number = {block: n for n, block in enumerate(problem.number)}
    schedule = np.zeros((problem.blocks, problem.steps), np.int64)
    for t in range(problem.steps):
        here[problem.death == t] = 0
        schedule[:, t] = here
        begin, end, *found = moves.between(t, t + 1)
        assert end - begin == len(found)
        for move in found:
            n, up = number[move >> 1], move & 1
            assert here[n] != up
            here[n] = up
    return schedule


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(VARIANTS),
    st.sampled_from(BARRIERS),
    st.sampled_from(KINDS),
)
def test_what_is_told_is_what_was_counted(seed, variant, barrier, kind):
    rng = np.random.default_rng(seed)
    if kind == "scheduled" and variant in ("text", "exclusive"):
        variant = "code"
    problem, rates, setting, grid = an_instance(rng, variant, barrier, blocks=12, steps=24)
    told, cost = made(kind, rng, problem, setting, grid)
    schedule = played(told, problem, geometry_of(setting, grid))
    # `schedule_time` refuses what is over capacity or not alive.
    slow = schedule_time(problem, schedule, rates, variant, barrier)
    assert slow == pytest.approx(cost, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", [62, 72, 73, 197, 398])
def test_what_grows_before_it_is_promoted_grows_in_dram(seed):
    """It counted as there throughout the wait at whose end it is."""
    rng = np.random.default_rng(seed)
    capacity = int(rng.integers(0, 9))
    problem, rates, setting, grid = an_instance(rng, "code", "layer", capacity, blocks=30, steps=40)
    told, cost = made("scheduled", rng, problem, setting, grid)
    assert told.use.promote.any()
    schedule = played(told, problem, geometry_of(setting, grid))
    assert cost == pytest.approx(schedule_time(problem, schedule, rates, "code", "layer"), rel=1e-9)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"cut short"}))
def test_in_runs_in_a_file_it_is_the_same(kind, monkeypatch):
    rng = np.random.default_rng(7)
    problem, _, setting, grid = an_instance(
        rng, "inclusive", "layer", 30, blocks=300, steps=60, lanes=3
    )
    told, _ = made(kind, rng, problem, setting, grid)
    found = []
    for run_moves, spill_bytes in ((1 << 24, 1 << 28), (50, 1 << 28), (50, 64)):
        monkeypatch.setattr(changes, "RUN_MOVES", run_moves)
        monkeypatch.setattr(changes, "SPILL_BYTES", spill_bytes)
        if run_moves == 50:
            monkeypatch.setattr(changes, "DENSE_CELLS", 60 * 7)
            monkeypatch.setattr(rounding, "TOLD_AT_ONCE", 0)
            monkeypatch.setattr(belady, "TOLD_AT_ONCE", 0)
        moves = Changes(geometry_of(setting, grid))
        told.tell(moves)
        moves.finish()
        assert moves._file._rolled == (spill_bytes == 64)
        assert (len(moves._begins) > 1) == (run_moves == 50)
        parts = [moves.between(first, first + 7) for first in range(0, 56, 7)]
        rows = [np.sort(part[part[t] : part[t + 1]]) for part in parts for t in range(7)]
        found.append([moves.first().reshape(-1), *rows])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_full_disk_says_where_it_is_full(monkeypatch):
    moves = Changes(Geometry(4, 1, 64, 1, 1, 1, 1, 0.0))

    def full(content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(moves._file, "write", full)
    moves.add(np.array([(2 << 32) + 5]))
    with pytest.raises(InputError, match=r"No space left on device.*TMPDIR"):
        moves.finish()


def test_more_blocks_than_have_numbers_are_refused():
    with pytest.raises(InputError, match="too many to number"):
        Changes(Geometry(4, 1 << 10, 1 << 22, 1, 1, 1, 1, 0.0))
