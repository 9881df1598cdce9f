"""Real worker processes: killed, interrupted, on a Dask cluster. Every point is there once."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import hmsim
from hmsim import interrupts
from hmsim.sweep.executors import LocalPool
from hmsim.sweep.folder import read_journal
from tests.sweep.toy_sweep import write

POINTS = 40
TEXT = f"""
[base]
system = "gh200-paper"
workload = {{ model = "llama-3.1-8b-paper", tokens = [2000, 2199], layers = 16 }}
policies = {{ names = ["static", "reactive"] }}
replay = {{ fidelity = "analytic" }}
bound = {{ method = "split" }}

[axes.seed]
key = "workload.seed"
range = {{ from = 1, to = {POINTS}, step = 1 }}
"""


def start(folder: Path, *options: str) -> subprocess.Popen:
    """`hmsim sweep` in a process group of its own, as a shell would start it."""
    sweep = write(folder, TEXT)
    command = [sys.executable, "-m", "hmsim", "sweep", str(sweep), "-o", str(folder / "out")]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def finished(folder: Path) -> list[str]:
    """Hashes of the points in the journal."""
    if not (folder / "out/points.jsonl").exists():
        return []
    return [entry["hash"] for entry in read_journal(folder / "out")]


def wait_for(folder: Path, points: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while len(finished(folder)) < points:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Its workers: neither the resource tracker nor what lives for a moment only."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def assert_whole(folder: Path) -> None:
    hashes = finished(folder)
    assert len(hashes) == len(set(hashes)) == POINTS
    data = hmsim.open_sweep(folder / "out")
    assert data.total_time_s.notnull().all()
    assert data.attrs["complete"] == 1


@pytest.mark.slow
def test_killed_worker_costs_nothing(tmp_path):
    process = start(tmp_path, "--jobs", "2")
    wait_for(tmp_path, 4, process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"{POINTS} computed" in out
    assert_whole(tmp_path)


@pytest.mark.slow
def test_killed_coordinator_loses_what_was_in_flight_at_most(tmp_path):
    process = start(tmp_path, "--jobs", "2")
    wait_for(tmp_path, 4, process)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = len(finished(tmp_path))
    assert 4 <= kept < POINTS
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):  # nobody outlives the coordinator
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process = start(tmp_path, "--jobs", "2", "--resume")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"{POINTS - kept} computed, {kept} known before" in out
    assert_whole(tmp_path)


@pytest.mark.slow
def test_interrupt_writes_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path, "--jobs", "2")
    wait_for(tmp_path, 4, process)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
    kept = len(finished(tmp_path))
    data = hmsim.open_sweep(tmp_path / "out")
    assert int(data.total_time_s.isel(policy=0).notnull().sum()) == kept < POINTS
    process = start(tmp_path, "--jobs", "2", "--resume")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.05, 0.1, 0.2])
def test_interrupt_while_workers_start_is_one_line(tmp_path, seconds):
    process = start(tmp_path, "--jobs", "2")
    deadline = time.monotonic() + 60
    while not children(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert len(err.splitlines()) == 1, err


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_as_a_worker_starts_waits_until_it_has_what_it_reads(monkeypatch, number):
    spawn = multiprocessing.util.spawnv_passfds

    def interrupted(*arguments):
        child = spawn(*arguments)
        signal.pthread_kill(threading.main_thread().ident, number)
        return child

    pool = LocalPool(1)
    try:
        monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", interrupted)
        with pytest.raises(KeyboardInterrupt), interrupts.polite():
            pool.submit(abs, -1)
            time.sleep(10)
        assert pool.submit(abs, -1).result(timeout=60) == 1
    finally:
        pool.stop(at_once=True)


def background(*command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_dask_workers_may_come_and_go(tmp_path):
    """A real scheduler and two worker processes on loopback, one killed in the middle."""
    pytest.importorskip("distributed")
    where = tmp_path / "scheduler.json"
    local = ["--no-dashboard", "--scheduler-file", str(where)]
    running = [
        background("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *local)
    ]
    try:
        deadline = time.monotonic() + 30
        while not where.exists() or not where.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = json.loads(where.read_text())["address"]
        for _ in range(2):  # no nanny, which would start the killed one again
            running.append(
                background("distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1",
                           "--no-dashboard", "--local-directory", str(tmp_path))
            )  # fmt: skip
        process = start(tmp_path, "--scheduler", address)
        wait_for(tmp_path, 8, process)
        running[-1].kill()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert f"{POINTS} computed" in out
        assert_whole(tmp_path)
    finally:
        for each in running:
            each.kill()
            each.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jobs", "0"], "--jobs"),
        (["--scheduler", "tcp://127.0.0.1:9"], "cannot be reached"),
    ],
)
def test_calls_that_cannot_work(tmp_path, arguments, said):
    process = start(tmp_path, *arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_million_points_need_a_yes(tmp_path):
    sweep = write(tmp_path, TEXT.replace(f"to = {POINTS}", "to = 1000001"))
    command = [sys.executable, "-m", "hmsim", "sweep", str(sweep), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--yes" in done.stderr
