"""The burst engine against a controller written from the rules, command by command."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.memory import MemorySpec, load_memory
from hmsim.memory import burst_state
from hmsim.memory.device import Extents, Memory, MemoryConfig
from tests.oracles.dram import Controller

GOLDEN = Path(__file__).parents[1] / "references/dram_golden_commands.json"
PRESET = {"HBM3": "hbm3-6400", "LPDDR5": "lpddr5-6400"}
MAPS = {
    "hbm": [
        "Bg2 Pc1 Co5 Si1 Ba2 Ro14",
        "RoBaRaCoCh",
        "MOP4CLXOR",
        "Co2 Pc1 Bg2^Ro Co3 Si1 Ba2 Ro14",
    ],
    "lpddr": ["Bg2 Co6 Ba2 Ro15", "RoBaRaCoCh", "MOP4CLXOR", "Co3 Ba2 Bg2^Ro@1 Co3 Ro15"],
}


def small(name: str) -> MemorySpec:
    """The preset with refreshes so frequent that a short stream meets several."""
    spec = load_memory(name)
    refresh = spec.refresh.model_copy(update={"nREFI": spec.refresh.nRFCab + 150})
    return spec.model_copy(update={"refresh": refresh})


def replay(config: MemoryConfig, stream: list[tuple[int, int]], intended: list[int]) -> Memory:
    memory = Memory(config, bins=4096, log=40 * len(stream) + 4000)
    line, kind = np.array(stream, np.int64).reshape(-1, 2).T
    extents = Extents(line * 32, np.full(len(line), 32), kind)
    memory.replay_in_order(extents, np.array(intended, np.int64), width=1)
    return memory


def commands(memory: Memory) -> list[tuple[int, str, int]]:
    return [
        (tick, burst_state.LOG_NAMES[command], bank)
        for tick, _, command, bank, _, _ in memory.commands().tolist()
    ]


def compare(config: MemoryConfig, stream: list[tuple[int, int]], intended: list[int]) -> None:
    memory = replay(config, stream, intended)

    def locate(line: int) -> tuple[int, int]:
        from hmsim.memory.mapping import decode

        bank, row, _ = decode(memory.mapping, np.array([line]))[:, 0].tolist()
        return bank, row

    naive = Controller(
        config.spec,
        locate,
        config.read_queue,
        config.scheduler == "FRFCFSRowHit",
        config.refresh == "all-bank",
    )
    naive.run(stream, intended)
    scope = memory.timing.banks // memory.timing.scopes
    got = [
        (tick, name, bank // scope * scope if name in ("PREab", "REFab") else bank)
        for tick, name, bank in commands(memory)
    ]
    # The engine stops when nothing is left to do; the naive one runs to the same tick.
    assert got == naive.commands[: len(got)]
    assert all(name in ("PREab", "REFab") for _, name, _ in naive.commands[len(got) :])
    assert memory.statistics()["latency_ticks"] == sum(naive.latencies)
    assert memory.histogram().sum() == len(naive.latencies)


@st.composite
def streams(draw, bits):
    """Requests over few rows, so that hits, conflicts and repeats all happen; some paced."""
    n = draw(st.integers(1, 36))
    spots = draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=5))
    near = st.tuples(st.sampled_from(spots), st.integers(0, 63)).map(lambda x: x[0] & ~63 | x[1])
    line = st.one_of(near, st.integers(0, (1 << bits) - 1))
    kind = draw(st.sampled_from([st.just(0), st.just(1), st.integers(0, 1)]))
    stream = draw(st.lists(st.tuples(line, kind), min_size=n, max_size=n))
    gap = draw(st.sampled_from([0, 0, 7, 150]))
    return stream, [k * gap for k in range(n)]


def test_a_refresh_asked_for_on_a_falling_edge_waits_for_the_rising_one():
    config = MemoryConfig(
        small("hbm4-8000"), mapping="Bg1 Pc1 Co5 Si1 Ba3 Ro14", read_queue=1, refresh="all-bank"
    )
    lines = [0] * 15 + [2] + [0] * 12 + [4138, 2, 0, 0, 0, 0]
    compare(config, [(line, 0) for line in lines], [150 * k for k in range(len(lines))])


@pytest.mark.parametrize("name", ["hbm3-6400", "hbm4-8000", "lpddr5-6400", "lpddr5x-8533"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_equals_the_naive_controller(name, data):
    spec = small(name)
    maps = (
        MAPS[spec.protocol] if name != "hbm4-8000" else ["RoBaRaCoCh", "Bg1 Pc1 Co5 Si1 Ba3 Ro14"]
    )
    config = MemoryConfig(
        spec,
        mapping=data.draw(st.sampled_from(maps)),
        read_queue=data.draw(st.sampled_from([1, 2, 8, 32])),
        scheduler=data.draw(st.sampled_from(["FRFCFSRowHit", "FRFCFS"])),
        refresh=data.draw(st.sampled_from(["all-bank", "none"])),
    )
    compare(config, *data.draw(streams(24)))


def test_a_write_burst_drains_and_turns_around():
    spec = small("hbm3-6400")
    stream = [(8 * k + 4096 * (k % 3), int(k % 4 != 3)) for k in range(90)]
    compare(MemoryConfig(spec, refresh="none"), stream, [0] * 90)


# tick, command, bank; HBM3 in half CK, LPDDR5 in CK: Ramulator 2.1's own golden cases
SINGLE = {
    ("HBM3", "R 0"): [(1, "ACT", 0), (65, "RD", 0)],
    ("HBM3", "R 0 R 256"): [(1, "ACT", 0), (65, "RD", 0), (73, "RD", 0)],
    ("LPDDR5", "R 0"): [(1, "ACT", 0), (2, "ACT2", 0), (16, "CAS_RD", 0), (17, "RD", 0)],
    ("LPDDR5", "W 0"): [(1, "ACT", 0), (2, "ACT2", 0), (16, "CAS_WR", 0), (17, "WR", 0)],
}


@pytest.mark.nojit
@pytest.mark.parametrize(("standard", "text"), SINGLE)
def test_single_requests_to_the_tick(standard, text):
    words = text.split()
    stream = [
        (int(at) // 32, int(op == "W")) for op, at in zip(words[::2], words[1::2], strict=True)
    ]
    spec = load_memory(PRESET[standard])
    memory = replay(MemoryConfig(spec, refresh="none"), stream, [])
    assert commands(memory) == SINGLE[standard, text]


@pytest.mark.parametrize("standard", PRESET)
def test_every_golden_command(standard):
    for name, case in json.loads(GOLDEN.read_text())[standard].items():
        stream = [(int(line[2:]) // 32, int(line[0] == "W")) for line in case["trace"]]
        config = MemoryConfig(
            load_memory(PRESET[standard]),
            mapping=case["mapper"],
            refresh="none",
            read_queue=case["read_queue"],
            scheduler=case["sched"],
        )
        memory = replay(config, stream, [])
        expected = [(row[0], row[1].replace("ACT1", "ACT")) for row in case["commands"]]
        assert [(tick, command) for tick, command, _ in commands(memory)] == expected, name
        assert memory.last_done == case["ticks"], name


@pytest.mark.parametrize("name", ["hbm3-6400", "lpddr5-6400"])
def test_blocked_a_tick_early_ready_on_time(name):
    """Every command of a busy stream issues when the rules first allow it or later, and each rule
    is tight somewhere: a tick less and the stream would break it."""
    spec = small(name)
    rng = np.random.default_rng(3)
    stream = [(int(rng.integers(4096)), int(rng.random() < 0.3)) for _ in range(200)]
    memory = replay(MemoryConfig(spec), stream, [])
    naive = Controller(spec, None)
    tight = 0
    for tick, command, bank in commands(memory):
        if command not in ("ACT2", "CAS_RD", "CAS_WR"):
            assert naive.may(command, bank, tick)
            tight += not naive.may(command, bank, tick - 1)
        naive.issue(tick, command, bank)
    assert tight > len(stream) / 2


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_tick_of_the_buses_is_accounted_for(data):
    name = data.draw(st.sampled_from(["hbm3-6400", "lpddr5-6400"]))
    stream, intended = data.draw(streams(24))
    policy = data.draw(st.sampled_from(["open", "closed:1", "closed:4"]))
    refresh = data.draw(st.sampled_from(["all-bank", "per-bank", "per-bank-blocking", "none"]))
    config = MemoryConfig(small(name), row_policy=policy, refresh=refresh)
    memory = replay(config, stream, intended)
    counts = memory.statistics()
    whole = max(memory.last_done, memory.last_data)
    parts = memory.bus_ticks(counts, whole)
    assert sum(parts.values()) == whole * memory.buses
    assert min(parts.values()) >= 0
    done = sum(counts[kind] for kind in ("reads", "writes", "forwarded", "merged"))
    assert done == len(stream)
    assert counts["reads"] + counts["writes"] == sum(
        command in ("RD", "WR", "RDA", "WRA") for _, command, _ in commands(memory)
    )


def test_closed_rows_close():
    config = MemoryConfig(load_memory("hbm3-6400"), row_policy="closed:2", refresh="none")
    memory = replay(config, [(8 * k, 0) for k in range(9)], [])
    names = [command for _, command, _ in commands(memory)]
    assert names.count("ACT") == 3
    assert names.count("RDA") + names.count("PREpb") == 3


def test_per_bank_refresh_holds_back_its_bank_alone():
    """The physical per-bank refresh costs less than the all-bank one; the blocking one, more."""
    address = np.arange(60_000) * 32
    rate = {}
    for refresh in ("all-bank", "per-bank", "per-bank-blocking"):
        memory = Memory(MemoryConfig(load_memory("hbm3-5200"), refresh=refresh, read_queue=64))
        zero = np.zeros(len(address), np.int64)
        memory.replay_in_order(Extents(address, zero + 32, zero), zero[:0], 1)
        rate[refresh] = len(address) / memory.last_done
    assert rate["per-bank"] > rate["all-bank"] > rate["per-bank-blocking"]


def test_a_bank_whose_refresh_is_due_serves_only_who_opened_its_row():
    """Not even a request for which WCK was started a tick before."""
    memory = Memory(MemoryConfig(load_memory("lpddr5x-8533"), refresh="per-bank"), log=50_000)
    rng = np.random.default_rng(0)
    lines = rng.integers(0, 16, 6000) * 16 + rng.integers(0, 4, 6000)
    zero = np.zeros(len(lines), np.int64)
    memory.replay_in_order(Extents(lines * 32, zero + 32, zero), np.arange(6000) * 83, 1)
    due = int(memory.parameters[burst_state.REFI_BANK])
    refreshed = np.zeros(memory.timing.banks, np.int64)
    last = [""] * memory.timing.banks
    for tick, command, bank in commands(memory):
        if command == "RD" and last[bank] != "ACT":
            asked = tick // due - (tick // due - 1 - bank) % memory.timing.banks
            assert asked <= 0 or refreshed[bank] >= asked * due
        if command == "REFpb":
            refreshed[bank] = tick
        elif not command.startswith(("ACT2", "CAS")):
            last[bank] = command
    assert refreshed.min() > 0
