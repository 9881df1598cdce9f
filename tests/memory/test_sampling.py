"""`run` against `burst`."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.base import preset_names
from hmsim.config.memory import load_memory
from hmsim.config.system import load_system
from hmsim.memory import sampling, sampling_kernel
from hmsim.memory.device import Extents, Memory, MemoryConfig
from hmsim.memory.mapping import turns
from hmsim.memory.superchip import Superchip
from tests.oracles import sampler as by_hand

WINDOW = 512


def random_extents(memory: Memory, rng, size: int, total: int, writes: float) -> Extents:
    n = total // size
    address = rng.integers(0, memory.capacity // size, n) * size
    return Extents(address, np.full(n, size), (rng.random(n) < writes).astype(np.int64))


def stream_extents(memory: Memory, rng, size: int, total: int, writes: float) -> Extents:
    extents = random_extents(memory, rng, size, total, writes)
    return extents._replace(address=np.arange(len(extents.size)) * size)


def rates(config: MemoryConfig, steps: list[Extents]) -> tuple[int, int]:
    """Ticks of the same steps at burst and at run fidelity."""
    ticks = []
    for sampled in (False, True):
        memory = Memory(config, window=WINDOW, posted_writes=False)
        now = 0
        for extents in steps:
            took, counts = memory.replay_apart(extents, now, WINDOW, 0, sampled)
            now += took
            assert min(memory.bus_ticks(counts, took).values()) >= 0
            assert sum(memory.bus_ticks(counts, took).values()) == took * memory.buses
            # No faster than the pins of the busiest channel.
            bursts = sampling.survey(extents, config.channels, *memory._shifts).bursts
            assert took >= bursts.max() * memory.timing.burst // memory.timing.buses
        ticks.append(now)
    return ticks[0], ticks[1]


VARIED = {
    "name": preset_names("memory"),
    "size": [256, 1024, 4096, 16384, 65536],
    "writes": [0.0, 0.05, 0.3, 1.0],
    "refresh": ["all-bank", "per-bank", "none"],
    "mapping": [None, "RoBaRaCoCh", "MOP4CLXOR"],
    "interleave": [256, 512, 2048],
    "channels": [5, 8, 12],
    "queue": [16, 64],
}


def error(
    name, size, writes, refresh, mapping, interleave, channels, queue, seed, total=16 << 20
) -> float:
    """By how much `run` misses `burst` over three steps."""
    config = MemoryConfig(
        load_memory(name), channels, mapping, interleave, read_queue=queue, refresh=refresh
    )
    rng = np.random.default_rng(seed)
    memory = Memory(config)
    burst, run = rates(config, [random_extents(memory, rng, size, total, writes) for _ in range(3)])
    return run / burst - 1


# An estimate from samples: rarely, draws would be beyond the limit; these are the same every time.
@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({name: st.sampled_from(some) for name, some in VARIED.items()}))
def test_run_follows_burst(how):
    per_channel = min(how["size"], how["interleave"])
    assert abs(error(**how, seed=1)) < (0.02 if per_channel >= 1024 else 0.05)


@pytest.mark.slow
def test_errors_over_many_configurations():
    rng = np.random.default_rng(0)
    errors = []
    for seed in range(60):
        how = {name: some[rng.integers(len(some))] for name, some in VARIED.items()}
        errors.append(error(**how, seed=seed))
    found = np.abs(errors)
    assert found.mean() < 0.01
    assert abs(np.mean(errors)) < 0.005  # no bias
    assert (found < 0.02).mean() > 0.9
    assert found.max() < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names("memory"))
@pytest.mark.parametrize("size", [256, 1024, 4096, 65536])
@pytest.mark.parametrize("writes", [0.0, 0.3])
def test_run_follows_burst_on_every_preset(name, size, writes):
    config = MemoryConfig(load_memory(name), 24, interleave=512, read_queue=64)
    rng = np.random.default_rng(1)
    memory = Memory(config)
    steps = [random_extents(memory, rng, size, 40 << 20, writes) for _ in range(4)]
    burst, run = rates(config, steps)
    assert run == pytest.approx(burst, rel=0.02)


@pytest.mark.parametrize(
    ("side", "pages", "weights_MiB"),
    [
        ("dram", (820, 410, 0), 0),
        pytest.param("hbm", (6250, 205, 205), 100, marks=pytest.mark.slow),
    ],
)
def test_a_step_whose_reads_and_writes_come_in_turn(side, pages, weights_MiB):
    """As a policy's steps are: weights, blocks that attention reads, those promoted, those demoted.
    What is slower at one place of a step is so in all channels, and makes none of them the slowest."""
    system = load_system("gh200-paper")
    chip = Superchip(
        MemoryConfig.of(system.hbm), system.link, MemoryConfig.of(system.dram), system.outstanding,
        "run",
    )  # fmt: skip
    part = getattr(chip.kernel, side)
    rng = np.random.default_rng(0)
    memories = [
        Memory(MemoryConfig.of(getattr(system, side)), window=part.window, posted_writes=False)
        for _ in range(2)
    ]
    ticks = np.zeros((2, 8), np.int64)
    for step in range(8):
        frame = np.concatenate([rng.permutation(1 << 18)[:n] for n in pages])
        address = np.append(np.arange(weights_MiB) << 20, (1 << 30) + frame * 16384)
        size = np.append(np.full(weights_MiB, 1 << 20), np.full(len(frame), 16384))
        write = np.repeat([0, 0, 1, 0], [weights_MiB, *pages])
        for k, memory in enumerate(memories):
            start = int(ticks[k].sum())
            ticks[k, step] = memory.replay_apart(
                Extents(address, size, write), start, part.window, part.delay, bool(k)
            )[0]
    burst, run = ticks.sum(axis=1)
    assert run == pytest.approx(burst, rel=0.006)


@pytest.mark.parametrize("mapping", [None, "RoBaRaCoCh", "MOP4CLXOR"])
def test_streams_keep_their_row_hits(mapping):
    config = MemoryConfig(load_memory("hbm3-6400"), 8, mapping, 1024, read_queue=32)
    memory = Memory(config)
    steps = [stream_extents(memory, np.random.default_rng(0), 4096, 24 << 20, 0.0)] * 2
    burst, run = rates(config, steps)
    assert run == pytest.approx(burst, rel=0.02)


def test_a_step_that_finds_other_traffic_starts_anew():
    """Extents of the same size, first all over a channel's banks, then all in one bank."""
    config = MemoryConfig(load_memory("hbm3-6400"), 4, interleave=256)
    memory = Memory(config)
    usual = random_extents(memory, np.random.default_rng(0), 256, 8 << 20, 0.0)
    row_bytes = memory.capacity >> 14  # consecutive rows of a bank
    one_bank = usual._replace(address=np.arange(len(usual.size)) % 16384 * row_bytes)
    one_bank.address[:] += np.arange(len(usual.size)) % 4 * 256
    burst, run = rates(config, [usual, one_bank])
    assert run == pytest.approx(burst, rel=0.05)
    alone, _ = rates(config, [usual])
    assert burst > 3 * alone


@pytest.mark.nojit
@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 5000)), max_size=12),
    st.integers(0, 1),
)
@settings(deadline=None, max_examples=60)
def test_bursts_are_counted_by_channel(channels, spans, hashed):
    address, size = np.array(spans, np.int64).reshape(-1, 2).T.copy()
    write = np.arange(len(size)) % 2
    seen = sampling.survey((address, size, write), channels, 8, 5, hashed)
    expected = np.zeros((2, channels), np.int64)
    for low, length, kind in zip(*map(np.ndarray.tolist, (address, size, write)), strict=True):
        for line in range(low // 32, -(-(low + length) // 32) if length else 0):
            rounds, place = divmod(line * 32 // 256, channels)
            place += hashed * turns(rounds, channels)
            expected[kind, place % channels] += 1
    assert seen.bursts.tolist() == expected.sum(axis=0).tolist()
    assert seen.written == expected[1].sum()
    assert seen.position.tolist() == [0, *np.cumsum(size).tolist()]


def test_runs_and_the_channels_they_touch():
    address = np.array([0, 256, 4096, 4096 + 512, 1 << 20])
    size = np.array([256, 256, 512, 64, 1 << 16])
    seen = sampling.survey((address, size, address * 0), 4, 8, 5)
    assert seen.runs == 3
    assert seen.visits == 2 + 3 + 4


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.data())
def test_consecutive_cuts_make_the_whole(sizes, data):
    size = np.array(sizes)
    position = np.append(0, np.cumsum(size))
    extents = (position[:-1] * 7, size, size % 2)
    total = int(position[-1])
    ends = sorted({0, total, *data.draw(st.lists(st.integers(1, total), max_size=4))})
    found = [sampling.cut(extents, position, low, high - low) for low, high in pairwise(ends)]
    assert abs(sum(int(part[1].sum()) for part in found) - total) <= total / 2
    for address, length, write in found:
        extent = np.searchsorted(extents[0], address, "right") - 1
        assert (address + length <= extents[0][extent] + size[extent]).all()
        assert (write == size[extent] % 2).all()
        assert (length > 0).all()


@settings(max_examples=12, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(some) for name, some in VARIED.items()}),
       st.integers(0, 2**32))  # fmt: skip
def test_what_is_learned_is_as_by_hand(how, seed):
    """Ticks and counts of changing traffic, step after step, are those of plain NumPy."""
    rng = np.random.default_rng(seed)
    config = MemoryConfig(
        load_memory(how["name"]), how["channels"], how["mapping"], how["interleave"],
        read_queue=how["queue"], refresh=how["refresh"],
    )  # fmt: skip
    fast, slow = (Memory(config, window=WINDOW, posted_writes=False) for _ in range(2))
    slow._learning = by_hand.Sampler(
        slow.timing, slow._policy, slow.parameters, slow._sizes,
        config.spec.organization.columns, config.channels, *slow._shifts,
    )  # fmt: skip
    now, kinds = 0, (random_extents, stream_extents)
    for _ in range(8):
        size = int(rng.choice([how["size"], 656, 4096]))
        extents = kinds[rng.integers(2)](
            fast, rng, size, int(rng.integers(1, 64)) << 18, rng.choice([how["writes"], 0.0, 0.5])
        )
        found = fast.replay_apart(extents, now, WINDOW, 30, True)
        assert found == slow.replay_apart(extents, now, WINDOW, 30, True)
        now += found[0] + int(rng.integers(0, 1000))


def test_the_slowest_of_many():
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(90, 100, 40), rng.uniform(1, 5, 40)
    drawn = rng.normal(mean, deviation, (20_000, 40)).max(axis=1).mean()
    found = slowest(mean, deviation, [0.0])
    assert found == pytest.approx(drawn, rel=0.002)
    drawn = rng.normal(mean + rng.choice([-20, 20], (20_000, 40)), deviation).max(axis=1).mean()
    assert slowest(mean, deviation, [-20.0, 20.0]) == pytest.approx(drawn, rel=0.002)
    assert slowest(mean, deviation * 0, [0.0]) == mean.max()


def test_the_slowest_of_some_that_move_together():
    """Four by four they are one variable; all together, the expectation is the largest mean."""
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(90, 100, 12), rng.uniform(1, 5, 12)
    each = slowest(mean, deviation, [0.0])
    in_fours = slowest(np.repeat(mean, 4), np.repeat(deviation, 4), [0.0], together=4.0)
    assert in_fours == pytest.approx(each, rel=1e-9)
    assert slowest(np.full(96, 95.0), np.full(96, 3.0), [0.0], 96.0) == pytest.approx(95, rel=1e-6)
    mean[3] = 150.0  # one that is slower than all others is the slowest, whatever moves together
    assert slowest(mean, deviation, [0.0], 12.0) == pytest.approx(150, rel=1e-6)


def slowest(mean, deviation, ways, together=1.0):
    """The kernel's expectation, where each way is off by as much in all variables."""
    work = np.ones((4, max(len(mean), sampling_kernel.GRID[1])))
    work[0, : len(mean)], work[2, : len(mean)] = mean, deviation
    return sampling_kernel._expected_maximum(work, len(mean), np.array(ways), together)


def test_traffic_on_one_channel_alone():
    config = MemoryConfig(load_memory("hbm3-6400"), 32, interleave=256)
    n = 3000
    address = np.arange(n) * 32 * 256 + 5 * 256
    extents = Extents(address, np.full(n, 256), np.zeros(n, np.int64))
    burst, run = rates(config, [extents])
    assert run == pytest.approx(burst, rel=0.02)


def test_a_small_step_is_simulated_whole():
    config = MemoryConfig(load_memory("hbm3-6400"), 32, interleave=256)
    extent = Extents(np.array([5 * 256]), np.array([64]), np.array([0]))
    burst, run = rates(config, [extent])
    assert run == pytest.approx(burst, abs=2)


def test_ecc_and_a_hash_are_learned_like_all_else():
    """In-band ECC adds bursts that no extent has: `run` takes as long as `burst` with them."""
    config = MemoryConfig(
        load_memory("lpddr5-6400"), 6, "Co2 Bg2^Ro@4 Co1 Ch Co3 Ba2^Ro Ro16", ecc=16,
        refresh="per-bank", read_queue=96, write_queue=64,
    )  # fmt: skip
    memory = Memory(config)
    for writes in (0.0, 0.4):
        rng = np.random.default_rng(7)
        steps = [random_extents(memory, rng, 4096, 8 << 20, writes) for _ in range(3)]
        burst, run = rates(config, steps)
        assert run == pytest.approx(burst, rel=0.03)


def test_a_group_of_bursts_asks_for_its_ecc_once():
    config = MemoryConfig(load_memory("lpddr5-6400"), 1, "Co6 Bg2 Ba2 Ro16", ecc=16, refresh="none")
    for write, extra in ((0, 4), (1, 8)):  # a write reads what it changes a part of
        memory = Memory(config, window=8, posted_writes=False)
        one = Extents(np.array([0]), np.array([64 * 32]), np.array([write]))
        counts = memory.replay_apart(one, 0, 8, 0)[1]
        assert counts["ecc"] == extra
        assert counts["reads"] + counts["writes"] == 64 + extra
        assert counts["activations"] == 1
