"""The schedule that keeps what is read again first: legal, and with the fewest misses of all."""

from itertools import pairwise
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from hmsim.bound import belady, bound, sampled, search
from hmsim.bound.exact.lp import solve_lp
from hmsim.bound.paths.words import gather
from hmsim.bound.paths.words_kernel import new_use
from hmsim.bound.prices import Lagrangian, Setting
from hmsim.bound.rounding import cost_of
from hmsim.cli.inputs import counted_source
from hmsim.config.catalogue import find
from hmsim.config.enumerations import BARRIERS
from hmsim.placement.latency import Rates
from tests.bound.test_rounding import an_instance
from tests.oracles.random_workloads import random_blocks

copies_stay = st.sampled_from(("code", "inclusive"))


def most_hits(waits, steps, capacity):
    """The most waits that HBM holds together. Such programs have integral solutions."""
    if not waits:
        return 0
    there = np.zeros((steps, len(waits)))
    for k, (begin, end) in enumerate(waits):
        there[begin + 1 : end + 1, k] = 1
    return -linprog(-np.ones(len(waits)), there, np.full(steps, capacity), bounds=(0, 1)).fun


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_without_thrift_no_choice_has_fewer_misses(seed):
    rng = np.random.default_rng(seed)
    capacity = int(rng.integers(0, 4))
    problem, _, setting, grid = an_instance(
        rng, "inclusive", "layer", capacity, blocks=8, steps=30, births=False
    )
    waits = []
    for first, last in pairwise(problem.read_offset):
        reads = problem.read_step[first:last].tolist()
        waits += pairwise([-1, *reads])
    plan = belady._Plan(setting, grid)
    holds = np.full(problem.steps, setting.capacity)
    belady.kernel.choose(plan._line, holds, plan._count, 0, plan._waits, plan._kept)
    assert plan._waits.sum() == pytest.approx(most_hits(waits, problem.steps, setting.capacity))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), copies_stay, st.sampled_from(BARRIERS))
def test_no_schedule_beats_the_optimum_of_the_relaxation(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    problem, _, setting, grid = an_instance(rng, variant, barrier, blocks=9, steps=20)
    use = belady.Scheduled(setting, grid).use
    assert min(part.min() for part in use._replace(arrive=use.occupied())) >= 0
    least = solve_lp(problem, Lagrangian(setting, grid)).bound_s
    assert cost_of(setting, use) >= least * (1 - 1e-6)  # refuses what is over capacity, too


def many_blocks(hbm_bytes):
    """Of four lanes, whose steps have so many other bytes to read from HBM."""
    rng = np.random.default_rng(3)
    blocks = random_blocks(rng, steps=120, blocks=3000, lanes=4, stickiness=0.3, births=False)
    blocks = blocks._replace(hbm_bytes=np.array(hbm_bytes)[blocks.lane], compute_s=np.zeros(120))
    return blocks, Rates(4900.0, 450.0, 450.0, 500.0), 1200


@pytest.mark.parametrize("variant", ["code", "inclusive"])
def test_where_the_link_has_time_it_fetches_ahead(variant, monkeypatch):
    blocks, rates, capacity = many_blocks([3e3, 6e4, 3e3, 3e3])  # lane 1 waits for HBM
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, "layer", blocks.block_bytes, capacity)
    ahead = belady.Scheduled(setting, grid).use
    monkeypatch.setattr(belady.kernel, "spread", lambda *rest: 0)
    late = belady.Scheduled(setting, grid).use
    assert ahead.promote.sum() > 0
    assert late.promote.sum() == 0
    assert cost_of(setting, ahead) < 0.99 * cost_of(setting, late)


def test_where_it_is_near_enough_nothing_else_is_tried(monkeypatch):
    blocks, rates, capacity = many_blocks([3e3] * 4)
    monkeypatch.setattr(search, "WHOLE_PAIRS", 1)
    monkeypatch.setattr(sampled, "Followed", None)
    found = bound(blocks, rates, float(capacity * blocks.block_bytes), "inclusive", gap=0.02)
    assert found.gap is not None
    assert found.gap <= 0.02


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_second_choice_knows_nothing_of_the_first(seed, capacity):
    """Where lanes do not take turns, a wait may end before another that has begun before it."""
    rng = np.random.default_rng(seed)
    _, _, setting, grid = an_instance(
        rng, "inclusive", "layer", capacity, blocks=60, steps=40, lanes=4, in_turn=False
    )
    again, anew = belady._Plan(setting, grid), belady._Plan(setting, grid)
    again.choose()
    again.reserve()
    anew.reserved = again.reserved
    again.choose()
    anew.choose()
    for one, two in zip(again.use(), anew.use(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert anew._waits.min() >= 0


def test_lanes_that_share_a_step_lose_nothing_of_it(monkeypatch):
    """Two threads add up what their lanes do at step 0, with which the first stretch of both begins."""
    rng = np.random.default_rng(4)
    _, _, setting, grid = an_instance(
        rng, "inclusive", "layer", 20, blocks=200, steps=40, lanes=2, births=False
    )
    monkeypatch.setattr(belady, "threads", lambda most: 1)
    alone = belady.Scheduled(setting, grid).use
    both_have_read, settle = Barrier(2), belady.kernel.settle

    def add_at_once(*arguments):
        """What a lane does is added to what there was before either lane had added anything."""
        *rest, use, slots, moves = arguments
        before = [part.copy() for part in use]
        mine = new_use(setting.timeline.steps)
        both_have_read.wait(timeout=60)
        done = settle(*rest, mine, slots, moves)
        for part, was, more in zip(use, before, mine, strict=True):
            part[:] = was + more
        return done

    monkeypatch.setattr(belady, "threads", lambda most: 2)
    monkeypatch.setattr(belady.kernel, "settle", add_at_once)
    for one, two in zip(alone, belady.Scheduled(setting, grid).use, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_schedule_does_not_depend_on_the_threads(monkeypatch):
    uses = []
    for threads in (1, 2):
        rng = np.random.default_rng(2)
        _, _, setting, grid = an_instance(
            rng, "inclusive", "layer", 20, blocks=200, steps=40, lanes=3
        )
        monkeypatch.setattr(belady, "threads", lambda most, threads=threads: threads)
        uses.append(belady.Scheduled(setting, grid).use)
    for one, two in zip(*uses, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_sample_is_from_all_over_where_reads_are_not_alike(monkeypatch):
    """Old blocks of the high variation are read a third as often as new ones, the oldest never."""
    monkeypatch.setattr(search, "WHOLE_PAIRS", 1)
    workload = counted_source(find("paper-60-high"), ["workload.tokens=[36000,36016]"])
    rates = Rates(4.9e12, 4.5e11, 4.5e11, 5e11)
    found = bound(workload, rates, 24.5e9, "inclusive")
    assert found.bound_s == pytest.approx(0.0630706, rel=1e-3)  # 0.0627287 of neighbours
    assert found.gap is not None
    assert found.gap < 0.0105
