"""The Lagrangian at any prices: value, gradient, and how near the optimum good prices get."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import certificate as certify
from hmsim.bound import prices
from hmsim.bound.ascent import ascend, coarse_start
from hmsim.bound.ascent_kernel import project
from hmsim.bound.certificate import Certificate
from hmsim.bound.exact.lp import solve_lp
from hmsim.bound.exact.problem import collect
from hmsim.bound.paths.tables_kernel import SPAN
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.placement.latency import Rates
from tests.oracles.lagrangian import slow_lagrangian
from tests.oracles.random_workloads import posed, random_blocks, random_rates


def an_instance(rng, variant, barrier, threads=1, **sizes):
    """Problem, rates and Lagrangian of a random workload, whose passes so many threads share."""
    blocks = random_blocks(rng, **sizes)
    rates = random_rates(rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prices, "THREAD_WORDS", 0)  # as if there were enough to do
        patch.setattr(prices.numba, "get_num_threads", lambda: threads)
        capacity = int(rng.integers(0, 4))
        problem, lagrangian = posed(blocks, rates, capacity, variant, barrier)
    return problem, rates, lagrangian


def random_prices(rng, setting):
    """Spiky or smooth, cheap or dear."""
    groups, terms = setting.all_in_dram.shape
    term = rng.dirichlet(np.full(terms, rng.choice([0.1, 1, 10])), groups)
    unit = setting.block_bytes / setting.rates.off_package
    capacity = unit * rng.random(setting.timeline.steps) * rng.choice([0, 0.05, 1, 10])
    if rng.random() < 0.5:
        capacity *= rng.random(len(capacity)) < 0.2
    return Dual(term, capacity)


def check_prices(rng, variant, barrier, **sizes):
    problem, rates, lagrangian = an_instance(rng, variant, barrier, **sizes)
    dual = random_prices(rng, lagrangian.setting)
    value, slope = lagrangian(dual)
    assert lagrangian.value(dual) == value
    slow = slow_lagrangian(problem, rates, variant, barrier, dual.term[:, :-1], dual.capacity)
    scale = max(float((dual.term * lagrangian.setting.all_in_dram).sum()), 1e-9)
    assert abs(value - slow) <= 1e-9 * scale
    # Costs are linear in the prices, so the paths found must cost just that by their own use.
    used = float((slope.term * dual.term).sum() + (slope.capacity * dual.capacity).sum())
    assert abs(value - used) <= 1e-9 * scale


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS))
def test_value_and_gradient_are_those_of_the_slow_paths(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    sizes = {"lanes": 6, "steps": int(rng.integers(6, 40))} if seed % 2 else {}
    check_prices(rng, variant, barrier, threads=1 + seed % 3, **sizes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_block_leaves_and_comes_back_between_two_reads(variant):
    """Room is dear, and moves are free, only in between: a path that may move next to reads alone
    would cost more, and the bound would be too high."""
    rng = np.random.default_rng(1)
    blocks = random_blocks(rng, steps=12, blocks=1, lanes=6, births=False)
    reads = np.arange(12) % 6 == 0
    first = blocks.number % blocks.slots  # in lane 0
    blocks = blocks._replace(read=reads[None], number=first, append=0 * blocks.append)
    rates = Rates(20.0, 2.0, 2.0, 2.0)
    problem = collect(blocks, float(blocks.block_bytes))
    timeline, grid = gather(blocks, 1)
    lagrangian = Lagrangian(
        Setting(timeline, rates, variant, "layer", blocks.block_bytes, problem.capacity), grid
    )
    term = np.zeros_like(lagrangian.setting.all_in_dram)
    term[:, 0] = 0.1
    term[:, 1] = 0.9
    term[[1, 4, 7, 10]] = 0.0
    term[[1, 4, 7, 10], -1] = 1.0  # the compute floor: moves cost nothing
    capacity = np.where(np.isin(np.arange(12), (3, 9)), 1e3, 0.0)
    dual = Dual(term, capacity)
    value, slope = lagrangian(dual)
    assert value == pytest.approx(
        slow_lagrangian(problem, rates, variant, "layer", term[:, :-1], capacity)
    )
    occupied = slope.capacity + problem.capacity
    assert occupied[:7].tolist() == [1, 1, 0, 0, 0, 1, 1]  # reads at 0 and 6


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_value_and_gradient_on_thousands_of_instances(variant, barrier):
    rng = np.random.default_rng(7)
    for _ in range(500):
        check_prices(rng, variant, barrier)
        steps, stickiness = int(rng.integers(20, 200)), rng.choice([0.0, 0.5, 0.9, 0.98])
        check_prices(rng, variant, barrier, steps=steps, stickiness=stickiness)


@pytest.mark.parametrize("stickiness", [0.5, 0.98])
def test_long_lives_cross_the_tables_spans(stickiness):
    rng = np.random.default_rng(3)
    for lanes, variant in ((1, "text"), (2, "inclusive")):
        sizes = {"steps": 3 * SPAN, "blocks": 2, "lanes": lanes, "stickiness": stickiness}
        check_prices(rng, variant, "layer", **sizes)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_no_prices_beat_the_lp_and_good_ones_reach_it(variant, barrier):
    rng = np.random.default_rng(11)
    shares = []
    for _ in range(6):
        problem, _, lagrangian = an_instance(
            rng, variant, barrier, steps=int(rng.integers(20, 60)), blocks=int(rng.integers(10, 30))
        )
        optimum = solve_lp(problem, lagrangian).time_s
        value, _ = lagrangian(random_prices(rng, lagrangian.setting))
        assert value <= optimum * (1 + 1e-9)
        found = ascend(lagrangian, coarse_start(lagrangian).dual, 1000)
        assert found.value <= optimum * (1 + 1e-9)
        shares.append(found.value / optimum)
    assert min(shares) >= 0.99
    assert np.mean(shares) >= 0.999


def test_neither_value_nor_gradient_depends_on_the_threads():
    found = []
    for threads in (1, 2, 5):
        rng = np.random.default_rng(5)
        *_, lagrangian = an_instance(rng, "text", "layer", threads, steps=60, blocks=400, lanes=3)
        assert len(lagrangian._tables) == threads
        found.append(lagrangian(random_prices(np.random.default_rng(0), lagrangian.setting)))
    (value, slope), *others = found
    for other, other_slope in others:
        assert other == value
        assert np.array_equal(other_slope.term, slope.term)
        assert np.array_equal(other_slope.capacity, slope.capacity)


def test_more_words_than_one_thread_takes():
    """A grid that is large enough for threads by itself: nothing in it is left out."""
    rng = np.random.default_rng(8)
    rates = random_rates(rng)
    blocks = random_blocks(rng, steps=300, blocks=90, lanes=1, births=False)
    slots = 64 * 70
    blocks = blocks._replace(slots=slots, number=rng.choice(slots, 90, replace=False))
    problem = collect(blocks, 30.0 * blocks.block_bytes)
    timeline, grid = gather(blocks, 1)
    assert grid.bits.size > prices.THREAD_WORDS
    setting = Setting(timeline, rates, "text", "layer", blocks.block_bytes, problem.capacity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prices.numba, "get_num_threads", lambda: 2)
        lagrangian = Lagrangian(setting, grid)
    dual = random_prices(rng, setting)
    value, _ = lagrangian(dual)
    slow = slow_lagrangian(problem, rates, "text", "layer", dual.term[:, :-1], dual.capacity)
    assert value == pytest.approx(slow, rel=1e-9)


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_projection_is_the_nearest_point_of_the_simplex(rows):
    rows = np.array(rows)
    near = rows.copy()
    for row in near:
        project(row, np.empty(3))
    assert (near >= 0).all()
    assert near.sum(axis=1) == pytest.approx(1.0)
    for other in np.eye(3):  # no corner lies on the far side of the supporting plane
        assert ((rows - near) * (other - near)).sum(axis=1).max() <= 1e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS))
def test_the_streamed_passes_agree_with_the_stored_one(seed, variant, barrier):
    monkeypatch = pytest.MonkeyPatch()
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(2 * SPAN, 3 * SPAN)) if seed % 10 == 0 else int(rng.integers(1, 60))
    blocks = random_blocks(rng, steps=steps)._replace(rows=int(rng.integers(1, 50)))
    timeline, grid = gather(blocks, 1)
    capacity = int(rng.integers(0, 4))
    setting = Setting(timeline, random_rates(rng), variant, barrier, blocks.block_bytes, capacity)
    dual = random_prices(rng, setting)
    values = []
    for few in (0.0, 2.0):  # stretch by stretch, and by runs of reads
        monkeypatch.setattr(certify, "FEW_CHANGES", few)
        certificate = Certificate(setting, blocks.geometry, dual, parts=int(rng.integers(1, 4)))
        for chunk in blocks.chunks():
            certificate.feed(chunk)
        values.append(certificate.value())
    value = Lagrangian(setting, grid)(dual)[0]
    scale = float((dual.term * setting.all_in_dram).sum())
    assert values == pytest.approx([value, value], rel=1e-12, abs=1e-12 * scale)
