"""One plain address trace through one memory, and what came of it."""

import csv
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmsim import files, machine
from hmsim.config.enumerations import CAUSES, DATA
from hmsim.config.memory import PROTOCOLS, MemorySpec, load_memory
from hmsim.errors import InputError, did_you_mean
from hmsim.exchange.plain import END, Accesses, read_trace
from hmsim.interrupts import interruptible
from hmsim.memory import burst_state as kernel
from hmsim.memory import mapping as maps
from hmsim.memory.device import Extents, Memory, MemoryConfig
from hmsim.memory.energy import LINK, energy
from hmsim.units import show_bytes, show_joules, show_seconds

I64 = NDArray[np.int64]
FIDELITIES = ("burst", "run")
_SAMPLE = 1 << 18  # requests that `run` simulates
_CLUSTER = 1 << 19  # in clusters of so many bytes
_PART = 1 << 18  # requests that go through the memory at a time
_HELD = 40  # bytes of memory for a byte of a file that is read as a whole: 5 are "LD 0\n"
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
        wall_s: Seconds that reading and simulation took.
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
        energy_J: Joules by cause (`hmsim.memory.energy.CAUSES`, without the link), and their `total`;
            None where the memory has no table `[energy]`.
        energy_low_J: The total with every doubtful current at its low end, joules; or None.
        energy_high_J: The same at the high ends, joules; or None.
        pJ_per_bit: The total over the bits that went over the data buses, picojoules; or None.
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
    energy_J: dict[str, float] | None
    energy_low_J: float | None
    energy_high_J: float | None
    pJ_per_bit: float | None

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
    wrap: bool = False,
    data: str = "random",
) -> ReplayResult:
    """Replay a plain address trace through one memory, in order.

    A file is read and replayed part by part, in constant memory, but for `commands`, which holds
    all that is simulated. `run` reads it twice: to count its requests, and to simulate some.

    Args:
        trace: The path of a file of `LD ADDRESS` and `ST ADDRESS` lines (`hmsim.exchange.plain`),
            gzipped or not; or two int64 arrays [n]: byte addresses, and 1 for a write or 0 for a
            read.
        memory: The name of a memory preset, or a MemorySpec.
        channels: Number of channels, 1 to 4096.
        mapping: Address map; the memory's own unless given. One with the field `Ch` says which
            channel too.
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
        wrap: Addresses beyond the memory begin anew at 0 instead of being an error.
        data: What is read and written, for the energy: `random`, or `static` for data that never
            change from beat to beat.

    Returns:
        Totals: bandwidth, latencies, rows, what the data buses' time went into, and joules.

    Raises:
        InputError: An argument is out of range, the trace is empty or malformed, an address is
            beyond the memory, or a file cannot be read or written.
    """
    if fidelity not in FIDELITIES:
        raise InputError(f"fidelity: {fidelity!r}{did_you_mean(fidelity, FIDELITIES)}")
    if data not in DATA:
        raise InputError(f"data: {data!r}{did_you_mean(data, DATA)}")
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
    inputs = [] if isinstance(trace, tuple) else [trace]
    if commands:
        files.check_output(commands, inputs)
    device = Memory(config, bins=_BINS)
    arrivals = _Arrivals(device, load, poisson, seed)
    requests = _Requests(trace, device, wrap, again=fidelity == "run")
    started = time.perf_counter()
    parts: Iterable[Extents] = requests.sample() if fidelity == "run" else requests.parts()
    if commands:
        if fidelity == "burst" and not isinstance(trace, tuple):
            _need_memory(trace)
        parts = held = list(parts)
        room = 6 * sum(len(part.size) for part in held) + 1024
        device = Memory(config, bins=_BINS, log=room)
    simulated = _stream(device, parts, arrivals)
    while commands and device.log_is_full:
        room *= 4
        device = Memory(config, bins=_BINS, log=room)
        _stream(device, parts, _Arrivals(device, load, poisson, seed))
    wall = time.perf_counter() - started
    if commands:
        write_commands(device, commands, inputs)
    return _result(device, requests.count or simulated, simulated, wall, data)


def _need_memory(path: str | Path) -> None:
    with files.reading(path) as file:
        size = os.fstat(file.fileno()).st_size
    machine.need_memory(_HELD * size, f"{path}: a trace of {size:,} bytes, held as a whole")


class _Requests:
    """The requests of a trace, one burst each, in parts of `_PART` at most.

    trace: as `replay_trace` takes it. again: they are read more than once.
    """

    def __init__(
        self, trace: str | Path | tuple[I64, I64], device: Memory, wrap: bool, again: bool
    ) -> None:
        self.count = 0  # how many there are, where they have been counted
        self._source = "trace" if isinstance(trace, tuple) else str(trace)
        self._read: Callable[[Container[int] | None], Iterable[Accesses]]
        if isinstance(trace, tuple):
            self._read = partial(_parts_of, *trace)
        elif again and Path(trace).is_fifo():  # what it says, it says once
            held = list(read_trace(trace))
            self._read = lambda only: (each for each in held if only is None or each.part in only)
        else:
            self._read = partial(read_trace, trace)
        self._burst = device.config.spec.organization.burst_bytes
        self._bytes = END if wrap else device.capacity
        self._turn = min(device.capacity, END) if wrap else 0

    def parts(self) -> Iterator[Extents]:
        """All of them."""
        for accesses in self._read(None):
            _check(self._source, accesses, self._bytes)
            yield from self._extents(accesses)

    def sample(self) -> Iterator[Extents]:
        """All of a short trace; of a long one clusters, evenly spread."""
        numbers, ends = [], [0]
        for accesses in self._read(None):
            _check(self._source, accesses, self._bytes)
            numbers.append(accesses.part)
            ends.append(ends[-1] + int(_upto(accesses, self._burst)[-1]))
        self.count = ends[-1]
        first, last = _clusters(self.count, self._burst)
        met = np.searchsorted(last, ends[:-1], "right") < np.searchsorted(first, ends[1:], "left")
        starts = {numbers[i]: ends[i] for i in np.flatnonzero(met).tolist()}
        missing = int((last - first).sum())
        for accesses in self._read(starts):
            at = starts[accesses.part]
            for extents in self._extents(accesses):
                n = len(extents.size)
                within = zip(np.clip(first - at, 0, n), np.clip(last - at, 0, n), strict=True)
                for a, b in within:
                    if a < b:
                        missing -= int(b - a)
                        yield Extents(*(column[a:b] for column in extents))
                at += n
        if missing:
            raise InputError(f"{self._source}: has changed while it was read")

    def _extents(self, accesses: Accesses) -> Iterator[Extents]:
        for address, write in _bursts(accesses, self._burst):
            if self._turn:
                address %= self._turn
            yield Extents(address, np.full(len(address), self._burst), write)


def _parts_of(address: I64, write: I64, only: Container[int] | None = None) -> Iterator[Accesses]:
    if not len(address):
        raise InputError("trace: the trace is empty")
    for number, first in enumerate(range(0, len(address), _PART)):
        if only is None or number in only:
            part = slice(first, first + _PART)
            size = np.zeros(len(address[part]), np.int64)
            yield Accesses(address[part], size, write[part], before=first, part=number)


def _bursts(part: Accesses, burst: int) -> Iterator[tuple[I64, I64]]:
    """Address and write of every burst that the accesses touch, `_PART` at a time."""
    first = part.address & -burst
    if not part.size.any() and len(first) <= _PART:
        yield first, part.write
        return
    upto = _upto(part, burst)
    for begin in range(0, int(upto[-1]), _PART):
        number = np.arange(begin, min(begin + _PART, upto[-1]))
        which = np.searchsorted(upto, number, "right")
        before = np.append(0, upto)[which]
        yield first[which] + (number - before) * burst, part.write[which]


def _upto(part: Accesses, burst: int) -> I64:
    """How many bursts the accesses touch, each with those before it."""
    if not part.size.any():
        return np.arange(1, len(part.address) + 1)
    first = part.address & -burst
    return np.cumsum((part.address + np.maximum(part.size, 1) - first + (burst - 1)) // burst)


def _check(source: str, part: Accesses, capacity: int) -> None:
    if part.address.min() < 0:
        index = int(np.argmax(part.address < 0))
        raise InputError(
            f"{source}: {part.where(index)}: address {part.address[index]} is below zero"
        )
    if part.address.max() <= capacity - max(int(part.size.max()), 1):
        return
    beyond = part.address > capacity - np.maximum(part.size, 1)
    if beyond.any():
        index = int(np.argmax(beyond))
        raise InputError(
            f"{source}: {part.where(index)}: address {part.address[index]:#x} is beyond the"
            f" memory's {capacity:#x} bytes (more channels hold more: --channels; --wrap begins anew"
            " at 0)"
        )


def _clusters(requests: int, burst: int) -> tuple[I64, I64]:
    """The first requests of the clusters of a sample, and those behind their last ones."""
    if requests <= _SAMPLE:
        return np.array([0]), np.array([requests])
    wanted = _SAMPLE * burst // _CLUSTER
    middle = (2 * np.arange(wanted) + 1) * (requests * burst) // (2 * wanted)
    start = middle - _CLUSTER // 2
    return -(-start // burst), (start + _CLUSTER - 1) // burst + 1


def _stream(device: Memory, parts: Iterable[Extents], arrivals: "_Arrivals") -> int:
    """Replay requests in order; how many they are. Ctrl-C is heard all the while."""
    replay = partial(device.replay_in_order, width=device.config.channels)
    count = 0
    for part in parts:
        intended = arrivals.next(len(part.size))
        count += len(part.size)
        interruptible(partial(replay, part, intended, last=False))
    none = np.zeros(0, np.int64)
    interruptible(partial(replay, Extents(none, none, none), none))
    return count


class _Arrivals:
    """Intended arrival ticks of requests, one after the other; empty for "as soon as accepted"."""

    def __init__(self, device: Memory, load: float | None, poisson: bool, seed: int) -> None:
        if load is None:
            if poisson:
                raise InputError("poisson: arrivals need a load, such as --load 0.5")
        elif not 1e-9 <= load < np.inf:
            raise InputError(f"load: {load} is outside 1e-9 and up; 1 is pin bandwidth")
        burst = device.config.spec.organization.burst_bytes
        self._per_tick = (load or 0.0) * device.config.bandwidth * device.tick_s / burst
        self._gaps = np.random.default_rng(seed) if poisson else None
        self._count, self._latest = 0, 0.0

    def next(self, n: int) -> I64:
        """Of n more requests."""
        if not self._per_tick:
            return np.zeros(0, np.int64)
        if self._gaps is None:
            self._count += n
            number = np.arange(self._count - n, self._count)
            return np.floor(number / self._per_tick).astype(np.int64)
        gaps = self._gaps.exponential(1 / self._per_tick, n)
        gaps[0] += self._latest
        moments = np.cumsum(gaps)
        self._latest = moments[-1]
        return np.floor(moments).astype(np.int64)


def _result(device: Memory, requests: int, simulated: int, wall: float, data: str) -> ReplayResult:
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
    joules = None
    if device.config.spec.energy is not None:
        joules = scale * energy(device.config, counts, ticks * device.tick_s, data)
    low, high = (None, None) if joules is None else joules[1:].sum(axis=1).tolist()
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
        energy_J=None if joules is None else _by_cause(joules[0]),
        energy_low_J=low,
        energy_high_J=high,
        pJ_per_bit=None if joules is None or not total else joules[0].sum() / (8e-12 * total),
    )


def _by_cause(joules: NDArray[np.float64]) -> dict[str, float]:
    """Of a memory alone: without a link."""
    named = dict(zip(CAUSES[:LINK], joules.tolist(), strict=False))
    return named | {"total": float(joules.sum())}


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
    levels, act, *_ = PROTOCOLS[spec.protocol]
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
    if result.energy_J is not None:
        rows += _energy_rows(result.energy_J, result)
    return "\n".join(f"{name:<13} {value}" for name, value in rows)


def _energy_rows(joules: dict[str, float], result: ReplayResult) -> list[tuple[str, str]]:
    """Joules, and which causes take them."""
    total, low, high = joules["total"], result.energy_low_J, result.energy_high_J
    text = show_joules(total)
    if low is not None and high is not None and low < high:
        text += f" ({show_joules(low)} to {show_joules(high)})"
    if result.pJ_per_bit is not None:
        text += f", {result.pJ_per_bit:.4g} pJ/bit"
    causes = sorted(list(joules.items())[:-1], key=lambda item: -item[1])
    return [
        ("energy", f"{text}, {total / result.seconds:.4g} W"),
        *(("  taken by", f"{100 * each / total:5.1f} %  {name}") for name, each in causes if each),
    ]
