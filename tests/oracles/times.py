"""Bytes and seconds of steps by the formulas of the latency model, one number at a time.

Nothing is shared with hmsim: the four variants, `unlimited` and the founding authors' accounting
are written out from their definitions.
"""

from typing import NamedTuple

INCLUSIVE = ("code", "inclusive")  # DRAM always holds a copy


class Rates(NamedTuple):
    """Bytes per second."""

    hbm: float
    link_read: float
    link_write: float
    dram: float

    @property
    def off_package(self) -> float:
        return min(self.link_read, self.dram)

    @property
    def split(self) -> float:
        return self.hbm / (self.hbm + self.off_package)


class Bytes(NamedTuple):
    """What one step moves, by memory and cause."""

    attention_hbm: float = 0.0
    attention_dram: float = 0.0
    weights_hbm: float = 0.0
    weights_dram: float = 0.0
    append_hbm: float = 0.0
    append_dram: float = 0.0
    promotion_hbm: float = 0.0
    promotion_dram: float = 0.0
    demotion_hbm: float = 0.0
    demotion_dram: float = 0.0

    @property
    def to_gpu(self) -> float:
        return self.attention_dram + self.weights_dram + self.promotion_dram

    @property
    def to_dram(self) -> float:
        return self.append_dram + self.demotion_dram

    @property
    def everything(self) -> float:
        """Through HBM and over the link."""
        hbm = self.attention_hbm + self.weights_hbm + self.append_hbm
        return hbm + self.promotion_hbm + self.demotion_hbm + self.to_gpu + self.to_dram


class Count(NamedTuple):
    """What a policy did in one step: blocks, but for the appended bytes."""

    reads: int
    hits: int
    resident: int
    append: int
    append_hbm: int
    promoted: int
    filled: int  # of those, read in the same step
    demoted: int


def moved(variant: str, count: Count, size: int, weights: float) -> Bytes:
    """A step's bytes, all hits read from HBM."""
    copies = variant in INCLUSIVE
    return Bytes(
        attention_hbm=size * count.hits,
        attention_dram=size * (count.reads - count.hits),
        weights_hbm=weights,
        append_hbm=count.append_hbm,
        append_dram=count.append if copies else count.append - count.append_hbm,
        promotion_hbm=size * count.promoted,
        promotion_dram=size * (count.promoted - (count.filled if copies else 0)),
        demotion_hbm=0 if copies else size * count.demoted,
        demotion_dram=0 if copies else size * count.demoted,
    )


def terms(variant: str, rates: Rates) -> list[tuple[float, float, float, float]]:
    """The terms of t_e, whose largest it is: seconds a byte of Er, Ew, Mi and Mo."""
    _, bk_read, bk_write, bd = rates
    if variant == "text":
        read = 1 / min(bk_read, bd)  # and, one after the other, the longest of the moves
        return [
            (read, 1 / bk_write, 0, 1 / bk_write),
            (read, 0, 1 / bk_read, 0),
            (read, 1 / bd, 1 / bd, 1 / bd),
        ]
    if variant == "code":
        if bk_read >= bd:
            return [(1 / bd, 1 / bd, 1 / bd, 0), (0, 1 / bk_write, 0, 0)]
        return [(1 / bk_read, 0, 1 / bk_read, 0), (0, 1 / min(bk_write, bd - bk_read), 0, 0)]
    return [
        (1 / bk_read, 0, 1 / bk_read, 0),
        (0, 1 / bk_write, 0, 1 / bk_write),
        (1 / bd, 1 / bd, 1 / bd, 1 / bd),
    ]


def dram_paths(variant: str, rates: Rates, er, ew, mi, mo) -> list[tuple[bool, float]]:
    """Seconds of each term, and whether reads load it."""
    return [(a > 0, a * er + b * ew + c * mi + d * mo) for a, b, c, d in terms(variant, rates)]


def group(
    variant: str, rates: Rates, steps: list[Bytes], floor_s: float
) -> tuple[list[Bytes], float]:
    """The bytes and the seconds of one barrier group.

    Where HBM holds copies, a share of the hits is read from DRAM instead: the one at which both
    memories have done their reads at the same time, or as near to that as can be.
    """
    total = [sum(column) for column in zip(*steps, strict=True)]
    sums = Bytes(*total)
    hits = sums.attention_hbm

    def hbm_s(taken: float) -> float:
        return (
            sums.weights_hbm + taken + sums.append_hbm + sums.promotion_hbm + sums.demotion_hbm
        ) / (rates.hbm)

    def paths(taken: float) -> list[tuple[bool, float]]:
        er = sums.attention_dram + hits - taken
        return dram_paths(
            variant, rates, er, sums.append_dram, sums.promotion_dram, sums.demotion_dram
        )

    def hbm_is_last(taken: float) -> bool:
        return hbm_s(taken) >= max(seconds for reads, seconds in paths(taken) if reads)

    taken = hits
    if variant in INCLUSIVE and hits and hbm_is_last(hits):
        low, high = 0.0, hits
        if hbm_is_last(0.0):
            high = 0.0
        for _ in range(200):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            low, high = (low, middle) if hbm_is_last(middle) else (middle, high)
        taken = high
    share = taken / hits if hits else 0.0
    split = [
        each._replace(
            attention_hbm=each.attention_hbm * share,
            attention_dram=each.attention_dram + each.attention_hbm * (1 - share),
        )
        if variant in INCLUSIVE
        else each
        for each in steps
    ]
    seconds = max(hbm_s(taken), floor_s, *(seconds for _, seconds in paths(taken)))
    return split, seconds


def unlimited(
    rates: Rates, reads: list[float], weights: list[float], floor_s: float
) -> tuple[list[Bytes], float]:
    """A group without a limit of capacity: every read split so that both memories end together."""
    demand, fixed = sum(reads), sum(weights)
    taken = min(max(rates.split * (fixed + demand) - fixed, 0.0), demand)
    share = taken / demand if demand else 0.0
    steps = [
        Bytes(attention_hbm=read * share, attention_dram=read * (1 - share), weights_hbm=weight)
        for read, weight in zip(reads, weights, strict=True)
    ]
    return steps, max(
        fixed / rates.hbm, (fixed + demand) / (rates.hbm + rates.off_package), floor_s
    )


def floor_of(rates: Rates, reads: float, weights: float, floor_s: float, pooled: bool) -> float:
    """Seconds that no placement of a group undercuts: all its demand at both memories' full rate.

    `pooled`: weights, too, may come from either memory.
    """
    both = (reads + weights) / (rates.hbm + rates.off_package)
    return max(both, 0.0 if pooled else weights / rates.hbm, floor_s)


def authors(
    rule: str, rates: Rates, row, weights: float, size: int, appended: int, share: float | None
) -> tuple[Bytes, float]:
    """One step by the founding authors' simulator. `row`: reads, hits, residents, newborn in HBM?,
    promoted, extra reads; `share`: of the bytes that HBM can serve, where not by the hits."""
    reads, hits, _, beta, promoted, extra = (int(each) for each in row)
    demand = weights + size * reads
    held = (weights + size * hits) / demand if share is None else share
    alpha = min(rates.split, held)
    t_h = (alpha * demand + beta * size + promoted * size) / rates.hbm
    _, bk_read, bk_write, bd = rates
    read = ((1 - alpha) * demand + extra * size) / min(bk_read, bd)
    if rule == "serial":
        t_e = read + max(size / bk_write, (extra * size + size) / bd, extra * size / bk_read)
    elif bk_read <= bd:
        spare = min(bk_write, bd - bk_read)
        t_e = max(read, size / spare) if spare > 0 else float("inf")
    else:
        t_e = read + size / bd
    from_hbm = alpha * demand
    kept = min(weights, from_hbm)
    moved = Bytes(
        from_hbm - kept, demand - from_hbm - (weights - kept), kept, weights - kept, beta * size,
        appended, promoted * size, extra * size, 0.0, 0.0,
    )  # fmt: skip
    return moved, max(t_h, t_e)
