"""The memory kernels, compiled in a process of their own."""

import subprocess
import sys

import pytest

from hmsim.memory import warm


@pytest.fixture
def cold(monkeypatch):
    """As if there were two processors and nothing in the cache."""
    monkeypatch.setattr(warm, "get_num_threads", lambda: 2)
    monkeypatch.setattr(warm, "is_cached", lambda kernel: False)


def test_another_process_compiles_and_is_waited_for(cold):
    with warm.WarmUp(needed=True) as warm_up:
        warm_up.wait()
        warm_up.wait()
        assert warm_up._process.returncode == 0


def test_what_nobody_waits_for_is_given_up(cold):
    with warm.WarmUp(needed=True) as warm_up:
        process = warm_up._process
    assert process.poll() is not None


@pytest.mark.parametrize("why", ["not needed", "cached", "one thread"])
def test_nothing_is_started_in_vain(cold, monkeypatch, why):
    monkeypatch.setattr(warm, "is_cached", lambda kernel: why == "cached")
    monkeypatch.setattr(warm, "get_num_threads", lambda: 1 if why == "one thread" else 2)
    with warm.WarmUp(needed=why != "not needed") as warm_up:
        assert warm_up._process is None
        warm_up.wait()


@pytest.mark.slow
def test_it_leaves_nothing_for_a_replay_to_compile(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    code = """
from hmsim.memory import burst_kernel, sampling_kernel, warm
with warm.WarmUp(True) as warm_up:
    assert warm_up._process is not None
    warm_up.wait()
warm.compile_kernels()
print([sum(each.stats.cache_misses.values()) for each in (burst_kernel.replay, sampling_kernel.count)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[0, 0]\n", done.stderr
