"""Bytes and times of counted steps: conserved, and ordered as the model says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.placement import policies
from hmsim.placement.latency import APPEND, HITS, READS, VARIANTS
from tests.oracles.random_workloads import random_blocks, random_rates
from tests.placement.taken import take


@pytest.mark.nojit
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), capacity=st.integers(0, 12))
def test_traffic_is_conserved_and_nothing_beats_unlimited(seed, capacity):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, steps=24, blocks=14)
    rates = random_rates(rng)
    size = blocks.block_bytes
    for variant in VARIANTS:
        for barrier in ("layer", "token"):
            _, best, _ = take(policies.make("unlimited"), blocks, 0.0, rates, variant, barrier)
            for name in ("static", "reactive"):
                counts, traffic, _ = take(
                    policies.make(name), blocks, float(capacity * size), rates, variant, barrier
                )
                read = traffic.attention_hbm + traffic.attention_dram
                assert np.allclose(read, size * counts[:, READS])
                assert np.array_equal(traffic.weights_hbm, blocks.hbm_bytes)
                assert (traffic.attention_hbm <= size * counts[:, HITS] + 1e-9).all()
                written = traffic.append_hbm + traffic.append_dram
                assert (written >= counts[:, APPEND] - 1e-9).all()
                assert traffic.time_s.sum() >= best.time_s.sum() * (1 - 1e-12)


@pytest.mark.nojit
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), capacity=st.integers(0, 12))
def test_variants_are_ordered_as_the_model_says(seed, capacity):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, steps=24, blocks=14)
    rates = random_rates(rng)
    times = {
        variant: take(
            policies.make("reactive"), blocks, float(capacity * blocks.block_bytes), rates, variant
        )[1].time_s
        for variant in VARIANTS
    }
    assert (times["exclusive"] <= times["text"] * (1 + 1e-12)).all()
