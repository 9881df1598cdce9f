"""Bounds of one workload on many machines: each as good as alone, and proven."""

from itertools import pairwise

import numpy as np
import pytest

from hmsim.bound import Machine, bound, bound_over, format_points, sampled, search, whole
from hmsim.bound.exact import anneal
from hmsim.config.enumerations import VARIANTS
from hmsim.errors import InputError
from hmsim.placement.latency import Rates
from tests.oracles.random_workloads import random_blocks

RATES = Rates(20.0, 4.0, 4.0, 5.0)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Fewer passes and moves than users get."""
    monkeypatch.setattr(whole, "LEAST_PASSES", 400)
    monkeypatch.setattr(whole, "MOST_PASSES", 400)
    monkeypatch.setattr(whole, "FIRST_MOVES", 5_000)


def a_workload(blocks=120, lanes=2):
    return random_blocks(
        np.random.default_rng(8), steps=60, blocks=blocks, lanes=lanes, births=False
    )


def of_capacities(blocks, counts, rates=RATES):
    return [Machine(rates, float(count * blocks.block_bytes)) for count in counts]


def check(blocks, machines, variant, least, most_gap):
    """Results in order, each below the LP and at least that share of it."""
    results = bound_over(blocks, machines, variant, gap=0.0)
    assert len(results) == len(machines)
    for (rates, capacity), found in zip(machines, results, strict=True):
        optimum = bound(blocks, rates, capacity, variant, method="lp").bound_s
        assert least * optimum <= found.bound_s <= optimum * (1 + 1e-9)
        assert found.variant == variant
        if found.achievable_s is not None:
            assert found.bound_s <= found.achievable_s * (1 + 1e-9)
            assert 0 <= found.gap <= most_gap
    return results


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_capacity_as_good_as_alone(variant):
    blocks = a_workload(blocks=24)
    machines = of_capacities(blocks, (4, 12, 1, 8))  # in any order
    results = check(blocks, machines, variant, 0.99, 0.2)
    by_capacity = [results[k] for k in (2, 0, 3, 1)]
    for less, more in pairwise(by_capacity):
        assert less.bound_s >= more.bound_s
        assert less.achievable_s >= more.achievable_s  # what fits in less HBM fits in more


def test_bandwidths_too():
    blocks = a_workload(blocks=24)
    machines = [
        Machine(RATES._replace(link_read=rate, dram=2 * rate), 6.0 * blocks.block_bytes)
        for rate in (2.0, 3.0, 4.0, 20.0)
    ]
    results = check(blocks, machines, "exclusive", 0.99, 0.2)
    assert results[0].bound_s > results[-1].bound_s


def test_many_take_no_more_passes_than_four_searches():
    blocks = a_workload(blocks=24)
    results = bound_over(blocks, of_capacities(blocks, range(2, 22)), gap=0.0)
    coarse, one = 27, whole.FIRST_PASSES + whole.MOST_PASSES
    assert sum(found.iterations - coarse for found in results) <= 4.1 * one


def test_blocks_that_chose_before_choose_again(monkeypatch):
    """Where a dense schedule does not fit, a neighbour's is where blocks begin."""
    monkeypatch.setattr(anneal, "MAX_PAIRS", 0)
    blocks = a_workload(blocks=60)
    results = check(blocks, of_capacities(blocks, (30, 25, 20)), "text", 0.98, 0.25)
    assert all(found.achievable_s is not None for found in results)


def test_samples_are_certified_on_every_block(monkeypatch):
    blocks = a_workload(blocks=60)
    monkeypatch.setattr(search, "WHOLE_PAIRS", blocks.slots * 60 / 4)
    monkeypatch.setattr(sampled, "SAMPLE_PAIRS", blocks.slots * 60 / 4)
    machines = of_capacities(blocks, (30, 10))
    results = check(blocks, machines, "text", 0.5, 1.0)
    assert all(found.achievable_s is not None for found in results)
    monkeypatch.setattr(sampled, "GRID_PAIRS", 0)  # not even bits fit in memory
    streamed = check(blocks, machines, "text", 0.5, 1.0)
    assert streamed[0].achievable_s is not None  # of a policy, in the first one's search
    assert "-" in format_points("capacity", ["30", "10"], streamed).split()


def test_time_is_limited_in_all(monkeypatch):
    blocks = a_workload(blocks=24)
    machines = of_capacities(blocks, (4, 3))
    results = bound_over(blocks, machines, gap=0.0, time_s=1e-6)
    assert all(found.iterations < 40 for found in results)


@pytest.mark.parametrize(
    ("machines", "changes", "message"),
    [
        ([], {}, "machines: none"),
        ([Machine(RATES, 100.0)], {"gap": 1.0}, "gap: 1.0 must be"),
        ([Machine(RATES, 100.0)], {"time_s": 0.0}, "time: 0.0 seconds"),
        ([Machine(RATES, 100.0)], {"variant": "texts"}, "variant"),
        ([Machine(RATES, 1e9), Machine(RATES, -1.0)], {}, "capacity: -1 bytes cannot hold"),
        ([Machine(RATES, 1e9), Machine(RATES._replace(dram=0.0), 1e9)], {}, "dram"),
    ],
)
def test_bad_input(machines, changes, message):
    with pytest.raises(InputError, match=message):
        bound_over(a_workload(blocks=4), machines, **changes)
