"""Schedules that exist: blocks that follow prices while there is room, and annealing on real moves.

A *flip* takes one block out of HBM, or into it, over an interval of steps; where HBM is full,
another block that is there throughout the interval takes the opposite flip. Times of the groups
that a flip touches are evaluated exactly, the others not at all.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from hmsim.placement.bound.tables_kernel import Prices
from hmsim.workload.stream import F64, I64

REACH = 64  # steps, of the longest flip
TRIES = 4  # at finding a block to swap with
KINDS = 5
HITS, GROWN, PROMOTED, FETCHED, DEMOTED = range(KINDS)  # columns of tallies; GROWN in bytes


class Instance(NamedTuple):
    """Blocks [N] and steps [T], dense."""

    birth: I64
    death: I64
    read: np.ndarray  # uint8 [N, T]
    grown: np.ndarray  # int32 [N, T] bytes appended
    group: I64  # [T]
    room: int
    fill_is_free: int  # 1 with inclusive copies: reads fill, and demotions cost nothing


class Clock(NamedTuple):
    """What makes a group's time of its tallies."""

    fixed: F64  # [G, arms + floor] seconds with every block in DRAM
    hbm: F64  # [5] seconds of HBM by tally
    dram: F64  # [arms - 1, 5] seconds of each arm of t_e by tally
    either_side: int  # 1 where a block in HBM may be read from either side


@njit(cache=True, nogil=True)
def group_time(g: int, hits, grown, promoted, fetched, demoted, clock: Clock) -> float:
    """Seconds of a group; with `either_side`, of its best split of the hits."""
    rest = clock.fixed[g, 0] + clock.hbm[GROWN] * grown
    rest += clock.hbm[PROMOTED] * promoted + clock.hbm[DEMOTED] * demoted
    arms = clock.dram.shape[0]
    near = hits
    if clock.either_side == 1:
        near = 0.0
        for k in range(arms):
            if clock.dram[k, HITS] < 0.0:
                far = clock.fixed[g, 1 + k] + clock.dram[k, FETCHED] * fetched
                near = max(near, (far - rest) / (clock.hbm[HITS] - clock.dram[k, HITS]))
        near = min(near, hits)
    longest = max(rest + clock.hbm[HITS] * near, clock.fixed[g, 1 + arms])
    for k in range(arms):
        arm = clock.fixed[g, 1 + k] + clock.dram[k, HITS] * near + clock.dram[k, GROWN] * grown
        arm += clock.dram[k, FETCHED] * fetched + clock.dram[k, DEMOTED] * demoted
        longest = max(longest, arm)
    return longest


@njit(cache=True, nogil=True)
def group_times(tallies: I64, clock: Clock, times: F64) -> None:
    """Fill `times` [G]."""
    for g in range(len(times)):
        row = tallies[g]
        times[g] = group_time(g, row[0], row[1], row[2], row[3], row[4], clock)


@njit(cache=True, nogil=True)
def follow_prices(order: I64, instance: Instance, prices: Prices, used: I64, x: np.ndarray) -> None:
    """Each block in turn takes its cheapest path where there is still room.

    Fills `used` [T] and `x` [N, T] (uint8), both zero before.
    """
    choice = np.empty(x.shape[1], np.uint8)
    for n in order:
        birth, death = instance.birth[n], instance.death[n]
        v0, v1 = 0.0, 0.0
        for t in range(birth, death):
            if t > birth:
                u = t - 1
                rise = prices.fill[u] if instance.read[n, u] == 1 else prices.promote[u]
                out, into = v1 + prices.demote[u] < v0, v0 + rise < v1
                choice[t] = out | into << 1
                v0, v1 = (
                    v1 + prices.demote[u] if out else v0,
                    v0 + rise if into else v1,
                )
            v1 += prices.room[t] + prices.append[t] * instance.grown[n, t]
            if instance.read[n, t] == 1:
                v1 += prices.read[t]
            if used[t] >= instance.room:
                v1 = np.inf
        state = 1 if v1 < v0 else 0
        for t in range(death - 1, birth - 1, -1):
            x[n, t] = state
            used[t] += state
            if t > birth and choice[t] >> state & 1:
                state = 1 - state


@njit(cache=True, nogil=True)
def tally(instance: Instance, x: np.ndarray, tallies: I64) -> None:
    """Tallies [G, 5] of a schedule, added."""
    for n in range(len(x)):
        for t in range(instance.birth[n], instance.death[n]):
            g = instance.group[t]
            if x[n, t] == 1:
                tallies[g, HITS] += instance.read[n, t]
                tallies[g, GROWN] += instance.grown[n, t]
            if t + 1 < instance.death[n]:
                _tally_move(instance, n, t, x[n, t], x[n, t + 1], 1, tallies[g])


@njit(cache=True, nogil=True, inline="always")
def _tally_move(instance, n, t, before, after, sign, row):
    """The move of block `n` during step `t`, if it is one."""
    if before < after:
        row[PROMOTED] += sign
        if instance.fill_is_free == 0 or instance.read[n, t] == 0:
            row[FETCHED] += sign
    elif before > after and instance.fill_is_free == 0:
        row[DEMOTED] += sign


@njit(cache=True, nogil=True)
def anneal(
    moves: int,
    warm: float,
    cold: float,
    seed: int,
    instance: Instance,
    clock: Clock,
    used: I64,
    tallies: I64,
    times: F64,
    x: np.ndarray,
) -> int:
    """Try `moves` flips, at temperatures (seconds) that fall from `warm` to `cold`.

    Changes `x`, `used`, `tallies` and `times` [G] together; returns how many flips were accepted.
    """
    blocks = len(instance.birth)
    delta = np.zeros((REACH + 2, 5), np.int64)
    fresh = np.empty(REACH + 2)
    state = np.uint64(seed)
    fall = (cold / warm) ** (1.0 / max(1, moves))
    heat, accepted = warm, 0
    for _ in range(moves):
        heat *= fall
        state, draw = _random(state)
        n = draw % blocks
        birth, death = instance.birth[n], instance.death[n]
        state, draw = _random(state)
        t = birth + draw % (death - birth)
        first, last = _interval(n, t, birth, death, draw >> 20, x)
        into = 1 - x[n, t]

        other = -1
        full = False
        if into == 1:
            for u in range(first, last):
                full |= used[u] >= instance.room
        if full:
            for _try in range(TRIES):
                state, draw = _random(state)
                other = draw % blocks
                if not _there(other, first, last, instance, x):
                    other = -1
                else:
                    break
            if other < 0:
                continue

        g0 = instance.group[max(first - 1, 0)]
        g1 = instance.group[last - 1]
        delta[: g1 - g0 + 1] = 0
        _flip(n, first, last, into, g0, instance, x, delta)
        if other >= 0:
            _flip(other, first, last, 0, g0, instance, x, delta)
        change = 0.0
        for g in range(g0, g1 + 1):
            now = tallies[g]
            add = delta[g - g0]
            fresh[g - g0] = group_time(
                g, now[0] + add[0], now[1] + add[1], now[2] + add[2], now[3] + add[3],
                now[4] + add[4], clock,
            )  # fmt: skip
            change += fresh[g - g0] - times[g]
        if change > 0.0:
            state, draw = _random(state)
            if change > 30.0 * heat or np.exp(-change / heat) * 2.0**40 < draw & (2**40 - 1):
                continue
        accepted += 1
        x[n, first:last] = into
        if other >= 0:
            x[other, first:last] = 0
        else:
            for u in range(first, last):
                used[u] += 2 * into - 1
        for g in range(g0, g1 + 1):
            times[g] = fresh[g - g0]
            for kind in range(5):
                tallies[g, kind] += delta[g - g0, kind]
    return accepted


@njit(cache=True, nogil=True, inline="always")
def _random(state):
    """splitmix64: the next state, and 62 random bits as an int64."""
    state += np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(2))


@njit(cache=True, nogil=True, inline="always")
def _interval(n, t, birth, death, draw, x):
    """Steps around `t` where block `n` stays put: all of them, those on one side, or a few."""
    shape = draw & 3
    few = 1 + (draw >> 2) % 8
    before = few if shape == 3 else (REACH // 2 if shape != 1 else 0)
    after = 1 + (few >> 1) if shape == 3 else (REACH // 2 if shape != 2 else 1)
    first, last = t, t + 1
    while first > birth and t - first < before and x[n, first - 1] == x[n, t]:
        first -= 1
    while last < death and last - t < after and x[n, last] == x[n, t]:
        last += 1
    return first, last


@njit(cache=True, nogil=True, inline="always")
def _there(n, first, last, instance, x):
    """Whether block `n` is in HBM throughout."""
    if instance.birth[n] > first or instance.death[n] < last:
        return False
    inside = 0
    for u in range(first, last):
        inside += x[n, u]
    return inside == last - first


@njit(cache=True, nogil=True, inline="always")
def _flip(n, first, last, into, g0, instance, x, delta):
    """What the tallies of groups from `g0` on change by if block `n` flips."""
    sign = 2 * into - 1
    for u in range(first, last):
        row = instance.group[u] - g0
        delta[row, HITS] += sign * instance.read[n, u]
        delta[row, GROWN] += sign * instance.grown[n, u]
    for u in (first - 1, last - 1):
        if u < instance.birth[n] or u + 1 >= instance.death[n]:
            continue
        row = delta[instance.group[u] - g0]
        before, after = x[n, u], x[n, u + 1]
        _tally_move(instance, n, u, before, after, -1, row)
        if u == first - 1:
            after = 1 - after
        else:
            before = 1 - before
        _tally_move(instance, n, u, before, after, 1, row)
