"""Blocks that choose again: each takes its cheapest path at what its deeds cost beside all others'.

What one block more would cost a group is reckoned from what the others do there (`Margins`). A
group's time is a maximum, and one block more costs nothing in a term that does not bind, until it
does: so seconds are first reckoned softly, as the norm of the terms of order 2 ** `doublings`, which
is the maximum in the end.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bound.exact.anneal_kernel import (
    DEMOTIONS,
    FETCHES,
    NEAR_BYTES,
    NEAR_READS,
    PROMOTIONS,
    moved,
    priced,
)
from hmsim.bound.exact.problem import Problem
from hmsim.bound.objective import Objective
from hmsim.bound.paths.tables_kernel import Prices
from hmsim.bound.prices import Demand
from hmsim.jit import kernel
from hmsim.placement.latency_kernel import Latency, all_from_dram, served_by_hbm
from hmsim.workload.steps import F64, I64

EXACT = -1  # in place of doublings: the maximum itself
ONE = np.uint8(1)


class Books(NamedTuple):
    """A schedule, and what its blocks do together."""

    path: np.ndarray  # uint8 [N, T / 8 rounded up], bit t & 7 of byte t >> 3: in HBM at step t
    used: I64  # [T] blocks in HBM
    tallies: I64  # [G, KINDS], as `anneal_kernel` has them


class Margins(NamedTuple):
    """Of each group [G], what it costs, and what one deed more would."""

    cost: F64
    hit: F64
    promote: F64
    fill: F64  # a promotion of a block that is being read
    demote: F64


class Mood(NamedTuple):
    """How blocks choose."""

    doublings: int  # of the order of the norm; EXACT
    given: float  # share that the given prices have in what deeds cost; the rest is the margins'
    hard: int  # 1: a step where HBM is full takes no other block


@kernel
def _seconds(other, reads, hits, appended, fetched, demoted, floor_s, latency, doublings):
    """`latency_kernel.group_seconds`, or the norm of the terms."""
    near = served_by_hbm(other, reads, hits, appended, fetched, demoted, latency)
    first = other / latency.hbm + near / latency.hbm
    longest = max(first, floor_s)
    for k in range(latency.term.shape[0]):
        far = all_from_dram(k, reads, appended, fetched, demoted, latency)
        longest = max(longest, far - latency.term[k, 0] * near)
    if doublings == EXACT or longest <= 0.0:
        return longest
    total = _power(first / longest, doublings) + _power(floor_s / longest, doublings)
    for k in range(latency.term.shape[0]):
        far = all_from_dram(k, reads, appended, fetched, demoted, latency)
        total += _power(max(0.0, far - latency.term[k, 0] * near) / longest, doublings)
    for _ in range(doublings):
        total = np.sqrt(total)
    return longest * total


@kernel
def _power(base, doublings):
    for _ in range(doublings):
        base *= base
    return base


@kernel
def _cost(g, reads, grown, promoted, fetched, demoted, size, demand, latency, objective, doublings):
    """Of group `g` by a row of tallies."""
    other, hits, appended, fetches, demotions = moved(
        g, reads, grown, promoted, fetched, demoted, size, demand, latency.copies
    )
    seconds = _seconds(
        other, demand.reads[g], hits, appended, fetches, demotions, demand.floor_s[g], latency,
        doublings,
    )  # fmt: skip
    return priced(
        g, seconds, other, hits, grown, promoted, appended, fetches, demotions, size, demand,
        latency, objective,
    )  # fmt: skip


@kernel
def reckon(g, tallies, size, demand, latency, objective, doublings, margins):
    """The margins of group `g`."""
    row = tallies[g]
    reads, grown, promoted, fetched, demoted = row[0], row[1], row[2], row[3], row[4]
    rest = (size, demand, latency, objective, doublings)
    copies = latency.copies
    now = _cost(g, reads, grown, promoted, fetched, demoted, *rest)
    margins.cost[g] = now
    margins.hit[g] = _cost(g, reads + 1, grown, promoted, fetched, demoted, *rest) - now
    more = _cost(g, reads, grown, promoted + 1, fetched + 1, demoted, *rest) - now
    margins.promote[g], margins.fill[g], margins.demote[g] = more, more, 0.0
    if copies.fill == 0:
        margins.fill[g] = _cost(g, reads, grown, promoted + 1, fetched, demoted, *rest) - now
    if copies.demote == 1:
        margins.demote[g] = _cost(g, reads, grown, promoted, fetched, demoted + 1, *rest) - now


@kernel
def reckon_all(tallies, size, demand, latency, objective, doublings, margins):
    """The margins of all groups."""
    for g in range(len(tallies)):
        reckon(g, tallies, size, demand, latency, objective, doublings, margins)


@kernel
def _count(sign, here, birth, death, reads, appends, grown, is_read, group, copies, books, touched):
    """Add `sign` times what a block does that is in HBM where `here` [T]; how many groups it touches."""
    tallies, used = books.tallies, books.used
    count = 0
    for i in range(reads.size):
        if here[reads[i]] == 1:
            touched[count] = group[reads[i]]
            tallies[touched[count], NEAR_READS] += sign
            count += 1
    for i in range(appends.size):
        if here[appends[i]] == 1:
            touched[count] = group[appends[i]]
            tallies[touched[count], NEAR_BYTES] += sign * grown[i]
            count += 1
    for t in range(birth, death):
        used[t] += sign * here[t]
    for t in range(birth, death - 1):
        if here[t] == here[t + 1]:
            continue
        touched[count] = group[t]
        if here[t] == 0:
            tallies[touched[count], PROMOTIONS] += sign
            tallies[touched[count], FETCHES] += sign * (copies.fill if is_read[t] == 1 else 1)
        else:
            tallies[touched[count], DEMOTIONS] += sign * copies.demote
        count += 1
    return count


@kernel
def _cheapest(
    birth, death, reads, appends, grown, is_read, group, rest, given, hard, capacity, prices,
    dearer, books, margins, extra, choice, path,
):  # fmt: skip
    """The cheapest path of a block beside all others, into `path` [T]."""
    own = 1.0 - given
    used, tallies = books.used, books.tallies
    hit, promote, fill, demote = margins.hit, margins.promote, margins.fill, margins.demote
    price, rise_price, fill_price = prices.capacity, prices.promote, prices.fill
    fall_price = prices.demote
    for i in range(reads.size):
        extra[reads[i]] += own * hit[group[reads[i]]] + given * prices.read[reads[i]]
    for j in range(appends.size):
        t = appends[j]
        g = group[t]
        row = tallies[g]
        more = _cost(g, row[0], row[1] + grown[j], row[2], row[3], row[4], *rest)
        extra[t] += own * (more - margins.cost[g]) + given * prices.append[t] * grown[j]
    # Forward: the cheapest ways to be in DRAM (v0) and in HBM (v1) at step t.
    v0, v1 = 0.0, 0.0
    for t in range(birth, death):
        if t > birth:
            u, g = t - 1, group[t - 1]
            if is_read[u] == 1:
                rise = own * fill[g] + given * fill_price[u]
            else:
                rise = own * promote[g] + given * rise_price[u]
            fall = own * demote[g] + given * fall_price[u]
            out, into = v1 + fall, v0 + rise
            choice[t] = np.uint8(out < v0) | np.uint8(into < v1) << np.uint8(1)
            v0, v1 = min(v0, out), min(v1, into)
        v1 += price[t] * dearer[used[t]] + extra[t]
        if hard and used[t] >= capacity:
            v1 = np.inf
    for i in range(reads.size):
        extra[reads[i]] = 0.0
    for j in range(appends.size):
        extra[appends[j]] = 0.0
    state = np.int64(v1 < v0)
    for t in range(death - 1, birth - 1, -1):
        path[t] = state
        if t > birth:
            state ^= np.int64(choice[t]) >> state & 1


@kernel
def choose_again(
    order: I64,
    problem: Problem,
    group: I64,
    demand: Demand,
    latency: Latency,
    objective: Objective,
    mood: Mood,
    prices: Prices,
    dearer: F64,
    books: Books,
    margins: Margins,
) -> int:
    """Each block in `order` leaves, and takes its cheapest path beside all others; how many changed.

    A step's capacity costs its price times `dearer[blocks that are there]`.
    """
    steps = len(group)
    rest = (float(problem.block_bytes), demand, latency, objective, mood.doublings)
    paths, tallies = books.path, books.tallies
    touched = np.empty(3 * steps + 1, np.int64)
    is_read, choice, here, then = np.zeros((4, steps), np.uint8)
    extra = np.zeros(steps)
    changed = 0
    for n in order:
        birth, death = problem.birth[n], problem.death[n]
        reads = problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]
        first, last = problem.append_offset[n], problem.append_offset[n + 1]
        appends, grown = problem.append_step[first:last], problem.append_bytes[first:last]
        for t in range(birth, death):
            here[t] = paths[n, t >> 3] >> np.uint8(t & 7) & ONE
        is_read[reads] = 1
        life = (birth, death, reads, appends, grown, is_read, group)
        count = _count(-1, here, *life, latency.copies, books, touched)
        for k in range(count):
            reckon(touched[k], tallies, *rest, margins)
        _cheapest(
            *life, rest, mood.given, mood.hard == 1, problem.capacity, prices, dearer, books, margins,
            extra, choice, then,
        )  # fmt: skip
        count = _count(1, then, *life, latency.copies, books, touched)
        for k in range(count):
            reckon(touched[k], tallies, *rest, margins)
        is_read[reads] = 0
        if (here[birth:death] != then[birth:death]).any():
            changed += 1
            for t in range(birth, death):
                bit = ONE << np.uint8(t & 7)
                paths[n, t >> 3] = paths[n, t >> 3] & ~bit | (bit if then[t] == 1 else np.uint8(0))
    return changed
