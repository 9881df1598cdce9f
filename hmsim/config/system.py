"""A superchip: HBM, the chip-to-chip link, and the memory behind it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hmsim.config.base import Bandwidth, Bytes, Capacity, SecondsOrZero, Strict, load, preset
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
    memory: Annotated[str | MemorySpec, AfterValidator(_known_memory)]
    channels: int = Field(ge=1, le=4096)
    capacity: Capacity
    bandwidth: Bandwidth | None = None
    mapping: str | None = None  # the memory's own unless given
    interleave: Bytes = 256.0  # bytes on one channel before the next one's turn
    queue: int = Field(default=32, ge=1, le=4096)  # reads, and writes, that a channel holds
    write_queue: int | None = Field(default=None, ge=1, le=4096)  # writes, where not as reads
    row_policy: RowPolicy = "open"  # or "closed:N"
    refresh: Refreshing = "all-bank"
    latency: SecondsOrZero = 0.0  # requester to controller and back, without the memory's own

    @property
    def spec(self) -> MemorySpec:
        return load_memory(self.memory) if isinstance(self.memory, str) else self.memory

    @property
    def pin_bandwidth(self) -> float:
        """What the data pins carry when never idle, bytes/s."""
        return self.channels * self.spec.channel_bandwidth

    @property
    def analytic_bandwidth(self) -> float:
        return self.bandwidth if self.bandwidth is not None else self.pin_bandwidth


class SystemSpec(Strict):
    """A superchip as the analytic formulas, the bound and the memory kernels see it."""

    title: str = ""
    source: str = ""
    hbm: MemorySide
    link: LinkSpec
    dram: MemorySide
    outstanding: Bytes = 8e6  # bytes that the GPU keeps in flight

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
    """The system preset `name`."""
    return load(SystemSpec, preset("system", name), f"system {name}")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value)
        merged[key] = value
    return merged
