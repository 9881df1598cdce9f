"""`lookahead` against its rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

pytestmark = pytest.mark.nojit


@CASES
@given(
    seed=seeds,
    capacity=capacities,
    rows=tokens,
    window=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_lookahead(seed, capacity, rows, window, share):
    workload, rates = case(seed, rows, blocks=30)
    rule = rules.Lookahead(window, share)
    agree("lookahead", {"window": window, "share": share}, rule, workload, rates, capacity)
