"""`page` against its rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, case, seeds, tokens

pytestmark = pytest.mark.nojit


@CASES
@given(seed=seeds, capacity=st.integers(0, 90), rows=tokens, single=st.booleans())
def test_page(seed, capacity, rows, single):
    workload, rates = case(seed, rows, blocks=100, lanes=2, tokens_per_block=1 if single else 2)
    workload = workload._replace(tokens_per_block=1 if single else 2)
    agree("page", {}, rules.Page(), workload, rates, capacity)
