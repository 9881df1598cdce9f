"""`reactive`, `balanced` and `slack` against their rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.placement.latency import VARIANTS
from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

pytestmark = pytest.mark.nojit


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens)
def test_reactive(seed, capacity, rows):
    workload, rates = case(seed, rows)
    agree("reactive", {}, rules.Lru(), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens)
def test_balanced(seed, capacity, rows):
    workload, rates = case(seed, rows, blocks=40)
    agree("balanced", {}, rules.Balanced(), workload, rates, capacity)


@CASES
@given(
    seed=seeds,
    capacity=capacities,
    rows=tokens,
    variant=st.sampled_from(VARIANTS),
    stretch=st.sampled_from([0.0, 0.1, 0.7]),
    payback=st.sampled_from([0, 0.5, 2, 20]),
)
def test_slack(seed, capacity, rows, variant, stretch, payback):
    workload, rates = case(seed, rows, blocks=40)
    options = {"stretch": stretch, "payback": payback}
    agree("slack", options, rules.Slack(stretch, payback), workload, rates, capacity, variant)
