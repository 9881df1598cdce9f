"""What a memory or a link is, as validated data: organisation, timing set, command protocol.

A new standard that speaks one of the known command protocols is one TOML file in
`presets/memory`, and no code. Timing minima are whole clock cycles (CK), named as in the JEDEC
tables with `n` for "number of clocks"; `nREFI` and the like follow the same rule.
"""

from functools import cache
from typing import Literal

from pydantic import Field, model_validator

from hmsim.config.base import (
    Bandwidth,
    BytesOrZero,
    Seconds,
    SecondsOrZero,
    Strict,
    load,
    preset,
)
from hmsim.units import show_seconds

MOST_CYCLES = 10**6  # of any timing


class Organization(Strict):
    """One channel: `pseudo_channels` data buses, each with ranks (HBM: stack IDs) of banks."""

    source: str
    pseudo_channels: int = Field(ge=1, le=8)
    ranks: int = Field(ge=1, le=8)
    bank_groups: int = Field(ge=1, le=16)
    banks: int = Field(ge=1, le=16)  # per bank group
    rows: int = Field(ge=1, le=2**24)
    columns: int = Field(ge=1, le=2**16)  # bursts in a row
    burst_bytes: int = Field(ge=8, le=512)

    @model_validator(mode="after")
    def _powers_of_two(self) -> "Organization":
        for name in ("pseudo_channels", "ranks", "bank_groups", "banks", "columns", "burst_bytes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} = {value} must be a power of two")
        return self

    @property
    def channel_bytes(self) -> int:
        """Capacity of one channel."""
        banks = self.pseudo_channels * self.ranks * self.bank_groups * self.banks
        return banks * self.rows * self.columns * self.burst_bytes


class Timing(Strict):
    """Minimum distances in CK. Keys with a default of 0 concern one protocol only."""

    source: str
    nBL: int = Field(ge=1, le=MOST_CYCLES)  # a burst on the data bus
    nBLmax: int = Field(default=0, ge=0, le=MOST_CYCLES)  # LPDDR: column cycle within a bank group
    nCL: int = Field(ge=1, le=MOST_CYCLES)
    nCWL: int = Field(ge=1, le=MOST_CYCLES)
    nRCDRD: int = Field(ge=1, le=MOST_CYCLES)
    nRCDWR: int = Field(ge=1, le=MOST_CYCLES)
    nRP: int = Field(ge=1, le=MOST_CYCLES)
    nRPab: int = Field(ge=1, le=MOST_CYCLES)
    nRAS: int = Field(ge=1, le=MOST_CYCLES)
    nRC: int = Field(ge=1, le=MOST_CYCLES)
    nRTP: int = Field(ge=1, le=MOST_CYCLES)
    nWR: int = Field(ge=1, le=MOST_CYCLES)
    nCCDS: int = Field(ge=1, le=MOST_CYCLES)
    nCCDL: int = Field(ge=1, le=MOST_CYCLES)
    nCCDR: int = Field(ge=1, le=MOST_CYCLES)  # across ranks or stack IDs
    nRRDS: int = Field(ge=1, le=MOST_CYCLES)
    nRRDL: int = Field(ge=1, le=MOST_CYCLES)
    nFAW: int = Field(ge=1, le=MOST_CYCLES)
    nWTRS: int = Field(ge=0, le=MOST_CYCLES)
    nWTRL: int = Field(ge=0, le=MOST_CYCLES)
    nRTW: int = Field(ge=1, le=MOST_CYCLES)  # read to write command
    nPPD: int = Field(ge=1, le=MOST_CYCLES)
    nAAD: int = Field(default=0, ge=0, le=MOST_CYCLES)  # LPDDR: ACT-1 to ACT-2, at most
    nWCKPST: int = Field(default=0, ge=0, le=MOST_CYCLES)  # LPDDR: WCK keeps running after a burst

    @model_validator(mode="after")
    def _consistent(self) -> "Timing":
        if self.nRC < self.nRAS + self.nRP:
            raise ValueError(
                f"nRC = {self.nRC} is below nRAS + nRP = {self.nRAS + self.nRP};"
                " a row cycle holds both"
            )
        if self.nRAS < self.nRCDRD:
            raise ValueError(f"nRAS = {self.nRAS} is below nRCDRD = {self.nRCDRD}")
        for short, long in (("nCCDS", "nCCDL"), ("nRRDS", "nRRDL"), ("nWTRS", "nWTRL")):
            if getattr(self, short) > getattr(self, long):
                raise ValueError(f"{short} is above {long}; within a group is never faster")
        if self.nCCDS < self.nBL:
            raise ValueError(f"nCCDS = {self.nCCDS} is below nBL = {self.nBL}")
        if self.nFAW < self.nRRDS:
            raise ValueError(f"nFAW = {self.nFAW} is below nRRDS = {self.nRRDS}")
        return self


class Refresh(Strict):
    """Refresh intervals and durations in CK; `scope` is what one all-bank refresh covers."""

    source: str
    nREFI: int = Field(ge=1, le=MOST_CYCLES)
    nREFIpb: int = Field(ge=1, le=MOST_CYCLES)
    nRFCab: int = Field(ge=1, le=MOST_CYCLES)
    nRFCpb: int = Field(ge=1, le=MOST_CYCLES)
    nPBR2PBR: int = Field(ge=1, le=MOST_CYCLES)  # REFpb to REFpb of another bank (HBM: tRREFD)
    nPBR2ACT: int = Field(ge=1, le=MOST_CYCLES)  # REFpb to ACT of another bank

    @model_validator(mode="after")
    def _leaves_time(self) -> "Refresh":
        if self.nRFCab >= self.nREFI:
            raise ValueError(f"nRFCab = {self.nRFCab} leaves no time in nREFI = {self.nREFI}")
        return self


class MemorySpec(Strict):
    """A memory standard at one speed grade, as one channel sees it."""

    title: str
    standard: str
    protocol: Literal["hbm", "lpddr"]
    source: str
    tCK: Seconds
    mapping: str  # default address map, see hmsim.memory.mapping
    organization: Organization
    timing: Timing
    refresh: Refresh

    @model_validator(mode="after")
    def _protocol_keys(self) -> "MemorySpec":
        if self.protocol == "lpddr" and not (self.timing.nAAD and self.timing.nBLmax):
            raise ValueError("protocol 'lpddr' needs timing.nAAD and timing.nBLmax")
        return self

    @property
    def channel_bandwidth(self) -> float:
        """Pin bandwidth of one channel, bytes/s."""
        organization = self.organization
        burst_s = self.timing.nBL * self.tCK
        return organization.pseudo_channels * organization.burst_bytes / burst_s

    def describe(self) -> str:
        """One line for people."""
        gbps = self.channel_bandwidth / 1e9
        return f"{self.title}: {gbps:g} GB/s a channel, tCK {show_seconds(self.tCK)}"


class LinkSpec(Strict):
    """A full-duplex packet link with memory behind it; `read` is towards the requester.

    A read sends a header out and brings a header and payload back; a write sends its header and
    payload out and brings a header back. Headers of writes may be longer (addresses, byte enables,
    ownership): `write_header_bytes`, `header_bytes` unless given.
    """

    source: str
    read_bandwidth: Bandwidth  # raw, bytes/s
    write_bandwidth: Bandwidth
    payload_bytes: int = Field(default=128, ge=32, le=4096)
    header_bytes: int = Field(default=16, ge=0, le=256)
    write_header_bytes: int | None = Field(default=None, ge=0, le=256)
    latency: SecondsOrZero = 0.0  # round trip without the memory behind it
    credits: BytesOrZero = 0.0  # bytes in flight at most; 0 = no limit but the requester's


@cache
def load_memory(name: str) -> MemorySpec:
    """The memory preset `name`; InputError names the nearest known one."""
    return load(MemorySpec, preset("memory", name), f"memory {name}")
