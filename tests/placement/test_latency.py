"""The latency model: its table and its one formula, against times straight from the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound.exact.anneal import Schedule
from hmsim.bound.exact.lp import solve_lp
from hmsim.bound.exact.problem import alive_mask, placement_cost
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.errors import InputError
from hmsim.placement import latency
from hmsim.placement.latency import COPIES, TABLE, Rates, Variant, latency_of
from hmsim.placement.latency_kernel import Latency, packed, unpacked
from tests.oracles.random_workloads import posed, random_blocks, random_rates
from tests.oracles.schedules import schedule_time

variants, barriers, seeds = (
    st.sampled_from(VARIANTS), st.sampled_from(BARRIERS), st.integers(0, 2**32),
)  # fmt: skip


def random_schedule(rng, problem):
    """Blocks come and go, in HBM while they fit."""
    x = np.zeros((problem.blocks, problem.steps), bool)
    alive = alive_mask(problem)
    stay = rng.random()
    for t in range(problem.steps):
        wish = rng.random(problem.blocks) < 0.6
        if t:
            wish = np.where(rng.random(problem.blocks) < stay, x[:, t - 1], wish)
        chosen = np.flatnonzero(wish & alive[:, t])[: problem.capacity]
        x[chosen, t] = True
    return x


@pytest.mark.nojit
@settings(max_examples=100, deadline=None)
@given(seeds, variants, barriers)
def test_the_one_formula_gives_the_times_of_the_definition(seed, variant, barrier):
    rng = np.random.default_rng(seed)
    blocks, rates = random_blocks(rng, steps=12, blocks=9), random_rates(rng)
    problem, _ = posed(blocks, rates, int(rng.integers(0, 5)), variant, barrier)
    x = random_schedule(rng, problem)
    expected = schedule_time(problem, x, rates, variant, barrier)
    assert placement_cost(problem, x, rates, variant, barrier) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


def test_every_variant_has_a_row_whose_rates_and_copies_exist():
    assert tuple(TABLE) == VARIANTS
    rates = Rates(8.0, 4.0, 2.0, 5.0)
    for copies, terms in TABLE.values():
        assert copies in COPIES
        assert copies in TABLE  # the physical variant of these copies
        for term in terms:
            assert all(rate is None or getattr(rates, rate) > 0 for rate in term)


@pytest.mark.parametrize(
    ("link_read", "expected"),
    [  # the authors' simulator: writes beside reads, or behind them where reads fill the DRAM
        (4.0, [[1 / 4, 0, 1 / 4, 0], [0, 1 / 1, 0, 0]]),
        (6.0, [[1 / 5, 1 / 5, 1 / 5, 0], [0, 1 / 2, 0, 0]]),
    ],
)
def test_the_authors_writes_get_what_reads_leave(link_read, expected):
    found = latency_of("code", Rates(8.0, link_read, 2.0, 5.0))
    np.testing.assert_array_equal(found.term, expected)


def test_a_variant_is_one_row(monkeypatch):
    """Traffic, LP, Lagrangian, its gradient and annealing all follow a row that none of them knew.

    `solve_lp` itself holds the three against each other; what a placement takes by hand is as the
    row says: here half duplex, and copies that are written through but not demoted for nothing.
    """
    halves = (("dram", "link_write", "dram", "link_write"), (None, "dram", None, None))
    monkeypatch.setitem(COPIES, "half", COPIES["exclusive"]._replace(append=1, either_side=1))
    monkeypatch.setitem(TABLE, "half", Variant("half", halves))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        blocks, rates = random_blocks(rng, steps=10, blocks=8), random_rates(rng)
        problem, lagrangian = posed(blocks, rates, 3, "half", "layer")
        if not problem.blocks:
            continue
        least = solve_lp(problem, lagrangian).bound_s
        schedule = Schedule(problem, lagrangian.setting)
        schedule.anneal(2000, 0.1 * schedule.cost, 1e-4 * schedule.cost, 1)
        taken = placement_cost(problem, schedule.x, rates, "half", "layer")
        assert schedule.cost == pytest.approx(taken, rel=1e-9)
        assert least <= taken * (1 + 1e-9)


def test_a_latency_model_goes_through_a_policys_memory():
    for variant in VARIANTS:
        model = latency_of(variant, Rates(8.0, 4.0, 2.0, 5.0))
        again = Latency(*unpacked(packed(model)))
        assert (again.hbm, again.copies) == (model.hbm, model.copies)
        np.testing.assert_array_equal(again.term, model.term)


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match="'texts' is not one of text, code"):
        latency.latency_of("texts", Rates(1, 1, 1, 1))
