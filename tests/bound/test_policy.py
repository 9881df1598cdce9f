"""The `dual` policy: legal, no slower than the bound's own schedule says, near the LP's optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import bound, whole
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement.latency import VARIANTS, Groups, variant_traffic
from hmsim.simulate.policies import make_policy
from hmsim.workload import open_workload
from hmsim.workload.steps import Steps
from tests.oracles.random_workloads import random_blocks, random_rates
from tests.placement.taken import RATES, take


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
    policy = make_policy("dual", {"moves": 20_000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "FIRST_MOVES", 2_000)  # any schedule will do, not only a good one
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
        rates = RATES._replace(hbm=600e9)
        _, traffic, _ = take(make_policy(name), workload, capacity, rates, "exclusive")
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
    with pytest.raises(InputError, match="did you mean 'moves'"):
        make_policy("dual", {"move": 1})


@pytest.mark.parametrize("key", ["variant", "barrier"])
def test_what_it_was_told_twice_names_where_it_is_said_once(key):
    with pytest.raises(InputError, match=rf"dual\.{key}: moved to latency\.{key}"):
        make_policy("dual", {key: "text"})


@pytest.mark.parametrize("barrier", ["layer", "token"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_schedules_for_the_variant_of_the_run(variant, barrier):
    """A schedule for the text, timed by another variant, is what it used to be there."""
    workload = open_workload(
        WorkloadSpec(model="gpt2", layers=2, tokens=(60, 84), sparsity=0.6, drift=0.5)
    )
    shape, rates = workload.geometry, RATES._replace(hbm=600e9)
    capacity = shape.resident_bytes + 30 * shape.block_bytes
    _, traffic, _ = take(
        make_policy("dual", {"moves": 200_000}), workload, capacity, rates, variant, barrier
    )
    for_text, _, _ = take(make_policy("dual", {"moves": 200_000}), workload, capacity, rates)
    groups = Groups.of(Steps.join(list(workload.chunks())), barrier)
    elsewhere = variant_traffic(for_text, groups, shape.block_bytes, rates, variant)
    least = bound(workload, rates, capacity, variant, barrier).bound_s
    taken = traffic.time_s.sum()
    assert taken <= elsewhere.time_s.sum() * (1 + 1e-9)
    assert (taken - least) / taken <= 0.02
