"""What a memory or a link is, as validated data: organisation, timing set, command protocol.

A new standard that speaks one of the known command protocols is one TOML file in
`presets/memory`, and no code. Timing minima are whole clock cycles (CK), named as in the JEDEC
tables with `n` for "number of clocks"; `nREFI` and the like follow the same rule.
"""

from functools import cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from hmsim.config.base import (
    Amperes,
    Bandwidth,
    BytesOrZero,
    ClockPeriod,
    JoulesPerBit,
    SecondsOrZero,
    Strict,
    Volts,
    Watts,
    counted,
    load,
    preset,
)
from hmsim.units import show_seconds

MOST_CYCLES = 10**6  # of any timing
Clocks = Annotated[int, counted("clock cycles", 1, MOST_CYCLES)]
ClocksOrZero = Annotated[int, counted("clock cycles", 0, MOST_CYCLES)]


class Protocol(NamedTuple):
    """What of a command protocol is no timing: its buses, names in listings, what other tools count in.

    Attributes:
        levels: Levels of a channel above its bank groups; an all-bank command covers one of the
            first.
        act: How a listing names ACT.
        columns_per_burst: Device columns of a burst.
        ticks_per_clock: Into how many parts commands cut a clock cycle.
        split_bus: Row and column commands have a bus each, for all of a channel.
        by_rank: All-bank commands, refreshes and currents are of one rank; else of a data bus.
    """

    levels: tuple[str, ...]
    act: str
    columns_per_burst: int
    ticks_per_clock: int
    split_bus: bool
    by_rank: bool


PROTOCOLS = {
    "hbm": Protocol(("PseudoChannel", "Sid"), "ACT", 8, 2, split_bus=True, by_rank=False),
    "lpddr": Protocol(("Rank",), "ACT1", 16, 1, split_bus=False, by_rank=True),
}


class Organization(Strict):
    """One channel: `pseudo_channels` data buses, each with ranks (HBM: stack IDs) of banks."""

    source: str
    """Where these numbers come from."""
    pseudo_channels: int = Field(ge=1, le=8)
    """Data buses of a channel, which share its command bus; 1 for LPDDR."""
    ranks: int = Field(ge=1, le=8)
    """Ranks (HBM: stack IDs) on a data bus."""
    bank_groups: int = Field(ge=1, le=16)
    """Bank groups of a rank."""
    banks: int = Field(ge=1, le=16)
    """Banks of a bank group."""
    rows: Annotated[int, Field(ge=1, le=2**24)]
    """Rows of a bank."""
    columns: Annotated[int, counted("bursts", 1, 2**16)]
    """Bursts in a row."""
    burst_bytes: Annotated[int, counted("bytes", 8, 512)]
    """Bytes of a burst: the unit in which data are read and written."""

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
    """Minimum distances between commands. Keys with a default of 0 concern one protocol only."""

    source: str
    """Where these numbers come from, and which of them are inferred."""
    nBL: Clocks
    """Time that a burst takes on the data bus."""
    nBLmax: ClocksOrZero = 0
    """LPDDR only: column cycle within a bank group."""
    nCL: Clocks
    """Read latency: from RD to the first beat of data."""
    nCWL: Clocks
    """Write latency: from WR to the first beat of data."""
    nRCDRD: Clocks
    """From ACT to RD of the same bank."""
    nRCDWR: Clocks
    """From ACT to WR of the same bank."""
    nRP: Clocks
    """From a bank's precharge to its ACT."""
    nRPab: Clocks
    """From a precharge of all banks to an ACT."""
    nRAS: Clocks
    """From ACT to the precharge of the same bank."""
    nRC: Clocks
    """Row cycle: from ACT to ACT of the same bank."""
    nRTP: Clocks
    """From RD to the precharge of the same bank."""
    nWR: Clocks
    """Write recovery: from the end of the data to the precharge of the same bank."""
    nCCDS: Clocks
    """From column command to column command in another bank group."""
    nCCDL: Clocks
    """From column command to column command in the same bank group."""
    nCCDR: Clocks
    """From column command to column command in another rank or stack ID."""
    nRRDS: Clocks
    """From ACT to ACT in another bank group."""
    nRRDL: Clocks
    """From ACT to ACT in the same bank group."""
    nFAW: Clocks
    """Window in which a pseudo channel (LPDDR: a rank) takes four ACTs at most."""
    nWTRS: ClocksOrZero
    """From the end of written data to RD in another bank group."""
    nWTRL: ClocksOrZero
    """From the end of written data to RD in the same bank group."""
    nRTW: Clocks
    """From RD to WR."""
    nPPD: Clocks
    """From precharge to precharge."""
    nAAD: ClocksOrZero = 0
    """LPDDR only: from ACT-1 to ACT-2, at most."""
    nWCKPST: ClocksOrZero = 0
    """LPDDR only: how long WCK keeps running after a burst."""

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
    """Refresh intervals and durations."""

    source: str
    """Where these numbers come from."""
    nREFI: Clocks
    """Interval between refreshes of all banks."""
    nREFIpb: Clocks
    """Interval between refreshes of single banks."""
    nRFCab: Clocks
    """Duration of a refresh of all banks."""
    nRFCpb: Clocks
    """Duration of a refresh of one bank."""
    nPBR2PBR: Clocks
    """From a bank's refresh to that of another bank (HBM: tRREFD)."""
    nPBR2ACT: Clocks
    """From a bank's refresh to an ACT of another bank."""

    @model_validator(mode="after")
    def _leaves_time(self) -> "Refresh":
        if self.nRFCab >= self.nREFI:
            raise ValueError(f"nRFCab = {self.nRFCab} leaves no time in nREFI = {self.nREFI}")
        return self


class EnergySpec(Strict):
    """Currents of one data bus (HBM: a pseudo channel; LPDDR: a rank of a channel), named as in data
    sheets.

    What is doubtful is a range, `[low, high]`: the middle counts, and the ends reach the figures.
    """

    source: str
    """Where these numbers come from, and which of them are inferred."""
    VDD: Volts
    """Supply that the currents are of."""
    IDD0: Amperes
    """Activations and precharges of one bank, one each row cycle (nRC)."""
    IDD2N: Amperes
    """Standby, all banks closed."""
    IDD3N: Amperes
    """Standby, one bank open."""
    IDD3N_all: Amperes | None = None
    """Standby, all banks open; as `IDD3N` unless given."""
    IDD4R: Amperes
    """Reads without a gap."""
    IDD4W: Amperes
    """Writes without a gap."""
    IDD5: Amperes
    """Refreshes of all banks, back to back."""
    standby: Watts = (0.0, 0.0)
    """Power of the host's side at all times, where the same supply feeds it."""
    io: JoulesPerBit = (0.0, 0.0)
    """Energy of a bit between memory and host that the currents leave out, whatever its value."""
    random_data: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Energy of reads and writes of random data, relative to what IDD4R and IDD4W say."""
    static_data: Annotated[float, Field(gt=0, le=100)] = 1.0
    """The same of data that never change from beat to beat, such as zeros."""

    @model_validator(mode="after")
    def _ordered(self) -> "EnergySpec":
        everywhere = self.IDD3N_all or self.IDD3N
        for low, high in (
            ("IDD2N", "IDD3N"), ("IDD3N", "IDD4R"), ("IDD3N", "IDD4W"), ("IDD3N", "IDD0"),
        ):  # fmt: skip
            for end in range(2):
                if getattr(self, low)[end] > getattr(self, high)[end]:
                    raise ValueError(f"the current {low} is above {high}, which includes it")
        for end in range(2):
            if not self.IDD3N[end] <= everywhere[end] <= self.IDD5[end]:
                raise ValueError("the current IDD3N_all must be from IDD3N to IDD5")
        return self


class MemorySpec(Strict):
    """A memory standard at one speed grade, as one channel sees it."""

    title: str
    """A name for people."""
    standard: str
    """The standard, such as HBM3."""
    protocol: Literal["hbm", "lpddr"]
    """The command protocol: which buses there are, and how a row is opened."""
    source: str
    """Where the speed grade comes from."""
    tCK: ClockPeriod
    """Clock period, in which all timings count."""
    mapping: str
    """Address map unless the system gives one, bit fields from the least significant up."""
    organization: Organization
    """What a channel consists of."""
    timing: Timing
    """Minimum distances between commands."""
    refresh: Refresh
    """Refresh intervals and durations."""
    energy: EnergySpec | None = None
    """Currents of one data bus; without them no energy is told."""

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
    """Where these numbers come from, and which of them are fitted."""
    read_bandwidth: Bandwidth
    """Raw rate towards the requester."""
    write_bandwidth: Bandwidth
    """Raw rate away from the requester."""
    payload_bytes: Annotated[int, counted("bytes", 32, 4096)] = 128
    """Payload of a packet."""
    header_bytes: Annotated[int, counted("bytes", 0, 256)] = 16
    """Header of a packet."""
    write_header_bytes: Annotated[int, counted("bytes", 0, 256)] | None = None
    """Header of a packet that writes; `header_bytes` unless given."""
    latency: SecondsOrZero = 0.0
    """Round trip without the memory behind the link."""
    credits: BytesOrZero = 0.0
    """Bytes in flight at most; 0: the requester's limit alone counts."""
    energy: JoulesPerBit = (1.3e-12, 1.3e-12)
    """Energy of a bit that it carries, headers too; that of NVLink-C2C (NVIDIA's white paper, and ISSCC
    2023) unless given. One number, or a range `[low, high]`."""


@cache
def load_memory(name: str) -> MemorySpec:
    """The memory preset of that name.

    Args:
        name: One of `hmsim presets`, such as `hbm3-6400`.

    Returns:
        The standard: organisation, timing set and refresh of one channel.

    Raises:
        InputError: There is none; the nearest one is named.
    """
    return load(MemorySpec, preset("memory", name), f"memory {name}")
