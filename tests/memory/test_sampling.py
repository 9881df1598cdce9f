"""`run` against `burst`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.base import preset_names
from hmsim.config.memory import load_memory
from hmsim.memory import sampling
from hmsim.memory.device import Memory, MemoryConfig, Pages


def random_pages(memory: Memory, seed: int, size: int, total: int, writes: float) -> Pages:
    rng = np.random.default_rng(seed)
    n = total // size
    address = rng.integers(0, memory.capacity // size, n) * size
    return Pages(address, np.full(n, size), (rng.random(n) < writes).astype(np.int64))


def rates(config: MemoryConfig, pages_of, steps: int = 2) -> tuple[float, float]:
    """Ticks of the same steps at burst and at run fidelity."""
    ticks = []
    for sampled in (False, True):
        memory = Memory(config, window=512, posted_writes=False)
        now = 0
        for step in range(steps):
            pages = pages_of(memory, step)
            took, counts = memory.replay_apart(pages, now, 512, 0, sampled)
            now += took
            assert min(memory.bus_ticks(counts, took).values()) >= 0
            assert sum(memory.bus_ticks(counts, took).values()) == took * memory.buses
            # No faster than the pins of the busiest channel.
            bursts = np.zeros(config.channels, np.int64)
            sampling.count_bursts(pages.address, pages.size, *memory._shifts, bursts)
            assert took >= bursts.max() * memory.timing.burst // memory.timing.buses
        ticks.append(now)
    return ticks[0], ticks[1]


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from(preset_names("memory")),
    size=st.sampled_from([2048, 8192, 32768]),
    writes=st.sampled_from([0.0, 0.2, 1.0]),
    refresh=st.sampled_from(["all-bank", "per-bank", "none"]),
    interleave=st.sampled_from([256, 1024]),
)
def test_run_follows_burst(name, size, writes, refresh, interleave):
    config = MemoryConfig(
        load_memory(name), 12, interleave=interleave, read_queue=64, refresh=refresh
    )
    # A sample has noise: over six steps 0.8 % on average and 3 % at worst in 60 of these cases,
    # without a bias (0.1 %).
    burst, run = rates(config, lambda memory, k: random_pages(memory, k, size, 5 << 20, writes), 6)
    assert run == pytest.approx(burst, rel=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names("memory"))
@pytest.mark.parametrize("size", [256, 1024, 4096, 65536])
@pytest.mark.parametrize("writes", [0.0, 0.3])
def test_run_follows_burst_on_every_preset(name, size, writes):
    config = MemoryConfig(load_memory(name), 24, interleave=512, read_queue=64)
    # One step is a sample with an error of a per cent or two, much of which averages out over
    # several; the worst of all these cases, HBM4 and reads of 4 KiB, is at 3.7 %.
    burst, run = rates(config, lambda memory, k: random_pages(memory, k, size, 12 << 20, writes), 8)
    assert run == pytest.approx(burst, rel=0.04)


@pytest.mark.nojit
@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(1, 5000)), max_size=12),
)
@settings(deadline=None, max_examples=30)
def test_bursts_are_counted_by_channel(channels, spans):
    address, size = np.array(spans, np.int64).reshape(-1, 2).T.copy()
    counts = np.zeros(channels, np.int64)
    sampling.count_bursts(address, size, 8, 5, counts)
    expected = np.zeros(channels, np.int64)
    for low, length in spans:
        for line in range(low // 32, (low + length - 1) // 32 + 1):
            expected[line * 32 // 256 % channels] += 1
    assert counts.tolist() == expected.tolist()


def test_clusters_keep_their_share_in_runs():
    kept = sampling.clusters(np.full(10_000, 4096), 5)
    assert kept.mean() == pytest.approx(0.2, abs=0.01)
    assert np.diff(kept.astype(int)).clip(0).sum() <= 10_000 * 4096 / sampling.CLUSTER_BYTES / 5 + 1
    assert sampling.clusters(np.full(7, 32), 1).all()


def test_a_step_that_misses_the_sampled_channels_is_simulated():
    memory = Memory(MemoryConfig(load_memory("hbm3-6400"), 32, interleave=256), window=8)
    page = Pages(np.array([5 * 256]), np.array([64]), np.array([0]))
    ticks, counts = memory.replay_apart(page, 0, 8, 0, sampled=True)
    assert counts["reads"] == 2
    assert ticks > 100
