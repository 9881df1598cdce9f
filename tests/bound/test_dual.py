"""The Lagrangian at any prices: value, gradient, and how near the optimum good prices get."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import certificate as certify
from hmsim.bound.ascent import ascend, coarse_start, on_simplex
from hmsim.bound.certificate import Certificate
from hmsim.bound.exact.lp import solve_lp
from hmsim.bound.exact.problem import BARRIERS, collect
from hmsim.bound.paths.tables_kernel import SPAN
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.placement.latency import VARIANTS
from tests.oracles.bound_cases import random_blocks, random_rates, slow_lagrangian


def an_instance(rng, variant, barrier, parts=1, **sizes):
    """Problem, rates and Lagrangian of a random workload."""
    blocks = random_blocks(rng, **sizes)
    rates = random_rates(rng)
    problem = collect(blocks, float(blocks.block_bytes * rng.integers(0, 4)))
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, problem.room)
    return problem, rates, Lagrangian(setting, grid)


def random_prices(rng, setting):
    """Spiky or smooth, cheap or dear."""
    groups, arms = setting.all_in_dram.shape
    arm = rng.dirichlet(np.full(arms, rng.choice([0.1, 1, 10])), groups)
    unit = setting.block_bytes / setting.rates.off_package
    room = unit * rng.random(setting.timeline.steps) * rng.choice([0, 0.05, 1, 10])
    if rng.random() < 0.5:
        room *= rng.random(len(room)) < 0.2
    return Dual(arm, room)


def check_prices(rng, variant, barrier, **sizes):
    problem, rates, lagrangian = an_instance(rng, variant, barrier, **sizes)
    dual = random_prices(rng, lagrangian.setting)
    value, slope = lagrangian(dual)
    slow = slow_lagrangian(problem, rates, variant, barrier, dual.arm[:, :-1], dual.room)
    scale = max(float((dual.arm * lagrangian.setting.all_in_dram).sum()), 1e-9)
    assert abs(value - slow) <= 1e-9 * scale
    # Costs are linear in the prices, so the paths found must cost just that by their own use.
    used = float((slope.arm * dual.arm).sum() + (slope.room * dual.room).sum())
    assert abs(value - used) <= 1e-9 * scale


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS))
def test_value_and_gradient_are_those_of_the_slow_paths(seed, variant, barrier):
    check_prices(np.random.default_rng(seed), variant, barrier, parts=1 + seed % 3)


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
        problem, rates, lagrangian = an_instance(
            rng, variant, barrier, steps=int(rng.integers(20, 60)), blocks=int(rng.integers(10, 30))
        )
        optimum = solve_lp(problem, rates, variant, barrier).time_s
        value, _ = lagrangian(random_prices(rng, lagrangian.setting))
        assert value <= optimum * (1 + 1e-9)
        found = ascend(lagrangian, coarse_start(lagrangian).dual, 1000)
        assert found.value <= optimum * (1 + 1e-9)
        shares.append(found.value / optimum)
    assert min(shares) >= 0.99
    assert np.mean(shares) >= 0.999


def test_the_value_does_not_depend_on_the_parts():
    values = set()
    for parts in (1, 2, 5):
        rng = np.random.default_rng(5)
        *_, lagrangian = an_instance(rng, "text", "layer", parts=parts, steps=60, blocks=100)
        values.add(lagrangian(random_prices(np.random.default_rng(0), lagrangian.setting))[0])
    assert len(values) == 1


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_projection_is_the_nearest_point_of_the_simplex(rows):
    rows = np.array(rows)
    near = on_simplex(rows)
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
    room = int(rng.integers(0, 4))
    setting = Setting(timeline, random_rates(rng), variant, barrier, blocks.block_bytes, room)
    dual = random_prices(rng, setting)
    values = []
    for few in (0.0, 2.0):  # cell by cell, and by runs of reads
        monkeypatch.setattr(certify, "FEW_CHANGES", few)
        certificate = Certificate(setting, blocks.geometry, dual, parts=int(rng.integers(1, 4)))
        for chunk in blocks.chunks():
            certificate.feed(chunk)
        values.append(certificate.value())
    value = Lagrangian(setting, grid)(dual)[0]
    scale = float((dual.arm * setting.all_in_dram).sum())
    assert values == pytest.approx([value, value], rel=1e-12, abs=1e-12 * scale)
