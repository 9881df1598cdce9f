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
    scope=st.sampled_from(["all", "layer"]),
)
def test_lookahead(seed, capacity, rows, window, share, scope):
    workload, rates = case(seed, rows, blocks=30)
    rule = {"all": rules.LookaheadAll, "layer": rules.Lookahead}[scope](window, share)
    options = {"window": window, "share": share, "scope": scope}
    agree("lookahead", options, rule, workload, rates, capacity)
