"""The `dual` policy: legal, no slower than the bound's own schedule says, near the LP's optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import bound
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement.latency import VARIANTS
from hmsim.simulate.policies import make_policy
from hmsim.workload import open_workload
from tests.oracles.bound_cases import random_blocks, random_rates
from tests.placement.test_policies import RATES, take


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    capacity=st.integers(0, 12),
    variant=st.sampled_from(VARIANTS),
    barrier=st.sampled_from(["layer", "token"]),
)
def test_its_moves_are_legal_and_never_beat_the_bound(seed, capacity, variant, barrier):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, steps=24, blocks=14)
    rates = random_rates(rng)
    size = float(capacity * blocks.block_bytes)
    policy = make_policy("dual", {"variant": variant, "barrier": barrier, "moves": 20_000})
    _, traffic, _ = take(policy, blocks, size, rates, variant, barrier)
    least = bound(blocks, rates, size, variant, barrier).bound_s
    assert traffic.time_s.sum() >= least * (1 - 1e-9)


def test_it_comes_close_to_the_optimum_where_others_do_not():
    workload = open_workload(
        WorkloadSpec(model="gpt2", layers=2, tokens=(60, 74), sparsity=0.6, drift=0.5)
    )
    shape = workload.geometry
    capacity = shape.resident_bytes + 30 * shape.block_bytes
    times = {}
    for name in ("static", "reactive", "dual"):
        options = {"variant": "exclusive"} if name == "dual" else {}
        _, traffic, _ = take(
            make_policy(name, options), workload, capacity, RATES._replace(hbm=600e9),
            "exclusive",
        )  # fmt: skip
        times[name] = traffic.time_s.sum()
    least = bound(workload, RATES._replace(hbm=600e9), capacity, "exclusive", method="lp").bound_s
    assert least * (1 - 1e-9) <= times["dual"] <= 1.02 * least
    assert times["dual"] < min(times["static"], times["reactive"])


def test_it_refuses_what_would_not_fit_in_memory():
    workload = open_workload(WorkloadSpec(model="gpt2", tokens=(5000, 9000)))
    with pytest.raises(InputError, match="too many"):
        take(make_policy("dual"), workload, 1e12)
    with pytest.raises(InputError, match="moves"):
        make_policy("dual", {"moves": -1})
