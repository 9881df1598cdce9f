"""A superchip: HBM, the chip-to-chip link, and the memory behind it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from hmsim.config.base import (
    Bandwidth,
    BandwidthOrZero,
    Bytes,
    Capacity,
    SecondsOrZero,
    Strict,
    counted,
    load,
    preset,
)
from hmsim.config.memory import LinkSpec, MemorySpec, load_memory


def _known_memory(given: str | MemorySpec) -> str | MemorySpec:
    if isinstance(given, str):
        load_memory(given)
    return given


def close_after(row_policy: str) -> int:
    """After how many column accesses a row is closed: 0 for "open", which keeps it, N for
    "closed:N"; ValueError for anything else."""
    name, _, count = row_policy.partition(":")
    if row_policy == "open":
        return 0
    if name == "closed" and re.fullmatch("[0-9]{1,9}", count) and int(count) > 0:
        return int(count)
    raise ValueError("write 'open' or 'closed:N', such as 'closed:4'")


def _known_row_policy(given: str) -> str:
    close_after(given)
    return given


RowPolicy = Annotated[str, AfterValidator(_known_row_policy)]
Refreshing = Literal["all-bank", "per-bank", "none"]
Scheduler = Literal["FRFCFSRowHit", "FRFCFS"]  # row hits first, or the oldest request first


class MemorySide(Strict):
    """One memory: a standard, its number of channels, its capacity.

    `bandwidth` is what the analytic formulas and the bound use, the pin bandwidth unless given;
    the memory kernels and the rigorous bound always use the pins.
    """

    source: str = ""
    """Where these numbers come from."""
    memory: Annotated[str | MemorySpec, AfterValidator(_known_memory)]
    """The standard: a memory preset's name, or a table of the same keys."""
    channels: Annotated[int, counted("channels", 1, 4096)]
    """Number of channels."""
    capacity: Capacity
    """Size, of which HBM keeps the weights and as many blocks as fit beside them."""
    bandwidth: Bandwidth | None = None
    """What the analytic times and their bound reckon with; the pins' unless given."""
    mapping: str | None = None
    """Address map; the memory's own unless given."""
    interleave: Bytes | None = None
    """Bytes in a row that belong to one channel: 256 unless given. Not beside a map with Ch."""
    queue: Annotated[int, counted("bursts", 1, 4096)] = 32
    """Reads, and as many writes, that a channel's controller holds."""
    write_queue: Annotated[int, counted("bursts", 1, 4096)] | None = None
    """Writes that a channel's controller holds; as many as reads unless given."""
    row_policy: RowPolicy = "open"
    """`open`, or `closed:N`: a row is closed after N column commands."""
    refresh: Refreshing = "all-bank"
    """How rows are refreshed."""
    latency: SecondsOrZero = 0.0
    """From the requester to the controller and back, without the memory's own latency."""
    ecc: Annotated[int, counted("bursts", 0, 64)] = 0
    """Bursts of data that share a burst of in-band ECC; 0: there is none."""

    @property
    def spec(self) -> MemorySpec:
        return load_memory(self.memory) if isinstance(self.memory, str) else self.memory

    sharers: Annotated[int, counted("GPUs", 1, 64)] = 1
    """GPUs that share the channels, with the same workload each: this one has its part of them.
    `bandwidth` and `capacity` are this one's."""
    background: BandwidthOrZero = 0.0
    """What others, such as the CPU, move of this GPU's part all the while."""

    @model_validator(mode="after")
    def _shared(self) -> "MemorySide":
        if self.channels % self.sharers:
            raise ValueError(
                f"sharers: {self.channels} channels do not divide among {self.sharers} alike"
            )
        pins = self.own_channels * self.spec.channel_bandwidth
        if self.background >= min(pins, self.bandwidth or pins):
            raise ValueError(f"background: {self.background / 1e9:.4g} GB/s leave this GPU nothing")
        return self

    @property
    def own_channels(self) -> int:
        """The channels of one sharer."""
        return self.channels // self.sharers

    @property
    def stripe(self) -> float:
        """`interleave`, or its default."""
        return 256.0 if self.interleave is None else self.interleave

    @property
    def pin_bandwidth(self) -> float:
        """What others leave of what the data pins carry when never idle, bytes/s."""
        return self.own_channels * self.spec.channel_bandwidth - self.background

    @property
    def analytic_bandwidth(self) -> float:
        return self.pin_bandwidth if self.bandwidth is None else self.bandwidth - self.background


class Gpu(Strict):
    """What thread blocks of a GPU keep in flight, for `hmsim measure`."""

    source: str
    """Where these numbers come from."""
    block_bytes: Bytes
    """Bytes that a block of 1024 threads keeps in flight."""
    issue: SecondsOrZero = 0.0
    """From the data of a thread's load to its next one."""
    fetch: Annotated[int, counted("bytes", 1, 4096)] = 32
    """The least that its cache fetches of what is read, aligned to itself."""
    tlb_reach: Bytes | None = None
    """Bytes of HBM whose addresses it has at hand; all unless given."""
    tlb_miss: SecondsOrZero = 0.0
    """From one random piece of HBM outside that reach to the next: each has its address looked up."""
    tlb_miss_dram: SecondsOrZero = 0.0
    """The same of DRAM, all of whose addresses are looked up; 0: at no cost."""


class Cpu(Strict):
    """What the cores beside the DRAM keep in flight, for `hmsim measure --from cpu`."""

    source: str
    """Where these numbers come from."""
    cores: Annotated[int, counted("cores", 1, 4096)]
    """Number of cores."""
    lines: Annotated[int, counted("lines", 1, 4096)]
    """Cache lines of 64 B that a core keeps in flight."""


class SystemSpec(Strict):
    """A superchip as the analytic formulas, the bound and the memory kernels see it."""

    title: str = ""
    """A name for people."""
    source: str = ""
    """Where these numbers come from."""
    hbm: MemorySide
    """The memory on the package."""
    link: LinkSpec
    """What connects the GPU to the memory off the package."""
    dram: MemorySide
    """The memory behind the link."""
    outstanding: Bytes = 8e6
    """Bytes that the GPU keeps in flight, to each memory."""
    unified: bool = False
    """GPU and CPU have one memory: `hbm` is it as the GPU sees it, and `dram` as the CPU does."""
    gpu: Gpu | None = None
    """The GPU's thread blocks."""
    cpu: Cpu | None = None
    """The CPU's cores."""

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.title}: HBM {self.hbm.analytic_bandwidth / 1e9:,.0f} GB/s "
            f"{self.hbm.capacity / 1e9:.4g} GB, link {self.link.read_bandwidth / 1e9:,.0f} + "
            f"{self.link.write_bandwidth / 1e9:,.0f} GB/s, DRAM "
            f"{self.dram.analytic_bandwidth / 1e9:,.0f} GB/s {self.dram.capacity / 1e9:.4g} GB"
        )


def with_preset(given: Any) -> Any:
    """A `[system]` table, or a preset's name, as the whole table: its keys over the preset's."""
    if isinstance(given, str):
        return preset("system", given)
    if isinstance(given, dict) and "preset" in given:
        own = {key: value for key, value in given.items() if key != "preset"}
        return _merged(preset("system", given["preset"]), own)
    return given


def load_system(name: str) -> SystemSpec:
    """The system preset of that name.

    Args:
        name: One of `hmsim presets`, such as `gh200-96gb`.

    Returns:
        The superchip: HBM, link and DRAM.

    Raises:
        InputError: There is none; the nearest one is named.
    """
    return load(SystemSpec, preset("system", name), f"system {name}")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value)
        merged[key] = value
    return merged
