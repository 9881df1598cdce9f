"""Tier and address of exported blocks under a policy: where they lie as the step reads them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.system import load_system
from hmsim.simulate.placed import PolicyAddresses
from hmsim.workload.export import DRAM, HBM, Selected
from hmsim.workload.trace import TraceWorkload
from tests.oracles import extents, rules, traces
from tests.oracles.random_workloads import random_blocks
from tests.oracles.run import Rates

RULES = {"static": rules.Rule, "reactive": rules.Lru, "balanced": rules.Balanced}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("placed") / "t.h5"


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    name=st.sampled_from(sorted(RULES)),
    first=st.integers(0, 6),
    every=st.integers(1, 4),
)
def test_blocks_lie_where_they_do_before_the_steps_moves(path, seed, name, first, every):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, steps=24, blocks=14)
    blocks = traces.scaled(blocks, float(rng.choice([0, 3 << 20])))
    room = int(rng.integers(0, 12))
    workload = TraceWorkload(traces.write(path, blocks))
    system = load_system("gh200-paper")
    capacity = blocks.resident_bytes + max(1.0, float(room * blocks.block_bytes))
    hbm = system.hbm.model_copy(update={"capacity": capacity})
    system = system.model_copy(update={"hbm": hbm})

    job = traces.job(blocks)
    game = rules.Game(job, room, Rates.of(system).analytic, "text")
    game.play(RULES[name]())
    places = extents.Places(job, room)
    selected = Selected(first=first, every=every)
    addresses = PolicyAddresses(name, workload, system, selected)
    moved = 0
    for t in range(first, 24, every):
        here = game.before[t]
        asked = sorted(job.steps[t].read | here)
        tier, address = addresses(t, np.array(asked, np.int64))
        assert tier.tolist() == [HBM if block in here else DRAM for block in asked]
        assert address.tolist() == [
            places.in_hbm(here, block) if block in here else places.in_dram(block)
            for block in asked
        ]
        moved += here != game.after[t]
    if name == "static":
        assert moved <= sum(bool(step.dying) for step in job.steps)
