"""Policies against their naive versions, and the driver against policies that cheat."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement import policies
from hmsim.placement.latency import (
    APPEND,
    APPEND_HBM,
    COUNTS,
    EXTRA,
    HITS,
    PROMOTED,
    READS,
    VARIANTS,
    Groups,
    Rates,
)
from hmsim.placement.policies.api import Policy, policy_step
from hmsim.placement.policies.authors import Authors
from hmsim.workload import open_workload
from hmsim.workload.steps import Geometry, Steps
from hmsim.workload.windows import windows
from tests.oracles import policies as naive_policies
from tests.oracles.bound_cases import random_blocks, random_rates

PAPER_SIM = Path(__file__).parents[1] / "references/paper_sim"
RATES = Rates(4900e9, 450e9, 450e9, 500e9)


def take(policy, workload, capacity, rates=RATES, variant="text", barrier="layer"):
    """Counts, traffic, and residents of the read lane before each step."""
    run = policy.start(workload, capacity, rates, variant, barrier)
    counts, traffic, held = [], [], []
    for window in windows(workload, policy.ahead_tokens):
        found, samples = run.advance(window, np.arange(window.rows))
        counts.append(found)
        traffic.append(run.traffic(found, Groups.of(window.own, barrier)))
        held += [
            int(np.bitwise_count(sample.before[lane]).sum())
            for lane, sample in zip(window.own.lane, samples, strict=True)
        ]
    joined = [np.concatenate(parts) for parts in zip(*traffic, strict=True)]
    return np.concatenate(counts), type(traffic[0])(*joined), np.array(held)


@pytest.mark.nojit
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), capacity=st.integers(0, 12), rows=st.integers(1, 4))
def test_static_and_reactive_equal_the_naive_ones(seed, capacity, rows):
    blocks = random_blocks(np.random.default_rng(seed), steps=24, blocks=14)
    blocks = blocks._replace(rows=rows * blocks.lanes)
    size = float(capacity * blocks.block_bytes)
    for name, lru in (("static", False), ("reactive", True)):
        counts, _, _ = take(policies.make(name), blocks, size)
        assert np.array_equal(counts, naive_policies.play(blocks, capacity, lru)), name


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
    naive = naive_policies.Authors(
        naive_policies.steps_of(workload), 70, capacity, RATES.split, weights, size, window, share
    )
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


def test_unknown_policies_name_the_nearest():
    with pytest.raises(InputError, match="did you mean 'reactive'"):
        policies.make("reactiv")
    with pytest.raises(InputError, match="cannot be imported"):
        policies.make("no.such.module:Thing", allow=True)
    with pytest.raises(InputError, match=r"policies\.options\.static"):
        policies.make("static", {"window": 3})


def test_capacity_below_the_weights_is_refused():
    workload = open_workload(WorkloadSpec(model="gpt2", layers=1, tokens=(20, 30)))
    with pytest.raises(InputError, match=r"system\.hbm\.capacity"):
        take(policies.make("static"), workload, 1e6)


def test_counts_have_a_column_for_every_name():
    blocks = random_blocks(np.random.default_rng(1), steps=8, blocks=6)
    counts, _, _ = take(policies.make("static"), blocks, 100.0)
    assert counts.shape == (8, len(COUNTS))
