"""HBM, link and DRAM of a superchip, step by step.

All memories start a step's traffic together; the step ends when the last is done, all writes
drained. Open rows and the phase of refresh carry over from step to step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hmsim import machine
from hmsim.config.memory import LinkSpec
from hmsim.errors import InputError, did_you_mean
from hmsim.memory import burst_state as kernel
from hmsim.memory import superchip_kernel
from hmsim.memory.device import I64, Extents, Memory, MemoryConfig

FIDELITIES = ("burst", "run")
REASONS = (
    "data",
    *(name.removeprefix("lost_") for name in kernel.STATISTICS if name.startswith("lost_")),
    "link",
)


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

    Attributes:
        kernel: What the kernels of `hmsim.memory.superchip_kernel` take and write to, until the
            next reset.

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
        self._served = superchip_kernel.Served.empty()
        self.reset()

    @property
    def peak(self) -> Peak:
        """Bandwidths that nothing can exceed: pins by the timing sets, and the raw link each way."""
        return Peak(
            self._hbm.memory.config.bandwidth / self._hbm.stretch,
            self._dram.memory.config.bandwidth / self._dram.stretch,
            self.link.read_bandwidth,
            self.link.write_bandwidth,
        )

    def reset(self) -> None:
        """Go back to time zero, with closed rows and nothing queued."""
        self._hbm.memory.reset()
        self._dram.memory.reset()
        link, header = self.link, self.link.header_bytes
        write_header = header if link.write_header_bytes is None else link.write_header_bytes
        self.kernel = superchip_kernel.Chip(
            self._hbm.kernel(), self._dram.kernel(),
            superchip_kernel.Link(
                float(link.read_bandwidth), float(link.write_bandwidth), float(link.latency),
                int(link.payload_bytes), header, write_header,
            ),
            np.zeros(1),
        )  # fmt: skip

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
        served = self._served
        ticks = [
            part.run(extents, float(self.kernel.now[0]), counts)
            for part, extents, counts in zip(
                (self._hbm, self._dram), (hbm, dram), served.counts, strict=True
            )
        ]
        plain = Extents(*(np.array(each, np.int64) for each in dram))
        superchip_kernel.set_wire_bytes(self.kernel.link, plain, served.wire)
        anything = len(hbm.size) > 0, len(dram.size) > 0
        superchip_kernel.conclude(self.kernel, *anything, *ticks, served)
        seconds, hbm_s, dram_s = served.seconds.tolist()
        read, write = served.wire.tolist()
        buses = [dict(zip(REASONS, each, strict=True)) for each in served.bus_ticks.tolist()]
        return StepTiming(
            seconds=seconds,
            hbm_s=hbm_s,
            dram_s=dram_s,
            **_bytes("hbm", hbm),
            **_bytes("dram", dram),
            link_read_bytes=read,
            link_write_bytes=write,
            **_rows("hbm", served.counts[0]),
            **_rows("dram", served.counts[1]),
            hbm_bus_ticks=buses[0],
            dram_bus_ticks=buses[1],
        )


class _Part:
    """One of the memories with its share of the requester's window."""

    def __init__(
        self, config: MemoryConfig, outstanding: float, latency: float, fidelity: str, threads: int
    ):
        burst = config.spec.organization.burst_bytes
        checked = 1 + 1 / config.ecc if config.ecc else 1.0
        self.window = max(1, round(checked * outstanding / burst / config.channels))
        self.memory = Memory(config, window=self.window, posted_writes=False, threads=threads)
        self.latency, self.delay = latency, round(latency / self.memory.tick_s)
        self.stretch = 1 / (1 - config.taken)
        self.sampled = fidelity == "run"

    def kernel(self) -> superchip_kernel.Part:
        """The memory as kernels take it, until the next reset."""
        memory, none = self.memory, np.zeros(0, np.int64)
        return superchip_kernel.Part(
            memory.learner, memory.state, np.zeros(3, np.int64), none, int(self.sampled),
            self.window, self.delay, memory.tick_s, float(self.latency), self.stretch,
        )  # fmt: skip

    def run(self, extents: Extents, now: float, counts: I64) -> int:
        """Ticks from `now` to the last completion, and counts of that time."""
        counts[:] = 0
        if not len(extents.size):
            return 0
        start = round(now / self.memory.tick_s)
        ticks, found = self.memory.replay_apart(
            extents, start, self.window, self.delay, self.sampled
        )
        counts[:] = list(found.values())
        return int(ticks * self.stretch)


def _bytes(name: str, extents: Extents) -> dict[str, int]:
    written = int((extents.size * extents.write).sum())
    return {
        f"{name}_read_bytes": int(extents.size.sum()) - written,
        f"{name}_write_bytes": written,
    }


def _rows(name: str, counts: I64) -> dict[str, int]:
    return {
        f"{name}_row_hits": int(counts[kernel.ROW_HITS]),
        f"{name}_row_misses": int(counts[kernel.ROW_MISSES] + counts[kernel.ROW_CONFLICTS]),
        f"{name}_activations": int(counts[kernel.ACTIVATIONS]),
    }
