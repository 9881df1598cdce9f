"""A virtual microbenchmark: what a requester gets of a system's memories, and why not more.

A requester, the GPU or the CPU, keeps so many bytes in flight to a memory, or offers a load. Its
traffic is played through some channels of the `burst` engine, each with its share of what is in
flight: channels run on their own, so a few of them tell of all. What goes over the link is bounded
by the link's packets besides. Nothing here is fitted: all numbers are the system's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from hmsim.config.memory import LinkSpec
from hmsim.config.system import Gpu, MemorySide, SystemSpec
from hmsim.errors import InputError, did_you_mean
from hmsim.memory import burst_state as state
from hmsim.memory.device import I64, Extents, Memory, MemoryConfig

Pattern = Literal["read", "write", "copy", "triad", "gather", "chase"]
PATTERNS: tuple[str, ...] = get_args(Pattern)
MEMORIES, REQUESTERS = ("hbm", "dram"), ("gpu", "cpu")

SAMPLED = 8  # channels that are simulated
BURSTS = 12_000  # that each of them serves, about
CHASED = 2_000  # loads of a chase
GPU_LINE, CPU_LINE = 128, 64  # bytes of a cache line
SEED = 1
PAGE = 2 << 20  # bytes to which arrays are aligned
FAR = state.FAR

# Shares of writes of the patterns, and how many arrays they read and write.
ARRAYS = {"read": (1, 0), "write": (0, 1), "copy": (1, 1), "triad": (2, 1), "gather": (1, 0)}
WHY = {
    "no_request": "no request was there",
    "queue_full": "the controller's queue was full",
    "in_flight_limit": "the requester had no more in flight",
    "row_cycle": "rows had to be opened",
    "activation_rate": "rows may be opened only so often",
    "refresh": "banks were refreshed",
    "turnaround": "the bus turned between reads and writes",
    "spacing": "bursts within a bank group keep a distance",
    "command_bus": "the command bus was taken",
    "ecc": "in-band ECC moved bursts of its own",
}


@dataclass(frozen=True)
class Measurement:
    """What a microbenchmark shows.

    Attributes:
        bandwidth_GBps: Bytes that the requester moved, reads and writes, in 1e9 bytes/s.
        copied_GBps: Bytes copied, which are read once and written once; None for other patterns.
        latency_ns: Mean time from a request to its data, with what it waits for under this load.
        share_of_pins: `bandwidth_GBps` of the memory that was measured, over what its data pins carry.
        limiter: What keeps it there: `link`, `translation`, `in_flight`, `load`, `latency`, or a
            reason of `hmsim.memory.superchip.REASONS`.
        why: The same in a sentence.
    """

    bandwidth_GBps: float
    copied_GBps: float | None
    latency_ns: float
    share_of_pins: float
    limiter: str
    why: str


class _Requester(NamedTuple):
    in_flight: float  # bytes, at most
    issue: float  # seconds from data to the next request
    piece: int  # bytes in a row that it asks for at a time
    streams: int  # that run side by side, each in its own part of an array; 1: one for all
    spread: int  # pieces of a stream that may overtake each other
    line: int  # bytes
    fetch: int  # bytes, the least that its cache fetches
    what: str


class _Cap(NamedTuple):
    """What more than the DRAM bounds a bandwidth."""

    rate: float  # bytes/s
    limiter: str
    why: str


class _Played(NamedTuple):
    """A closed loop or an open one, of one memory."""

    bandwidth: float  # bytes/s
    latency: float  # seconds, without the way to the memory
    lost: dict[str, float]  # shares of the buses' time


def measure(
    system: SystemSpec,
    *,
    on: str = "hbm",
    to: str | None = None,
    source: str = "gpu",
    pattern: str = "read",
    size: int | None = None,
    over: int | None = None,
    writes: float | None = None,
    blocks: int | None = None,
    load: float | None = None,
) -> Measurement:
    """Measure a system as a microbenchmark would.

    Args:
        system: The system.
        on: The memory to measure, `hbm` or `dram`; of a copy, the one that is read.
        to: The memory that a copy writes; `on` unless given.
        source: Who asks: `gpu` or `cpu`.
        pattern: `read`, `write`, `copy` (one array read, one written), `triad` (two read, one
            written), `gather` (random pieces, aligned to their size) or `chase` (random loads, each
            of which waits for the one before).
        size: Bytes of a piece of a gather, or of each load of a chase; a cache line unless given.
        over: Bytes of memory that the pieces of a gather lie in; all of it unless given.
        writes: Share of the bytes that is written, in place of the pattern's own.
        blocks: Thread blocks of 1024 threads in flight, for `gpu`; as many as fit unless given.
        load: Bytes/s that are asked for, at random times, whatever is still in flight.

    Returns:
        Bandwidth, latency, and why they are not better.

    Raises:
        InputError: The call makes no sense, or the system lacks what it needs; the line says which.
    """
    _check(system, on, to, source, pattern, size, over, writes, blocks, load)
    asker = _requester(system, source, blocks)
    if system.unified:
        on, to = ("hbm" if source == "gpu" else "dram"), None
    side = system.hbm if on == "hbm" else system.dram
    if pattern == "chase":
        return _chase(system, on, source, size or 32)
    reads, written = ARRAYS[pattern]
    share = written / (reads + written) if writes is None else writes
    if to not in (None, on):
        return _across(system, on, source, asker)
    mixed = (reads, written) if writes is None else None
    if (
        source == "gpu"
    ):  # a thread's loads and stores of different arrays do not wait for each other
        arrays = reads + written if writes is None else 1 + (0 < writes < 1)
        asker = asker._replace(in_flight=arrays * asker.in_flight)
    piece = size or asker.line
    runs = Runs(side, asker, pattern == "gather", piece, share, mixed, over)
    way = _way(system, on, source)
    caps = []
    if _over_link(on, source):
        wire = _wire(system.link, share, piece if pattern == "gather" else asker.piece, source)
        caps.append(_Cap(wire, "link", _link_text(wire)))
    if pattern == "gather" and source == "gpu" and system.gpu is not None:
        caps += _translations(system.gpu, on, piece, over or side.capacity)
    pins = MemoryConfig.of(side).bandwidth
    full = runs.closed(asker.in_flight, way + asker.issue)
    if load is not None:
        if load <= 0.98 * min(full.bandwidth, *(cap.rate for cap in caps), np.inf):
            open_ = runs.open(load, way)
            return _told(pattern, load, open_.latency + way, pins, "load", _load_text(load, open_))
        if load > pins:
            text = f"{load / 1e9:.4g} GB/s is more than the pins carry; "
        else:
            text = f"{load / 1e9:.4g} GB/s is more than the memory sustains; "
    else:
        text = ""
    return _concluded(pattern, full, caps, asker, pins, text)


def _check(
    system: SystemSpec, on: str, to: str | None, source: str, pattern: str, size: int | None,
    over: int | None, writes: float | None, blocks: int | None, load: float | None,
) -> None:  # fmt: skip
    for name, given, known in (
        ("on", on, MEMORIES), ("to", to or on, MEMORIES), ("from", source, REQUESTERS),
        ("pattern", pattern, PATTERNS),
    ):  # fmt: skip
        if given not in known:
            raise InputError(f"{name}: {given!r}{did_you_mean(given, known)}")
    side = system.hbm if on == "hbm" else system.dram
    if to is not None and pattern != "copy":
        raise InputError(f"to: a {pattern} has one memory; only a copy goes from one to another")
    if to not in (None, on) and (writes is not None or load is not None):
        raise InputError("to: a copy between memories takes neither --writes nor --load")
    if size is not None and not 1 <= size <= side.capacity:
        raise InputError(f"bytes: {size} is outside 1 to the memory's {side.capacity:.0f}")
    if size is not None and pattern not in ("gather", "chase"):
        raise InputError(f"bytes: a {pattern} runs through arrays; pieces are of gather and chase")
    if size is not None and pattern == "gather" and size > 1 << 24:
        raise InputError(f"bytes: {size}: pieces of a gather have 16 MiB at most")
    if size is not None and pattern == "chase" and size > 4096:
        raise InputError(f"bytes: {size}: a load of a chase has 4096 bytes at most")
    if over is not None and pattern != "gather":
        raise InputError(f"over: pieces of a gather lie in a part of memory; a {pattern} has none")
    if over is not None and not (size or 1) <= over <= side.capacity:
        raise InputError(
            f"over: {over} is outside {size or 1}, a piece, to the memory's {side.capacity:.0f}"
        )
    if writes is not None and not 0 <= writes <= 1:
        raise InputError(f"writes: {writes} is outside 0 to 1")
    if writes is not None and pattern == "chase":
        raise InputError("writes: a chase only reads")
    if blocks is not None and load is not None:
        raise InputError("blocks: give blocks in flight or a load, not both")
    if (blocks is not None or load is not None) and pattern == "chase":
        raise InputError("blocks: a chase has one load in flight")
    if load is not None and not 0 < load < np.inf:
        raise InputError(f"load: {load} must be above zero")
    if blocks is not None and not 1 <= blocks <= 1 << 20:
        raise InputError(f"blocks: {blocks} is outside 1 to {1 << 20}")
    if blocks is not None and source == "cpu":
        raise InputError("blocks: thread blocks are the GPU's; leave out --from cpu")
    if blocks is not None and system.gpu is None:
        raise InputError(
            "blocks: the system has no table gpu, which says what a block has in flight"
        )
    if source == "cpu" and system.cpu is None:
        raise InputError("from: the system has no table cpu, which says what its cores are")


def _requester(system: SystemSpec, source: str, blocks: int | None) -> _Requester:
    if source == "cpu":
        assert system.cpu is not None
        cores, lines = system.cpu.cores, system.cpu.lines
        what = f"{cores} cores with {lines} lines of 64 B each"
        flight = float(cores * lines * CPU_LINE)
        return _Requester(flight, 0.0, _below(lines * CPU_LINE), cores, 1, CPU_LINE, 1, what)
    gpu, flight = system.gpu, system.outstanding
    if gpu is None:
        return _Requester(flight, 0.0, 16384, 1, 256, GPU_LINE, 1, f"a GPU with {_size(flight)}")
    most = max(1, round(flight / gpu.block_bytes))
    count = most if blocks is None else min(blocks, most)
    piece, flight = int(gpu.block_bytes), count * gpu.block_bytes
    what = f"{count} thread blocks with {_size(gpu.block_bytes)} each"
    return _Requester(flight, gpu.issue, piece, 1, count, GPU_LINE, gpu.fetch, what)


def _below(size: int) -> int:
    """The greatest power of two that is not above."""
    return 1 << (size.bit_length() - 1)


def _over_link(on: str, source: str) -> bool:
    return (on == "dram") == (source == "gpu")


def _way(system: SystemSpec, on: str, source: str) -> float:
    """Seconds from a requester to a memory's controller and back, unloaded. What the CPU asks of HBM
    goes the way of what the GPU asks of DRAM."""
    if _over_link(on, source):
        return system.link.latency + system.dram.latency
    return system.hbm.latency if on == "hbm" else system.dram.latency


def _wire(link: LinkSpec, written: float, piece: int, source: str) -> float:
    """Bytes/s that the link's packets carry of pieces of so many bytes."""
    packets = -(-piece // link.payload_bytes) / piece  # of a byte
    header = link.header_bytes * packets
    longer = header if link.write_header_bytes is None else link.write_header_bytes * packets
    towards = 1 - written + header
    away = written * (1 + longer) + (1 - written) * header
    rates = link.read_bandwidth, link.write_bandwidth
    if source == "cpu":
        rates = rates[1], rates[0]
    return min(rates[0] / towards, rates[1] / away)


def _translations(gpu: Gpu, on: str, piece: int, over: float) -> list[_Cap]:
    """The bound of addresses that a GPU has to look up, if it has to."""
    miss, missed, which = gpu.tlb_miss_dram, 1.0, "every piece has its address looked up"
    if on == "hbm":
        if gpu.tlb_reach is None or over <= gpu.tlb_reach:
            return []
        miss, missed = gpu.tlb_miss, 1 - gpu.tlb_reach / over
        which = (
            f"{missed:.0%} of the pieces lie outside the {_size(gpu.tlb_reach)} whose addresses the "
            f"GPU has at hand, and have theirs looked up"
        )
    if not miss:
        return []
    why = f"{which}, one every {1e9 * miss:.3g} ns"
    return [_Cap(piece / (miss * missed), "translation", why)]


class Runs:
    """A pattern through channels of one memory.

    side: the memory. asker: who asks. random: pieces of `piece` bytes from anywhere in the first
    `over` bytes, aligned; else arrays piece by piece. written: share of the bytes that is written.
    arrays: how many are read and written, or None for as many pieces of each kind as the share says.
    """

    def __init__(
        self, side: MemorySide, asker: _Requester, random: bool, piece: int, written: float,
        arrays: tuple[int, int] | None, over: int | None = None,
    ):  # fmt: skip
        self.config = MemoryConfig.of(side)
        self.random, self.asker, self.written, self.arrays = random, asker, written, arrays
        self.piece = piece if random else asker.piece
        self.burst = self.config.spec.organization.burst_bytes
        self.capacity = int(min(over or side.capacity, Memory(self.config).capacity))

    def closed(self, in_flight: float, delay: float) -> _Played:
        """So many bytes in flight all the time, which are heard of `delay` seconds late."""
        per_channel = in_flight / self.burst / self.config.channels
        if self.config.ecc:
            per_channel *= 1 + 1 / self.config.ecc
        low = max(1, int(per_channel))
        part = max(0.0, per_channel - low)
        played = self._play(low, delay, None)
        bandwidth = played.bandwidth * min(1.0, per_channel / low)
        if part > 0 and low < 256:
            more = self._play(low + 1, delay, None)
            bandwidth += part * (more.bandwidth - played.bandwidth)
        latency = in_flight / bandwidth - delay
        return _Played(bandwidth, max(latency, 0.0), played.lost)

    def open(self, load: float, delay: float) -> _Played:
        """So many bytes/s asked for, at random times."""
        return self._play(FAR, delay, load)

    def _play(self, window: int, delay: float, load: float | None) -> _Played:
        config = self.config
        keep = 1 if window == FAR else window
        memory = Memory(config, window=keep, posted_writes=False)
        extents = self._extents(BURSTS * config.channels * self.burst, load is not None)
        intended = np.zeros(0, np.int64)
        if load is not None:
            rng = np.random.default_rng(SEED + 1)
            gaps = rng.exponential(1.0, len(extents.size)) * extents.size.mean() / load
            intended = (np.cumsum(gaps) / memory.tick_s).astype(np.int64) + 1
        late = round(delay / memory.tick_s)
        number = min(SAMPLED, config.channels)
        chosen = np.unique(np.linspace(0, config.channels - 1, number).astype(int)).tolist()
        for channel in chosen:
            memory.replay_channel(channel, extents, intended, window, 0 if load else late)
        rows = memory._rows()[chosen]
        counts = dict(zip(state.STATISTICS, rows[:, : len(state.STATISTICS)].T, strict=True))
        done = (rows[:, state.DONE] - counts["ecc"]) * self.burst
        seconds = rows[:, state.LAST_DONE] * memory.tick_s
        sectors = self._sectors(extents)
        asked = len(extents.size) * self.piece if self.random else extents.size.sum()
        useful = asked / (sectors * self.burst)
        bandwidth = float((done * useful / seconds).mean() * config.channels) * (1 - config.taken)
        reads = max(1, int(counts["reads"].sum() + counts["forwarded"].sum()))
        latency = float(counts["arrival_latency_ticks"].sum()) / reads * memory.tick_s
        return _Played(bandwidth, latency, self._lost(memory, counts, rows))

    def _sectors(self, extents: Extents) -> int:
        first = extents.address // self.burst
        last = (extents.address + extents.size - 1) // self.burst
        return int((last - first + 1).sum())

    def _lost(self, memory: Memory, counts: dict[str, I64], rows: I64) -> dict[str, float]:
        """Shares of the buses' time that carried no data, by reason, and that ECC took."""
        whole = float(rows[:, state.LAST_DONE].sum() * memory.timing.buses)
        lost = {
            name.removeprefix("lost_"): float(each.sum()) / whole
            for name, each in counts.items()
            if name.startswith("lost_")
        }
        moved = float(counts["reads"].sum() + counts["writes"].sum())
        data = moved * memory.timing.burst / whole
        lost["no_request"] = max(0.0, lost["no_request"] + 1 - data - sum(lost.values()))
        asked = float(rows[:, state.DONE].sum())
        lost["ecc"] = data * float(counts["ecc"].sum()) / asked
        return lost

    def _extents(self, total: int, lines: bool) -> Extents:
        rng = np.random.default_rng(SEED)
        if self.random:
            moved = -(-self.piece // self.burst) * self.burst
            return self._gathered(rng, max(1, total // moved))
        size = min(self.piece, 4 * self.asker.line) if lines else self.piece
        n = max(1, total // size)
        kinds = self._kinds(n)
        streams = self.asker.streams
        of = rng.integers(0, streams, n) if streams > 1 else np.zeros(n, np.int64)
        arrays = int(kinds.max()) + 1
        place = np.zeros(n, np.int64)
        region = max(PAGE, self.capacity // (arrays * streams) // PAGE * PAGE)
        for array in range(arrays):
            for stream in range(streams):
                mine = np.flatnonzero((kinds == array) & (of == stream))
                begin = (array * streams + stream) * region
                begin += int(rng.integers(0, max(1, region // 2 // PAGE))) * PAGE
                place[mine] = begin + self._order(rng, len(mine)) * size
        address = np.minimum(place, self.capacity - size)
        return Extents(address, np.full(n, size), self._is_write(kinds))

    def _gathered(self, rng: np.random.Generator, n: int) -> Extents:
        size = self.piece
        begin = rng.integers(0, max(1, self.capacity // size), n) * size
        write = np.diff(np.floor(np.arange(n + 1) * self.written + 1e-9)).astype(np.int64)
        write = rng.permutation(write)
        end = begin + size
        fetch = np.where(write > 0, 1, self.asker.fetch)
        begin -= begin % fetch
        end += -end % fetch
        return Extents(begin, end - begin, write)

    def _order(self, rng: np.random.Generator, n: int) -> I64:
        """The pieces of an array as they are asked for: those in flight together overtake another."""
        return np.argsort(np.arange(n) + rng.random(n) * self.asker.spread, kind="stable")

    def _kinds(self, n: int) -> I64:
        """Which array each piece is of."""
        if self.arrays is not None:
            return np.arange(n) % sum(self.arrays)
        write = np.diff(np.floor(np.arange(n + 1) * self.written + 1e-9)).astype(np.int64)
        return write if 0 < self.written < 1 else np.zeros(n, np.int64)

    def _is_write(self, kinds: I64) -> I64:
        if self.arrays is not None:
            return (kinds >= self.arrays[0]).astype(np.int64)
        return kinds if 0 < self.written < 1 else kinds + int(self.written)


def _across(system: SystemSpec, on: str, source: str, asker: _Requester) -> Measurement:
    """A copy from one memory to the other."""
    to = "dram" if on == "hbm" else "hbm"
    rates: list[tuple[float, str, _Played]] = []
    for memory, written in ((on, 0.0), (to, 1.0)):
        side = system.hbm if memory == "hbm" else system.dram
        runs = Runs(side, asker, False, asker.piece, written, None)
        played = runs.closed(asker.in_flight, _way(system, memory, source) + asker.issue)
        rates.append((played.bandwidth, memory, played))
        if _over_link(memory, source):
            wire = _wire(system.link, written, asker.piece, source)
    slowest, memory, played = min(rates, key=lambda rate: rate[0])
    copied = min(slowest, wire)
    side = system.hbm if on == "hbm" else system.dram
    flight = asker.in_flight / copied
    if wire <= slowest:
        limiter, why = "link", _link_text(wire)
    else:
        limiter, why = _limiter(played)
        done = "writing" if memory == to else "reading"
        why = f"{done} {memory.upper()} is slower than the rest: {why or asker.what}"
    return Measurement(
        2 * copied / 1e9,
        copied / 1e9,
        1e9 * flight,
        copied / MemoryConfig.of(side).bandwidth,
        limiter,
        why,
    )


def _chase(system: SystemSpec, on: str, source: str, size: int) -> Measurement:
    side = system.hbm if on == "hbm" else system.dram
    config, way = MemoryConfig.of(side), _way(system, on, source)
    burst = config.spec.organization.burst_bytes
    memory = Memory(config, window=1, posted_writes=False)
    rng = np.random.default_rng(SEED)
    # One channel, whose rows are opened and closed by loads as far apart as the chase has them.
    align = max(size, burst)
    place = rng.integers(0, memory.capacity // align, CHASED * config.channels) * align
    extents = Extents(place, np.full(len(place), burst), np.zeros(len(place), np.int64))
    memory.replay_channel(0, extents, np.zeros(0, np.int64), 1, round(way / memory.tick_s))
    counts = memory.statistics()
    latency = counts["latency_ticks"] / counts["reads"] * memory.tick_s + way
    pins = MemoryConfig.of(side).bandwidth
    why = (
        f"one load is in flight at a time; {1e9 * way:.0f} ns of its latency are the way to the "
        f"memory and back, the rest is DRAM's"
    )
    rate = size / latency
    return Measurement(rate / 1e9, None, 1e9 * latency, rate / pins, "latency", why)


def _concluded(
    pattern: str, played: _Played, caps: list[_Cap], asker: _Requester, pins: float, text: str
) -> Measurement:
    cap = min(caps, default=None)
    bandwidth = played.bandwidth if cap is None else min(played.bandwidth, cap.rate)
    latency = asker.in_flight / bandwidth - asker.issue
    if cap is not None and cap.rate <= played.bandwidth:
        return _told(pattern, bandwidth, latency, pins, cap.limiter, text + cap.why)
    limiter, why = _limiter(played)
    if limiter == "in_flight":
        why = (
            f"{asker.what} are {_size(asker.in_flight)} in flight, and the data come "
            f"{1e9 * latency:.0f} ns later: by Little's law no more moves"
        )
    return _told(pattern, bandwidth, latency, pins, limiter, text + why)


def _told(
    pattern: str, bandwidth: float, latency: float, pins: float, limiter: str, why: str
) -> Measurement:
    copied = bandwidth / 2e9 if pattern == "copy" else None
    return Measurement(bandwidth / 1e9, copied, 1e9 * latency, bandwidth / pins, limiter, why)


def _limiter(played: _Played) -> tuple[str, str]:
    lost = {name: share for name, share in played.lost.items() if share >= 0.0005}
    if not lost:
        return "data", "the pins are never idle"
    first = max(lost, key=lambda name: lost[name])
    if first == "in_flight_limit":
        return "in_flight", ""
    parts = sorted(lost.items(), key=lambda each: -each[1])
    shown = ", ".join(f"{WHY[name]} ({100 * share:.1f} %)" for name, share in parts[:3])
    return first, f"of the time on the data pins, most is lost where {shown}"


def _link_text(wire: float) -> str:
    return f"the link carries {wire / 1e9:.4g} GB/s of payload beside its packets' headers"


def _load_text(load: float, played: _Played) -> str:
    return (
        f"no more than {load / 1e9:.4g} GB/s is asked for; "
        f"a request waits {1e9 * played.latency:.0f} ns in the memory"
    )


def _size(value: float) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value:.0f} B"


def report(result: Measurement) -> Iterator[tuple[str, str]]:
    """What is measured, as names and values for people."""
    yield "bandwidth", f"{result.bandwidth_GBps:,.1f} GB/s ({result.share_of_pins:.1%} of the pins)"
    if result.copied_GBps is not None:
        yield "copied", f"{result.copied_GBps:,.1f} GB/s"
    yield "latency", f"{result.latency_ns:,.1f} ns"
    yield "limiter", result.limiter
    yield "why", result.why
