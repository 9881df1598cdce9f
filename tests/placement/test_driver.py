"""The driver: what it counts, and what it does to policies that cheat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement import policies
from hmsim.placement.latency import COUNTS, Rates
from hmsim.placement.policies.api import Policy, policy_step
from hmsim.simulate.policies import make_policy
from hmsim.workload import open_workload
from hmsim.workload.windows import windows
from tests.oracles.random_workloads import random_blocks
from tests.placement.taken import take


@policy_step
def promote_twice(now, hbm, own, moves):
    """Answers with one block two times."""
    moves.promote[0] = moves.promote[1] = own.ints[0]
    moves.count[0] = 2


@policy_step
def promote_the_unborn(now, hbm, own, moves):
    moves.promote[0] = own.ints[0]
    moves.count[0] = 1


@policy_step
def demote_what_is_not_there(now, hbm, own, moves):
    moves.demote[0] = own.ints[0]
    moves.count[1] = 1


@policy_step
def promote_everything(now, hbm, own, moves):
    """All misses, room or not."""
    slots = hbm.resident.shape[1] * 64
    for slot in range(slots):
        bit = np.uint64(1) << np.uint64(slot & 63)
        missing = now.bits[now.row, slot >> 6] & ~hbm.resident[now.lane, slot >> 6]
        if missing & bit:
            moves.promote[moves.count[0]] = now.lane * slots + slot
            moves.count[0] += 1


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("step", "block", "message"),
    [
        (promote_twice, 3, "step 0: promotes a block that is in HBM already: block 3"),
        (promote_the_unborn, 63, "step 0: promotes a block that does not exist: block 63"),
        (demote_what_is_not_there, 5, "step 0: demotes a block that is not in HBM: block 5"),
        (promote_everything, 0, "blocks in HBM, which holds 1"),
    ],
)
def test_cheating_is_an_error_that_names_step_and_block(step, block, message):
    class Cheat(Policy):
        name = "cheat"

        def prompt(self, workload, capacity, rates):
            return np.zeros_like(workload.prompt)

        def own(self, geometry, capacity, rates, resident):
            return super().own(geometry, capacity, rates, resident)._replace(ints=np.array([block]))

    Cheat.step = staticmethod(step)
    workload = open_workload(WorkloadSpec(model="gpt2", layers=1, tokens=(20, 30), sparsity=0.5))
    capacity = workload.geometry.resident_bytes + workload.geometry.block_bytes * 1.5
    with pytest.raises(InputError, match=message):
        take(Cheat(), workload, capacity)


def test_capacity_below_the_weights_is_refused():
    workload = open_workload(WorkloadSpec(model="gpt2", layers=1, tokens=(20, 30)))
    with pytest.raises(InputError, match=r"system\.hbm\.capacity"):
        take(policies.make("static"), workload, 1e6)


def test_counts_have_a_column_for_every_name():
    blocks = random_blocks(np.random.default_rng(1), steps=8, blocks=6)
    counts, _, _ = take(policies.make("static"), blocks, 100.0)
    assert counts.shape == (8, len(COUNTS))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    room=st.integers(0, 60),
    lanes=st.integers(1, 3),
    name=st.sampled_from(["static", "reactive", "page", "balanced", "unlimited"]),
)
def test_placements_are_those_of_short_windows(seed, room, lanes, name):
    """Each of which keeps every lane once, not those alone that were touched."""
    blocks = random_blocks(np.random.default_rng(seed), steps=12 * lanes, lanes=lanes, blocks=80)
    wholes, singles = [], []
    for rows, found in ((10**6, wholes), (1, singles)):
        run = make_policy(name).start(
            blocks, float(room * blocks.block_bytes), Rates(20.0, 5.0, 4.0, 6.0), "text"
        )
        for window in windows(blocks, 1, rows):
            _, samples = run.advance(window, np.arange(window.rows))
            found += [[each.tolist() for each in sample] for sample in samples]
    assert wholes == singles
