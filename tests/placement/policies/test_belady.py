"""`belady` against its rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hmsim
from hmsim.errors import InputError
from hmsim.placement import policies
from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

SMALL = {
    "layers": 4, "kv_bytes_per_token_layer": 4096, "weight_bytes_step": 1.0, "resident_bytes": 1.0,
}  # fmt: skip
RULES = {"all": rules.BeladyAll, "layer": rules.Belady}


@pytest.mark.nojit
@CASES
@given(
    seed=seeds,
    capacity=capacities,
    rows=tokens,
    window=st.integers(1, 9),
    scope=st.sampled_from(["all", "layer"]),
)
def test_belady(seed, capacity, rows, window, scope):
    workload, rates = case(seed, rows, blocks=30)
    options = {"window": window, "scope": scope}
    agree("belady", options, RULES[scope](window), workload, rates, capacity)


@pytest.mark.nojit
@pytest.mark.parametrize("name", ["belady", "lookahead"])
def test_a_scope_that_there_is_not(name):
    with pytest.raises(InputError, match=f"policy {name}: scope: 'hbm': layer or all"):
        policies.make(name, {"scope": "hbm"})


def test_an_oracle_does_not_lose_to_reactive_where_a_layer_is_dense(tmp_path):
    """The prompt's oldest blocks fill HBM; the dense layer's newer ones come in for idle ones."""
    names = {"reactive": {}, "belady": {}, "within": {"policy": "belady", "scope": "layer"}}
    result = hmsim.run({
        "system": {"preset": "gh200-96gb", "hbm": {"capacity": "30 MB"}},
        "workload": {
            "kind": "scores", "block_tokens": 16, "tokens": (2001, 2060),
            "model": SMALL, "copies": 2,
            "scores": {"budget": 256, "slow": 1.0, "flicker": 0.5, "dense_layers": 1},
        },
        "policies": {"names": list(names), "options": names},
        "replay": {"fidelity": "analytic"},
    })  # fmt: skip
    reactive, belady, within = (result.total(name, "total_time_s") for name in names)
    assert belady <= reactive < 0.8 * within
