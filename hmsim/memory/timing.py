"""Timing sets as tables that the kernels read: who must wait for whom, in ticks.

A rule says: after a command `before` in some node of the hierarchy (channel, pseudo channel, rank,
bank group, bank), a command `after` in the same node waits so many ticks. `compile_timing` unrolls
all rules above the bank into one table over bank groups, so that issuing a command is one
row-wise maximum whatever the depth of the hierarchy.

HBM ticks are half a CK, since row commands may use the falling edge; LPDDR ticks are one CK.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.config.memory import PROTOCOLS, MemorySpec

# Commands that constrain others, in the order of the first axis of the tables.
COMMANDS = ("RD", "WR", "RDA", "WRA", "PREpb", "PREab", "ACT", "REFab", "REFpb")
# Commands that are constrained. RDA and WRA wait as RD and WR do.
FOLLOWERS = ("RD", "WR", "PREab", "PREpb", "ACT", "REFab", "REFpb")
NEVER = -(1 << 40)  # "no constraint": far in the past whatever it is added to

_COLUMN = "RD WR RDA WRA"
_READ = "RD RDA"
_WRITE = "WR WRA"
_PRE = "PREpb PREab"

# (level, before, after, distance in CK as an expression in the timing set's names)
_SHARED = [
    ("data bus", _READ, "RD", "nBL"),
    ("data bus", _WRITE, "WR", "nBL"),
    ("data bus", _READ, "WR", "nRTW"),
    ("data bus", _WRITE, "RD", "nCWL + nBL + nWTRS"),
    ("scope", "RD", "PREab", "nRTP"),
    ("scope", "WR", "PREab", "nCWL + nBL + nWR"),
    ("scope", "ACT", "ACT", "nRRDS"),
    ("scope", "ACT", "PREab", "nRAS"),
    ("scope", "PREab", "ACT", "nRPab"),
    ("scope", _PRE, "PREpb PREab", "nPPD"),
    ("scope", "ACT", "REFab", "nRC"),
    ("scope", _PRE, "REFab", "nRP"),
    ("scope", "RDA", "REFab", "nRTP + nRP"),
    ("scope", "WRA", "REFab", "nCWL + nBL + nWR + nRP"),
    ("scope", "REFab", "ACT PREab REFpb", "nRFCab"),
    ("scope", "REFpb", "REFpb", "nPBR2PBR"),
    ("scope", "REFpb", "ACT", "nPBR2ACT"),
    ("rank", _READ, "RD", "nCCDS"),
    ("rank", _WRITE, "WR", "nCCDS"),
    ("other rank", _READ, "RD", "nCCDR"),
    ("bank group", _READ, "RD", "nCCDL"),
    ("bank group", _WRITE, "WR", "nCCDL"),
    ("bank group", "ACT", "ACT", "nRRDL"),
    ("bank", "ACT", "ACT REFpb", "nRC"),
    ("bank", "ACT", "RD", "nRCDRD"),
    ("bank", "ACT", "WR", "nRCDWR"),
    ("bank", "ACT", "PREpb", "nRAS"),
    ("bank", "PREpb", "ACT REFpb", "nRP"),
    ("bank", "RD", "PREpb", "nRTP"),
    ("bank", "WR", "PREpb", "nCWL + nBL + nWR"),
    ("bank", "RDA", "ACT REFpb", "nRTP + nRP"),
    ("bank", "WRA", "ACT REFpb", "nCWL + nBL + nWR + nRP"),
    ("bank", "REFpb", "ACT", "nRFCpb"),
]
_PROTOCOL = {
    "hbm": [
        ("scope", "ACT", "REFpb", "nRRDS"),
        ("bank group", _WRITE, "RD", "nCWL + nBL + nWTRL"),
    ],
    "lpddr": [
        ("scope", "REFab", "REFab", "nRFCab"),
        ("scope", "REFpb", "REFab", "nRFCpb"),
        ("other rank", _READ, "WR", "nCCDR"),
        ("other rank", _WRITE, "RD", "nCL + nCCDR - nCWL"),
        ("bank group", _WRITE, "RD", "nCWL + nBLmax + nWTRL"),
    ],
}
# Ticks that a command holds its bus. A distance counts from the end of one command to the end of
# the next, so commands of different length shift it.
_HBM_TICKS = {"ACT": 3, "RD": 2, "WR": 2, "RDA": 2, "WRA": 2}


class Timing(NamedTuple):
    """A channel's organisation and timing in ticks, as the kernels take it.

    Shapes: C commands, F followers, G bank groups of the channel, B banks; bank b is in group
    b // (B // G), group g in scope g // (G // scopes) and on bus g // (G // buses).
    """

    gap: NDArray[np.int64]  # [C, G, F * G] ticks from a command in a group to a follower in one
    bank_gap: NDArray[np.int64]  # [C, F] the same within a bank
    banks: int
    groups: int
    scopes: int  # what one all-bank refresh or activation window covers
    buses: int  # pseudo channels
    split_bus: int  # 1: row and column commands have a bus each (HBM)
    burst: int  # ticks of data on the bus
    read_latency: int  # RD to the end of its data
    write_latency: int  # WR to the end of its data
    faw: int
    column_bus: int  # least distance of column commands, of ACTs, of PREs, in a channel
    act_bus: int
    pre_bus: int
    act2_limit: int  # LPDDR: ACT-1 to ACT-2 at most; 0: one-part ACT
    clock_read: int  # LPDDR: WCK runs so long after a RD or WR
    clock_write: int
    refi: int
    refi_bank: int
    rfc: int


def tick_seconds(spec: MemorySpec) -> float:
    """Length of a tick."""
    return spec.tCK / PROTOCOLS[spec.protocol].ticks_per_clock


def compile_timing(spec: MemorySpec) -> Timing:
    """The tables of `spec`."""
    protocol = PROTOCOLS[spec.protocol]
    ticks, split = protocol.ticks_per_clock, protocol.split_bus
    organization, clocks = spec.organization, spec.timing
    buses, groups_per_rank = organization.pseudo_channels, organization.bank_groups
    groups = buses * organization.ranks * groups_per_rank
    scopes = buses * organization.ranks if protocol.by_rank else buses
    node = {
        "channel": np.zeros(groups, np.int64),
        "data bus": np.arange(groups) * buses // groups,
        "scope": np.arange(groups) * scopes // groups,
        "rank": np.arange(groups) // groups_per_rank,
        "bank group": np.arange(groups),
    }
    names = clocks.model_dump(exclude={"source"}) | spec.refresh.model_dump(exclude={"source"})
    gap = np.full((len(COMMANDS), groups, len(FOLLOWERS), groups), NEVER, np.int64)
    bank_gap = np.full((len(COMMANDS), len(FOLLOWERS)), NEVER, np.int64)
    held = {name: _HBM_TICKS.get(name, 1) if split else 1 for name in COMMANDS}
    for level, before, after, distance in _SHARED + _PROTOCOL[spec.protocol]:
        nominal = eval(distance, {"__builtins__": {}}, names) * ticks
        for command in before.split():
            for follower in after.split():
                wait = nominal + held[command] - held[follower]
                c, f = COMMANDS.index(command), FOLLOWERS.index(follower)
                if level == "bank":
                    bank_gap[c, f] = max(bank_gap[c, f], wait)
                    continue
                table = gap[c, :, f, :]
                np.maximum(table, wait, out=table, where=_related(level, node))
    if split:
        _share_buses(gap, held)
    return Timing(
        gap=np.ascontiguousarray(gap.reshape(len(COMMANDS), groups, -1)),
        bank_gap=bank_gap,
        banks=groups * organization.banks,
        groups=groups,
        scopes=scopes,
        buses=buses,
        split_bus=int(split),
        burst=clocks.nBL * ticks,
        read_latency=(clocks.nCL + clocks.nBL) * ticks,
        write_latency=(clocks.nCWL + clocks.nBL) * ticks,
        faw=clocks.nFAW * ticks,
        column_bus=2 if split else 1,
        act_bus=3 if split else 1,
        pre_bus=1,
        act2_limit=0 if split else clocks.nAAD,
        clock_read=clocks.nCL + clocks.nBL + clocks.nWCKPST,
        clock_write=clocks.nCWL + clocks.nBL + clocks.nWCKPST,
        refi=spec.refresh.nREFI * ticks,
        refi_bank=spec.refresh.nREFIpb * ticks,
        rfc=spec.refresh.nRFCab * ticks,
    )


def _related(level: str, node: dict[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Which pairs of groups [before, after] a rule at `level` ties together."""
    if level == "other rank":
        same_bus = np.equal.outer(node["data bus"], node["data bus"])
        return same_bus & np.not_equal.outer(node["rank"], node["rank"])
    return np.equal.outer(node[level], node[level])


def _share_buses(gap: NDArray[np.int64], held: dict[str, int]) -> None:
    """HBM: a command holds the row or the column bus of the whole channel."""
    columns = [FOLLOWERS.index(name) for name in ("RD", "WR")]
    rows = [f for f in range(len(FOLLOWERS)) if f not in columns]
    for c, command in enumerate(COMMANDS):
        for f in columns if command in _COLUMN.split() else rows:
            np.maximum(gap[c, :, f, :], held[command], out=gap[c, :, f, :])
