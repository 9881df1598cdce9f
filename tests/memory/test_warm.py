"""The memory kernels, compiled in a process of their own."""

import os
import subprocess
import sys

import pytest

from hmsim.jit import cache_environment
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


def test_it_leaves_nothing_for_a_replay_to_compile():
    """What one process leaves in the cache is what another's replays call, types and all."""
    shared = os.environ | {"NUMBA_NUM_THREADS": "2"} | cache_environment()
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COUNT], env=shared, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split("\n"))
    missed, before, after = found[1][:3]
    assert missed == "0"
    assert before == after == "1 1"


COUNT = """
import numpy as np
from hmsim.memory import burst_kernel, sampling_kernel, warm
kernels = burst_kernel.replay, sampling_kernel.learn

def compiled():
    return [len(each.overloads) for each in kernels]

warm.compile_kernels()
print(sum(sum(each.stats.cache_misses.values()) for each in kernels))
print(*compiled())
from hmsim.config.memory import load_memory
from hmsim.memory.device import Extents, Memory, MemoryConfig
memory = Memory(MemoryConfig(load_memory("lpddr5x-8533"), 3), 16)
extents = Extents(np.arange(32) * 512, np.full(32, 512), np.arange(32) % 2)
memory.replay_apart(extents, 0, 16, 0, True)
memory.replay_apart(extents, 0, 16, 0, False)
print(*compiled())
"""
