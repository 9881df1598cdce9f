"""What follows a warm-up is a workload of its own, whatever the chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bound import bound
from hmsim.cli import main
from hmsim.config.run import load_run
from hmsim.errors import InputError
from hmsim.placement.latency import analytic_rates
from hmsim.workload import Counted, open_workload
from hmsim.workload.steps import Steps
from hmsim.workload.warmup import apart
from hmsim.workload.windows import windows
from tests.oracles.job import job_of
from tests.oracles.random_workloads import random_blocks

MODEL = {"layers": 2, "kv_bytes_per_token_layer": 64, "weight_bytes_step": 8, "resident_bytes": 9}
CHURN = {"model": MODEL, "tokens": (8, 13)}
REQUESTS = {
    "model": MODEL,
    "requests": {"batch": 2, "steps": 20, "synthetic": {
        "count": 9, "prompt_median": 8, "output_median": 3}},
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 9))
def test_it_is_what_the_plain_job_leaves(seed, rows):
    rng = np.random.default_rng(seed)
    blocks = random_blocks(rng, steps=30, blocks=16)
    blocks = blocks._replace(rows=rows * blocks.lanes)
    job = job_of(blocks)
    tokens = int(rng.integers(0, len(job.groups("token"))))
    left = Counted(blocks, tokens)
    found, expected = job_of(left), job.after(tokens)
    assert left.warmup == len(job.steps) - len(expected.steps)
    assert left.geometry.steps == len(expected.steps)
    assert found.prompt == expected.prompt
    if tokens:  # who is gone before the first step is in no table of deaths
        first = expected.steps[0]._replace(dying=set())
        expected = expected._replace(steps=[first, *expected.steps[1:]])
    assert found.steps == expected.steps


def test_requests_that_end_in_the_warm_up_leave_no_blocks():
    workload = open_workload(REQUESTS)
    job = job_of(workload)
    assert any(step.dying for step in job.steps[2:20])
    for tokens in range(1, len(job.groups("token"))):
        assert job_of(Counted(workload, tokens)).prompt == job.after(tokens).prompt


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), warmup=st.integers(0, 30), most=st.sampled_from([1, 4, np.inf]))
def test_no_window_is_both_and_none_looks_less_far(seed, warmup, most):
    blocks = random_blocks(np.random.default_rng(seed), steps=24, lanes=1, blocks=8)
    pieces = [piece for w in windows(blocks, 2, most) for piece in apart(w, warmup)]
    assert [counts for _, counts in pieces] == sorted(counts for _, counts in pieces)
    own = Steps.join([window.own for window, _ in pieces])
    assert own.rows == blocks.geometry.steps
    assert sum(window.rows for window, counts in pieces if not counts) == min(warmup, own.rows)
    for window, _ in pieces:
        last = window.steps.first + window.steps.rows
        assert last >= min(window.steps.first + window.rows + 2, own.rows)


@pytest.mark.parametrize("tokens", [6, 7, 10**9])
def test_a_warm_up_of_everything_is_refused(tokens):
    with pytest.raises(InputError, match=r"^workload.warmup: [\d,]+ tokens leave none to count"):
        Counted(open_workload(CHURN), tokens)


RUN = """
[system]
preset = "gh200-96gb"
hbm.capacity = "1700 B"
[workload]
model = { layers = 2, kv_bytes_per_token_layer = 64, weight_bytes_step = 8, resident_bytes = 9 }
tokens = [30, 44]
[policies]
names = ["reactive"]
[replay]
fidelity = "analytic"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


def test_bound_leaves_it_out(here, capsys):
    import json

    change = ["--set", "workload.warmup=10"]
    assert main(["bound", "run.toml", *change, "--gap", "0.01", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    spec = load_run(here / "run.toml")
    left = Counted(open_workload(spec.workload), 10)
    alone = bound(left, analytic_rates(spec.system), spec.system.hbm.capacity, gap=0.01)
    assert said["bound_s"] == pytest.approx(alone.bound_s, rel=1e-12)
    whole = bound(open_workload(spec.workload), analytic_rates(spec.system), 1700.0, gap=0.01)
    assert said["bound_s"] < 0.5 * whole.bound_s


def test_a_sweep_takes_it_as_an_axis(here):
    import hmsim

    sweep = {"base": "run.toml", "axes": {"warmup": {"key": "workload.warmup", "values": [0, 10]}}}
    data = hmsim.run_sweep(sweep, here / "swept", jobs=1)
    assert data["workload_steps"].values.tolist() == [30, 10]
    assert data["workload_warmup_steps"].values.tolist() == [0, 20]


def test_the_table_says_what_it_leaves_out_and_when_a_run_is_too_short(here, capsys):
    short = ["run", "run.toml", "--set", "workload.tokens=[30,30]"]
    assert main(short) == 0
    said = capsys.readouterr().out
    assert "too short for reactive: one token says how blocks come in, no more; decode" in said
    assert main(["run", "run.toml", "--set", "workload.warmup=14"]) == 0
    said = capsys.readouterr().out
    assert "warm-up: 28 steps before these, simulated and not counted" in said
