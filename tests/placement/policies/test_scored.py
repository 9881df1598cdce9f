"""`lfu` and `ema` against their rules."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hmsim.errors import InputError
from hmsim.placement import policies
from hmsim.placement.policies import scored
from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

pytestmark = pytest.mark.nojit


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens)
def test_lfu(seed, capacity, rows):
    workload, rates = case(seed, rows, blocks=30)
    agree("lfu", {}, rules.Scored(None), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, half_life=st.sampled_from([1.7, 2.5, 6.3]))
def test_lfu_that_ages(seed, capacity, rows, half_life):
    """A moving average of the weight at which a use counts half after so many visits."""
    workload, rates = case(seed, rows, blocks=30)
    rule = rules.Scored(1 - 0.5 ** (1 / half_life))
    agree("lfu", {"half_life": half_life}, rule, workload, rates, capacity)


@pytest.mark.parametrize("half_life", [0.5, -1, 691, "long"])
def test_a_half_life_that_cannot_be(half_life):
    with pytest.raises(
        InputError, match=r"policy lfu: half_life: .*: 0 \(none\), or from 1 to 690"
    ):
        policies.make("lfu", {"half_life": half_life})


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, weight=st.sampled_from([0.25, 0.5]))
def test_ema(seed, capacity, rows, weight):
    """Nowhere near enough visits in a row for a score to come near the edge of a level."""
    workload, rates = case(seed, rows, blocks=30)
    agree("ema", {"weight": weight}, rules.Scored(weight), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, weight=st.sampled_from([0.5, 0.75]))
def test_ema_brings_scores_near_one_again(seed, capacity, rows, weight):
    """Exact: with these weights that multiplies by powers of two, and a score is a number whose
    digits, of 1 or 2 bits, are the visits. What 53 bits cut off can change a level only by a carry
    through all of them: after 26 uses in a row at weight 0.75, of which 2 are left to be sure. (A
    block used for longer is ranked as if it had been for ever: one level higher at most.)"""
    workload, rates = case(seed, rows, blocks=30, steps=40)
    assume(weight < 0.75 or longest_run(workload) < 24)
    far = scored.FAR
    scored.FAR = 40.0  # every few visits
    try:
        agree("ema", {"weight": weight}, rules.Scored(weight), workload, rates, capacity)
    finally:
        scored.FAR = far


def longest_run(workload):
    """Most visits of its lane in a row at which some block is used."""
    longest = 0
    used = workload.read | (workload.append > 0)
    for block, lane in zip(used, workload.number // workload.slots, strict=True):
        run = 0
        for here in block[workload.lane == lane]:
            run = run + 1 if here else 0
            longest = max(longest, run)
    return longest
