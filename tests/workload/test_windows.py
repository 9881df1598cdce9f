"""What a policy does must not depend on how its steps are cut into chunks and windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import whole
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement.latency import VARIANTS, Groups, Rates
from hmsim.simulate.policies import POLICIES, make_policy
from hmsim.workload import open_workload
from hmsim.workload.steps import Steps
from hmsim.workload.windows import windows
from tests.oracles.random_workloads import random_blocks, random_rates

OPTIONS = {"dual": {"moves": 300}, "sa": {"longest": 3, "tokens": 4}}


class Altered:
    """A workload in chunks of so many rows, each step with weights and computing of its own."""

    def __init__(self, workload, rng, rows):
        self._workload, self._rows = workload, rows
        self.geometry, self.prompt = workload.geometry, workload.prompt
        self.title, self.toml, self.seed = workload.title, workload.toml, workload.seed
        steps = Steps.join(list(workload.chunks()))
        self._steps = steps._replace(
            hbm_bytes=rng.random(steps.rows) * steps.reads.mean() * self.geometry.block_bytes * 2,
            compute_s=rng.random(steps.rows) * rng.choice([0.0, 1e-9, 1e-6]),
        )

    def locate(self, block):
        return self._workload.locate(block)

    def chunks(self):
        for first in range(0, self._steps.rows, self._rows):
            yield self._steps.slice(first, min(first + self._rows, self._steps.rows))


def case(name, rng):
    """A workload that the policy takes, in two chunks; capacity in bytes; rates."""
    if not name.startswith("authors-"):
        blocks = random_blocks(rng, steps=30, blocks=16)
        capacity = float(rng.integers(0, 12) * blocks.block_bytes)
        return blocks._replace(rows=15 // blocks.lanes * blocks.lanes), capacity, random_rates(rng)
    spec = WorkloadSpec(
        model="gpt2", layers=2, tokens=(40, 56), sparsity=0.5, drift=0.5, seed=int(rng.integers(99))
    )
    workload = open_workload(spec)
    shape = workload.geometry
    capacity = shape.resident_bytes + float(rng.integers(20, 120) * shape.block_bytes)
    return Altered(workload, rng, 18), capacity, Rates(4900e9, 450e9, 450e9, 500e9)


def play(name, workload, capacity, rates, variant, barrier, most_rows):
    """Counts, times, and residents before and after each step; or why there are none."""
    policy = make_policy(name, OPTIONS.get(name))
    run = policy.start(workload, capacity, rates, variant)
    parts = []
    for window in windows(workload, policy.ahead_tokens, most_rows):
        counts, samples = run.advance(window, np.arange(window.rows))
        traffic = run.traffic(counts, Groups.of(window.own, barrier))
        parts.append(
            (counts, *traffic, *(np.stack(column) for column in zip(*samples, strict=True)))
        )
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def outcome(*played):
    """What `play` answers, or what it refuses: the authors' flush may never end."""
    try:
        return play(*played)
    except InputError as error:
        return [str(error)]


def agree(name, seed, variant, barrier, most_rows):
    """Whole windows against windows in pieces of about so many rows: every column the same."""
    workload, capacity, rates = case(name, np.random.default_rng(seed))
    whole, cut = (
        outcome(name, workload, capacity, rates, variant, barrier, limit)
        for limit in (np.inf, most_rows)
    )
    assert all(map(np.array_equal, whole, cut))


cases = given(
    seed=st.integers(0, 2**32),
    variant=st.sampled_from(VARIANTS),
    barrier=st.sampled_from(["layer", "token"]),
    most_rows=st.sampled_from([1, 2, 5, 7]),
)


@pytest.mark.parametrize("name", sorted(POLICIES.keys() - {"dual"}))
@settings(max_examples=12, deadline=None)
@cases
def test_cut_windows_run_like_whole_ones(name, seed, variant, barrier, most_rows):
    agree(name, seed, variant, barrier, most_rows)


@settings(max_examples=3, deadline=None)
@cases
def test_cut_windows_run_like_whole_ones_by_a_solved_schedule(seed, variant, barrier, most_rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "FIRST_MOVES", 2_000)  # any schedule will do, not only a good one
        agree("dual", seed, variant, barrier, most_rows)
