"""`hmsim run` as a user calls it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import hmsim
from hmsim.cli import main
from tests.oracles.chat_requests import write_chat

SPEC = """
system = "gh200-paper"

[workload]
model = "gpt2"
layers = 3
tokens = [200, 230]
sparsity = 0.6

[policies]
names = ["unlimited", "static", "reactive", "authors-static"]
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def small(spec, *more):
    """A call that leaves room for few blocks in HBM: 247 MB of weights and some 270 blocks."""
    return ["run", str(spec), "--set", "system.hbm.capacity=247.9 MB", *more]


def test_run_writes_table_file_and_figure(spec, tmp_path, capsys):
    out, figure = tmp_path / "r.h5", tmp_path / "r.svg"
    assert main(small(spec, "-o", str(out), "--plot", str(figure), "--fidelity", "burst",
                      "--set", "replay.sample=30")) == 0  # fmt: skip
    printed = capsys.readouterr()
    assert "authors-static" in printed.out
    assert "pin peak" in printed.out
    assert "<svg" in figure.read_text()
    with h5py.File(out) as file:
        assert file.attrs["complete"] == 1
        replayed = np.isfinite(file["replay_time_s"][1])
        assert replayed.sum() == 4  # one of every 30 of 93 steps
        assert (file["row_hits"][1][replayed] >= 0).all()
        assert (file["row_hits"][1][~replayed] == -1).all()


def test_json_is_alone_on_standard_output_and_adds_up(spec, tmp_path, capsys):
    out = tmp_path / "r.h5"
    assert main(small(spec, "--json", "-o", str(out), "--set", "replay.sample=1")) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"workload", "policies", "bound", "peak_bandwidth_GBps", "wall_s"}
    with h5py.File(out) as file:
        reads = file["attention_read_bytes"][:].sum(axis=2) + file["weight_read_bytes"][:].sum(
            axis=2
        )
        assert (reads == reads[0]).all()  # every policy serves the same demand
        carried = sum(file[name][:, :, 1] for name in
                      ("attention_read_bytes", "weight_read_bytes", "promotion_bytes"))  # fmt: skip
        assert np.array_equal(carried, file["link_to_gpu_bytes"][:])
        times = file["time_s"][:].sum(axis=1)
    for i, (name, policy) in enumerate(report["policies"].items()):
        assert policy["time_s"] == pytest.approx(times[i], rel=1e-12)
        assert policy["time_s"] >= policy["bound_s"] * (1 - 1e-12), name
        assert policy["replay"]["sampled_steps"] == 93
        assert policy["replay"]["ci95_s"] == 0
        assert policy["replay"]["time_s"] >= policy["replay"]["bound_s"], name


def test_options_are_changes_of_the_configuration(spec, tmp_path):
    """`--seed` and the like are read with the file, before it is checked for the only time."""
    out = tmp_path / "r.h5"
    (tmp_path / "no.toml").write_text(SPEC.replace("[policies]", 'seed = "none"\n[policies]'))
    call = small(tmp_path / "no.toml", "-o", str(out), "--seed", "7", "--fidelity", "analytic",
                 "--gap", "0.5", "--policy", "static")  # fmt: skip
    assert main(call) == 0
    again = hmsim.Result.open(out).spec
    assert (again.workload.seed, again.bound.gap) == (7, 0.5)
    assert (again.replay.fidelity, again.policies.names) == ("analytic", ["static"])


def test_a_result_reruns_from_its_own_configuration(spec, tmp_path, capsys):
    first, second = tmp_path / "1.h5", tmp_path / "2.h5"
    assert main(small(spec, "-o", str(first), "--fidelity", "analytic")) == 0
    with h5py.File(first) as file:
        (tmp_path / "again.toml").write_text(file.attrs["config"])
    assert main(["run", str(tmp_path / "again.toml"), "-o", str(second)]) == 0
    with h5py.File(first) as a, h5py.File(second) as b:
        assert list(a) == list(b)
        for name in set(a) - {"bound"}:
            assert np.array_equal(a[name][()], b[name][()], equal_nan=a[name].dtype.kind == "f")
        passes = slice(0, 2)  # the third column is the wall clock
        assert np.array_equal(a["bound/history"][:, passes], b["bound/history"][:, passes])


def test_a_trace_file_gives_the_same_run_as_its_spec(spec, tmp_path, capsys):
    trace = tmp_path / "t.h5"
    assert main(["workload", "generate", str(spec), "-o", str(trace)]) == 0
    (tmp_path / "trace.toml").write_text('system = "gh200-paper"\n[workload]\ntrace = "t.h5"\n')
    capsys.readouterr()
    reports = []
    for source in (spec, tmp_path / "trace.toml"):
        call = small(source, "--json", "--fidelity", "analytic", "--policy", "static",
                     "--policy", "reactive")  # fmt: skip
        assert main(call) == 0
        reports.append(json.loads(capsys.readouterr().out)["policies"])
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "workload.sparsity=1.5"], "sparsity"),
        (["--set", "workload.colour=1"], "unknown key"),
        (["--set", "system.hbm.capacity=1 MB"], "system.hbm.capacity"),
        (["--policy", "magic"], "unknown"),
        (["--plot", "figure.bmp"], "figures are"),
        (["--set", "workload.trace=missing.h5"], "workload"),
        (["-o", "/proc/none/r.h5"], "cannot be written"),
        (["--fidelity", "exact"], "fidelity"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_mistakes_end_in_one_line_exit_2_and_nothing_written(
    spec, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    call = ["run", str(spec), "--fidelity", "analytic", "-o", "r.h5"]
    assert main([*call, *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_broken_traces_are_refused(spec, tmp_path, capsys, content):
    trace = tmp_path / "t.h5"
    if content is None:  # truncated
        assert main(["workload", "generate", str(spec), "-o", str(trace)]) == 0
        content = trace.read_bytes()[: trace.stat().st_size // 2]
    trace.write_bytes(content)
    (tmp_path / "trace.toml").write_text('system = "gh200-paper"\n[workload]\ntrace = "t.h5"\n')
    capsys.readouterr()
    assert main(["run", str(tmp_path / "trace.toml"), "--fidelity", "analytic"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def start(spec, out):
    return subprocess.Popen(
        [sys.executable, "-m", "hmsim", "run", str(spec), "--fidelity", "analytic", "-o", str(out),
         "--set", "workload.tokens=[2000,90000]", "--set", "workload.layers=12",
         "--set", "bound.method=split"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip


def wait_for_steps(out, process):
    """Until some steps are in the file."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        try:
            with h5py.File(out) as file:
                if file.attrs["steps_done"] > 0:
                    return
        except (OSError, KeyError):
            pass
        time.sleep(0.05)
    raise AssertionError("no step was written in time")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_runs_leave_a_readable_marked_file(spec, tmp_path, how, monkeypatch):
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    out = tmp_path / "r.h5"
    process = start(spec, out)
    wait_for_steps(out, process)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130), errors
    with h5py.File(out) as file:
        done = file.attrs["steps_done"]
        assert file.attrs["complete"] == 0
        assert done > 0
        assert np.isfinite(file["time_s"][:, :done]).all()


def test_requests_of_a_chat_fill_hbm(tmp_path, capsys):
    catalogue = Path(__file__).parents[2] / "workloads/chat-real.toml"
    path = write_chat(tmp_path / "chat.jsonl")
    call = ["run", str(catalogue), "--set", f"workload.requests.path={path}", "--fidelity",
            "analytic", "--json", "--set", "workload.requests.steps=200", "--set", "output={}",
            "--set", "workload.layers=4", "--set", "system.hbm.capacity=26GB"]  # fmt: skip
    assert main(call) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["workload"]["token_steps"] == 200
    assert report["workload"]["tokens"] >= 200 * 64
    assert report["workload"]["sequences"] >= 64
    assert report["policies"]["static"]["hbm_read_share"] < 0.9
