"""The `dual` policy: legal, no slower than the bound's own schedule says, near the LP's optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import bound, changes, sampled, whole
from hmsim.bound import search as searching
from hmsim.bound.exact import anneal
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement.latency import RESIDENT, VARIANTS, Groups, variant_traffic
from hmsim.simulate.policies import make_policy
from hmsim.workload import open_workload
from hmsim.workload.steps import Steps
from hmsim.workload.windows import windows
from tests.cli.calls import told
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


SEARCHES = {  # by what is not there
    "annealed": {},
    "chosen again": {anneal: {"MAX_PAIRS": 0}},
    "at scale": {anneal: {"MAX_PAIRS": 0}, searching: {"WHOLE_PAIRS": 1}},
    "policies": {
        anneal: {"MAX_PAIRS": 0}, searching: {"WHOLE_PAIRS": 1}, sampled: {"GRID_PAIRS": 1},
    },
    "at scale, no policies": {
        anneal: {"MAX_PAIRS": 0},
        searching: {"WHOLE_PAIRS": 1, "GAP_WHERE_PRICES_MISLEAD": 1.0},
    },
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    capacity=st.integers(0, 12),
    variant=st.sampled_from(VARIANTS),
    barrier=st.sampled_from(["layer", "token"]),
    search=st.sampled_from(sorted(SEARCHES)),
)
def test_it_takes_the_time_that_its_search_says(seed, capacity, variant, barrier, search):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, steps=36, blocks=20)._replace(rows=6)  # whole tokens
    rates, size = random_rates(rng), float(capacity * blocks.block_bytes)
    policy = make_policy("dual", {"moves": 2_000, "gap": 0.0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "FIRST_MOVES", 500)
        patch.setattr(whole, "MOST_PASSES", 200)
        patch.setattr(whole, "LEAST_PASSES", 100)
        for where, numbers in SEARCHES[search].items():
            for name, number in numbers.items():
                patch.setattr(where, name, number)
        _, traffic, _ = take(policy, blocks, size, rates, variant, barrier)
    assert traffic.time_s.sum() == pytest.approx(policy.achievable_s, rel=1e-9)
    assert traffic.time_s.sum() >= bound(blocks, rates, size, variant, barrier).bound_s * (1 - 1e-9)


def test_it_says_how_its_search_goes():
    policy, lines = make_policy("dual", {"moves": 0}), []
    policy.tell = lines.append
    blocks = random_blocks(np.random.default_rng(1), steps=24, blocks=14)
    take(policy, blocks, 6.0 * blocks.block_bytes, RATES, "text")
    assert lines[0].startswith("dual: bound ")
    assert lines[-1] == "dual: the schedule is made again, move by move"


def test_where_the_prompt_is_not_as_it_says_its_moves_are_still_legal():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        blocks, rates = random_blocks(rng, steps=24, blocks=20, lanes=2), random_rates(rng)
        policy = make_policy("dual", {"moves": 2_000})
        run = policy.start(blocks, 6.0 * blocks.block_bytes, rates, "text", "layer", "empty")
        for window in windows(blocks, policy.ahead_tokens):
            counts, _ = run.advance(window)
            assert counts[:, RESIDENT].max() <= 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moves": -1}, "moves: -1: a whole number from 0 up"),
        ({"gap": 1.0}, "gap: 1.0: a share from 0 up, below 1"),
        ({"gap": "1 %"}, "gap: '1 %': a share"),
        ({"time_s": 0}, "time_s: 0: seconds, above 0"),
        ({"move": 1}, "did you mean 'moves'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        make_policy("dual", options)


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


@pytest.mark.parametrize("variant", ["text", "code"])
def test_a_run_takes_the_time_that_the_bound_prints(variant, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(anneal, "MAX_PAIRS", 0)  # else the run's is annealed for longer
    monkeypatch.setattr(changes, "SPILL_BYTES", 1 << 10)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        f"""
        system = "gh200-paper"
        [workload]
        model = "gpt2"
        layers = 2
        tokens = [60, 92]
        sparsity = 0.6
        [policies]
        names = ["static", "dual"]
        [replay]
        fidelity = "analytic"
        [latency]
        variant = "{variant}"
        [output]
        result = "{tmp_path / "out.h5"}"
        """
    )
    call = (spec, "--set", "system.hbm.capacity=247.9e6")
    proven, run = told(capsys, "bound", *call), told(capsys, "run", *call)
    taken = {name: each["time_s"] for name, each in run["policies"].items()}
    assert taken["dual"] == pytest.approx(proven["achievable_s"], rel=1e-9)
    assert proven["bound_s"] <= taken["dual"] < taken["static"]
