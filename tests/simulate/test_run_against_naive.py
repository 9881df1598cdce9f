"""`hmsim.run` on random tiny workloads against a run in plain Python, to the last byte."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hmsim
from hmsim.config.enumerations import CAUSES
from hmsim.config.workload import WorkloadSpec
from hmsim.simulate import run as engine
from hmsim.simulate.policies import POLICIES as SHIPPED
from hmsim.workload import open_workload, trace
from tests.oracles import run as naive
from tests.oracles import traces
from tests.oracles.best_schedule import best_time
from tests.oracles.job import job_of
from tests.oracles.random_workloads import random_blocks

VARIANTS = ("text", "code", "exclusive", "inclusive")
BARRIERS = ("layer", "token")
SCHEDULES = {
    "static": {},
    "interleaved": {},
    "some": {"policy": "interleaved", "share": 0.4},
    "reactive": {},
    "balanced": {},
    "slack": {"stretch": 0.1},
    "invests": {"policy": "slack", "payback": 3},
    "lfu": {},
    "ages": {"policy": "lfu", "half_life": 2.5},
    "ema": {"weight": 0.25},
    "sieve": {},
    "s3-fifo": {"small": 0.3},
    "arc": {},
    "lirs": {"cold": 0.4},
    "working-set": {"window": 2},
    "hisparse": {"buffer": 8},
    "hisparse-pressure": {"buffer": 4},
    "online-dual": {},
    "rash": {"policy": "online-dual", "memory": 3, "horizon": 5, "caution": 0.5},
    "page": {},
    "lookahead": {"window": 2, "share": 0.6},
    "far": {"policy": "lookahead", "window": 5},
    "anywhere": {"policy": "lookahead", "window": 2, "share": 0.6, "scope": "all"},
    "belady": {"window": 3},
    "within": {"policy": "belady", "window": 3, "scope": "layer"},
}
POLICIES = {"unlimited": {}, **SCHEDULES, "no-limit": {"policy": "unlimited"}}
STORED = (
    "step", "token", "layer", "reason", "time_s", "attention_read_bytes", "weight_read_bytes",
    "read_bandwidth_GBps", "append_write_bytes", "promotion_bytes", "demotion_bytes",
    "link_to_gpu_bytes", "link_to_dram_bytes", "resident_bytes", "replay_time_s", "row_hits",
    "activations", "bus_ticks", "energy_J", "replay_energy_J",
)  # fmt: skip
FEW = {"unlimited": {}, "reactive": {}, "belady": {}}  # to replay


def system(rng: np.random.Generator, capacity: float) -> dict:
    """A small superchip whose analytic bandwidths are not those of its pins."""
    pins = 83.2e9, 25.6e9
    link = {"read_bandwidth": 1e9 * rng.uniform(5, 60), "write_bandwidth": 1e9 * rng.uniform(5, 40)}
    return {
        "title": "tiny",
        "hbm": {"memory": "hbm3-5200", "channels": 2, "capacity": capacity, "interleave": 256,
                "refresh": "per-bank", "latency": "200 ns",
                "bandwidth": pins[0] * rng.uniform(0.6, 1.3)},
        "link": link | {"source": "made up", "latency": "300 ns", "header_bytes": 8},
        "dram": {"memory": "lpddr5-6400", "channels": 2, "capacity": "1 GB", "interleave": 256,
                 "bandwidth": pins[1] * rng.uniform(0.6, 1.3)},
        "outstanding": "64 KiB",
    }  # fmt: skip


def near(got: np.ndarray, expected: np.ndarray, relative: float, absolute: float) -> bool:
    """As pytest.approx, which takes a second for a million values, is of an array."""
    return np.allclose(got, expected, relative, absolute, equal_nan=True)


def check(case: naive.Case, workload: dict, job, capacity: float) -> hmsim.Result:
    """The run's file, policy by policy, against the naive run."""
    result = hmsim.run(naive.config(case, workload))
    resolved = naive.resolved(case, workload)
    rates = naive.Rates.of(resolved)
    whole, job = job, job.after(workload.get("warmup", 0))
    warmup = len(whole.steps) - len(job.steps)
    bounds = naive.floors(job, rates, case.barrier)
    stored = {name: result.steps(name) for name in STORED}
    reasons = [name.decode() for name in stored["reason"]]
    report = result.report()
    assert result.policies == list(case.policies) == list(report["policies"])
    token, layer = (np.array([getattr(s, name) for s in job.steps]) for name in ("token", "lane"))
    assert np.array_equal(stored["token"], token)
    assert np.array_equal(stored["layer"], layer)
    assert np.array_equal(stored["step"], warmup + np.arange(len(job.steps)))
    assert report["workload"]["warmup_steps"] == warmup
    for p, (name, options) in enumerate(case.policies.items()):
        played = naive.play(
            whole, options.get("policy", name), options, capacity, rates.analytic, case
        ).from_step(warmup)
        replayed = None
        if case.fidelity != "analytic":
            replayed = naive.replay(job, played, resolved, capacity, case, reasons)
        expected = naive.variables(job, played)
        joules = naive.energy(played, resolved, job.block_bytes)
        expected["energy_J"] = joules
        if replayed is not None:
            expected |= replayed.variables
            expected["replay_energy_J"] = naive.replayed_energy(
                joules, played, replayed.variables, resolved
            )
        for key, values in expected.items():
            got = stored[key][p]
            if key == "read_bandwidth_GBps":  # of whole bytes, which may differ by one
                assert near(got, values, 1e-6, 1e-6)
            elif key.endswith("_J"):  # stored as float32
                assert near(got, values, 1e-6, 1e-16), (name, key)
            elif key.endswith("_s"):
                assert near(got, values, 1e-9, 1e-18), (name, key)
            else:
                # A share of the reads is rounded, and may end just on the other side of a half.
                most = 1 if case.variant in ("code", "inclusive") or name == "unlimited" else 0
                assert np.abs(got - values).max() <= most * (key in SPLIT), (name, key)
        check_energy(result, report["policies"][name], name, joules, job.decoded)
        check_totals(
            result, report["policies"][name], name, naive.totals(job, played, replayed, bounds)
        )
    assert report["bound"]["time_s"] == pytest.approx(bounds["analytic", False], rel=1e-12)
    assert report["bound"]["variant"] == case.variant
    assert report["bound"]["barrier"] == case.barrier
    pins = rates.pins.hbm + rates.pins.off_package
    assert report["peak_bandwidth_GBps"] == pytest.approx(pins / 1e9, rel=1e-12)
    return result


SPLIT = ("attention_read_bytes", "link_to_gpu_bytes")


def check_energy(result, report, name, joules, tokens) -> None:
    """Of the file, and of the JSON, from the joules of each step."""
    whole = joules.sum()
    found = report["energy"]
    assert found["total_J"] == pytest.approx(whole, rel=1e-9)
    assert found["per_token_J"] == pytest.approx(whole / tokens, rel=1e-9)
    assert found["low_J"] <= found["total_J"] <= found["high_J"]
    for k, memory in enumerate(("hbm", "dram")):
        for cause, each in zip(CAUSES[:-1], joules.sum(axis=0)[k], strict=False):
            assert found[f"{memory}_{cause}_J"] == pytest.approx(each, rel=1e-9), (name, cause)
    assert found["link_J"] == pytest.approx(joules[:, 1, -1].sum(), rel=1e-9)
    assert result.total(name, "total_energy_J") == found["total_J"]


def check_totals(result, report, name, expected) -> None:
    """Of the file, and of the JSON."""
    near = {"rel": 1e-9, "abs": 1e-12, "nan_ok": True}
    for key, value in expected.items():
        assert result.total(name, key) == pytest.approx(value, **near), (name, key)
    for key, value in (
        ("time_s", expected["total_time_s"]),
        ("tokens_per_s", expected["tokens_per_s"]),
        ("aggregate_bandwidth_GBps", expected["aggregate_bandwidth_GBps"]),
        ("hbm_read_share", expected["hbm_read_share"]),
        ("migrated_bytes", expected["migrated_bytes"]),
        ("bound_s", expected["bound_s"]),
        ("gap", expected["gap"]),
    ):
        assert report[key] == pytest.approx(value, **near), (name, key)
    assert ("replay" in report) == ("replay_total_time_s" in expected)
    if "replay" in report:
        for key, value in (
            ("time_s", expected["replay_total_time_s"]),
            ("ci95_s", expected["replay_ci95_s"]),
            ("bound_s", expected["replay_bound_s"]),
            ("gap", expected["replay_gap"]),
        ):
            assert report["replay"][key] == pytest.approx(value, **near), (name, key)
        assert report["replay"]["time_s"] >= report["replay"]["bound_s"] or not math.isfinite(
            report["replay"]["time_s"]
        )


def tiny(seed: int, most_steps: int = 30) -> tuple:
    """A random generator, blocks, sequences, and a capacity in bytes."""
    rng = np.random.default_rng(seed)
    lanes = int(rng.integers(1, 4))
    blocks = random_blocks(
        rng, steps=lanes * int(rng.integers(2, most_steps // lanes + 1)), lanes=lanes,
        blocks=int(rng.integers(4, 24)),
    )  # fmt: skip
    blocks = traces.scaled(blocks, float(rng.choice([0, 3000, 2 << 20])))
    blocks.hbm_bytes[rng.integers(len(blocks.hbm_bytes))] += 100  # there is something to do
    room = int(rng.integers(0, len(blocks.number) + 2)) + rng.choice([0.0, 0.5])
    capacity = max(1.0, float(blocks.resident_bytes + room * blocks.block_bytes))
    return rng, blocks, int(rng.integers(1, 3)), capacity


seeds, variants, barriers = (
    st.integers(0, 2**32),
    st.sampled_from(VARIANTS),
    st.sampled_from(BARRIERS),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("traces")


def test_every_policy_has_its_naive_run():
    """`sa` is one of the `lookahead`s, and `dual` is held between the bound and the best schedule."""
    tested = {options.get("policy", name) for name, options in POLICIES.items()}
    assert tested | set(AUTHORS) | {"sa", "dual"} == set(SHIPPED)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, variant=variants, barrier=barriers)
def test_every_policy_on_traces(folder, seed, variant, barrier):
    rng, blocks, sequences, capacity = tiny(seed)
    path = traces.write(folder / "t.h5", blocks, sequences)
    case = naive.Case(system(rng, capacity), POLICIES, variant, barrier)
    check(case, {"trace": str(path)}, traces.job(blocks, sequences), capacity)


@settings(max_examples=15, deadline=None)
@given(
    seed=seeds,
    variant=variants,
    barrier=barriers,
    fidelity=st.sampled_from(["run", "burst"]),
    sample=st.sampled_from([0, 1, 2, 3, 50]),
    warmed=st.booleans(),
)
def test_replays_of_traces(folder, seed, variant, barrier, fidelity, sample, warmed):
    rng, blocks, sequences, capacity = tiny(seed)
    path = traces.write(folder / "t.h5", blocks, sequences)
    case = naive.Case(system(rng, capacity), FEW, variant, barrier, fidelity, sample)
    job = traces.job(blocks, sequences)
    check(case, warm(rng, job, {"trace": str(path)}) if warmed else {"trace": str(path)}, job,
          capacity)  # fmt: skip


def warm(rng: np.random.Generator, job, workload: dict) -> dict:
    """The workload with a warm-up that leaves something to count."""
    groups = job.groups("token")
    reads = [t for t in range(len(groups)) if any(job.steps[i].hbm_bytes for i in groups[t])]
    return workload | {"warmup": int(rng.integers(0, max(reads, default=0) + 1))}


@settings(max_examples=10, deadline=None)
@given(seed=seeds, variant=variants, barrier=barriers)
def test_a_warm_up_is_simulated_and_not_counted(folder, seed, variant, barrier):
    """Policies begin the counted part with the state that the warm-up left."""
    rng, blocks, sequences, capacity = tiny(seed)
    path = traces.write(folder / "t.h5", blocks, sequences)
    case = naive.Case(system(rng, capacity), POLICIES, variant, barrier)
    job = traces.job(blocks, sequences)
    check(case, warm(rng, job, {"trace": str(path)}), job, capacity)


@pytest.mark.parametrize("seed", range(4))
def test_small_windows_change_nothing(folder, seed, monkeypatch):
    """Where samples would take too much memory, windows are cut, and a long trace is read in chunks;
    policies must not notice."""
    monkeypatch.setattr(engine, "SAMPLE_BYTES", 1.0)
    monkeypatch.setattr(trace, "CHUNK_BYTES", 1)  # a token each
    rng, blocks, sequences, capacity = tiny(seed)
    steps = len(blocks.lane)
    blocks = blocks._replace(  # what the weights of a step allow differs much from the next one's
        hbm_bytes=rng.choice([0.0, 3e4], steps), compute_s=rng.choice([0.0, 1e-6], steps)
    )
    blocks.hbm_bytes[0] = 100.0
    capacity = float(blocks.resident_bytes + 5 * blocks.block_bytes)
    path = traces.write(folder / "t.h5", blocks, sequences)
    case = naive.Case(system(rng, capacity), POLICIES, fidelity="run", sample=1)
    check(case, {"trace": str(path)}, traces.job(blocks, sequences), capacity)


SMALL = {"kv_bytes_per_token_layer": 256, "weight_bytes_step": 5000.0, "resident_bytes": 30_000.0}
MIXED = {
    "hidden": 32, "heads": 2, "ffn": 64, "vocab": 50,
    "experts": {"count": 8, "active": 2, "ffn": 32},
}  # fmt: skip
SPECS = {
    "churn": {"model": SMALL | {"layers": 2}, "tokens": (30, 36), "sparsity": 0.6, "drift": 0.5},
    "copies": {"model": SMALL | {"layers": 3}, "tokens": (30, 36), "block_tokens": 4, "copies": 2,
               "sparsity": 0.5, "drift": 0.3, "index_bytes": 8},
    "scores": {"model": SMALL | {"layers": 2}, "tokens": (40, 46), "block_tokens": 2,
               "kind": "scores", "scores": {"keep": 0.4, "slow": 1.0, "flicker": 0.5}},
    "requests": {"model": MIXED | {"layers": 2}, "block_tokens": 4, "sparsity": 0.4, "drift": 0.5,
                 "requests": {"batch": 3, "steps": 8, "synthetic": {
                     "count": 12, "prompt_median": 20, "output_median": 5}}},
}  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(seed=seeds, name=st.sampled_from(sorted(SPECS)), variant=variants, barrier=barriers)
def test_every_policy_on_generated_workloads(seed, name, variant, barrier):
    rng = np.random.default_rng(seed)
    workload = SPECS[name] | {"seed": seed}
    job = job_of(open_workload(WorkloadSpec(**workload)))
    blocks = len(job.sequence)
    capacity = job.resident_bytes + job.block_bytes * rng.uniform(0, 1.1) * blocks
    case = naive.Case(system(rng, capacity), POLICIES, variant, barrier)
    check(case, workload, job, capacity)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_generated_workloads_take_a_warm_up(name):
    rng = np.random.default_rng(7)
    workload = SPECS[name] | {"seed": 7}
    job = job_of(open_workload(WorkloadSpec(**workload)))
    capacity = job.resident_bytes + job.block_bytes * 0.5 * len(job.sequence)
    case = naive.Case(system(rng, capacity), POLICIES, fidelity="run", sample=2)
    check(case, workload | {"warmup": 3}, job, capacity)


AUTHORS = {
    "authors-unlimited": {}, "authors-static": {}, "authors-initonly": {}, "authors-page": {},
    "authors-reactive": {}, "authors-lookahead1": {"time_rule": "serial"},
    "authors-sa": {"window": 3, "share": 0.5},
}  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(seed=seeds, barrier=barriers)
def test_the_founding_authors_strategies(seed, barrier):
    """By their own accounting, whatever the variant."""
    rng = np.random.default_rng(seed)
    workload = SPECS["churn"] | {"seed": seed, "tokens": (70, 80), "drift": float(rng.random())}
    job = job_of(open_workload(WorkloadSpec(**workload)))
    capacity = job.resident_bytes + job.block_bytes * float(rng.integers(100, 170))
    case = naive.Case(system(rng, capacity), AUTHORS, barrier=barrier)
    check(case, workload, job, capacity)


@settings(max_examples=6, deadline=None)
@given(seed=seeds, variant=variants)
def test_sa_is_one_of_the_lookaheads_that_it_may_choose(folder, seed, variant):
    """And on the tokens that it looked at no slower than where its search began."""
    rng, blocks, sequences, capacity = tiny(seed, most_steps=18)
    path = traces.write(folder / "t.h5", blocks, sequences)
    options = {"longest": 2, "tokens": 3}
    case = naive.Case(system(rng, capacity), {"sa": options}, variant)
    job = traces.job(blocks, sequences)
    rates = naive.Rates.of(naive.resolved(case, {"trace": str(path)}))
    result = hmsim.run(naive.config(case, {"trace": str(path)}))
    looked_at = sum(step.token < job.steps[0].token + 3 for step in job.steps)
    ways = {}
    for window in (1, 2):
        for tenths in range(11):
            way = {"window": window, "share": tenths / 10}
            played = naive.play(job, "lookahead", way, capacity, rates.analytic, case)
            ways[window, tenths] = played.time_s, sum(played.time_s[:looked_at])
    start_s = ways[1, 10][1]
    got = result.steps("time_s")[0]
    assert any(
        got == pytest.approx(time_s, rel=1e-9, abs=1e-18)
        for time_s, first_s in ways.values()
        if first_s <= start_s * (1 + 1e-9)
    )


@settings(max_examples=12, deadline=None)
@given(seed=seeds, variant=variants, warmup=st.integers(0, 1))
def test_no_bound_is_above_the_best_schedule(folder, seed, variant, warmup):
    """Of the run's variant at the configured bandwidths, and of replays at the pins'."""
    rng = np.random.default_rng(seed)
    lanes = int(rng.integers(1, 3))
    blocks = random_blocks(
        rng, steps=lanes * int(rng.integers(2, 5)), lanes=lanes, blocks=int(rng.integers(1, 5))
    )
    blocks = traces.scaled(blocks, 0.0)
    room = int(rng.integers(0, 4))
    capacity = max(1.0, float(room * blocks.block_bytes))
    path = traces.write(folder / "t.h5", blocks)
    names = {"static": {}, "reactive": {}, "dual": {"moves": 2000}}
    case = naive.Case(system(rng, capacity), names, variant, "layer", "run", 1, method="dual")
    job = traces.job(blocks).after(warmup)
    workload = {"trace": str(path), "warmup": warmup}
    rates = naive.Rates.of(naive.resolved(case, workload))
    result = hmsim.run(naive.config(case, workload))
    best_s = best_time(job, job.capacity_blocks(capacity), rates.analytic, variant)
    floors = naive.floors(job, rates, "layer")
    physical = "inclusive" if variant in ("code", "inclusive") else "exclusive"
    pins_s = best_time(job, job.capacity_blocks(capacity), rates.pins, physical)
    for name in names:
        bound_s, time_s = result.total(name, "bound_s"), result.total(name, "total_time_s")
        assert floors["analytic", False] * (1 - 1e-9) <= bound_s <= best_s * (1 + 1e-9) + 1e-18
        assert time_s >= best_s * (1 - 1e-9)
        rigorous_s = result.total(name, "replay_bound_s")
        assert floors["pins", False] * (1 - 1e-9) <= rigorous_s <= pins_s * (1 + 1e-9) + 1e-18
        assert result.total(name, "replay_total_time_s") >= rigorous_s * (1 - 1e-9)


def test_an_alias_of_unlimited_is_held_against_its_own_closed_form(folder):
    """Which is no schedule's bound; a tight one, at small capacity, lies far above."""
    _, blocks, _, _ = tiny(5)
    path = traces.write(folder / "t.h5", blocks)
    names = {"unlimited": {}, "no-limit": {"policy": "unlimited"}, "static": {}}
    capacity = blocks.resident_bytes + 2.0 * blocks.block_bytes
    case = naive.Case(system(np.random.default_rng(5), capacity), names, method="dual")
    result = hmsim.run(naive.config(case, {"trace": str(path)}))
    assert result.total("static", "bound_s") > 1.05 * result.total("unlimited", "total_time_s")
    for name in ("unlimited", "no-limit"):
        assert result.total(name, "gap") == 0
        assert result.total(name, "bound_s") == result.total(name, "total_time_s")
