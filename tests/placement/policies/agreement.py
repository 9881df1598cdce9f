"""A policy counts, step by step, what its rule over sets does."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from hmsim.placement import policies
from hmsim.workload.windows import windows
from tests.oracles import rules
from tests.oracles.random_workloads import random_blocks, random_rates

CASES = settings(max_examples=40, deadline=None)
seeds, capacities, tokens = st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 4)


def case(seed, rows, **options):
    """A random workload and rates; few or many blocks, in chunks of `rows` tokens."""
    rng = np.random.default_rng(seed)
    options = {"steps": 24, "blocks": 14} | options
    blocks = random_blocks(rng, **options)
    return blocks._replace(rows=rows * blocks.lanes), random_rates(rng)


def counts_of(name, options, workload, capacity, rates, variant="text"):
    policy = policies.make(name, options)
    size = float(capacity * workload.geometry.block_bytes)
    run = policy.start(workload, size, rates, variant)
    found = [run.advance(window)[0] for window in windows(workload, policy.ahead_tokens)]
    return np.concatenate(found)


def agree(name, options, rule, workload, rates, capacity, variant="text"):
    expected = rules.Game(workload, capacity, rates, variant).play(rule)
    got = counts_of(name, options, workload, capacity, rates, variant)
    assert np.array_equal(got, expected)
