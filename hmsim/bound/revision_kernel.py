"""Blocks that choose again: each takes its cheapest path at what its deeds cost beside all others'.

What one block more would cost a group is reckoned from what the others do there (`Margins`). A
group's time is a maximum, and one block more costs nothing in a term that does not bind, until it
does: so seconds are first reckoned softly, as the norm of the terms of order 2 ** `doublings`, which
is the maximum in the end.

A block that is seldom read need not look at every step of its life. What a range of steps without its
reads costs, by where the block is before it and after it, is four numbers, and those of two neighbouring
ranges make up those of both (`new_tree`). What capacity costs in them is as of some blocks ago.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import has, lowest_bit, mask
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
from hmsim.jit import inlined, kernel
from hmsim.placement.latency_kernel import Latency, all_from_dram, served_by_hbm
from hmsim.workload.steps import F64, I64, U64

EXACT = -1  # in place of doublings: the maximum itself
SELDOM = 8  # steps of a block's life to each that reads it or makes it grow, for ranges. By trial

# What a range of steps costs: in HBM throughout, in HBM before and after, from HBM to DRAM, and from
# DRAM to HBM. To be in DRAM before and after is free.
STAY, KEEP, FALL, RISE = range(4)


class Books(NamedTuple):
    """A schedule, and what its blocks do together."""

    path: U64  # [N, words] bitsets of the steps at which each block is in HBM
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


class Scene(NamedTuple):
    """What blocks find when they choose."""

    group: I64  # [T]
    start: I64  # [G + 1] of each group's steps
    capacity: int  # blocks that HBM holds
    block_bytes: float
    demand: Demand
    latency: Latency
    objective: Objective
    mood: Mood
    prices: Prices
    dearer: F64  # [blocks + 1] factor on the price of capacity, by how many blocks are there


class Life(NamedTuple):
    """A block's steps."""

    birth: int
    death: int
    reads: I64
    appends: I64
    grown: I64  # bytes, at `appends`


class Space(NamedTuple):
    """To work in. The first two are zero before a block chooses, and after."""

    is_read: np.ndarray  # uint8 [T], by that block
    extra: F64  # [T] what it costs more to be in HBM, as the block is read or grows
    choice: np.ndarray  # uint8 [T]
    special: I64  # [T] steps that read the block or make it grow, in order
    came: np.ndarray  # uint8 [T + 1] what `_leap` has chosen, by these
    touched: I64  # [3 T + 1] groups


def new_space(steps: int) -> Space:
    """For so many steps."""
    is_read, choice, came = np.zeros((3, steps + 1), np.uint8)
    return Space(
        is_read, np.zeros(steps), choice, np.empty(steps, np.int64), came,
        np.empty(3 * steps + 1, np.int64),
    )  # fmt: skip


def new_tree(steps: int) -> F64:
    """[2 P, 4] of ranges of so many steps, to be filled by `_plant`; no rows for none."""
    tree = np.zeros((2 << (steps - 1).bit_length() if steps else 0, 4))
    tree[:, [FALL, RISE]] = np.inf
    return tree


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
def _range_of(row, begin, death):
    """The next range of steps from `begin` on at which a block is in HBM: the first, and one past the
    last; both are `death` where there is none."""
    while begin < death and row[begin >> 6] >> np.uint64(begin & 63) == 0:
        begin = ((begin >> 6) + 1) << 6
    if begin >= death:
        return death, death
    begin += np.int64(lowest_bit(row[begin >> 6] >> np.uint64(begin & 63)))
    end = begin
    while end < death and ~row[end >> 6] >> np.uint64(end & 63) == 0:
        end = ((end >> 6) + 1) << 6
    if end < death:
        end += np.int64(lowest_bit(~row[end >> 6] >> np.uint64(end & 63)))
    return begin, min(end, death)


@kernel
def _count(sign, row, life, scene, books, margins, tree, space):
    """Add `sign` times what a block does that is in HBM at the steps in `row`, and reckon anew."""
    tallies, used, touched, group = books.tallies, books.used, space.touched, scene.group
    copies, count = scene.latency.copies, 0
    for t in life.reads:
        if has(row, t):
            touched[count] = group[t]
            tallies[touched[count], NEAR_READS] += sign
            count += 1
    for i in range(len(life.appends)):
        if has(row, life.appends[i]):
            touched[count] = group[life.appends[i]]
            tallies[touched[count], NEAR_BYTES] += sign * life.grown[i]
            count += 1
    begin, end = _range_of(row, life.birth, life.death)
    while begin < life.death:
        for t in range(begin, end):
            used[t] += sign
        if begin > life.birth:
            touched[count] = group[begin - 1]
            tallies[touched[count], PROMOTIONS] += sign
            fetched = copies.fill if space.is_read[begin - 1] == 1 else 1
            tallies[touched[count], FETCHES] += sign * fetched
            count += 1
        if end < life.death:
            touched[count] = group[end - 1]
            tallies[touched[count], DEMOTIONS] += sign * copies.demote
            count += 1
        begin, end = _range_of(row, end, life.death)
    for k in range(count):
        reckon(
            touched[k], tallies, scene.block_bytes, scene.demand, scene.latency, scene.objective,
            scene.mood.doublings, margins,
        )  # fmt: skip
        if len(tree) > 0:
            _mend(touched[k], scene, margins, tree)


@inlined
def _fall(t, g, scene, margins):
    """What it costs to leave HBM after step t, of group g."""
    given = scene.mood.given
    return (1.0 - given) * margins.demote[g] + given * scene.prices.demote[t]


@inlined
def _rise(t, g, scene, margins):
    """What it costs to come to HBM after step t, which does not read the block."""
    given = scene.mood.given
    return (1.0 - given) * margins.promote[g] + given * scene.prices.promote[t]


@inlined
def _rise_read(t, g, scene, margins):
    """What it costs to come to HBM with the read of step t."""
    given = scene.mood.given
    return (1.0 - given) * margins.fill[g] + given * scene.prices.fill[t]


@inlined
def _put_together(n, tree):
    """The range of row n from its halves."""
    one, two = 2 * n, 2 * n + 1
    tree[n, STAY] = tree[one, STAY] + tree[two, STAY]
    tree[n, KEEP] = min(tree[one, KEEP] + tree[two, KEEP], tree[one, FALL] + tree[two, RISE])
    tree[n, FALL] = min(tree[one, FALL], tree[one, KEEP] + tree[two, FALL])
    tree[n, RISE] = min(tree[two, RISE], tree[one, RISE] + tree[two, KEEP])


@kernel
def _plant(scene, used, margins, tree):
    """Fill `tree` [2 P, 4]: row P + t of step t, where no block is read, and row n of the ranges of
    rows 2 n and 2 n + 1."""
    half = len(tree) >> 1
    for t in range(len(scene.group)):
        g, n = scene.group[t], half + t
        stay = scene.prices.capacity[t] * scene.dearer[used[t]]
        tree[n, STAY], tree[n, KEEP] = stay, stay
        tree[n, FALL], tree[n, RISE] = (
            stay + _fall(t, g, scene, margins),
            _rise(t, g, scene, margins),
        )
    for n in range(half - 1, 0, -1):
        _put_together(n, tree)


@kernel
def _mend(g, scene, margins, tree):
    """Moves in group g cost something else now."""
    half, first, last = len(tree) >> 1, scene.start[g], scene.start[g + 1]
    for t in range(first, last):
        n = half + t
        tree[n, FALL] = tree[n, STAY] + _fall(t, g, scene, margins)
        tree[n, RISE] = _rise(t, g, scene, margins)
    first, last = half + first, half + last - 1
    while first > 1:
        first, last = first >> 1, last >> 1
        for n in range(first, last + 1):
            _put_together(n, tree)


@kernel
def _over(begin, end, tree):
    """The four costs of a range of steps."""
    stay, keep, fall, rise = 0.0, 0.0, np.inf, np.inf
    n, width = begin + (len(tree) >> 1), 1
    while begin < end:
        while n & 1 == 0 and begin + 2 * width <= end:
            n, width = n >> 1, 2 * width
        while begin + width > end:
            n, width = n << 1, width >> 1
        two = tree[n]
        stay += two[STAY]
        rise = min(two[RISE], rise + two[KEEP])
        kept = min(keep + two[KEEP], fall + two[RISE])
        fall = min(fall, keep + two[FALL])
        keep, begin, n = kept, begin + width, n + 1
    return stay, keep, fall, rise


@kernel
def _fill(row, begin, end):
    """Put steps into the set `row`."""
    for w in range(begin >> 6, (end + 63) >> 6):
        row[w] |= mask(w, begin, end)


@kernel
def _walk(begin, end, v0, v1, after, scene, used, margins, space, row):
    """Take the cheapest path from step `begin` to before `end`, step by step, into `row`. It has cost
    `v0` to be in DRAM and `v1` to be in HBM, and is to end where `after` says, -1 for anywhere."""
    choice, extra, hard = space.choice, space.extra, scene.mood.hard == 1
    for t in range(begin, end):
        g, stay = scene.group[t], scene.prices.capacity[t] * scene.dearer[used[t]] + extra[t]
        if hard and used[t] >= scene.capacity:
            stay = np.inf
        v1 += stay
        out = v1 + _fall(t, g, scene, margins)
        if space.is_read[t] == 1:
            into = v0 + _rise_read(t, g, scene, margins)
        else:
            into = v0 + _rise(t, g, scene, margins)
        choice[t] = np.uint8(out < v0) | np.uint8(into < v1) << np.uint8(1)
        v0, v1 = min(v0, out), min(v1, into)
    state, last = (np.int64(v1 < v0) if after < 0 else after), end
    for t in range(end - 1, begin - 1, -1):
        before = state ^ (np.int64(choice[t]) >> state & 1)
        if before != state:
            if state == 1:
                _fill(row, t + 1, last)
            state, last = before, t + 1
    if state == 1:
        _fill(row, begin, last)


@kernel
def _leap(life, count, scene, used, margins, tree, space, row):
    """Take the cheapest path of a block with `count` special steps into `row`, from one to the next.

    A range with moves is walked step by step, and so goes around steps where HBM is full: there it may
    cost more than `tree` says, and another path less.
    """
    came, special = space.came, space.special
    v0, v1, begin = 0.0, 0.0, life.birth
    for k in range(count + 1):
        end = special[k] if k < count else life.death
        stay, keep, fall, rise = _over(begin, end, tree)
        out, into = v1 + fall, v0 + rise
        v1 += keep
        came[k] = np.uint8(out < v0) | np.uint8(into < v1) << np.uint8(1)
        came[k] |= np.uint8(keep < stay) << np.uint8(2)
        v0, v1 = min(v0, out), min(v1, into)
        if k < count:
            g = scene.group[end]
            v1 += scene.prices.capacity[end] * scene.dearer[used[end]] + space.extra[end]
            if scene.mood.hard == 1 and used[end] >= scene.capacity:
                v1 = np.inf
            out = v1 + _fall(end, g, scene, margins)
            if space.is_read[end] == 1:
                into = v0 + _rise_read(end, g, scene, margins)
            else:
                into = v0 + _rise(end, g, scene, margins)
            came[k] |= np.uint8(out < v0) << np.uint8(3) | np.uint8(into < v1) << np.uint8(4)
            v0, v1 = min(v0, out), min(v1, into)
        begin = end + 1
    state = np.int64(v1 < v0)
    for k in range(count, -1, -1):
        begin = special[k - 1] + 1 if k > 0 else life.birth
        end, how = life.death, np.int64(came[k])
        if k < count:
            end = special[k]
            state ^= how >> (3 + state) & 1
            if state == 1:
                _fill(row, end, end + 1)
        before = state ^ (how >> state & 1)
        if before == 1 and state == 1 and how & 4 == 0:
            _fill(row, begin, end)
        elif before == 1 or state == 1:
            v0, v1 = (np.inf, 0.0) if before == 1 else (0.0, np.inf)
            _walk(begin, end, v0, v1, state, scene, used, margins, space, row)
        state = before


@kernel
def _life_of(n, problem):
    """The block's steps."""
    reads = problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]
    first, last = problem.append_offset[n], problem.append_offset[n + 1]
    appends, grown = problem.append_step[first:last], problem.append_bytes[first:last]
    return Life(problem.birth[n], problem.death[n], reads, appends, grown)


@kernel
def _specials(life, space):
    """Fill `space.special`; how many."""
    i, j, count = 0, 0, 0
    while i < len(life.reads) or j < len(life.appends):
        t = life.reads[i] if i < len(life.reads) else life.death
        if j < len(life.appends):
            t = min(t, life.appends[j])
        if i < len(life.reads) and life.reads[i] == t:
            i += 1
        if j < len(life.appends) and life.appends[j] == t:
            j += 1
        space.special[count] = t
        count += 1
    return count


@kernel
def _is_full(row, life, used, capacity):
    """Whether HBM is full at a step in `row`."""
    begin, end = _range_of(row, life.birth, life.death)
    while begin < life.death:
        for t in range(begin, end):
            if used[t] >= capacity:
                return True
        begin, end = _range_of(row, end, life.death)
    return False


@kernel
def _choose(n, problem, scene, books, margins, tree, space):
    """A block leaves, and takes its cheapest path beside all others."""
    life, row, used, extra = _life_of(n, problem), books.path[n], books.used, space.extra
    mood, prices, tallies, group = scene.mood, scene.prices, books.tallies, scene.group
    given, own = mood.given, 1.0 - mood.given
    space.is_read[life.reads] = 1
    _count(-1, row, life, scene, books, margins, tree, space)
    for t in life.reads:
        extra[t] += own * margins.hit[group[t]] + given * prices.read[t]
    for j in range(len(life.appends)):
        t, grown = life.appends[j], life.grown[j]
        g = group[t]
        now = tallies[g]
        more = _cost(
            g, now[0], now[1] + grown, now[2], now[3], now[4], scene.block_bytes, scene.demand,
            scene.latency, scene.objective, mood.doublings,
        )  # fmt: skip
        extra[t] += own * (more - margins.cost[g]) + given * prices.append[t] * grown
    count = _specials(life, space)
    row[:] = 0
    by_step = len(tree) == 0 or SELDOM * count > life.death - life.birth
    if not by_step:
        _leap(life, count, scene, used, margins, tree, space, row)
        if mood.hard == 1 and _is_full(row, life, used, scene.capacity):  # by those who chose since
            row[:] = 0
            by_step = True
    if by_step:
        _walk(life.birth, life.death, 0.0, 0.0, -1, scene, used, margins, space, row)
    extra[life.reads] = 0.0
    extra[life.appends] = 0.0
    _count(1, row, life, scene, books, margins, tree, space)
    space.is_read[life.reads] = 0


@kernel
def choose_again(
    order: I64, problem: Problem, scene: Scene, books: Books, margins: Margins, tree: F64,
    space: Space,
) -> None:  # fmt: skip
    """Each block in `order` leaves, and takes its cheapest path beside all others.

    A step's capacity costs its price times `scene.dearer[blocks that are there]`. Where there is a
    `tree` [2 P, 4], for P steps or more, it is as before these blocks, for those that are seldom read.
    """
    if len(tree) > 0:
        _plant(scene, books.used, margins, tree)
    for n in order:
        _choose(n, problem, scene, books, margins, tree, space)
