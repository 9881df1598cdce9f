"""`hmsim.run` on random tiny workloads against a run in plain Python, to the last byte."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hmsim
from tests.oracles import run as naive
from tests.oracles import traces
from tests.oracles.bound_cases import random_blocks

VARIANTS = ("text", "code", "exclusive", "inclusive")
BARRIERS = ("layer", "token")
SCHEDULES = {
    "static": {},
    "interleaved": {},
    "some": {"policy": "interleaved", "share": 0.4},
    "reactive": {},
    "balanced": {},
    "slack": {"stretch": 0.1},
    "lfu": {},
    "ema": {"weight": 0.25},
    "page": {},
    "lookahead": {"window": 2, "share": 0.6},
    "far": {"policy": "lookahead", "window": 5},
    "belady": {"window": 3},
}
POLICIES = {"unlimited": {}, **SCHEDULES, "no-limit": {"policy": "unlimited"}}
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


def check(case: naive.Case, workload: dict, job, capacity: float) -> hmsim.Result:
    """The run's file, policy by policy, against the naive run."""
    result = hmsim.run(naive.config(case, workload))
    resolved = naive.resolved(case, workload)
    rates = naive.Rates.of(resolved)
    bounds = naive.floors(job, rates, case.barrier)
    reasons = [name.decode() for name in result.steps("reason")]
    report = result.report()
    assert result.policies == list(case.policies) == list(report["policies"])
    token, layer = (np.array([getattr(s, name) for s in job.steps]) for name in ("token", "lane"))
    assert np.array_equal(result.steps("token"), token)
    assert np.array_equal(result.steps("layer"), layer)
    for p, (name, options) in enumerate(case.policies.items()):
        played = naive.play(
            job, options.get("policy", name), options, capacity, rates.analytic, case
        )
        replayed = None
        if case.fidelity != "analytic":
            replayed = naive.replay(job, played, resolved, capacity, case, reasons)
        expected = naive.variables(job, played)
        if replayed is not None:
            expected |= replayed.variables
        for key, values in expected.items():
            got = result.steps(key)[p]
            if key.endswith("_s"):
                assert got == pytest.approx(values, rel=1e-9, abs=1e-18, nan_ok=True), (name, key)
            else:
                # A share of the reads is rounded, and may end just on the other side of a half.
                most = 1 if case.variant in ("code", "inclusive") or name == "unlimited" else 0
                assert np.abs(got - values).max() <= most * (key in SPLIT), (name, key)
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


def check_totals(result, report, name, expected) -> None:
    """Of the file, and of the JSON."""
    near = {"rel": 1e-9, "abs": 1e-12, "nan_ok": True}
    for key, value in expected.items():
        assert result.total(name, key) == pytest.approx(value, **near), (name, key)
    for key, value in (
        ("time_s", expected["total_time_s"]),
        ("tokens_per_s", expected["tokens_per_s"]),
        ("aggregate_bandwidth_GBps", expected["aggregate_bandwidth_bytes_per_s"] / 1e9),
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
    sequences = int(rng.integers(1, 3))
    room = int(rng.integers(0, len(blocks.number) + 2)) + rng.choice([0.0, 0.5])
    return rng, blocks, sequences, blocks.resident_bytes + room * blocks.block_bytes


def has_work(blocks) -> bool:
    return bool(blocks.read.any() or blocks.hbm_bytes.any())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32), variant=st.sampled_from(VARIANTS), barrier=st.sampled_from(BARRIERS)
)
def test_analytic_runs_of_traces(tmp_path_factory, seed, variant, barrier):
    rng, blocks, sequences, capacity = tiny(seed)
    if not has_work(blocks):
        return
    path = traces.write(tmp_path_factory.mktemp("t") / "t.h5", blocks, sequences)
    case = naive.Case(system(rng, max(capacity, 1.0)), POLICIES, variant, barrier)
    check(case, {"trace": str(path)}, traces.job(blocks, sequences), max(capacity, 1.0))
