"""The extents given to the memory kernels carry exactly the bytes that the policy's traffic counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.workload import WorkloadSpec
from hmsim.placement import policies
from hmsim.placement.latency import VARIANTS, Groups, Rates
from hmsim.simulate import extents
from hmsim.simulate.extents import AddressMap
from hmsim.simulate.policies import make_policy
from hmsim.workload import open_workload
from hmsim.workload.windows import windows
from tests.oracles import expanded
from tests.oracles.random_workloads import random_blocks

RATES = Rates(20.0, 5.0, 4.0, 6.0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    room=st.integers(0, 12),
    name=st.sampled_from(["static", "reactive", "unlimited"]),
    variant=st.sampled_from(VARIANTS),
)
def test_extents_carry_the_traffic(seed, room, name, variant):
    blocks = random_blocks(np.random.default_rng(seed), steps=24, blocks=14)
    size = blocks.block_bytes
    policy = policies.make(name)
    run = policy.start(blocks, float(room * size), RATES, variant)
    addresses = AddressMap(blocks.geometry, room)
    for window in windows(blocks, 1):
        counts, samples = run.advance(window, np.arange(window.rows))
        traffic = run.traffic(counts, Groups.of(window.own, "layer"))
        for k, sample in enumerate(samples):
            hbm, dram = addresses.step(window.steps, k, sample, traffic)
            written = int(hbm.size[hbm.write == 1].sum())
            assert written == traffic.append_hbm[k] + traffic.promotion_hbm[k]
            assert dram.size[dram.write == 1].sum() == traffic.link_to_dram[k]
            # Copies are read from one side or the other by whole blocks.
            here = traffic.attention_hbm[k] + traffic.weights_hbm[k] + traffic.demotion_hbm[k]
            assert abs(hbm.size[hbm.write == 0].sum() - here) <= size
            both = hbm.size[hbm.write == 0].sum() + dram.size[dram.write == 0].sum()
            assert both == pytest.approx(here + traffic.link_to_gpu[k], abs=1.01)
            assert (hbm.address >= 0).all()
            assert (dram.address >= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    room=st.integers(0, 120),
    blocks=st.sampled_from([14, 150]),
    lanes=st.integers(1, 3),
    scale=st.sampled_from([1, 41, 256, 1024]),  # blocks of 16 B to 16 KiB
    name=st.sampled_from(["static", "reactive", "unlimited", "interleaved", "balanced", "page"]),
    variant=st.sampled_from(VARIANTS),
)
def test_extents_are_those_of_sets(seed, room, blocks, lanes, scale, name, variant):
    """Addresses, sizes, kinds and their order are the same as by set operations over blocks."""
    rng = np.random.default_rng(seed)
    workload = random_blocks(rng, steps=10 * lanes, lanes=lanes, blocks=blocks)
    workload = workload._replace(
        block_bytes=workload.block_bytes * scale,
        append=workload.append * scale,
        hbm_bytes=rng.choice([0.0, 100.0, 3e6], len(workload.lane)),
        resident_bytes=float(rng.choice([0, 3 << 20])),
    )
    capacity = workload.resident_bytes + float(room * workload.block_bytes)
    same_extents(workload, make_policy(name), capacity, variant, room)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    room=st.integers(100, 170),
    strategy=st.sampled_from(["unlimited", "static", "initonly", "page", "reactive", "lookahead1"]),
)
def test_so_are_those_of_the_founding_authors_strategies(seed, room, strategy):
    """Which place newborns within their step, and may read weights from DRAM."""
    workload = open_workload(
        WorkloadSpec(model="gpt2", layers=2, tokens=(70, 80), sparsity=0.5, drift=0.5, seed=seed)
    )
    geometry = workload.geometry
    capacity = geometry.resident_bytes + float(room * geometry.block_bytes)
    same_extents(workload, make_policy(f"authors-{strategy}"), capacity, "text", room)


def same_extents(workload, policy, capacity, variant, room):
    """Step by step, of a policy's run."""
    run = policy.start(workload, capacity, RATES, variant)
    ours, sets = (each.AddressMap(workload.geometry, room) for each in (extents, expanded))
    for window in windows(workload, policy.ahead_tokens):
        counts, samples = run.advance(window, np.arange(window.rows))
        traffic = run.traffic(counts, Groups.of(window.own, "layer"))
        for k, sample in enumerate(samples):
            found = ours.step(window.steps, k, sample, traffic)
            expected = sets.step(window.steps, k, sample, traffic)
            for got, wanted in zip(found, expected, strict=True):
                assert [each.tolist() for each in got] == [each.tolist() for each in wanted]
