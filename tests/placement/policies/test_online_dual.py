"""`online-dual` against its rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.online_dual import OnlineDual
from tests.placement.policies.agreement import agree, capacities, case, seeds, tokens

pytestmark = pytest.mark.nojit
variants = st.sampled_from(["text", "code", "exclusive", "inclusive"])


@settings(max_examples=12, deadline=None)
@given(
    seed=seeds, capacity=capacities, rows=tokens, variant=variants,
    caution=st.sampled_from([0.0, 0.5, 3.0]), memory=st.sampled_from([2, 5.5, 16]),
)  # fmt: skip
def test_online_dual(seed, capacity, rows, variant, caution, memory):
    workload, rates = case(seed, rows, blocks=30, steps=30)
    options = {"caution": caution, "memory": memory, "horizon": 8}
    agree("online-dual", options, OnlineDual(**options), workload, rates, capacity, variant)
