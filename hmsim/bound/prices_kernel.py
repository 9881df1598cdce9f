"""What prices of terms make a block's deeds cost, and what the deeds of all blocks make of the terms.

Both go once through the barrier groups `first` .. `last` - 1, of which `group_start` [G] has the first
steps: every thread takes some groups.
"""

from hmsim.bound.objective import Objective
from hmsim.bound.paths.tables_kernel import Prices
from hmsim.bound.paths.words_kernel import Use
from hmsim.jit import inlined, kernel
from hmsim.placement.latency_kernel import APPEND, DEMOTE, PROMOTE, READ, Latency
from hmsim.workload.steps import F64, I64


@inlined
def end_of(k, starts, count):
    """The place after the last one of piece `k` of `count` places, whose pieces begin at `starts`."""
    return starts[k + 1] if k + 1 < len(starts) else count


@inlined
def _dram(g, term, column, latency, power):
    """What a byte of that column of `Latency.term` costs in all terms of the DRAM."""
    total = 0.0
    for k in range(latency.term.shape[0]):
        total += latency.term[k, column] * (power * term[g, 1 + k])
    return total


@inlined
def _read_price(hbm, er, cost):
    """Of a byte read from HBM, less that of one from DRAM, at these prices of their seconds."""
    return hbm - er + (cost.attention_hbm - cost.attention_dram)


@kernel
def price(
    first: int,
    last: int,
    group_start: I64,
    term: F64,
    size: float,
    latency: Latency,
    cost: Objective,
    prices: Prices,
) -> None:
    """Fill `prices`, but for the capacity's, from the prices `term` [G, terms + floor] of seconds.

    `size` is a block's, in bytes.
    """
    copies, power = latency.copies, cost.power
    read, append, promote = prices.read, prices.append, prices.promote
    fill, demote = prices.fill, prices.demote
    grown = cost.append_hbm - (1 - copies.append) * cost.append_dram
    into, fetched = cost.promotion_hbm, cost.promotion_dram
    left = cost.demotion_hbm + cost.demotion_dram
    for g in range(first, last):
        hbm = power * term[g, 0] / latency.hbm
        er = _dram(g, term, READ, latency, power)
        ew = _dram(g, term, APPEND, latency, power)
        mi = _dram(g, term, PROMOTE, latency, power)
        mo = _dram(g, term, DEMOTE, latency, power)
        gain = _read_price(hbm, er, cost)
        if copies.either_side == 1:
            gain = min(gain, 0.0)
        gain *= size
        grow = hbm - (1 - copies.append) * ew + grown
        rise = size * (hbm + mi + (into + fetched))
        rise_read = size * (hbm + copies.fill * mi + (into + copies.fill * fetched))
        fall = copies.demote * size * (hbm + mo + left)
        for t in range(group_start[g], end_of(g, group_start, len(read))):
            read[t], append[t], promote[t], fill[t], demote[t] = gain, grow, rise, rise_read, fall


@kernel
def lengthen(
    first: int,
    last: int,
    group_start: I64,
    term: F64,
    size: float,
    latency: Latency,
    cost: Objective,
    use: Use,
    weight: float,
    all_in_dram: F64,
    slope: F64,
) -> None:
    """Fill `slope` [G, terms + floor]: seconds of each term (of energy: times the power), where blocks
    do `weight` times `use`, at the prices `term`.

    `all_in_dram` is the same where every block stays in DRAM; `size` is a block's, in bytes.
    """
    copies, power, columns = latency.copies, cost.power, latency.term
    hit, append, promote = use.hit, use.append, use.promote
    fill, demote = use.fill, use.demote
    terms, steps, each = columns.shape[0], len(hit) - 1, size * weight
    for g in range(first, last):
        hits, grown, promoted, filled, demoted = 0, 0, 0, 0, 0
        for t in range(group_start[g], end_of(g, group_start, steps)):
            hits += hit[t]
            grown += append[t]
            promoted += promote[t]
            filled += fill[t]
            demoted += demote[t]
        near, into, waived, out = each * hits, each * promoted, each * filled, each * demoted
        if copies.either_side == 1:
            hbm = power * term[g, 0] / latency.hbm
            gain = _read_price(hbm, _dram(g, term, READ, latency, power), cost)
            if gain > 0.0:
                near = 0.0
            elif gain == 0.0:
                near /= 2
        fetched, left = into + copies.fill * waived, copies.demote * out
        spared = (1 - copies.append) * (weight * grown)  # of DRAM: appends that it does not get
        moved = near + into + waived + left + weight * grown
        slope[g, 0] = power * (all_in_dram[g, 0] + moved / latency.hbm)
        for k in range(terms):
            more = columns[k, PROMOTE] * fetched + columns[k, DEMOTE] * left
            less = columns[k, READ] * near + columns[k, APPEND] * spared
            slope[g, 1 + k] = power * (all_in_dram[g, 1 + k] + more - less)
        slope[g, 1 + terms] = power * all_in_dram[g, 1 + terms]
