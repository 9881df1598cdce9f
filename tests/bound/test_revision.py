"""Blocks that choose again: legal, timed as the evaluator times them, and each where it is best."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hmsim.bits import unpack
from hmsim.bound import bound, revision, search, whole
from hmsim.bound import revision_kernel as kernel
from hmsim.bound.exact.anneal_kernel import NEAR_BYTES, NEAR_READS, group_costs
from hmsim.bound.exact.lp import solve_milp
from hmsim.bound.prices import Dual
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.placement.latency import Rates
from tests.bound.test_prices import random_prices
from tests.oracles.random_workloads import posed, random_blocks, random_rates
from tests.oracles.schedules import schedule_time


def dense(revised, problem):
    """The schedule [N, T]."""
    bits = unpack(revised.books.path)
    return bits[:, : problem.steps].astype(np.int64)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS))
def test_its_books_are_those_of_the_evaluator(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, blocks=9, steps=20), random_rates(rng)
    problem, lagrangian = posed(blocks, rates, int(rng.integers(0, 4)), variant, barrier)
    revised = revision.Revised(problem, lagrangian.setting)
    best = revised.follow(random_prices(rng, lagrangian.setting), seed % 1000)
    assert revised.legal
    # `schedule_time` also refuses what is over capacity or not alive.
    slow = schedule_time(problem, dense(revised, problem), rates, variant, barrier)
    assert revised.cost == pytest.approx(slow, rel=1e-9, abs=1e-12)
    assert best <= revised.cost


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS))
def test_a_block_takes_the_best_of_all_its_paths(seed, variant):
    """But for moves in steps that read it too: there its deeds' costs do not just add up."""
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, blocks=5, steps=7, lanes=1, births=False), random_rates(rng)
    problem, lagrangian = posed(blocks, rates, 2, variant, "layer")
    revised = revision.Revised(problem, lagrangian.setting)
    dual = random_prices(rng, lagrangian.setting)
    revised.follow(dual, 1)
    as_it_is = revision.Round(kernel.EXACT, 0.0, 1.0, True)
    free = Dual(dual.term, np.zeros(7))
    prices = lagrangian.setting.prices(free)
    for n in range(problem.blocks):
        revised._round(as_it_is, prices, np.array([n]), lambda: False)
        x = dense(revised, problem)
        reads = problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]

        def just_adds_up(path, reads=reads):
            return not np.isin(np.flatnonzero(np.diff(path)), reads).any()

        if not just_adds_up(x[n]):
            continue
        taken = schedule_time(problem, x, rates, variant, "layer")
        for path in filter(just_adds_up, itertools.product((0, 1), repeat=7)):
            x[n] = path
            if (x.sum(axis=0) <= problem.capacity).all():
                assert taken <= schedule_time(problem, x, rates, variant, "layer") * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS), st.booleans()
)  # fmt: skip
def test_a_block_that_is_seldom_read_takes_the_best_of_all_its_paths(seed, variant, barrier, hard):
    """From range to range, after others that chose in the same call."""
    rng, steps = np.random.default_rng(seed), 50
    blocks = random_blocks(rng, blocks=12, steps=steps, lanes=4, births=rng.random() < 0.5)
    blocks.read[:] &= rng.random((12, 50)) < rng.uniform(0.1, 0.5)
    problem, lagrangian = posed(blocks, random_rates(rng), 2, variant, barrier)
    assume(problem.blocks > 0)
    setting, dual = lagrangian.setting, random_prices(rng, lagrangian.setting)
    dear = rng.random(steps) < rng.random()
    prices = setting.prices(Dual(dual.term, rng.uniform(0, 0.5) * dear * dual.capacity))
    each = revision.Round(kernel.EXACT, rng.choice([0.0, 0.5]), 0.0, hard)
    order = rng.permutation(problem.blocks)
    for count in (0, problem.blocks // 2, problem.blocks - 1):
        before, after = (revision.Revised(problem, setting) for _ in range(2))
        after._tree = kernel.new_tree(steps)
        before._tree = kernel.new_tree(steps)
        before._round(each, prices, order[:count], lambda: False)
        after._round(each, prices, order[: count + 1], lambda: False)
        least, taken = least_beside(
            before, each, prices, setting, order[count], dense(after, problem)
        )
        if not hard or (before.books.used < problem.capacity).all():
            assert taken == pytest.approx(least, rel=1e-9, abs=1e-12)
        else:  # ranges do not know where HBM is full
            assert taken < np.inf


def least_beside(revised, each, prices, setting, n, x):
    """What the best path of block `n` costs beside the others, and what its path in `x` does."""
    problem, (path, used, tallies), given = revised.problem, revised.books, each.given
    group, size, (birth, death) = (
        setting.group,
        problem.block_bytes,
        (problem.birth[n], problem.death[n]),
    )

    def with_all(column=None, more=1):
        row = tallies.copy()
        if column is not None:
            row[:, column] += more
        costs = np.empty(len(row))
        group_costs(row, size, setting.demand, setting.latency, setting.objective, costs)
        return costs[group]

    assert not unpack(path[n]).any()
    now, margins = with_all(), kernel.Margins(*np.empty((5, len(tallies))))
    kernel.reckon_all(
        tallies, float(size), setting.demand, setting.latency, setting.objective, kernel.EXACT, margins
    )  # fmt: skip
    stay = prices.capacity.copy()
    reads = problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]
    stay[reads] += ((1 - given) * (with_all(NEAR_READS) - now) + given * prices.read)[reads]
    for j in range(problem.append_offset[n], problem.append_offset[n + 1]):
        t, grown = problem.append_step[j], problem.append_bytes[j]
        more = (with_all(NEAR_BYTES, grown) - now)[t]
        stay[t] += (1 - given) * more + given * prices.append[t] * grown
    rise = (1 - given) * margins.promote[group] + given * prices.promote
    rise[reads] = ((1 - given) * margins.fill[group] + given * prices.fill)[reads]
    fall = (1 - given) * margins.demote[group] + given * prices.demote
    if each.hard:
        stay[used >= problem.capacity] = np.inf

    dram, hbm, taken = 0.0, 0.0, 0.0
    for t in range(birth, death):
        hbm += stay[t]
        taken += stay[t] if x[n, t] == 1 else 0.0
        if t + 1 < death:
            dram, hbm = min(dram, hbm + fall[t]), min(hbm, dram + rise[t])
            taken += {1: rise[t], 0: 0.0, -1: fall[t]}[int(x[n, t + 1] - x[n, t])]
    return min(dram, hbm), taken


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_no_schedule_beats_the_milp(variant, barrier):
    rng = np.random.default_rng(4)
    for _ in range(2):
        blocks = random_blocks(rng, blocks=6, steps=8)
        problem, lagrangian = posed(blocks, random_rates(rng), 2, variant, barrier)
        least = solve_milp(problem, lagrangian, 0.0, None).bound_s
        for seed in range(3):
            revised = revision.Revised(problem, lagrangian.setting)
            found = revised.follow(random_prices(rng, lagrangian.setting), seed)
            assert found >= least * (1 - 1e-6)


def test_it_stops_when_told():
    rng = np.random.default_rng(1)
    problem, lagrangian = posed(
        random_blocks(rng, blocks=9, steps=20), Rates(9, 2, 2, 2), 2, "text", "layer"
    )
    revised = revision.Revised(problem, lagrangian.setting)
    dual = random_prices(rng, lagrangian.setting)
    assert revised.follow(dual, 0, stop=lambda: True) == revised.cost  # all in DRAM: legal


@pytest.mark.parametrize("pairs", [search.WHOLE_PAIRS, 1])
def test_where_reads_come_and_go_it_finds_what_choosing_once_does_not(monkeypatch, pairs):
    """Few blocks, read in bursts, that differ: no sample of them tells what the others will do."""
    rng = np.random.default_rng(8)
    blocks = random_blocks(rng, steps=240, blocks=150, lanes=4, births=False, stickiness=0.9)
    quiet = rng.random(150) < 0.7  # most of them hardly ever read
    blocks.read[quiet] &= rng.random((quiet.sum(), 240)) < 0.05
    call = (blocks, Rates(40.0, 5.0, 5.0, 6.0), float(40 * blocks.block_bytes))
    monkeypatch.setattr(whole.anneal, "MAX_PAIRS", 0)
    monkeypatch.setattr(
        search.Search, "policies_where_misled", lambda self, bound_s, found_s: found_s
    )
    monkeypatch.setattr(search, "WHOLE_PAIRS", pairs)
    monkeypatch.setattr(whole, "MOST_PASSES", 1000)
    again = bound(*call)
    monkeypatch.setattr(revision, "MOST_PAIRS", 0)
    once = bound(*call)
    assert again.gap < 0.5 * once.gap
