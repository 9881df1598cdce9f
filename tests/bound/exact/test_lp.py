"""The LP and the MILP against brute force, the slow Lagrangian and the schedule evaluator."""

import itertools

import numpy as np
import pytest

from hmsim.bound.exact.lp import check_size, solve_lp, solve_milp
from hmsim.bound.exact.problem import alive_mask, check_setting, collect
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.errors import InputError
from hmsim.placement.latency import Rates
from tests.oracles.lagrangian import slow_lagrangian
from tests.oracles.random_workloads import posed, random_blocks, random_rates
from tests.oracles.schedules import schedule_time


def brute_force(problem, rates, variant, barrier):
    """Time of the best schedule, by trying all of them."""
    alive = alive_mask(problem)
    cells = np.argwhere(alive)
    best = np.inf
    for choice in itertools.product([False, True], repeat=len(cells)):
        x = np.zeros(alive.shape, bool)
        x[tuple(cells.T)] = choice
        if (x.sum(axis=0) <= problem.capacity).all():
            best = min(best, schedule_time(problem, x, rates, variant, barrier))
    return best


def instances(count, seed, variant, barrier, **sizes):
    """Rates, problem and Lagrangian of random workloads."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        blocks = random_blocks(rng, **{k: int(rng.integers(*v)) for k, v in sizes.items()})
        capacity, rates = int(rng.integers(0, 4)), random_rates(rng)
        problem, lagrangian = posed(blocks, rates, capacity, variant, barrier)
        if problem.blocks:
            found += 1
            yield rates, problem, lagrangian


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_the_milp_is_the_best_of_all_schedules(variant, barrier):
    for rates, problem, lagrangian in instances(
        12, 1, variant, barrier, steps=(1, 5), blocks=(1, 4)
    ):
        assert problem.pairs <= 9  # 2 ** 9 schedules to try
        best = brute_force(problem, rates, variant, barrier)
        lp = solve_lp(problem, lagrangian)
        milp = solve_milp(problem, lagrangian, 0.0, None)
        assert milp.time_s == pytest.approx(best, rel=1e-6, abs=1e-9)
        assert milp.bound_s <= best * (1 + 1e-6)
        assert lp.time_s <= milp.time_s * (1 + 1e-6)
        schedule = milp.x > 0.5
        assert schedule_time(problem, schedule, rates, variant, barrier) == pytest.approx(best)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_the_lagrangian_at_the_lp_prices_is_the_lp_optimum(variant, barrier):
    for rates, problem, lagrangian in instances(
        15, 2, variant, barrier, steps=(2, 20), blocks=(2, 12)
    ):
        lp = solve_lp(problem, lagrangian)
        term, capacity = lp.prices
        value = slow_lagrangian(problem, rates, variant, barrier, term[:, :-1], capacity)
        assert value == pytest.approx(lp.time_s, rel=1e-6, abs=1e-9)


def test_a_physical_exclusive_schedule_never_takes_longer_than_by_the_text():
    for barrier in BARRIERS:
        cases = [
            instances(10, 3, variant, barrier, steps=(2, 12), blocks=(2, 8))
            for variant in ("exclusive", "text")
        ]
        for exclusive, text in zip(*cases, strict=True):
            assert solve_lp(*exclusive[1:]).time_s <= solve_lp(*text[1:]).time_s * (1 + 1e-7)


def test_refusals_say_what_to_do_instead():
    blocks = random_blocks(np.random.default_rng(0), steps=6, blocks=4)
    problem = collect(blocks, 1e9)
    with pytest.raises(InputError, match="use method dual"):
        check_size(problem._replace(death=problem.death + 10**8), "lp")
    with pytest.raises(InputError, match="not one of text, code"):
        check_setting("texts", "layer", Rates(1, 1, 1, 1))
    with pytest.raises(InputError, match="not one of layer, token"):
        check_setting("text", "step", Rates(1, 1, 1, 1))
    with pytest.raises(InputError, match="above zero"):
        check_setting("text", "layer", Rates(1, 0, 1, 1))
    with pytest.raises(InputError, match="cannot hold"):
        collect(blocks._replace(resident_bytes=10.0), 9.0)


def test_a_schedule_that_cannot_be_is_refused():
    blocks = random_blocks(np.random.default_rng(4), steps=8, blocks=6, births=False)
    problem = collect(blocks, 2.0 * blocks.block_bytes)
    rates = Rates(4, 2, 2, 2)
    with pytest.raises(InputError, match="HBM holds 2"):
        schedule_time(problem, np.ones((problem.blocks, 8)), rates, "text", "layer")
    with pytest.raises(InputError, match="shape"):
        schedule_time(problem, np.ones((1, 1)), rates, "text", "layer")
    late = problem._replace(birth=problem.birth + 1)
    with pytest.raises(InputError, match="not alive"):
        schedule_time(late, np.ones((problem.blocks, 8)), rates, "text", "layer")
