"""Schedules that follow prices: legal, timed as the evaluator times them, near the optimum."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hmsim.bound import rounding
from hmsim.bound.ascent import ascend, coarse_start
from hmsim.bound.exact.lp import solve_milp
from hmsim.bound.exact.problem import collect
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.placement.latency import Rates
from tests.bound.test_prices import random_prices
from tests.oracles.random_workloads import random_blocks, random_rates
from tests.oracles.schedules import schedule_time


def an_instance(rng, variant, barrier, capacity=None, **sizes):
    blocks, rates = random_blocks(rng, **sizes), random_rates(rng)
    capacity = int(rng.integers(0, 4)) if capacity is None else capacity
    problem = collect(blocks, float(blocks.block_bytes * capacity))
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, problem.capacity)
    return problem, rates, setting, grid


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(VARIANTS), st.sampled_from(BARRIERS))
@example(193338, "text", "layer")  # a block that leaves after the last step
def test_the_evaluator_finds_the_same_time(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    problem, rates, setting, grid = an_instance(rng, variant, barrier, blocks=9, steps=20)
    commit, steps = rounding.kernel.commit, problem.steps
    schedule = np.zeros((problem.blocks, steps), np.int64)

    def watched(tiles, masks, *rest):
        """One block at a time, so that the occupancy it adds is its row of the schedule."""
        use = rest[-1]
        for tile, mask in zip(tiles, masks, strict=True):
            slot = grid.slot[tile, int(mask).bit_length() - 1]
            assert int(mask).bit_count() == 1
            before = use.occupied()
            commit(np.array([tile]), np.array([mask]), *rest)
            row = use.occupied() - before
            number = grid.lane[tile] * slots + slot
            at = np.searchsorted(problem.number, number)
            if at < problem.blocks and problem.number[at] == number:
                schedule[at] = row
            else:  # never read nor grown
                assert not row.any()

    slots = int(grid.slot.max()) + 1
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(rounding.kernel, "commit", watched)
        one = rounding.CAREFUL._replace(most=1)
        use, _ = rounding.rounded(setting, grid, random_prices(rng, setting), pace=one)
    assert ((schedule == 0) | (schedule == 1)).all()
    # `schedule_time` also refuses what is over capacity or not alive.
    slow = schedule_time(problem, schedule, rates, variant, barrier)
    assert rounding.cost_of(setting, use) == pytest.approx(slow, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_no_schedule_beats_the_milp(variant, barrier):
    rng = np.random.default_rng(4)
    for _ in range(2):
        problem, _, setting, grid = an_instance(rng, variant, barrier, 2, blocks=6, steps=8)
        least = solve_milp(problem, Lagrangian(setting, grid), 0.0, None).bound_s
        for pace in 3 * (rounding.CAREFUL, rounding.QUICK):
            use, _ = rounding.rounded(setting, grid, random_prices(rng, setting), pace=pace)
            assert rounding.cost_of(setting, use) >= least * (1 - 1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_good_prices_make_good_schedules_of_many_blocks(variant, barrier):
    rng = np.random.default_rng(6)
    blocks = random_blocks(
        rng, steps=60, blocks=4000, lanes=2, births=False, stickiness=0.8, tokens_per_block=1
    )
    blocks = blocks._replace(hbm_bytes=np.full(60, 9e3), compute_s=np.zeros(60))
    rates, capacity = Rates(40.0, 5.0, 5.0, 6.0), float(1000 * blocks.block_bytes)
    timeline, grid = gather(blocks, 1)
    setting = Setting(timeline, rates, variant, barrier, blocks.block_bytes, 1000)
    lagrangian = Lagrangian(setting, grid)
    found = ascend(lagrangian, coarse_start(lagrangian).dual, 600)
    use, mean = rounding.rounded(setting, grid, found.dual)
    assert lagrangian(mean)[0] <= rounding.cost_of(setting, use)
    assert found.value <= rounding.cost_of(setting, use) <= 1.1 * found.value
    everything_far, _ = rounding.rounded(setting, grid, Dual(found.dual.term, np.full(60, np.inf)))
    assert rounding.cost_of(setting, use) < rounding.cost_of(setting, everything_far)
    assert capacity / blocks.block_bytes >= use.occupied().max()


def test_the_schedule_does_not_depend_on_the_threads(monkeypatch):
    uses = []
    for threads in (1, 2):
        rng = np.random.default_rng(2)
        _, _, setting, grid = an_instance(rng, "text", "layer", 20, blocks=200, steps=40)
        monkeypatch.setattr(rounding, "THREAD_WORDS", 0)
        monkeypatch.setattr(rounding.numba, "get_num_threads", lambda threads=threads: threads)
        uses.append(rounding.rounded(setting, grid, random_prices(rng, setting))[0])
    for one, two in zip(*uses, strict=True):
        np.testing.assert_array_equal(one, two)
