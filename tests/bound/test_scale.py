"""Bytes and bandwidths over twelve orders of magnitude: the same answers, in other units.

Powers of two scale exactly in floating point, so whatever compares times with times must decide the
same at every scale. Solvers with tolerances of their own are held to one part in a million.
"""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import bound, quick_bound, whole
from hmsim.bound.exact import lp
from hmsim.bound.exact.lp import solve_lp, solve_milp
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.errors import SolverError
from hmsim.placement.latency import Rates
from hmsim.simulate.policies import make_policy
from tests.bound.exact.test_lp import brute_force
from tests.oracles.random_workloads import posed, random_blocks, random_rates
from tests.oracles.schedules import schedule_time
from tests.placement.taken import take

GH200 = Rates(4.9e12, 4.5e11, 4.5e11, 5e11)
LOPSIDED = Rates(4e12, 4e11, 1.3e11, 4.8e11)
seeds, variants, barriers = (
    st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS),
)  # fmt: skip
orders = st.tuples(st.integers(0, 40), st.integers(0, 28))  # of two: bandwidth, bytes


def scaled(blocks, rates, faster: int, larger: int):
    """The same workload of blocks 2^larger as large on memories 2^faster as fast."""
    size, time_s = 1 << larger, 2.0 ** (larger - faster)
    return (
        blocks._replace(
            append=blocks.append * size, hbm_bytes=blocks.hbm_bytes * size,
            compute_s=blocks.compute_s * time_s, block_bytes=blocks.block_bytes * size,
        ),
        Rates(*(rate * 2.0**faster for rate in rates)),
        time_s,
    )  # fmt: skip


def of_layers(rng, block_bytes=16384):
    """A few small steps of 16 KiB blocks, which a superchip serves in fractions of a microsecond."""
    blocks = random_blocks(rng, steps=5, blocks=3, lanes=1, births=False)
    size = block_bytes // blocks.block_bytes
    return blocks._replace(
        block_bytes=block_bytes, append=blocks.append * size, compute_s=np.zeros(5),
        hbm_bytes=blocks.hbm_bytes * size,
    )  # fmt: skip


@pytest.mark.parametrize("rates", [GH200, LOPSIDED])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_exact_methods_are_exact_at_the_speed_of_a_superchip(variant, rates):
    rng = np.random.default_rng(7)
    for barrier in BARRIERS:
        problem, lagrangian = posed(of_layers(rng), rates, 1, variant, barrier)
        best = brute_force(problem, rates, variant, barrier)
        found, relaxed = solve_milp(problem, lagrangian, 0.0, None), solve_lp(problem, lagrangian)
        assert found.time_s == pytest.approx(best, rel=1e-9)
        assert found.bound_s == pytest.approx(best, rel=1e-6)
        assert relaxed.bound_s <= found.bound_s <= found.time_s
        taken = schedule_time(problem, found.x, rates, variant, barrier)
        assert taken == pytest.approx(best, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds, variants, barriers, orders)
def test_lp_and_milp_do_not_depend_on_the_scale(seed, variant, barrier, order):
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, steps=6, blocks=4), random_rates(rng)
    capacity = int(rng.integers(0, 4))
    other, faster, unit = scaled(blocks, rates, *order)
    one, two = (
        posed(*case, capacity, variant, barrier) for case in ((blocks, rates), (other, faster))
    )
    if not one[0].blocks:
        return
    for method, options in ((solve_lp, ()), (solve_milp, (0.0, None))):
        small, large = method(*one, *options), method(*two, *options)
        assert large.bound_s == pytest.approx(unit * small.bound_s, rel=2e-6)
        assert large.time_s == pytest.approx(unit * small.time_s, rel=2e-6)


@settings(max_examples=25, deadline=None)
@given(seeds, variants, barriers, st.lists(st.floats(3, 15), min_size=4, max_size=4))
def test_bandwidths_may_be_twelve_orders_apart(seed, variant, barrier, powers):
    """The answer stands between the Lagrangian and the evaluator, or there is none (SolverError)."""
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, steps=6, blocks=4), Rates(*(10.0**power for power in powers))
    problem, lagrangian = posed(blocks, rates, int(rng.integers(0, 4)), variant, barrier)
    if not problem.blocks:
        return
    relaxed, found = None, None
    with contextlib.suppress(SolverError):
        relaxed, found = solve_lp(problem, lagrangian), solve_milp(problem, lagrangian, 0.0, None)
    if found is None:
        return
    assert lagrangian(relaxed.prices)[0] >= relaxed.bound_s * (1 - 1e-12)
    taken = schedule_time(problem, found.x, rates, variant, barrier)
    assert relaxed.bound_s <= found.bound_s <= taken * (1 + 1e-9)
    assert found.time_s == pytest.approx(taken, rel=1e-9)


@settings(max_examples=12, deadline=None)
@given(seeds, variants, barriers, orders)
def test_prices_and_annealing_do_the_same_at_every_scale(seed, variant, barrier, order):
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, steps=20, blocks=9), random_rates(rng)
    capacity = int(rng.integers(0, 4))
    other, faster, unit = scaled(blocks, rates, *order)
    size, larger = (float(capacity * each.block_bytes) for each in (blocks, other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "LEAST_PASSES", 100)
        patch.setattr(whole, "MOST_PASSES", 100)
        patch.setattr(whole, "FIRST_MOVES", 2_000)
        for method in ("dual", "anneal"):
            small = bound(blocks, rates, size, variant, barrier, method, gap=0.0)
            large = bound(other, faster, larger, variant, barrier, method, gap=0.0)
            assert large.bound_s == unit * small.bound_s
            assert large.achievable_s == unit * small.achievable_s
    small = quick_bound(blocks, rates, size, variant, barrier)
    assert quick_bound(other, faster, larger, variant, barrier).bound_s == unit * small.bound_s


@settings(max_examples=4, deadline=None)
@given(seeds, variants, orders, st.integers(0, 12))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("balanced", {}),
        ("slack", {"stretch": 0.1}),
        ("sa", {"longest": 3}),
        ("dual", {"moves": 200}),
    ],
)
def test_policies_that_reckon_do_the_same_at_every_scale(
    name, options, seed, variant, order, capacity
):
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, steps=24, blocks=14), random_rates(rng)
    other, faster, unit = scaled(blocks, rates, *order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "FIRST_MOVES", 2_000)
        (counts, traffic, _), (same, slower, _) = (
            take(make_policy(name, options), each, float(capacity * each.block_bytes), at, variant)
            for each, at in ((blocks, rates), (other, faster))
        )
    in_bytes = [3, 4]
    np.testing.assert_array_equal(np.delete(counts, in_bytes, 1), np.delete(same, in_bytes, 1))
    np.testing.assert_array_equal(traffic.time_s * unit, slower.time_s)


def test_an_answer_that_fails_its_check_is_not_printed(monkeypatch):
    blocks = random_blocks(np.random.default_rng(1), steps=6, blocks=4)
    problem, lagrangian = posed(blocks, Rates(4, 2, 2, 2), 2, "text", "layer")
    true_time = lp.placement_cost
    with monkeypatch.context() as patch:
        patch.setattr(lp, "placement_cost", lambda *call: 1.001 * true_time(*call))
        with pytest.raises(SolverError, match=r"method lp: .* disagree"):
            solve_lp(problem, lagrangian)

    def wrong_time(problem, x, *call):
        return true_time(problem, x, *call) * (1.001 if (x == np.rint(x)).all() else 1.0)

    relaxed = solve_lp(problem, lagrangian)
    monkeypatch.setattr(lp, "solve_lp", lambda *call: relaxed)
    monkeypatch.setattr(lp, "placement_cost", wrong_time)
    with pytest.raises(SolverError, match=r"method milp: .* nothing is proven"):
        solve_milp(problem, lagrangian, 0.0, None)
