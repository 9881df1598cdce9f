"""The latency model: what a placement moves, in bytes, and how long the memories need for it.

The driver of a policy counts blocks (`Counts`); this file turns counts into bytes by memory and
cause and into seconds, under any of the variants of the model. All that tells variants apart stands
in one table, `TABLE`: which copies HBM holds, and at which rate each kind of byte passes in each
term of the time. Policies that reckon, bounds and searches read the same table (`latency_of`) and
take a group's time by the same formula (`latency_kernel`).

text       the founding paper: exclusive copies, reads and moves do not overlap on the link
code       its authors' simulator: inclusive copies, fill on read
exclusive  physical, full duplex, one copy of each block
inclusive  physical, full duplex, DRAM always holds a copy

Source: arXiv 2508.13231 section 2. All rates are bytes per second, all times seconds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.config.enumerations import VARIANTS
from hmsim.config.system import SystemSpec
from hmsim.errors import InputError
from hmsim.placement.latency_kernel import Bytes, Copies, Latency, time_groups
from hmsim.workload.steps import Steps, group_starts

F64 = NDArray[np.floating]
I64 = NDArray[np.int64]

# Columns of a policy's counts, one row a step. All but the appends are in blocks.
COUNTS = ("reads", "hits", "resident", "append_bytes", "append_hbm_bytes",
          "promoted", "filled", "demoted", "extra")  # fmt: skip
READS, HITS, RESIDENT, APPEND, APPEND_HBM, PROMOTED, FILLED, DEMOTED, EXTRA = range(len(COUNTS))


class Rates(NamedTuple):
    """Bandwidths in bytes per second.

    Attributes:
        hbm: Of HBM, bytes/s.
        link_read: Of the link towards the GPU, bytes/s.
        link_write: Of the link away from the GPU, bytes/s.
        dram: Of the memory behind the link, bytes/s.
    """

    hbm: float
    link_read: float
    link_write: float
    dram: float

    @property
    def off_package(self) -> float:
        """What reads from beyond the link can reach, bytes/s."""
        return min(self.link_read, self.dram)

    @property
    def beside_reads(self) -> float:
        """What writes reach while reads fill the link, or alone where DRAM is what reads fill."""
        if self.link_read >= self.dram:
            return self.link_write
        return min(self.link_write, self.dram - self.link_read)

    @property
    def behind_reads(self) -> float:
        """DRAM's rate where reads fill it, so that writes wait for them; elsewhere no limit."""
        return self.dram if self.link_read >= self.dram else np.inf

    @property
    def split(self) -> float:
        """The best share of reads to take from HBM: both sides then finish together."""
        return self.hbm / (self.hbm + self.off_package)


def analytic_rates(system: SystemSpec) -> Rates:
    """What the latency model's formulas reckon with: the pins, unless the configuration says
    otherwise.

    Args:
        system: The superchip.

    Returns:
        Its bandwidths, bytes/s.
    """
    return Rates(
        system.hbm.analytic_bandwidth,
        system.link.read_bandwidth,
        system.link.write_bandwidth,
        system.dram.analytic_bandwidth,
    )


def pin_rates(system: SystemSpec) -> Rates:
    """What no replay can exceed: data pins that never idle, and the link's raw rate.

    Args:
        system: The superchip.

    Returns:
        Its bandwidths, bytes/s.
    """
    return Rates(
        system.hbm.pin_bandwidth,
        system.link.read_bandwidth,
        system.link.write_bandwidth,
        system.dram.pin_bandwidth,
    )


def peak_bandwidth(system: SystemSpec) -> float:
    """Pin peak of the aggregate: that of HBM's data pins, and of the path off the package.

    Args:
        system: The superchip.

    Returns:
        Bytes/s.
    """
    rates = pin_rates(system)
    return rates.hbm + rates.off_package


class Groups(NamedTuple):
    """What every policy sees alike: the barriers, and what each step takes whatever the placement.

    A group of steps ends in a barrier. With a barrier a layer each step is a group.

    Attributes:
        hbm_bytes: float64 [steps], bytes of other HBM reads (weights).
        compute_s: float64 [steps], seconds that computing takes at least.
        start: int64 [groups], rows at which groups start, ascending, the first one 0.
    """

    hbm_bytes: F64
    compute_s: F64
    start: I64

    @classmethod
    def of(cls, steps: Steps, barrier: str) -> "Groups":
        """The groups of some steps.

        Args:
            steps: Steps of whole tokens.
            barrier: `layer` or `token`: where all memories wait for each other.

        Returns:
            The groups.
        """
        return cls(steps.hbm_bytes, steps.compute_s, group_starts(steps.token, barrier))


class Traffic(NamedTuple):
    """Bytes of each step by memory and cause, and the step's time; all float64 [steps].

    With a barrier a token, a step's time is its share, by bytes, of its group's time.

    Attributes:
        time_s: Seconds, [steps].
        attention_hbm: Bytes of KV read from HBM, [steps].
        attention_dram: Bytes of KV read from DRAM, [steps].
        weights_hbm: Bytes of weights read from HBM, [steps].
        weights_dram: Bytes of weights read from DRAM, [steps].
        append_hbm: Bytes appended in HBM, [steps].
        append_dram: Bytes appended in DRAM, [steps].
        promotion_hbm: Bytes written to HBM by promotions, [steps].
        promotion_dram: Bytes read from DRAM by promotions, [steps].
        demotion_hbm: Bytes read from HBM by demotions, [steps].
        demotion_dram: Bytes written to DRAM by demotions, [steps].
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
        """Bytes over the link towards the GPU, [steps]."""
        return self.attention_dram + self.weights_dram + self.promotion_dram

    @property
    def link_to_dram(self) -> F64:
        """Bytes over the link away from the GPU, [steps]."""
        return self.append_dram + self.demotion_dram

    @property
    def hbm(self) -> F64:
        """Bytes that HBM reads and writes, [steps]."""
        return (
            self.attention_hbm + self.weights_hbm + self.append_hbm
            + self.promotion_hbm + self.demotion_hbm
        )  # fmt: skip


class Variant(NamedTuple):
    """One way of reckoning: a key of COPIES, and the terms of t_e.

    A term names the rate (a field or property of `Rates`) at which it lets bytes from DRAM pass:
    read, appended, promoted and demoted ones; None where they do not count in it. The largest term
    is t_e. The key of COPIES is also the physical variant of these copies, which bounds replays.
    """

    copies: str
    terms: tuple[tuple[str | None, str | None, str | None, str | None], ...]


COPIES = {
    "exclusive": Copies(append=0, fill=1, demote=1, either_side=0),
    "inclusive": Copies(append=1, fill=0, demote=0, either_side=1),
}
# fmt: off
_FULL_DUPLEX = (
    #  Er             Ew              Mi             Mo
    ("link_read",   None,           "link_read",   None),
    (None,          "link_write",   None,          "link_write"),
    ("dram",        "dram",         "dram",        "dram"),
)
TABLE = {
    "text": Variant("exclusive", (
        ("off_package", "link_write",   None,          "link_write"),
        ("off_package", None,           "link_read",   None),
        ("off_package", "dram",         "dram",        "dram"),
    )),
    "code": Variant("inclusive", (
        ("off_package", "behind_reads", "off_package", None),
        (None,          "beside_reads", None,          None),
    )),
    "exclusive": Variant("exclusive", _FULL_DUPLEX),
    "inclusive": Variant("inclusive", _FULL_DUPLEX),
}
# fmt: on


def latency_of(variant: str, rates: Rates) -> Latency:
    """The variant's copies and terms at these rates; InputError for an unknown variant."""
    if variant not in TABLE:
        raise InputError(f"variant: {variant!r} is not one of {', '.join(VARIANTS)}")
    copies, terms = TABLE[variant]
    seconds = [[0.0 if rate is None else 1.0 / getattr(rates, rate) for rate in term]
               for term in terms]  # fmt: skip
    return Latency(float(rates.hbm), COPIES[copies], np.array(seconds))


def variant_traffic(
    counts: I64 | F64, groups: Groups, block_bytes: int, rates: Rates, variant: str
) -> Traffic:
    """Traffic and times of counted steps [K, len(COUNTS)] under a variant.

    Inclusive copies: a read whose block is in HBM may come from either side; the split that ends
    the group first is taken, weights always from HBM.
    """
    latency, size, start = latency_of(variant, rates), float(block_bytes), groups.start
    copies = latency.copies
    reads, hits = size * counts[:, READS], size * counts[:, HITS]
    append_hbm = counts[:, APPEND_HBM] * 1.0
    append_dram = counts[:, APPEND] - (1 - copies.append) * append_hbm
    promoted, demoted = size * counts[:, PROMOTED], copies.demote * size * counts[:, DEMOTED]
    fetched = promoted - (1 - copies.fill) * size * counts[:, FILLED]
    other = groups.hbm_bytes + append_hbm + promoted + demoted
    moved = Bytes(*(
        np.ascontiguousarray(_sum(each, start), np.float64)
        for each in (other, reads, hits, append_dram, fetched, demoted, groups.compute_s)
    ))  # fmt: skip
    near, group_time = np.empty((2, len(start)))
    time_groups(moved, latency, near, group_time)

    share = np.divide(near, moved.hits, out=np.zeros_like(near), where=moved.hits > 0)
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
