"""The bound of energy: seconds at a power, and prices of bytes beside, by the same dual."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bits import unpack
from hmsim.bound import bound, energy_bound
from hmsim.bound.ascent import ascend, coarse_start
from hmsim.bound.certificate import Certificate
from hmsim.bound.exact.anneal import Schedule
from hmsim.bound.exact.lp import solve_lp, solve_milp
from hmsim.bound.exact.problem import collect, placement_cost
from hmsim.bound.objective import TIME, Objective, energy
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.bound.revision import Revised
from hmsim.bound.rounding import cost_of, rounded
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.config.system import load_system
from hmsim.memory.energy import LINK, link_of_bytes
from hmsim.placement import policies
from hmsim.placement.joules import COLUMNS, SHAPE, Joules
from hmsim.placement.latency import Groups
from hmsim.simulate.joules import joules_of
from hmsim.workload.windows import windows
from tests.oracles.lagrangian import slow_lagrangian
from tests.oracles.random_workloads import random_blocks, random_rates

variants, barriers = st.sampled_from(VARIANTS), st.sampled_from(BARRIERS)
seeds = st.integers(0, 2**32)


def random_joules(rng):
    """Of any size beside a second's, but for a power that may be nothing."""
    per_byte = np.zeros((SHAPE[0], len(COLUMNS), *SHAPE[1:]))
    per_byte[:, :, 0, 1] = rng.random(len(COLUMNS)) * rng.choice([0.01, 0.3])
    power = np.zeros(SHAPE)
    power[:, 0, 5] = rng.choice([0.0, 0.1, 3.0])
    return Joules(per_byte, power, np.zeros(SHAPE[:2]))


def an_instance(rng, variant, barrier, **sizes):
    blocks, rates, cost = random_blocks(rng, **sizes), random_rates(rng), energy(random_joules(rng))
    problem = collect(blocks, float(blocks.block_bytes * rng.integers(0, 4)))
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, problem.capacity, cost)
    return blocks, problem, Lagrangian(setting, grid)


def random_dual(rng, setting):
    groups, terms = setting.all_in_dram.shape
    capacity = rng.random(setting.timeline.steps) * rng.choice([0.0, 0.1, 3.0])
    return Dual(rng.dirichlet(np.ones(terms), groups), capacity * setting.block_bytes)


@settings(max_examples=30, deadline=None)
@given(seeds, variants, barriers)
def test_the_value_is_that_of_the_slow_paths(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    blocks, problem, lagrangian = an_instance(rng, variant, barrier, lanes=1 + seed % 3)
    setting = lagrangian.setting
    dual = random_dual(rng, setting)
    value, slope = lagrangian(dual)
    slow = slow_lagrangian(
        problem, setting.rates, variant, barrier, dual.term[:, :-1], dual.capacity,
        setting.objective,
    )  # fmt: skip
    scale = abs(setting.fixed) + setting.objective.power * setting.all_in_dram.sum() + 1e-9
    assert abs(value - slow) <= 1e-9 * scale
    certificate = Certificate(setting, blocks.geometry, dual)
    for chunk in blocks.chunks():
        certificate.feed(chunk)
    assert certificate.value() == pytest.approx(value, rel=1e-9, abs=1e-9 * scale)
    # It is concave, and its slope a supergradient.
    other = random_dual(rng, setting)
    above = ((other.term - dual.term) * slope.term).sum()
    above += ((other.capacity - dual.capacity) * slope.capacity).sum()
    assert lagrangian(other)[0] <= value + above + 1e-9 * scale


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_good_prices_reach_the_lp_and_none_beat_it(variant, barrier):
    rng = np.random.default_rng(3)
    for _ in range(4):
        *_, problem, lagrangian = an_instance(rng, variant, barrier, steps=24, blocks=10)
        optimum = solve_lp(problem, lagrangian)
        assert optimum.bound_s == pytest.approx(optimum.time_s, rel=1e-6)
        assert lagrangian(random_dual(rng, lagrangian.setting))[0] <= optimum.time_s * (1 + 1e-9)
        found = ascend(lagrangian, coarse_start(lagrangian).dual, 400)
        assert found.value <= optimum.time_s * (1 + 1e-9)
        assert found.value >= 0.99 * optimum.time_s


@settings(max_examples=12, deadline=None)
@given(seeds, variants, barriers)
def test_schedules_cost_what_their_bytes_and_seconds_do(seed, variant, barrier):
    """The annealer's, the rounding's and the revision's own reckoning, each against the traffic's."""
    rng = np.random.default_rng(seed)
    *_, problem, lagrangian = an_instance(rng, variant, barrier)
    setting = lagrangian.setting
    dual = random_dual(rng, setting)
    schedule = Schedule(problem, setting)
    schedule.follow(dual, np.arange(problem.blocks))
    schedule.anneal(300, 0.1 * schedule.cost + 1e-9, 1e-4 * schedule.cost + 1e-12, 1)
    arguments = (setting.rates, variant, barrier, setting.objective)
    taken = placement_cost(problem, schedule.x, *arguments)
    assert schedule.cost == pytest.approx(taken, rel=1e-9, abs=1e-12)
    value, _ = lagrangian(dual)
    assert value <= taken * (1 + 1e-9) + 1e-12
    use, _ = rounded(setting, lagrangian.grid, dual)
    assert value <= cost_of(setting, use) * (1 + 1e-9) + 1e-12
    revised = Revised(problem, setting)
    revised.follow(dual, 1)
    paths = unpack(revised.books.path)[:, : problem.steps]
    taken = placement_cost(problem, paths, *arguments)
    assert revised.cost == pytest.approx(taken, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_best_schedule_is_between(variant):
    rng = np.random.default_rng(5)
    *_, problem, lagrangian = an_instance(rng, variant, "layer", steps=8, blocks=4)
    best = solve_milp(problem, lagrangian, 0.0, None)
    relaxed = solve_lp(problem, lagrangian)
    assert relaxed.bound_s <= best.bound_s * (1 + 1e-9)
    assert best.bound_s <= best.time_s * (1 + 1e-9)
    setting = lagrangian.setting
    for _ in range(200):
        x = rng.integers(0, 2, (problem.blocks, problem.steps))
        steps = np.arange(problem.steps)
        x[(steps < problem.birth[:, None]) | (steps >= problem.death[:, None])] = 0
        if x.sum(axis=0).max(initial=0) <= problem.capacity:
            arguments = (setting.rates, variant, "layer", setting.objective)
            assert placement_cost(problem, x, *arguments) >= best.bound_s * (1 - 1e-9)


@settings(max_examples=8, deadline=None)
@given(seeds, variants, barriers)
def test_no_policy_takes_fewer_joules(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    blocks, rates, joules = random_blocks(rng, steps=24), random_rates(rng), random_joules(rng)
    capacity = float(blocks.resident_bytes + blocks.block_bytes * rng.integers(0, 4))
    found = energy_bound(blocks, rates, capacity, joules, variant, barrier, gap=0.0, time_s=1e-3)
    assert found.bound_J <= found.achievable_J * (1 + 1e-9)
    cost = energy(joules)
    for name in ("static", "reactive", "lookahead", "slack"):
        run = policies.make(name, {}).start(blocks, capacity, rates, variant, barrier)
        total = nominal = 0.0
        for window in windows(blocks, 8):
            counts, _ = run.advance(window)
            traffic = run.traffic(counts, Groups.of(window.own, barrier))
            total += cost.of(traffic)
            nominal += joules.total(traffic)[0].sum()
            assert joules.of_steps(traffic).sum() == pytest.approx(cost.of(traffic), rel=1e-9)
        assert nominal == pytest.approx(total, rel=1e-9)
        assert found.bound_J <= total * (1 + 1e-9) + 1e-12


def test_a_power_of_one_is_the_time():
    rng = np.random.default_rng(2)
    blocks, rates = random_blocks(rng), random_rates(rng)
    power = np.zeros(SHAPE)
    power[:, 1, 5] = 1.0
    joules = Joules(np.zeros((SHAPE[0], len(COLUMNS), *SHAPE[1:])), power, np.zeros(SHAPE[:2]))
    assert energy(joules) == TIME == Objective(1.0)
    capacity = 3.0 * blocks.block_bytes
    found = energy_bound(blocks, rates, capacity, joules, method="lp")
    assert found.bound_J == bound(blocks, rates, capacity, method="lp").bound_s


def test_a_systems_coefficients():
    """Joules of a byte of either memory, with the link's share of DRAM's apart."""
    system = load_system("gh200-96gb")
    joules = joules_of(system, 1 << 16, "random")
    cost = energy(joules)
    assert cost.attention_hbm * 1e12 / 8 == pytest.approx(7.0, abs=1.0)  # pJ/bit
    assert cost.attention_dram * 1e12 / 8 == pytest.approx(4.7, abs=1.0)
    link = joules.per_byte[0, COLUMNS.index("attention_dram"), 1, LINK]
    assert link == link_of_bytes(system.link)[0][0] > 8 * 1.3e-12
    static = energy(joules_of(system, 1 << 16, "static"))
    assert static.attention_hbm < cost.attention_hbm
    assert static.power == cost.power
