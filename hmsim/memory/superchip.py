"""HBM, link and DRAM of a superchip, step by step.

All memories start a step's traffic together; the step ends when the last is done, all writes
drained. Open rows and the phase of refresh carry over from step to step.
"""

from dataclasses import dataclass
from typing import NamedTuple

from hmsim import machine
from hmsim.config.memory import LinkSpec
from hmsim.errors import InputError, did_you_mean
from hmsim.memory import burst_state as kernel
from hmsim.memory.device import Extents, Memory, MemoryConfig

FIDELITIES = ("burst", "run")


class Peak(NamedTuple):
    """Bandwidths that nothing can exceed.

    Attributes:
        hbm: What HBM's data pins carry when never idle, bytes/s.
        dram: The same of DRAM, bytes/s.
        link_read: The link's raw rate towards the GPU, bytes/s.
        link_write: The link's raw rate away from the GPU, bytes/s.
    """

    hbm: float
    dram: float
    link_read: float
    link_write: float


@dataclass(frozen=True)
class StepTiming:
    """What a step took and moved.

    Attributes:
        seconds: Seconds that the step took: those of its slowest part.
        hbm_s: Seconds until HBM was done.
        dram_s: Seconds until DRAM was done, the link included.
        hbm_read_bytes: Bytes read from HBM.
        hbm_write_bytes: Bytes written to HBM.
        dram_read_bytes: Bytes read from DRAM.
        dram_write_bytes: Bytes written to DRAM.
        link_read_bytes: Bytes on the wire towards the GPU, headers included.
        link_write_bytes: Bytes on the wire away from the GPU, headers included.
        hbm_row_hits: Column commands of HBM that found their row open.
        hbm_row_misses: Those that did not, conflicts included.
        hbm_activations: Rows that HBM opened.
        dram_row_hits: Column commands of DRAM that found their row open.
        dram_row_misses: Those that did not, conflicts included.
        dram_activations: Rows that DRAM opened.
        hbm_bus_ticks: What the time of HBM's data buses in the whole step went into, in ticks by
            name (`hmsim.memory.address_trace.REASONS`).
        dram_bus_ticks: The same of DRAM's.
    """

    seconds: float
    hbm_s: float
    dram_s: float
    hbm_read_bytes: int
    hbm_write_bytes: int
    dram_read_bytes: int
    dram_write_bytes: int
    link_read_bytes: int
    link_write_bytes: int
    hbm_row_hits: int
    hbm_row_misses: int
    hbm_activations: int
    dram_row_hits: int
    dram_row_misses: int
    dram_activations: int
    hbm_bus_ticks: dict[str, int]
    dram_bus_ticks: dict[str, int]


class Superchip:
    """A GPU's HBM, and DRAM behind a link, step by step.

    Open rows and the phase of refresh carry over from step to step.

    Args:
        hbm: The memory on the package.
        link: What connects the GPU to the memory behind it.
        dram: The memory behind the link.
        outstanding_bytes: Bytes that the GPU keeps in flight, to each memory.
        fidelity: `burst` schedules every burst; `run` learns from samples of such steps.
        threads: Threads to simulate channels in; as many as there are cores unless given. They
            change no result.

    Raises:
        InputError: A memory's configuration, the fidelity or the bytes in flight are wrong.
    """

    def __init__(
        self,
        hbm: MemoryConfig,
        link: LinkSpec,
        dram: MemoryConfig,
        outstanding_bytes: float,
        fidelity: str = "burst",
        threads: int | None = None,
    ):
        if fidelity not in FIDELITIES:
            raise InputError(f"fidelity: {fidelity!r}{did_you_mean(fidelity, FIDELITIES)}")
        if outstanding_bytes <= 0:
            raise InputError(f"outstanding bytes: {outstanding_bytes} must be above zero")
        threads = threads or machine.cores()
        self.link = link
        self._hbm = _Part(hbm, outstanding_bytes, hbm.latency, fidelity, threads)
        across = min(outstanding_bytes, link.credits or outstanding_bytes)
        self._dram = _Part(dram, across, dram.latency + link.latency, fidelity, threads)
        self._now = 0.0

    @property
    def peak(self) -> Peak:
        """Bandwidths that nothing can exceed: pins by the timing sets, and the raw link each way."""
        return Peak(
            self._hbm.memory.config.bandwidth,
            self._dram.memory.config.bandwidth,
            self.link.read_bandwidth,
            self.link.write_bandwidth,
        )

    def reset(self) -> None:
        """Go back to time zero, with closed rows and nothing queued."""
        self._hbm.memory.reset()
        self._dram.memory.reset()
        self._now = 0.0

    def step(self, hbm: Extents, dram: Extents) -> StepTiming:
        """Carry out one step's traffic. All memories start together, and the step ends when the
        last is done.

        Args:
            hbm: What is read and written in HBM, in the order of issue: demand reads before
                migrations.
            dram: The same in DRAM.

        Returns:
            Times, bytes and counts of the step.
        """
        hbm_s, hbm_counts, hbm_bus = self._hbm.run(hbm, self._now)
        dram_s, dram_counts, dram_bus = self._dram.run(dram, self._now)
        read, write = self._wire_bytes(dram)
        late = 0.0
        if len(dram.size):
            wire_s = max(read / self.link.read_bandwidth, write / self.link.write_bandwidth)
            late = max(0.0, wire_s + self.link.latency - dram_s)
            dram_s += late
        seconds = max(hbm_s, dram_s)
        self._now += seconds
        self._hbm.fill(hbm_bus, seconds, 0.0)
        self._dram.fill(dram_bus, seconds, late)
        return StepTiming(
            seconds=seconds,
            hbm_s=hbm_s,
            dram_s=dram_s,
            **_bytes("hbm", hbm),
            **_bytes("dram", dram),
            link_read_bytes=read,
            link_write_bytes=write,
            **_rows("hbm", hbm_counts),
            **_rows("dram", dram_counts),
            hbm_bus_ticks=hbm_bus,
            dram_bus_ticks=dram_bus,
        )

    def _wire_bytes(self, extents: Extents) -> tuple[int, int]:
        """Bytes towards the GPU and from it, with the headers of requests and answers."""
        payload, header = self.link.payload_bytes, self.link.header_bytes
        write_header = self.link.write_header_bytes
        packets = -(-extents.size // payload)
        writes = int((packets * extents.write).sum())
        reads = int(packets.sum()) - writes
        written = int((extents.size * extents.write).sum())
        fetched = int(extents.size.sum()) - written
        answers = (reads + writes) * header
        requests = reads * header + writes * (header if write_header is None else write_header)
        return fetched + answers, written + requests


class _Part:
    """One of the memories with its share of the requester's window."""

    def __init__(
        self, config: MemoryConfig, outstanding: float, latency: float, fidelity: str, threads: int
    ):
        burst = config.spec.organization.burst_bytes
        self.window = max(1, round(outstanding / burst / config.channels))
        self.memory = Memory(config, window=self.window, posted_writes=False, threads=threads)
        self.latency = latency
        self.sampled = fidelity == "run"

    def run(self, extents: Extents, now: float) -> tuple[float, dict[str, int], dict[str, int]]:
        """Seconds from `now` to the last completion, counts and bus ticks of that time."""
        memory, tick = self.memory, self.memory.tick_s
        if not len(extents.size):
            none = dict.fromkeys(kernel.STATISTICS, 0)
            return 0.0, none, memory.bus_ticks(none, 0)
        start, delay = round(now / tick), round(self.latency / tick)
        ticks, counts = memory.replay_apart(extents, start, self.window, delay, self.sampled)
        return ticks * tick + self.latency, counts, memory.bus_ticks(counts, ticks)

    def fill(self, bus_ticks: dict[str, int], seconds: float, late: float) -> None:
        """Extend what the buses did to a whole step of so many seconds, by which they waited for
        the link, `late`, and then for the step to end."""
        left = round(seconds / self.memory.tick_s) * self.memory.buses - sum(bus_ticks.values())
        waited = min(left, round(late / self.memory.tick_s) * self.memory.buses)
        bus_ticks["link"] += waited
        bus_ticks["no_request"] += left - waited


def _bytes(name: str, extents: Extents) -> dict[str, int]:
    written = int((extents.size * extents.write).sum())
    return {
        f"{name}_read_bytes": int(extents.size.sum()) - written,
        f"{name}_write_bytes": written,
    }


def _rows(name: str, counts: dict[str, int]) -> dict[str, int]:
    return {
        f"{name}_row_hits": counts["row_hits"],
        f"{name}_row_misses": counts["row_misses"] + counts["row_conflicts"],
        f"{name}_activations": counts["activations"],
    }
