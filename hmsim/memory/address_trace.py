"""One plain address trace through one memory, and what came of it."""

import csv
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmsim import files
from hmsim.config.memory import PROTOCOLS, MemorySpec, load_memory
from hmsim.errors import InputError, did_you_mean
from hmsim.exchange.plain import read_trace
from hmsim.memory import burst_state as kernel
from hmsim.memory import mapping as maps
from hmsim.memory.device import Extents, Memory, MemoryConfig
from hmsim.memory.sampling import cut
from hmsim.units import show_bytes, show_seconds

I64 = NDArray[np.int64]
FIDELITIES = ("burst", "run")
_SAMPLE = 1 << 18  # requests that `run` simulates
_CLUSTER = 1 << 19  # in clusters of so many bytes
REASONS = {
    "data": "data",
    "no_request": "no request in flight",
    "queue_full": "queue too shallow",
    "in_flight_limit": "too few requests in flight",
    "row_cycle": "row misses (tRCD, tRP, tRC)",
    "activation_rate": "activation rate (tFAW, tRRD)",
    "refresh": "refresh",
    "turnaround": "read/write turnaround",
    "spacing": "bank group and rank spacing (tCCD)",
    "command_bus": "command bus and scheduling",
    "link": "link",
}
_BINS = 1 << 16


@dataclass(frozen=True)
class ReplayResult:
    """Totals of a replay.

    Latency is from a request's entry into a queue to its last beat of data; without a read there is
    none.

    Attributes:
        requests: Requests of the trace, one burst each.
        bytes: Bytes that went over the data buses.
        seconds: Seconds from the first request to the last completion.
        bandwidth_GBps: `bytes` over `seconds`, GB/s.
        peak_GBps: What the data pins carry when never idle, GB/s.
        row_hit_rate: Share of the requests that found their row open.
        mean_read_latency_ns: Mean latency of reads, nanoseconds; None where there are none.
        p99_read_latency_ns: 99th percentile of the latency of reads, nanoseconds; or None.
        mean_arrival_latency_ns: Mean latency of reads from their intended arrival on, nanoseconds;
            it differs under a load; or None.
        wall_s: Seconds that the simulation took.
        p50_read_latency_ns: Median latency of reads, nanoseconds; or None.
        latency_histogram: Pairs (upper edge in nanoseconds, number of reads), by powers of two.
        forwarded_reads: Reads that a queued write of the same burst answered: no data moved.
        merged_writes: Writes that joined a queued write of the same burst: no data moved.
        row_hits: Requests that found their row open.
        row_misses: Requests that found no row open in their bank.
        row_conflicts: Requests that found another row open in their bank.
        activations: Rows opened.
        refreshes: Refresh commands.
        bus_ticks: What the time of the data buses went into, in ticks by name; `REASONS` has the
            names.
    """

    requests: int
    bytes: int
    seconds: float
    bandwidth_GBps: float
    peak_GBps: float
    row_hit_rate: float
    mean_read_latency_ns: float | None
    p99_read_latency_ns: float | None
    mean_arrival_latency_ns: float | None
    wall_s: float
    p50_read_latency_ns: float | None
    latency_histogram: list[tuple[float, int]]
    forwarded_reads: int
    merged_writes: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    activations: int
    refreshes: int
    bus_ticks: dict[str, int]

    @property
    def limiter(self) -> str:
        """What costs the most bandwidth, for people."""
        return REASONS[max(list(self.bus_ticks)[1:], key=self.bus_ticks.__getitem__)]

    def to_json(self) -> dict[str, object]:
        """Plain data, as `hmsim replay --json` prints it."""
        return asdict(self)


def replay_trace(
    trace: str | Path | tuple[I64, I64],
    memory: str | MemorySpec,
    channels: int = 1,
    mapping: str | None = None,
    interleave: int | None = None,
    queue: int | None = None,
    row_policy: str = "open",
    refresh: str = "all-bank",
    load: float | None = None,
    poisson: bool = False,
    scheduler: str = "FRFCFSRowHit",
    fidelity: str = "burst",
    commands: str | Path | None = None,
    seed: int = 7,
) -> ReplayResult:
    """Replay a plain address trace through one memory, in order.

    Args:
        trace: The path of a file of `LD ADDRESS` and `ST ADDRESS` lines; or two int64 arrays [n]:
            byte addresses, and 1 for a write or 0 for a read.
        memory: The name of a memory preset, or a MemorySpec.
        channels: Number of channels, 1 to 4096.
        mapping: Address map; the memory's own unless given.
        interleave: Bytes in a row that belong to one channel, a power of two; one burst unless
            given.
        queue: Reads that a channel's controller holds, in bursts; 32 unless given. It holds 32
            writes.
        row_policy: `open`, or `closed:N`: a row is closed after N column commands.
        refresh: `all-bank`, `per-bank`, `per-bank-blocking` or `none`; see MemoryConfig.
        load: Requests arrive at this share of pin bandwidth. None: as soon as a channel accepts
            them.
        poisson: Requests arrive at exponential gaps instead of equal ones; needs `load`.
        scheduler: `FRFCFSRowHit` or `FRFCFS`; see MemoryConfig.
        fidelity: `burst` schedules every burst; `run` simulates clusters of requests, evenly
            spread, and scales.
        commands: A CSV file to write every DRAM command to.
        seed: Of the exponential gaps.

    Returns:
        Totals: bandwidth, latencies, rows, and what the data buses' time went into.

    Raises:
        InputError: An argument is out of range, the trace is empty or malformed, an address is
            beyond the memory, or a file cannot be read or written.
    """
    if fidelity not in FIDELITIES:
        raise InputError(f"fidelity: {fidelity!r}{did_you_mean(fidelity, FIDELITIES)}")
    spec = load_memory(memory) if isinstance(memory, str) else memory
    config = MemoryConfig(
        spec,
        channels,
        mapping,
        interleave,
        read_queue=32 if queue is None else queue,
        write_queue=32,
        row_policy=row_policy,
        refresh=refresh,
        scheduler=scheduler,
    )
    source = "trace" if isinstance(trace, tuple) else str(trace)
    inputs = [] if isinstance(trace, tuple) else [trace]
    if commands:
        files.check_output(commands, inputs)
    address, write = trace if isinstance(trace, tuple) else read_trace(trace)
    burst = spec.organization.burst_bytes
    extents = Extents(address & -burst, np.full(len(address), burst), write)
    _check(source, extents, Memory(config).capacity)
    if fidelity == "run" and len(address) > _SAMPLE:
        wanted = _SAMPLE * burst // _CLUSTER
        starts = (2 * np.arange(wanted) + 1) * len(address) * burst // (2 * wanted)
        position = np.arange(len(address) + 1) * burst
        parts = [cut(extents, position, at - _CLUSTER // 2, _CLUSTER) for at in starts.tolist()]
        extents = Extents(*map(np.concatenate, zip(*parts, strict=True)))
    started = time.perf_counter()
    room = 6 * len(extents.size) + 1024 if commands else 0
    device = _simulate(config, extents, load, poisson, seed, room)
    while commands and device.log_is_full:
        room *= 4
        device = _simulate(config, extents, load, poisson, seed, room)
    wall = time.perf_counter() - started
    if commands:
        write_commands(device, commands, inputs)
    return _result(device, len(address), len(extents.size), wall)


def _check(source: str, extents: Extents, capacity: int) -> None:
    if not len(extents.address):
        raise InputError(f"{source}: the trace is empty")
    low, high = int(extents.address.min()), int(extents.address.max())
    if low < 0:
        raise InputError(f"{source}: address {low} is below zero")
    if high >= capacity:
        raise InputError(f"{source}: address {high:#x} is beyond the memory's {capacity:#x} bytes")


def _simulate(
    config: MemoryConfig, extents: Extents, load: float | None, poisson: bool, seed: int, log: int
) -> Memory:
    device = Memory(config, bins=_BINS, log=log)
    intended = _arrivals(device, len(extents.size), load, poisson, seed)
    device.replay_in_order(extents, intended, width=config.channels)
    return device


def _arrivals(device: Memory, n: int, load: float | None, poisson: bool, seed: int) -> I64:
    """Intended arrival ticks; empty for "as soon as accepted"."""
    if load is None:
        if poisson:
            raise InputError("poisson: arrivals need a load, such as --load 0.5")
        return np.zeros(0, np.int64)
    if not 1e-9 <= load < np.inf:
        raise InputError(f"load: {load} is outside 1e-9 and up; 1 is pin bandwidth")
    burst = device.config.spec.organization.burst_bytes
    per_tick = load * device.config.bandwidth * device.tick_s / burst
    if not poisson:
        return np.floor(np.arange(n) / per_tick).astype(np.int64)
    gaps = np.random.default_rng(seed).exponential(1 / per_tick, n)
    return np.floor(np.cumsum(gaps)).astype(np.int64)


def _result(device: Memory, requests: int, simulated: int, wall: float) -> ReplayResult:
    scale = requests / simulated
    counts = device.statistics()
    moved = counts["reads"] + counts["writes"]
    reads = counts["reads"] + counts["forwarded"]
    ticks = float(device.last_done)
    whole = max(device.last_done, device.last_data)
    if scale > 1:
        ticks = device.evened(ticks, counts, device.config.channels)
        whole = round(ticks)
    # A posted write is done when its command issues: not even then may data outrun the pins.
    ticks = max(ticks, moved * device.timing.burst / device.buses)
    seconds = ticks * scale * device.tick_s
    total = round(moved * scale) * device.config.spec.organization.burst_bytes
    judged = max(1, counts["row_hits"] + counts["row_misses"] + counts["row_conflicts"])
    ns = device.tick_s * 1e9
    latencies = device.histogram()
    seen = np.cumsum(latencies)

    def percentile(share: float) -> float | None:
        return int(np.searchsorted(seen, share * seen[-1])) * ns if reads else None

    def mean(ticks: int) -> float | None:
        return ticks / reads * ns if reads else None

    bus_ticks = device.bus_ticks(counts, whole)
    return ReplayResult(
        requests=requests,
        bytes=total,
        seconds=seconds,
        bandwidth_GBps=total / seconds / 1e9,
        peak_GBps=device.config.bandwidth / 1e9,
        row_hit_rate=counts["row_hits"] / judged,
        mean_read_latency_ns=mean(counts["latency_ticks"]),
        p99_read_latency_ns=percentile(0.99),
        mean_arrival_latency_ns=mean(counts["arrival_latency_ticks"]),
        wall_s=wall,
        p50_read_latency_ns=percentile(0.5),
        latency_histogram=_by_octave(latencies, ns, scale),
        forwarded_reads=round(counts["forwarded"] * scale),
        merged_writes=round(counts["merged"] * scale),
        row_hits=round(counts["row_hits"] * scale),
        row_misses=round(counts["row_misses"] * scale),
        row_conflicts=round(counts["row_conflicts"] * scale),
        activations=round(counts["activations"] * scale),
        refreshes=round(counts["refreshes"] * scale),
        bus_ticks={name: round(ticks * scale) for name, ticks in bus_ticks.items()},
    )


def _by_octave(latencies: I64, ns: float, scale: float) -> list[tuple[float, int]]:
    """Reads up to 1, 2, 4, ... ticks, in nanoseconds, without the empty ends."""
    edges = 1 << np.arange(len(latencies).bit_length())
    counts = np.diff(np.append(0, np.cumsum(latencies))[np.minimum(edges, len(latencies) - 1) + 1])
    counts = np.append(latencies[:2].sum(), counts)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    span = slice(filled[0], filled[-1] + 1)
    edge_ns = (edges[span] * ns).tolist()
    return list(zip(edge_ns, np.round(counts[span] * scale).astype(int).tolist(), strict=True))


def write_commands(device: Memory, path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Every logged command as CSV: tick, command, then its place from the channel down."""
    spec = device.config.spec
    organization = spec.organization
    levels, act, _ = PROTOCOLS[spec.protocol]
    header = ["tick", "command", "Channel", *levels, "BankGroup", "Bank", "Row", "Column"]
    log = device.commands()
    columns = maps.decode(device.mapping, np.maximum(log[:, 5], 0))[2]
    with files.writing(path, inputs) as beside, beside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for (tick, channel, command, bank, row, _), column in zip(
            log.tolist(), columns.tolist(), strict=True
        ):
            rest, low = divmod(bank, organization.banks)
            rest, group = divmod(rest, organization.bank_groups)
            pseudo, rank = divmod(rest, organization.ranks)
            name = kernel.LOG_NAMES[command]
            if name == "ACT":
                name = act
            places = [pseudo, rank][-len(levels) :]
            if name in ("PREab", "REFab"):
                group = low = -1
                places[1:] = [-1] * len(places[1:])
            if row < 0:
                column = -1
            writer.writerow([tick, name, channel, *places, group, low, row, column])


def format_table(result: ReplayResult) -> str:
    """The result for people."""
    share = 100 * result.bandwidth_GBps / result.peak_GBps
    rows = [
        ("achieved", f"{result.bandwidth_GBps:.4g} GB/s, {share:.1f} % of peak"),
        ("peak", f"{result.peak_GBps:.4g} GB/s"),
        ("bytes", f"{show_bytes(result.bytes)} of data for {result.requests:,} requests"),
    ]
    apart = [
        f"{count:,} {what}"
        for count, what in (
            (result.forwarded_reads, "reads answered from queued writes"),
            (result.merged_writes, "writes merged with queued ones"),
        )
        if count
    ]
    if apart:
        rows.append(("  not moved", ", ".join(apart)))
    latency = "none: no reads"
    if result.mean_read_latency_ns is not None:
        latency = (
            f"mean {result.mean_read_latency_ns:.4g} ns, p50 {result.p50_read_latency_ns:.4g} ns,"
            f" p99 {result.p99_read_latency_ns:.4g} ns"
        )
    rows += [
        ("time", show_seconds(result.seconds)),
        ("row hits", f"{100 * result.row_hit_rate:.1f} %"),
        ("read latency", latency),
    ]
    whole = sum(result.bus_ticks.values())
    lost = sorted(list(result.bus_ticks.items())[1:], key=lambda item: -item[1])
    rows.append(("limiter", result.limiter))
    rows += [
        ("  lost to", f"{100 * ticks / whole:5.1f} %  {REASONS[name]}")
        for name, ticks in lost
        if ticks
    ]
    return "\n".join(f"{name:<13} {value}" for name, value in rows)
