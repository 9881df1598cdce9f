"""`static` and `interleaved` against their rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

pytestmark = pytest.mark.nojit


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens)
def test_static(seed, capacity, rows):
    workload, rates = case(seed, rows)
    agree("static", {}, rules.Rule(), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, share=st.sampled_from([0, 0.3, 0.9, 1, None]))
def test_interleaved(seed, capacity, rows, share):
    workload, rates = case(seed, rows)
    rule = rules.Interleaved(rates.split if share is None else share)
    agree("interleaved", {"share": share}, rule, workload, rates, capacity)
