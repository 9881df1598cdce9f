"""The calls that users make: order of bounds and schedules, monotonicity, limits, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import (
    BoundResult,
    bound,
    format_table,
    prices,
    quick,
    quick_bound,
    sampled,
    search,
    whole,
)
from hmsim.bound.exact.anneal import Schedule, improve
from hmsim.bound.exact.problem import collect
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Setting
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.errors import InputError
from hmsim.placement.latency import Rates
from hmsim.workload import open_workload
from hmsim.workload.open import load_spec
from tests.oracles.random_workloads import random_blocks, random_rates
from tests.oracles.schedules import schedule_time


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Fewer passes and moves than users get."""
    monkeypatch.setattr(whole, "MOST_PASSES", 1000)
    monkeypatch.setattr(whole, "FIRST_MOVES", 5_000)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS))
def test_annealing_keeps_its_books(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng), random_rates(rng)
    problem = collect(blocks, float(blocks.block_bytes * rng.integers(0, 4)))
    timeline, _ = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, problem.capacity)
    schedule = Schedule(problem, setting)
    for warm in (10.0, 0.1):
        schedule.anneal(2000, warm, warm / 100, seed % 1000)
        # `schedule_time` also refuses a schedule that breaks capacity or holds what is not alive.
        slow = schedule_time(problem, schedule.x, rates, variant, barrier)
        assert schedule.cost == pytest.approx(slow, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_bound_lp_milp_and_schedules_stand_in_order(variant, barrier):
    rng = np.random.default_rng(21)
    for _ in range(2):
        blocks = random_blocks(rng, steps=int(rng.integers(3, 9)), blocks=int(rng.integers(2, 7)))
        call = (blocks, random_rates(rng), float(2 * blocks.block_bytes), variant, barrier)
        lp, milp, dual, short = (
            bound(*call, method=method, gap=0.0) for method in ("lp", "milp", "dual", "anneal")
        )
        quick = quick_bound(*call)
        slack = 1e-9 * max(milp.achievable_s, 1e-9)
        for lower in (dual, short, quick):
            assert lower.bound_s <= lp.bound_s + slack
        assert lp.bound_s <= milp.bound_s * (1 + 1e-6) + slack
        for result in (lp, milp, dual, short):
            assert milp.bound_s <= result.achievable_s * (1 + 1e-6) + slack
            assert 0 <= result.gap < 1
        assert dual.bound_s >= 0.98 * lp.bound_s


def test_more_of_anything_never_makes_the_bound_worse():
    rng = np.random.default_rng(5)
    for _ in range(3):
        blocks = random_blocks(rng, steps=12, blocks=6)
        rates, capacity = random_rates(rng), float(2 * blocks.block_bytes)
        for variant in VARIANTS:
            base = bound(blocks, rates, capacity, variant, method="lp").bound_s
            more = [(rates, capacity + blocks.block_bytes), (rates, np.inf)]
            if variant != "code":  # its second term runs at dram - link_read
                for name in Rates._fields:
                    more.append((rates._replace(**{name: 2 * getattr(rates, name)}), capacity))
            for better, room in more:
                other = bound(blocks, better, room, variant, method="lp").bound_s
                assert other <= base * (1 + 1e-7) + 1e-12


def test_a_sample_is_certified_on_every_block(monkeypatch):
    rng = np.random.default_rng(8)
    blocks = random_blocks(rng, steps=60, blocks=120, lanes=2, births=False)
    rates, capacity = Rates(20.0, 4.0, 4.0, 5.0), float(20 * blocks.block_bytes)
    optimum = bound(blocks, rates, capacity, "text", method="lp").bound_s
    monkeypatch.setattr(search, "WHOLE_PAIRS", blocks.slots * 60 / 4)
    monkeypatch.setattr(sampled, "SAMPLE_PAIRS", blocks.slots * 60 / 4)
    monkeypatch.setattr(quick, "QUICK_PAIRS", blocks.slots * 60 / 8)
    thinned, soon = bound(blocks, rates, capacity), quick_bound(blocks, rates, capacity)
    monkeypatch.setattr(sampled, "GRID_PAIRS", 0)  # not even bits fit in memory
    streamed = bound(blocks, rates, capacity)
    for result in (thinned, soon, streamed):
        assert 0.5 * optimum <= result.bound_s <= optimum * (1 + 1e-9)
        assert len(result.history) == len(result.convergence)
    assert thinned.achievable_s >= optimum  # of a rounding
    assert streamed.achievable_s >= optimum  # of a policy


def test_schedules_that_follow_one_another_are_shorter(monkeypatch):
    table = {
        "model": {
            "layers": 4, "kv_bytes_per_token_layer": 4096, "resident_bytes": 1,
            "weight_bytes_step": 1e7,
        },
        "block_tokens": 1, "seed": 3, "tokens": [3000, 3099], "sparsity": 0.6, "drift": 0.3,
    }  # fmt: skip
    workload = open_workload(load_spec({"workload": table}, "test"))
    call = (workload, Rates(4e12, 450e9, 450e9, 384e9), 0.5 * 4 * 3000 * 4096)
    monkeypatch.setattr(search, "WHOLE_PAIRS", 1)
    monkeypatch.setattr(whole.revision, "MOST_PAIRS", 0)
    several = bound(*call, gap=0.001)
    monkeypatch.setattr(sampled, "MOST_TIMES", 1)
    one = bound(*call, gap=0.001)
    assert several.bound_s == one.bound_s
    assert several.achievable_s < 0.96 * one.achievable_s  # of a policy


def test_a_quick_bound_of_few_lanes_knows_the_others(monkeypatch):
    table = {
        "model": "llama-3.1-8b", "block_tokens": 16, "tokens": [32_000, 32_007], "copies": 4,
        "sparsity": 0.8, "drift": 0.1,
    }  # fmt: skip
    workload = open_workload(load_spec({"workload": table}, "test"))
    geometry, rates = workload.geometry, Rates(4.9e12, 450e9, 450e9, 500e9)
    room = 0.05 * geometry.lanes * 2000 * geometry.block_bytes
    call = (workload, rates, geometry.resident_bytes + room)
    whole = quick_bound(*call).bound_s
    monkeypatch.setattr(quick, "QUICK_PAIRS", geometry.slots * geometry.steps / 16)
    assert quick_bound(*call).bound_s >= 0.9 * whole


def test_what_is_too_large_to_anneal_is_rounded(monkeypatch):
    rng = np.random.default_rng(8)
    blocks = random_blocks(rng, steps=60, blocks=1200, lanes=2, births=False)
    call = (blocks, Rates(20.0, 4.0, 4.0, 5.0), float(200 * blocks.block_bytes))
    annealed = bound(*call)
    monkeypatch.setattr(whole.anneal, "MAX_PAIRS", 0)
    followed = bound(*call)
    assert followed.bound_s <= min(followed.achievable_s, annealed.achievable_s)
    assert followed.achievable_s <= 1.05 * annealed.achievable_s


def test_an_empty_workload_takes_its_weights_and_floor():
    blocks = random_blocks(np.random.default_rng(1), steps=5, blocks=1, births=False)
    blocks = blocks._replace(
        read=np.zeros_like(blocks.read), hbm_bytes=np.full(5, 8.0), compute_s=np.full(5, 1.0)
    )
    for method in ("lp", "milp", "dual", "anneal"):
        result = bound(blocks, Rates(4, 2, 2, 2), 0.0, method=method)
        assert result.achievable_s == pytest.approx(10.0)
        assert result.bound_s == pytest.approx(10.0, rel=1e-3)


def test_time_is_kept_and_capacity_may_be_infinite(monkeypatch):
    """By a clock of our own: a millisecond passes whenever it is looked at."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            self.now += 1e-3
            return self.now

    clock = Clock()
    monkeypatch.setattr(search, "time", clock)
    monkeypatch.setattr(prices, "time", clock)
    blocks = random_blocks(np.random.default_rng(2), steps=200, blocks=60)
    result = bound(blocks, Rates(20.0, 4.0, 4.0, 5.0), np.inf, gap=0.0, time_s=0.5)
    assert 0.5 <= clock.now < 0.6
    assert 50 < result.iterations < 500
    assert result.convergence == sorted(result.convergence)
    assert result.history.shape == (result.iterations, 3)
    assert (np.diff(result.history[:, 2]) >= 0).all()


def test_the_table_says_it_all():
    result = BoundResult(1.0, 2.0, 0.5, "dual", "text", "layer", 7, 3.0, [1.0], [0.1], None)
    text = format_table(result)
    for part in ("1 s", "2 s", "50 %", "dual, 7 passes", "text, barrier a layer"):
        assert part in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "simplex"}, "not one of lp, milp, dual, anneal"),
        ({"variant": "txt"}, "not one of text"),
        ({"barrier": "block"}, "not one of layer, token"),
        ({"gap": 1.0}, "below 1"),
        ({"gap": -0.1}, "at least 0"),
        ({"time_s": 0.0}, "above zero"),
        ({"capacity": -1.0}, "cannot hold"),
        ({"rates": Rates(1, -1, 1, 1)}, "above zero"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    blocks = random_blocks(np.random.default_rng(0), steps=3, blocks=2)
    call = {"workload": blocks, "rates": Rates(1, 1, 1, 1), "capacity": 100.0} | change
    with pytest.raises(InputError, match=message):
        bound(**call)


def test_an_lp_too_large_names_the_way_out(monkeypatch):
    blocks = random_blocks(np.random.default_rng(0), steps=30, blocks=9)
    monkeypatch.setitem(whole.lp.MAX_PAIRS, "milp", 10)
    with pytest.raises(InputError, match="use method dual"):
        bound(blocks, Rates(1, 1, 1, 1), 1e6, method="milp")


def test_improving_never_returns_a_worse_schedule():
    rng = np.random.default_rng(9)
    blocks, rates = random_blocks(rng, steps=40, blocks=30), random_rates(rng)
    problem = collect(blocks, 5.0 * blocks.block_bytes)
    timeline, _ = gather(blocks, 1)
    setting = Setting(timeline, rates, "text", "layer", blocks.block_bytes, problem.capacity)
    schedule = Schedule(problem, setting)
    all_in_dram = schedule.cost
    assert improve(schedule, [], 0, 20_000) <= all_in_dram


def test_where_prices_mislead_a_policy_stands_for_the_schedule(monkeypatch):
    rng = np.random.default_rng(8)
    blocks = random_blocks(rng, steps=60, blocks=1200, lanes=2, births=False)
    call = (blocks, Rates(20.0, 4.0, 4.0, 5.0), float(200 * blocks.block_bytes))
    monkeypatch.setattr(whole.anneal, "MAX_PAIRS", 0)
    monkeypatch.setattr(whole.revision, "MOST_PAIRS", 0)
    followed = bound(*call)
    assert followed.policy is None
    monkeypatch.setattr(whole, "cost_of", lambda setting, use: 10 * followed.achievable_s)
    misled = bound(*call)
    assert misled.policy in dict(search.CANDIDATES)
    assert misled.bound_s <= misled.achievable_s < 5 * followed.achievable_s
    assert f", by {misled.policy}: prices are no guide" in format_table(misled)
