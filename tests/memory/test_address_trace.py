import csv
import json
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from hmsim.config.base import load
from hmsim.config.memory import MemorySpec, load_memory
from hmsim.errors import InputError
from hmsim.exchange.plain import read_trace
from hmsim.memory.address_trace import format_table, replay_trace
from hmsim.memory.sampling import cut

REFERENCE = Path(__file__).parents[1] / "references/dram_reference.csv"


def sequential(n=4000, write=0):
    return np.arange(n) * 32, np.full(n, write)


def test_a_trace_file(tmp_path):
    path = tmp_path / "x.trace"
    path.write_text("# comment\nLD 0x40\n\nST 64\nLD 0X1f40\n")
    (part,) = read_trace(path)
    assert part.address.tolist() == [64, 64, 8000]
    assert part.write.tolist() == [0, 1, 0]
    result = replay_trace(path, "lpddr5-6400")
    assert result.requests == 3
    assert result.bytes == 96


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LD 0x40\nXX 12\n", "line 2: 'XX 12'"),
        ("LD\n", "line 1: 'LD'"),
        ("LD 12 13\n", "line 1"),
        ("LD 0xzz\n", "line 1"),
        ("LD -4\n", "line 1"),
        ("LD 1_000\n", "line 1"),
        ("LD 1000\nLD \u00e9\n", "line 2: no plain trace: not ASCII"),
        ("", "empty"),
        (
            "LD 8\n\n#\nLD 0x7fffffffffff\n",
            "line 4: address 0x7fffffffffff is beyond the memory's "
            "0x40000000 bytes (more channels hold more: --channels; --wrap",
        ),
        ("LD 0x3fffffe0+64\n", "line 1: address 0x3fffffe0 is beyond"),
    ],
)
def test_malformed_traces(tmp_path, text, said):
    path = tmp_path / "x.trace"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        replay_trace(path, "hbm3-6400")
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_addresses_beyond_the_memory_wrap_if_they_may(tmp_path):
    path = tmp_path / "x.trace"
    path.write_text("LD 0x7fffffffffe0\nLD 0x3fffffe0+64\n")
    result = replay_trace(path, "hbm3-6400", wrap=True)
    assert (result.requests, result.bytes) == (3, 96)
    within = np.array([0x3FFFFFE0, 0x3FFFFFE0, 0])
    expected = replay_trace((within, np.zeros(3, np.int64)), "hbm3-6400")
    assert replace(result, wall_s=0) == replace(expected, wall_s=0)
    with pytest.raises(InputError, match="access 3: address -1 is below zero"):
        replay_trace((np.array([0, 5, -1]), np.zeros(3, np.int64)), "hbm3-6400")


def test_an_access_takes_the_bursts_that_it_touches(tmp_path):
    path = tmp_path / "x.trace"
    path.write_text("LD 0x1f+2\nST 0x100+256\nLD 0x4000\nLD 0x8000+64\n")
    touched = [0, 32, *range(0x100, 0x200, 32), 0x4000, 0x8000, 0x8020]
    write = np.array([0] * 2 + [1] * 8 + [0] * 3)
    for how in ({}, {"load": 0.3}, {"load": 0.3, "poisson": True}):
        result = replay_trace(path, "hbm3-6400", **how)
        expected = replay_trace((np.array(touched), write), "hbm3-6400", **how)
        assert replace(result, wall_s=0) == replace(expected, wall_s=0)
    spec = load_memory("hbm3-6400")
    wide = spec.organization.model_copy(update={"burst_bytes": 64})
    wide = replay_trace(path, spec.model_copy(update={"organization": wide}))
    assert (wide.requests, wide.bytes) == (1 + 4 + 1 + 1, 7 * 64)


@pytest.mark.parametrize("how", [{}, {"load": 0.4}, {"load": 0.4, "poisson": True}])
def test_a_stream_in_parts_is_one_stream(how, monkeypatch, tmp_path):
    address = np.random.default_rng(3).integers(0, 1 << 24, 3000) * 32
    trace = (address, (address // 32 % 4 == 0).astype(np.int64))
    config = {"memory": "hbm3-6400", "channels": 4, "interleave": 64}
    whole = replay_trace(trace, **config, **how)
    logged = replay_trace(trace, commands=tmp_path / "c.csv", **config, **how)
    monkeypatch.setattr("hmsim.memory.address_trace._PART", 7)
    parts = replay_trace(trace, **config, **how)
    assert replace(parts, wall_s=0) == replace(whole, wall_s=0) == replace(logged, wall_s=0)


def test_a_missing_trace(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        replay_trace(tmp_path / "none", "hbm3-6400")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"memory": "hbm3-6500"}, "did you mean 'hbm3-6400'?"),
        ({"channels": 0}, "channels: 0"),
        ({"channels": 10**9}, "channels: 1000000000"),
        ({"channels": 2, "interleave": 1 << 32}, "more than a channel's"),
        ({"row_policy": "closed:" + "9" * 30}, "row policy"),
        ({"load": float("inf")}, "load: inf"),
        ({"poisson": True}, "poisson"),
        ({"interleave": 48}, "interleave: 48"),
        ({"interleave": 16}, "interleave: 16"),
        ({"queue": 0}, "read_queue: 0"),
        ({"row_policy": "closed"}, "'closed': write"),
        ({"row_policy": "closed:0"}, "closed:0"),
        ({"refresh": "all"}, "did you mean 'all-bank'?"),
        ({"scheduler": "FCFS"}, "did you mean 'FRFCFS'?"),
        ({"fidelity": "bursts"}, "did you mean 'burst'?"),
        ({"load": 0.0}, "load: 0.0"),
        ({"load": float("nan")}, "load: nan"),
    ],
)
def test_wrong_calls(how, said):
    with pytest.raises(InputError) as error:
        replay_trace(sequential(4), **{"memory": "hbm3-6400", **how})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("refresh", "changes", "said"),
    [
        ("per-bank", {"nREFIpb": 6}, "refresh.nREFIpb = 6 must exceed nPBR2PBR = 8"),
        ("per-bank", {"nREFIpb": 8}, "refresh.nREFIpb = 8 must exceed nPBR2PBR = 8"),
        ("per-bank", {"nREFIpb": 2, "nPBR2PBR": 1}, "must exceed pseudo_channels = 2"),
        ("per-bank-blocking", {"nREFIpb": 9, "nRFCpb": 288},
         "refresh.nRFCpb = 288 must be below nREFIpb x banks = 9 x 32"),
        ("all-bank", {"nREFI": 2, "nRFCab": 1}, "refresh.nREFI = 2 must exceed 2"),
    ],
)  # fmt: skip
def test_refreshes_that_leave_no_time_are_refused(refresh, changes, said):
    spec = load_memory("hbm3-6400")
    spec = spec.model_copy(update={"refresh": spec.refresh.model_copy(update=changes)})
    with pytest.raises(InputError, match=said) as error:
        replay_trace(sequential(400), spec, refresh=refresh)
    assert "\n" not in str(error.value)
    assert replay_trace(sequential(400), spec, refresh="none").requests == 400


@pytest.mark.parametrize("name", ["hbm3-6400", "lpddr5-6400"])
@pytest.mark.parametrize("refresh", ["all-bank", "per-bank", "per-bank-blocking"])
@pytest.mark.parametrize("gap", [1, 3, 30])
def test_refreshes_that_leave_little_time_are_served(name, refresh, gap):
    spec = load_memory(name)
    banks = spec.organization.ranks * spec.organization.bank_groups * spec.organization.banks
    least = max(spec.refresh.nPBR2PBR, spec.refresh.nRFCpb // banks)
    tight = {"nREFI": spec.refresh.nRFCab + gap, "nREFIpb": least + gap}
    spec = spec.model_copy(update={"refresh": spec.refresh.model_copy(update=tight)})
    address = np.random.default_rng(gap).integers(0, 1 << 20, 200) * 32
    trace = (address, (address // 32 % 3 == 0).astype(np.int64))
    assert replay_trace(trace, spec, refresh=refresh).requests == 200


@pytest.mark.parametrize("clock", [1, "2 us", "1 ps", "inf"])
def test_a_clock_that_no_dram_has_is_refused(clock):
    plain = load_memory("hbm3-6400").model_dump() | {"tCK": clock}
    with pytest.raises(InputError, match=r"mine\.toml: tCK: .*(0.01 ns to 1 µs|finite)"):
        load(MemorySpec, plain, "mine.toml")


def test_a_channel_of_too_many_banks_is_refused():
    spec = load_memory("hbm3-6400")
    many = spec.organization.model_copy(update={"ranks": 8, "bank_groups": 16, "banks": 16})
    with pytest.raises(InputError, match="4096 banks in a channel: 256 at most"):
        replay_trace(sequential(4), spec.model_copy(update={"organization": many}))


def test_a_kernel_hears_an_interrupt(tmp_path):
    """Amid one call of a kernel that takes some seconds: refreshes of idle time, logged one by one."""
    script = tmp_path / "long.py"
    script.write_text(
        "import os, signal, threading\n"
        "import numpy as np\n"
        "from hmsim.memory.address_trace import replay_trace\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "trace = np.arange(4) * 32, np.zeros(4, np.int64)\n"
        "replay_trace(trace, 'hbm3-6400', load=1e-9, commands='c.csv')\n"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode != 0
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    assert time.monotonic() - began < 60
    assert not (tmp_path / "c.csv").exists()


def test_result_adds_up_and_prints():
    result = replay_trace(sequential(), "hbm3-6400")
    assert result.bandwidth_GBps == pytest.approx(result.bytes / result.seconds / 1e9)
    assert result.row_hits + result.row_misses + result.row_conflicts == result.requests
    assert result.bandwidth_GBps < result.peak_GBps
    text = format_table(result)
    for word in ("achieved", "peak", "bytes", "time", "limiter", result.limiter):
        assert word in text
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["p99_read_latency_ns"] >= plain["mean_read_latency_ns"] > 0
    assert plain["p99_read_latency_ns"] >= plain["p50_read_latency_ns"] > 0
    edges, counts = zip(*plain["latency_histogram"], strict=True)
    assert sum(counts) == result.requests
    assert edges[0] < plain["mean_read_latency_ns"] * 2
    assert edges[-1] >= plain["p99_read_latency_ns"]


def test_only_what_crosses_the_data_bus_counts_as_bandwidth():
    same = np.full(40_000, 64)
    turns = np.arange(40_000) % 2 == 0  # a write, then a read of it, and so on
    result = replay_trace((same, turns.astype(np.int64)), "hbm3-6400")
    moved = result.requests - result.forwarded_reads - result.merged_writes
    assert result.bytes == 32 * moved
    assert 19_000 < result.forwarded_reads <= 20_000
    assert 0 < result.merged_writes < 20_000
    assert result.bandwidth_GBps <= result.peak_GBps
    text = format_table(result)
    assert f"{result.forwarded_reads:,} reads answered from queued writes" in text
    assert f"{result.merged_writes:,} writes merged" in text
    assert "not moved" not in format_table(replay_trace(sequential(), "hbm3-6400"))


def test_data_never_outruns_the_pins():
    # A posted write is done before its data are: in a fast memory, before they could be.
    spec = load_memory("hbm3-6400")
    fast = {"nRCDRD": 1, "nRCDWR": 1, "nRAS": 1, "nRP": 1, "nRC": 2, "nBL": 8, "nCCDS": 8,
            "nCCDL": 8}  # fmt: skip
    spec = spec.model_copy(update={"timing": spec.timing.model_copy(update=fast)})
    result = replay_trace((np.zeros(1, np.int64), np.ones(1, np.int64)), spec)
    assert 0 < result.bandwidth_GBps <= result.peak_GBps


def test_without_reads_there_is_no_latency_of_reads():
    result = replay_trace(sequential(12, write=1), "hbm3-6400")
    for name in ("mean_read", "p50_read", "p99_read", "mean_arrival"):
        assert getattr(result, f"{name}_latency_ns") is None
    assert "none: no reads" in format_table(result)


def test_limiters_are_named():
    far = np.random.default_rng(0).integers(0, 1 << 25, 6000) * 32
    reads = np.zeros(6000, np.int64)
    assert "tFAW" in replay_trace((far, reads), "hbm3-6400", refresh="none").limiter
    paced = replay_trace(sequential(), "hbm3-6400", load=0.05)
    assert paced.limiter == "no request in flight"
    one_bank = replay_trace((np.arange(3000) * 65536, reads[:3000]), "lpddr5-6400")
    assert "tRC" in one_bank.limiter
    same_group = replay_trace(sequential(), "hbm3-6400", mapping="RoBaRaCoCh", refresh="none")
    assert "tCCD" in same_group.limiter


def test_pacing():
    for poisson in (False, True):
        result = replay_trace(sequential(20_000), "lpddr5-6400", load=0.25, poisson=poisson)
        assert result.bandwidth_GBps == pytest.approx(0.25 * 12.8, rel=0.03)
        assert result.mean_arrival_latency_ns >= result.mean_read_latency_ns - 1e-9


def test_channels_multiply_bandwidth_and_wait_for_each_other():
    one = replay_trace(sequential(20_000), "hbm3-6400")
    four = replay_trace(sequential(80_000), "hbm3-6400", channels=4, interleave=256)
    assert four.bandwidth_GBps == pytest.approx(4 * one.bandwidth_GBps, rel=0.05)
    # All requests to one of two channels: the other idles.
    address = np.arange(20_000) // 8 * 512 + np.arange(20_000) % 8 * 32
    half = replay_trace((address, np.zeros(20_000, np.int64)), "hbm3-6400", 2, None, 256)
    assert half.bandwidth_GBps < 0.6 * half.peak_GBps


def test_commands_as_csv(tmp_path):
    path = tmp_path / "c.csv"
    replay_trace((np.array([0, 256]), np.zeros(2, np.int64)), "hbm3-6400", commands=path)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == [
        "tick", "command", "Channel", "PseudoChannel", "Sid", "BankGroup", "Bank", "Row", "Column",
    ]  # fmt: skip
    assert rows[1:] == [
        ["1", "ACT", "0", "0", "0", "0", "0", "0", "0"],
        ["65", "RD", "0", "0", "0", "0", "0", "0", "0"],
        ["73", "RD", "0", "0", "0", "0", "0", "0", "1"],
    ]
    with pytest.raises(InputError, match="cannot be written"):
        replay_trace(sequential(4), "hbm3-6400", commands=path / "c.csv")


def test_every_command_is_logged_however_long_the_idle_time(tmp_path):
    path = tmp_path / "c.csv"
    replay_trace(sequential(40), "lpddr5-6400", load=1e-5, commands=path)
    names = [row[1] for row in csv.reader(path.read_text().splitlines())]
    assert names.count("RD") == 40
    assert names.count("REFab") > 1000


@pytest.mark.parametrize("refresh", ["all-bank", "per-bank", "per-bank-blocking"])
@pytest.mark.parametrize("name", ["hbm3-6400", "lpddr5-6400"])
@pytest.mark.parametrize("row_policy", ["open", "closed:2"])
def test_idle_time_costs_nothing_and_changes_nothing(name, refresh, row_policy, tmp_path):
    how = {"memory": name, "refresh": refresh, "row_policy": row_policy, "poisson": True}
    few = np.random.default_rng(1).integers(0, 1 << 12, 60) * 32
    trace = (few, (few // 64 % 3 == 0).astype(np.int64))
    # A log of commands holds every refresh; without one, those of idle time are only counted.
    logged = replay_trace(trace, load=2e-5, commands=tmp_path / "c.csv", **how)
    counted = replay_trace(trace, load=2e-5, **how)
    assert replace(counted, wall_s=0) == replace(logged, wall_s=0)
    assert counted.refreshes > 100
    # Tick by tick this would not end: over a second of simulated time, billions of ticks.
    assert replay_trace(trace, load=1e-9, **how).seconds > 1


# map, refresh, ticks, mean latency (ns) of 200,000 reads in a row: Ramulator 2.1, queue 32, FR-FCFS
# with row hits first
KNOWN = [
    ("hbm3-6400", "Bg2 Pc1 Co5 Si1 Ba2 Ro14", "none", 448161, 36.782),
    ("hbm3-6400", "RoBaRaCoCh", "all-bank", 951357, 61.939),
    ("lpddr5-6400", "Bg2 Co6 Ba2 Ro15", "all-bank", 436596, 111.425),
]


@pytest.mark.parametrize(("memory", "mapping", "refresh", "ticks", "latency"), KNOWN)
def test_agrees_with_the_cycle_level_simulator(memory, mapping, refresh, ticks, latency):
    result = replay_trace(sequential(200_000), memory, mapping=mapping, refresh=refresh)
    tick = 0.3125e-9 if memory.startswith("hbm") else 1.25e-9
    assert result.seconds == pytest.approx(ticks * tick, rel=1e-6)
    assert result.mean_read_latency_ns == pytest.approx(latency, rel=1e-4)


@pytest.mark.slow
def test_every_row_of_the_reference():
    from scripts.validate_memory import against_ramulator

    rows = against_ramulator(REFERENCE)
    assert len(rows) == 76
    for row in rows:
        assert abs(row["bandwidth_error_%"]) < 0.01, row
        assert abs(row["latency_error_%"]) < 0.01, row


def test_run_samples_long_traces():
    address = np.random.default_rng(2).integers(0, 1 << 18, 2500)[:, None] * 4096
    address = (address + np.arange(128) * 32).ravel() % (1 << 30)
    trace = (address, np.zeros(len(address), np.int64))
    burst = replay_trace(trace, "hbm4-8000")
    run = replay_trace(trace, "hbm4-8000", fidelity="run")
    assert run.requests == burst.requests
    assert run.bandwidth_GBps == pytest.approx(burst.bandwidth_GBps, rel=0.02)
    assert run.mean_read_latency_ns == pytest.approx(burst.mean_read_latency_ns, rel=0.05)


def test_a_sample_of_a_file_is_that_of_all_its_requests(monkeypatch, tmp_path):
    """Beside one cut from all requests at once, for parts, clusters and sizes that do not fit."""
    monkeypatch.setattr("hmsim.memory.address_trace._SAMPLE", 256)
    monkeypatch.setattr("hmsim.memory.address_trace._CLUSTER", 1024)
    monkeypatch.setattr("hmsim.memory.address_trace._PART", 100)
    monkeypatch.setattr("hmsim.exchange.plain.BLOCK", 2048)
    comment = "# not one\n"
    rng = np.random.default_rng(4)
    for n in (20, 256, 257, 3001):
        address = rng.integers(0, 1 << 28, n)
        size = np.maximum(rng.integers(-900, 300, n), 0)
        write = rng.integers(0, 2, n)
        lines = [
            f"{'ST' if w else 'LD'} {a:#x}{f'+{s}' if s else ''}\n{comment * (a % 50 == 0)}"
            for a, s, w in zip(address.tolist(), size.tolist(), write.tolist(), strict=True)
        ]
        path = tmp_path / f"{n}.trace"
        path.write_text("".join(lines) + "\n" * 5000)
        count = (address + np.maximum(size, 1) + 31) // 32 - address // 32
        burst = np.concatenate([np.arange(k) for k in count])
        address = np.repeat(address // 32 * 32, count) + burst * 32
        write = np.repeat(write, count)
        total = len(address)
        chosen = np.arange(total)
        if total > 256:
            position = np.arange(total + 1) * 32
            parts = [
                cut((address, np.full(total, 32), chosen), position, at - 512, 1024)[2]
                for at in ((2 * np.arange(8) + 1) * total * 32 // 16).tolist()
            ]
            chosen = np.concatenate(parts)
        for how in ({}, {"load": 0.4, "poisson": True}):
            expected = replay_trace((address[chosen], write[chosen]), "hbm3-6400", **how)
            for trace in (path, (address, write)):
                run = replay_trace(trace, "hbm3-6400", fidelity="run", **how)
                assert run.requests == total
                assert run.latency_histogram == [
                    (edge, round(n * total / len(chosen))) for edge, n in expected.latency_histogram
                ]
                assert run.mean_arrival_latency_ns == expected.mean_arrival_latency_ns


def test_a_sample_of_a_pipe_is_that_of_a_file(tmp_path):
    text = "".join(f"LD {a * 32}\n" for a in range(300_000))
    path, pipe = tmp_path / "a.trace", tmp_path / "pipe"
    path.write_text(text)
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=(text,))
    writer.start()
    piped = replay_trace(pipe, "hbm3-6400", fidelity="run")
    writer.join()
    assert replace(piped, wall_s=0) == replace(
        replay_trace(path, "hbm3-6400", fidelity="run"), wall_s=0
    )


def test_a_file_that_changes_while_it_is_read(monkeypatch, tmp_path):
    path = tmp_path / "a.trace"
    path.write_text("LD 0\n" * 400_000)

    def read(path, only=None):
        yield from read_trace(path, only)
        path.write_text("LD 0\n" * 250_000)

    monkeypatch.setattr("hmsim.memory.address_trace.read_trace", read)
    with pytest.raises(InputError, match=r"a\.trace: has changed while it was read"):
        replay_trace(path, "hbm3-6400", fidelity="run")


@pytest.mark.parametrize("fidelity", ["burst", "run"])
def test_a_long_file_takes_no_more_memory_than_a_short_one(fidelity, monkeypatch, tmp_path):
    monkeypatch.setattr("hmsim.memory.address_trace._SAMPLE", 1 << 15)
    path = tmp_path / "a.trace"
    peaks = []
    for lines in (200_000, 200_000, 1_000_000):
        path.write_text("LD 0x1000\n" * lines)
        tracemalloc.start()
        replay_trace(path, "hbm3-6400", fidelity=fidelity)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]
