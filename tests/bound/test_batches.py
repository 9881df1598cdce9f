"""A sample in batches: what they say together, and how prices climb by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import batches as sampling
from hmsim.bound.ascent import ascend_by_batches, coarse_start
from hmsim.bound.batches import Batches
from hmsim.bound.exact.lp import solve_lp
from hmsim.bound.paths.words import gather
from hmsim.config.enumerations import VARIANTS
from hmsim.placement.latency import Rates
from tests.bound.test_prices import random_prices
from tests.oracles.random_workloads import posed, random_blocks, random_rates

OTHERS = [each for each in VARIANTS if each != "inclusive"]


@pytest.fixture
def a_tile_each(monkeypatch):
    monkeypatch.setattr(sampling, "BATCH_TILES", 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS))
def test_batches_together_are_the_whole(seed, variant):
    """Every block is in one batch, and stands for others there: the mean of all is the whole."""
    rng = np.random.default_rng(seed)
    sizes = {"blocks": int(rng.integers(1, 600)), "lanes": int(rng.integers(1, 4))}
    blocks, rates = random_blocks(rng, steps=12, **sizes), random_rates(rng)
    _, lagrangian = posed(blocks, rates, int(rng.integers(0, 99)), variant, "layer")
    if not len(lagrangian.grid.lane):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BATCH_TILES", int(rng.integers(1, 3)))
        batches = Batches(lagrangian.setting, lagrangian.grid, 1.0)
    dual, total = random_prices(rng, lagrangian.setting), (lagrangian.grid.slot >= 0).sum()
    value, slope = lagrangian(dual)
    found, mean = 0.0, np.zeros_like(slope.term)
    for batch in batches._batches:
        share = (batch.grid.slot >= 0).sum() / total
        one, its_slope = batch(dual)
        found, mean = found + share * one, mean + share * its_slope.term
        if share:
            assert batch.weight == pytest.approx(1 / share)
    scale = max(float((dual.term * lagrangian.setting.all_in_dram).sum()), 1e-9)
    assert found == pytest.approx(value, abs=1e-9 * scale)
    np.testing.assert_allclose(mean, slope.term, atol=1e-9 * scale)


def test_tiles_of_a_sample_are_from_all_over_their_lane():
    """So that a batch is like the whole: blocks that are born later are in each of them."""
    blocks = random_blocks(np.random.default_rng(3), steps=12, blocks=1000, lanes=1, births=False)
    _, grid = gather(blocks, 4)
    assert grid.tiles == -(-blocks.slots // 4 // 64)
    for slots in grid.slot:
        assert np.median(slots[slots >= 0]) == pytest.approx(blocks.slots / 2, rel=0.1)
    found = np.sort(grid.slot[grid.slot >= 0])
    np.testing.assert_array_equal(found // 4, np.arange(len(found)))


@pytest.mark.parametrize(
    "variant", ["inclusive", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)]
)
def test_prices_climb_by_batches_to_the_optimum(variant, a_tile_each):
    blocks = random_blocks(np.random.default_rng(3), steps=40, blocks=600, lanes=2, births=False)
    problem, lagrangian = posed(blocks, Rates(20.0, 4.0, 4.0, 5.0), 100, variant, "layer")
    optimum = solve_lp(problem, lagrangian).bound_s
    batches = Batches(lagrangian.setting, lagrangian.grid, 1.0)
    assert batches.count > 4
    start = coarse_start(batches)
    passes = batches.passes
    found = ascend_by_batches(batches, start.dual, 400, (1.0, 3e-3), 0.3)
    assert len(found.history) == batches.passes - passes
    assert (np.diff(found.history) >= 0).all()
    proven = lagrangian.value(found.dual)
    assert 0.985 * optimum <= proven <= optimum * (1 + 1e-9)
    assert proven >= lagrangian.value(start.dual) * (1 - 1e-9)


def test_a_climb_ends_in_time(a_tile_each):
    blocks = random_blocks(np.random.default_rng(3), steps=40, blocks=400, lanes=2, births=False)
    _, lagrangian = posed(blocks, Rates(20.0, 4.0, 4.0, 5.0), 60, "text", "layer")
    batches = Batches(lagrangian.setting, lagrangian.grid, 1.0)
    start, told = coarse_start(batches), []

    def spent(best):
        told.append(best)
        return len(told) / 10

    found = ascend_by_batches(batches, start.dual, 1000, (1.0, 3e-3), 0.3, spent)
    assert len(told) == 10
    assert told[-1] <= found.value
