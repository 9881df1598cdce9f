"""Analytic step times: what a placement moves, in bytes, and how long the memories need for it.

The driver of a policy counts blocks (`Counts`); this file turns counts into bytes by memory and
cause and into seconds, under any of the four variants of the latency model:

text       the founding paper: exclusive copies, reads and moves do not overlap on the link
code       its authors' simulator: inclusive copies, fill on read
exclusive  physical, full duplex, one copy of each block
inclusive  physical, full duplex, DRAM always holds a copy

Source: arXiv 2508.13231 section 2. All rates are bytes per second, all times seconds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.config.system import SystemSpec
from hmsim.workload.steps import Steps, group_starts

F64 = NDArray[np.floating]
I64 = NDArray[np.int64]

VARIANTS = ("text", "code", "exclusive", "inclusive")
INCLUSIVE = ("code", "inclusive")

# Columns of a policy's counts, one row a step. All but the appends are in blocks.
COUNTS = ("reads", "hits", "resident", "append_bytes", "append_hbm_bytes",
          "promoted", "filled", "demoted", "extra")  # fmt: skip
READS, HITS, RESIDENT, APPEND, APPEND_HBM, PROMOTED, FILLED, DEMOTED, EXTRA = range(len(COUNTS))


class Rates(NamedTuple):
    """Bandwidths in bytes per second: HBM, the link each way, and the memory behind the link."""

    hbm: float
    link_read: float
    link_write: float
    dram: float

    @property
    def off_package(self) -> float:
        """What reads from beyond the link can reach."""
        return min(self.link_read, self.dram)

    @property
    def split(self) -> float:
        """Best share of reads to take from HBM: both sides then finish together."""
        return self.hbm / (self.hbm + self.off_package)


def analytic_rates(system: SystemSpec) -> Rates:
    """What the paper's formulas use: the pins, unless the configuration says otherwise."""
    return Rates(
        system.hbm.analytic_bandwidth,
        system.link.read_bandwidth,
        system.link.write_bandwidth,
        system.dram.analytic_bandwidth,
    )


def pin_rates(system: SystemSpec) -> Rates:
    """What no replay can exceed: data pins never idle, the link's raw rate."""
    return Rates(
        system.hbm.pin_bandwidth,
        system.link.read_bandwidth,
        system.link.write_bandwidth,
        system.dram.pin_bandwidth,
    )


def peak_bandwidth(system: SystemSpec) -> float:
    """Pin peak of the aggregate: HBM's data pins and the off-package path's, bytes/s."""
    rates = pin_rates(system)
    return rates.hbm + rates.off_package


class Groups(NamedTuple):
    """What every policy sees alike: the barriers, and what each step takes whatever the placement.

    A group of steps ends in a barrier. With a barrier a layer each step is a group.
    """

    hbm_bytes: F64  # [steps] other HBM reads
    compute_s: F64  # [steps] compute floor
    start: I64  # [groups] rows at which groups start, ascending, first 0

    @classmethod
    def of(cls, steps: Steps, barrier: str) -> "Groups":
        """The groups of steps of whole tokens, with a barrier every `layer` or `token`."""
        return cls(steps.hbm_bytes, steps.compute_s, group_starts(steps.token, barrier))


class Traffic(NamedTuple):
    """Bytes of each step by memory and cause, all [steps], and the step's time.

    With a barrier a token, a step's time is its share, by bytes, of its group's time.
    """

    time_s: F64
    attention_hbm: F64
    attention_dram: F64
    weights_hbm: F64
    weights_dram: F64
    append_hbm: F64
    append_dram: F64
    promotion_hbm: F64
    promotion_dram: F64
    demotion_hbm: F64
    demotion_dram: F64

    @property
    def link_to_gpu(self) -> F64:
        return self.attention_dram + self.weights_dram + self.promotion_dram

    @property
    def link_to_dram(self) -> F64:
        return self.append_dram + self.demotion_dram

    @property
    def hbm(self) -> F64:
        return (
            self.attention_hbm + self.weights_hbm + self.append_hbm
            + self.promotion_hbm + self.demotion_hbm
        )  # fmt: skip


def dram_arms(variant: str, rates: Rates) -> F64:
    """Seconds a byte of Er, Ew, Mi, Mo [arms, 4]; t_e is the largest arm."""
    _, read, write, dram = rates
    least = rates.off_package
    if variant == "text":
        arms = [
            [1 / least, 1 / write, 0, 1 / write],
            [1 / least, 0, 1 / read, 0],
            [1 / least, 1 / dram, 1 / dram, 1 / dram],
        ]
    elif variant == "exclusive":
        arms = [
            [1 / read, 0, 1 / read, 0],
            [0, 1 / write, 0, 1 / write],
            [1 / dram, 1 / dram, 1 / dram, 1 / dram],
        ]
    elif variant == "inclusive":
        arms = [
            [1 / read, 0, 1 / read, 0],
            [0, 1 / write, 0, 0],
            [1 / dram, 1 / dram, 1 / dram, 0],
        ]
    elif read < dram:  # code
        arms = [[1 / least, 0, 1 / least, 0], [0, 1 / min(write, dram - read), 0, 0]]
    else:
        arms = [[1 / dram, 1 / dram, 1 / dram, 0], [0, 1 / write, 0, 0]]
    return np.array(arms, dtype=np.float64)


def variant_traffic(
    counts: I64, groups: Groups, block_bytes: int, rates: Rates, variant: str
) -> Traffic:
    """Traffic and times of counted steps [K, len(COUNTS)] under a variant.

    Inclusive copies: a read whose block is in HBM may come from either side; the split that ends
    the group first is taken, weights always from HBM.
    """
    size = float(block_bytes)
    reads, hits = size * counts[:, READS], size * counts[:, HITS]
    appended, append_hbm = counts[:, APPEND] * 1.0, counts[:, APPEND_HBM] * 1.0
    promoted, demoted = size * counts[:, PROMOTED], size * counts[:, DEMOTED]
    if variant in INCLUSIVE:
        append_dram = appended
        fetched = promoted - size * counts[:, FILLED]
        demoted = np.zeros_like(demoted)
    else:
        append_dram = appended - append_hbm
        fetched = promoted

    start = groups.start
    fixed = groups.hbm_bytes + append_hbm + promoted + demoted
    arms = dram_arms(variant, rates)
    group_fixed = _sum(fixed, start) / rates.hbm
    group_reads, group_hits = _sum(reads, start), _sum(hits, start)
    # Seconds of each arm apart from the reads, and with every read from DRAM.
    other = (
        np.outer(arms[:, 1], _sum(append_dram, start))
        + np.outer(arms[:, 2], _sum(fetched, start))
        + np.outer(arms[:, 3], _sum(demoted, start))
    )
    everything = other + np.outer(arms[:, 0], group_reads)
    from_hbm = group_hits
    if variant in INCLUSIVE:
        per_byte = arms[:, :1] + 1 / rates.hbm
        balance = np.where(arms[:, :1] > 0, (everything - group_fixed) / per_byte, 0.0)
        from_hbm = np.clip(balance.max(axis=0), 0.0, group_hits)
    dram_time = (everything - np.outer(arms[:, 0], from_hbm)).max(axis=0)
    group_time = np.maximum(group_fixed + from_hbm / rates.hbm, dram_time)
    group_time = np.maximum(group_time, _sum(groups.compute_s, start))

    share = np.divide(from_hbm, group_hits, out=np.zeros_like(from_hbm), where=group_hits > 0)
    attention_hbm = hits * _spread(share, start, len(reads))
    zero = np.zeros_like(reads)
    traffic = Traffic(
        zero, attention_hbm, reads - attention_hbm, groups.hbm_bytes, zero, append_hbm, append_dram,
        promoted, fetched, demoted, demoted,
    )  # fmt: skip
    return traffic._replace(time_s=_share_time(traffic, group_time, start))


def unlimited_traffic(counts: I64, groups: Groups, block_bytes: int, rates: Rates) -> Traffic:
    """No capacity limit: weights from HBM, KV split so that both sides finish together.

    Per group max(F / Bh, c, (F + reads) / (Bh + min(Bk, Bd))); appends are not counted.
    """
    reads = float(block_bytes) * counts[:, READS]
    zero = np.zeros_like(reads)
    start = groups.start
    group_reads, weights = _sum(reads, start), _sum(groups.hbm_bytes, start)
    from_hbm = np.clip(rates.split * (weights + group_reads) - weights, 0.0, group_reads)
    share = np.divide(from_hbm, group_reads, out=np.zeros_like(from_hbm), where=group_reads > 0)
    attention_hbm = reads * _spread(share, start, len(reads))
    traffic = Traffic(
        zero, attention_hbm, reads - attention_hbm, groups.hbm_bytes, zero, zero, zero, zero, zero,
        zero, zero,
    )  # fmt: skip
    group_time = split_bound(group_reads, weights, rates)
    group_time = np.maximum(group_time, _sum(groups.compute_s, start))
    return traffic._replace(time_s=_share_time(traffic, group_time, start))


def split_bound(reads: F64, hbm_bytes: F64, rates: Rates) -> F64:
    """Seconds below which no placement can serve these demand bytes: all memories at full rate."""
    return np.maximum(hbm_bytes / rates.hbm, pooled_bound(reads + hbm_bytes, rates))


def pooled_bound(demand: F64, rates: Rates) -> F64:
    """The same where weights, too, may come from either memory, as with the founding authors."""
    return demand / (rates.hbm + rates.off_package)


def authors_traffic(
    counts: I64,
    groups: Groups,
    block_bytes: int,
    rates: Rates,
    *,
    rule: str,
    share: F64 | None = None,
) -> Traffic:
    """The founding authors' own accounting, whose time differs from every variant.

    `rule` is `overlap` (made their figures) or `serial` (a later revision). `share` overrides the
    share of the bytes that HBM can serve (their `unlimited`).
    """
    size = float(block_bytes)
    demand = groups.hbm_bytes + size * counts[:, READS]
    if share is None:
        share = (groups.hbm_bytes + size * counts[:, HITS]) / demand
    alpha = np.minimum(rates.split, share)
    promoted, extra = size * counts[:, PROMOTED], size * counts[:, EXTRA]
    append_hbm = counts[:, APPEND_HBM] * 1.0
    hbm_time = (alpha * demand + append_hbm + promoted) / rates.hbm
    read = ((1 - alpha) * demand + extra) / rates.off_package
    if rule == "serial":
        other = np.maximum(
            size / rates.link_write,
            np.maximum((extra + size) / rates.dram, extra / rates.link_read),
        )
        dram_time = read + other
    elif rates.link_read <= rates.dram:
        spare = rates.dram - rates.link_read
        rate = min(rates.link_write, spare)
        dram_time = np.maximum(read, size / rate if rate > 0 else np.inf)
    else:
        dram_time = read + size / rates.dram
    zero = np.zeros_like(demand)
    hbm_reads = alpha * demand
    weights = np.minimum(groups.hbm_bytes, hbm_reads)
    return Traffic(
        np.maximum(hbm_time, dram_time), hbm_reads - weights,
        demand - hbm_reads - (groups.hbm_bytes - weights), weights, groups.hbm_bytes - weights,
        append_hbm, counts[:, APPEND] * 1.0, promoted, extra, zero, zero,
    )  # fmt: skip


def _sum(values: F64, start: I64) -> F64:
    return values if len(start) == len(values) else np.add.reduceat(values, start)


def _spread(values: F64, start: I64, rows: int) -> F64:
    """A value a group to its rows."""
    return values if len(start) == rows else np.repeat(values, np.diff(start, append=rows))


def _share_time(traffic: Traffic, group_time: F64, start: I64) -> F64:
    """Each row's share, by bytes, of its group's time."""
    rows = len(traffic.time_s)
    if len(start) == rows:
        return group_time
    weight = traffic.hbm + traffic.link_to_gpu + traffic.link_to_dram
    whole = _spread(_sum(weight, start), start, rows)
    even = 1.0 / _spread(np.diff(start, append=rows).astype(np.float64), start, rows)
    part = np.divide(weight, whole, out=even, where=whole > 0)
    return _spread(group_time, start, rows) * part
