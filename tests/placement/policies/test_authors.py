"""The founding authors' strategies, against their rules and their own simulator."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement import policies
from hmsim.placement.latency import APPEND_HBM, EXTRA, HITS, PROMOTED, READS
from hmsim.placement.policies.authors import Authors
from hmsim.workload import open_workload
from hmsim.workload.steps import Geometry, Steps
from tests.oracles import authors as naive_authors
from tests.oracles.job import job_of
from tests.oracles.random_workloads import random_blocks
from tests.placement.taken import RATES, take

PAPER_SIM = Path(__file__).parents[2] / "references/paper_sim"


@pytest.mark.nojit
@settings(max_examples=30, deadline=None)
@given(
    strategy=st.sampled_from(["static", "initonly", "reactive", "page", "lookahead1", "sa"]),
    seed=st.integers(0, 2**32),
    capacity=st.integers(40, 260),
    drift=st.floats(0, 1),
    window=st.integers(1, 4),
    share=st.sampled_from([0.3, 1.0]),
)
def test_authors_strategies_equal_the_naive_ones(strategy, seed, capacity, drift, window, share):
    spec = WorkloadSpec(
        model="gpt2", layers=2, tokens=(70, 90), sparsity=0.5, drift=drift, seed=seed
    )
    workload = open_workload(spec)
    options = {"window": window, "share": share} if strategy == "sa" else {}
    size, resident = workload.geometry.block_bytes, workload.geometry.resident_bytes
    weights = next(iter(workload.chunks())).hbm_bytes[0]
    steps = [(step.lane, step.read, step.appends, step.dying) for step in job_of(workload).steps]
    naive = naive_authors.Authors(steps, 70, capacity, RATES.split, weights, size, window, share)
    policy = policies.make(f"authors-{strategy}", options)
    try:
        expected = naive.run(strategy)
    except RecursionError:
        with pytest.raises(InputError, match="for ever"):
            take(policy, workload, resident + capacity * size)
        return
    counts, _, held = take(policy, workload, resident + capacity * size)
    got = [counts[:, READS], counts[:, HITS], held, counts[:, APPEND_HBM] // size,
           counts[:, PROMOTED], counts[:, EXTRA]]  # fmt: skip
    assert np.array_equal(np.stack(got, axis=1), expected)


class PaperTrace:
    """The authors' trace as a workload."""

    def __init__(self):
        with np.load(PAPER_SIM / "low.npz") as file:
            self.lane, self.token = (file[name].astype(np.int64) for name in ("layer", "token"))
            self.offset, self.index = (
                file[name].astype(np.int64) for name in ("offsets", "indices")
            )
        flags = np.zeros((len(self.lane), 1216), np.uint8)
        flags[np.repeat(np.arange(len(self.lane)), np.diff(self.offset)), self.index] = 1
        self.bits = np.packbits(flags, axis=1, bitorder="little").view(np.uint64)
        self.title, self.toml, self.seed = "paper_sim", "", 11
        self.geometry = Geometry(len(self.lane), 32, 1216, 512, 1, 32, 1, 5.2e6)
        prompt = np.zeros((32, 1216), np.uint8)
        prompt[:, :1000] = 1
        self.prompt = np.packbits(prompt, axis=1, bitorder="little").view(np.uint64)

    def chunks(self):
        rows = 37 * 32
        for first in range(0, len(self.lane), rows):
            part = slice(first, first + rows)
            count = len(self.lane[part])
            none = np.zeros(count + 1, np.int64)
            yield Steps(
                first, self.lane[part].copy(), self.token[part].copy(), self.bits[part].copy(),
                np.diff(self.offset[first : first + count + 1]), np.arange(count + 1),
                self.token[part].copy(), np.full(count, 512), np.ones(count, np.int64), none,
                np.zeros(0, np.int64), np.full(count, 163840.0), np.zeros(count),
            )  # fmt: skip


@pytest.mark.parametrize("rule", ["overlap", "serial"])
def test_authors_strategies_agree_with_their_simulator_to_the_last_digit(rule):
    """Totals printed to 1e-6 ns; `sa` to 5e-4, for its victims come in hash order there."""
    totals = {  # overlap, serial
        "unlimited": (465121.854206, 472403.631983),
        "static": (2951413.760000, 2958695.537778),
        "initonly": (1065763.739959, 1073044.368349),
        "reactive": (779816.961628, 784400.859315),
        "page": (575631.288496, 640648.426999),
        "lookahead1": (468080.982766, 475134.543219),
        "sa_W1_R1.0": (466635.911348, 472407.033707),
        "sa_W5_R0.5": (466300.499104, 472403.631983),
        "sa_W5_R1.0": (466673.214206, 472406.302278),
        "sa_W16_R1.0": (466720.861553, 472404.943911),
    }
    workload = PaperTrace()
    with np.load(PAPER_SIM / "steps_low.npz") as file:
        reference = {name: file[name] for name in totals}
    for name, expected in totals.items():
        options = {"time_rule": rule}
        if name.startswith("sa"):
            _, window, share = name.split("_")
            options |= {"window": int(window[1:]), "share": float(share[1:])}
        policy = policies.make(f"authors-{name.split('_')[0]}", options)
        counts, traffic, held = take(policy, workload, 0.013 * 2**30)
        total = sum(traffic.time_s.tolist()) * 1e9
        got = np.stack([counts[:, READS], counts[:, HITS], held, counts[:, APPEND_HBM] // 512,
                        counts[:, PROMOTED], counts[:, EXTRA]], axis=1)  # fmt: skip
        if name.startswith("sa"):
            assert total == pytest.approx(expected[rule == "serial"], rel=5e-4)
            assert np.abs(got - reference[name]).max() <= 1
        else:
            assert f"{total:.6f}" == f"{expected[rule == 'serial']:.6f}", name
            assert np.array_equal(got, reference[name]), name


@pytest.mark.nojit
def test_authors_policies_refuse_what_they_do_not_know():
    blocks = random_blocks(np.random.default_rng(0), steps=6, blocks=5)
    blocks = blocks._replace()
    for name in policies.BUILT_IN:
        if name.startswith("authors-"):
            policy = policies.make(name)
            assert isinstance(policy, Authors)
            pages = blocks.geometry._replace(tokens_per_block=16)
            with pytest.raises(InputError, match="one token a block"):
                policy.check(pages)


@pytest.mark.nojit
@pytest.mark.parametrize(
    "name", [name for name in policies.BUILT_IN if name.startswith("authors-")]
)
def test_authors_policies_refuse_steps_that_append_no_new_token(name):
    """Their kernels would look for it all the same."""
    for seed in range(4):
        blocks = random_blocks(np.random.default_rng(seed), steps=36, lanes=3, blocks=80)
        with pytest.raises(InputError, match="step 0 is not so"):
            take(policies.make(name), blocks, 30.0 * blocks.block_bytes, RATES, "text")
