"""`belady` against its rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

pytestmark = pytest.mark.nojit


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, window=st.integers(1, 9))
def test_belady(seed, capacity, rows, window):
    workload, rates = case(seed, rows, blocks=30)
    agree("belady", {"window": window}, rules.Belady(window), workload, rates, capacity)
