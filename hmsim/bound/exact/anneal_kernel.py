"""Schedules that exist: blocks that follow prices while there is room, and annealing on real moves.

A *flip* takes one block out of HBM, or into it, over an interval of steps; where HBM is full,
another block that is there throughout the interval takes the opposite flip. Times of the groups
that a flip touches are evaluated exactly, the others not at all.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bound.paths.tables_kernel import Prices
from hmsim.jit import inlined, kernel
from hmsim.random import GOLDEN, mix
from hmsim.workload.steps import F64, I64

REACH = 65  # steps, of the longest flip
TRIES = 4  # at finding a block to swap with
COOL_EVERY = 256  # moves
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


@inlined
def _hbm_side(g, hits, grown, promoted, fetched, demoted, clock):
    """Seconds of HBM without hits, and the hits that it serves: all, or the best split's."""
    rest = clock.fixed[g, 0] + clock.hbm[GROWN] * grown
    rest += clock.hbm[PROMOTED] * promoted + clock.hbm[DEMOTED] * demoted
    near = hits
    if clock.either_side == 1:
        near = 0.0
        for k in range(clock.dram.shape[0]):
            if clock.dram[k, HITS] < 0.0:
                far = clock.fixed[g, 1 + k] + clock.dram[k, FETCHED] * fetched
                near = max(near, (far - rest) / (clock.hbm[HITS] - clock.dram[k, HITS]))
        near = min(near, hits)
    return rest, near


@inlined
def group_time(g: int, hits, grown, promoted, fetched, demoted, clock: Clock) -> float:
    """Seconds of a group; with `either_side`, of its best split of the hits."""
    rest, near = _hbm_side(g, hits, grown, promoted, fetched, demoted, clock)
    arms = clock.dram.shape[0]
    longest = max(rest + clock.hbm[HITS] * near, clock.fixed[g, 1 + arms])
    for k in range(arms):
        arm = clock.fixed[g, 1 + k] + clock.dram[k, HITS] * near + clock.dram[k, GROWN] * grown
        arm += clock.dram[k, FETCHED] * fetched + clock.dram[k, DEMOTED] * demoted
        longest = max(longest, arm)
    return longest


@kernel
def arm_times(g, hits, grown, promoted, fetched, demoted, clock, times):
    """Fill `times` [arms + floor] with the seconds of each of a group's arms, as `group_time`."""
    rest, near = _hbm_side(g, hits, grown, promoted, fetched, demoted, clock)
    arms = clock.dram.shape[0]
    times[0] = rest + clock.hbm[HITS] * near
    for k in range(arms):
        times[1 + k] = clock.fixed[g, 1 + k] + clock.dram[k, HITS] * near
        times[1 + k] += clock.dram[k, GROWN] * grown + clock.dram[k, FETCHED] * fetched
        times[1 + k] += clock.dram[k, DEMOTED] * demoted
    times[1 + arms] = clock.fixed[g, 1 + arms]


@kernel
def group_times(tallies: I64, clock: Clock, times: F64) -> None:
    """Fill `times` [G]."""
    for g in range(len(times)):
        row = tallies[g]
        times[g] = group_time(g, row[0], row[1], row[2], row[3], row[4], clock)


@kernel
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


@kernel
def tally(instance: Instance, x: np.ndarray, tallies: I64) -> None:
    """Tallies [G, 5] of a schedule, added."""
    for n in range(len(x)):
        for t in range(instance.birth[n], instance.death[n]):
            g = instance.group[t]
            if x[n, t] == 1:
                tallies[g, HITS] += instance.read[n, t]
                tallies[g, GROWN] += instance.grown[n, t]
            if t + 1 < instance.death[n]:
                is_read, free = instance.read[n, t], instance.fill_is_free
                _edge(x[n, t], x[n, t + 1], 1, is_read, free, g, tallies)


@kernel
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
    # Locals, and helpers that are inlined: handing bundles of arrays to calls would cost more than
    # the moves themselves.
    births, deaths, read, grown = instance.birth, instance.death, instance.read, instance.grown
    group, room, free = instance.group, instance.room, instance.fill_is_free
    blocks = len(births)
    delta = np.zeros((REACH + 2, KINDS), np.int64)
    fresh = np.empty(REACH + 2)
    state = np.uint64(seed)
    cooling = (cold / warm) ** (COOL_EVERY / max(1, moves))
    heat, accepted = warm, 0
    for move in range(moves):
        if move % COOL_EVERY == 0:
            heat *= cooling
        state += GOLDEN
        draw = _bits(state)
        n = draw % blocks
        birth, death = births[n], deaths[n]
        state += GOLDEN
        draw = _bits(state)
        t = birth + (draw >> 20) % (death - birth)
        here = x[n, t]

        # Steps around t where the block stays put, up to a reach: both ways, back, or on.
        reach = np.int64(32) if (draw & 96) == 96 else np.int64(1) << ((draw >> 2) & 3)
        before = reach if draw & 3 != 1 else 0
        after = reach if draw & 3 != 2 else 1
        first, last = t, t + 1
        stop = max(birth, t - before)
        while first > stop and x[n, first - 1] == here:
            first -= 1
        stop = min(death, t + after)
        while last < stop and x[n, last] == here:
            last += 1

        other = -1
        if here == 0:
            full = False
            for u in range(first, last):
                full |= used[u] >= room
            if full:
                for _try in range(TRIES):
                    state += GOLDEN
                    n2 = _bits(state) % blocks
                    if x[n2, first] == 0 or x[n2, last - 1] == 0:  # as well where it is not alive
                        continue
                    inside = 0
                    for u in range(first, last):
                        inside += x[n2, u]
                    if inside == last - first:
                        other = n2
                        break
                if other < 0:
                    continue

        g0 = group[max(first - 1, 0)]
        g1 = group[last - 1]
        for g in range(g1 - g0 + 1):
            for kind in range(KINDS):
                delta[g, kind] = 0
        for who in range(1 if other < 0 else 2):
            m = n if who == 0 else other
            now = x[m, first]
            sign = 1 - 2 * np.int64(now)
            for u in range(first, last):
                delta[group[u] - g0, HITS] += sign * read[m, u]
                delta[group[u] - g0, GROWN] += sign * grown[m, u]
            # The moves at both ends: each one there is none, or the opposite is gone.
            if first > births[m]:
                u = first - 1
                side = x[m, u]
                g = group[u] - g0
                _edge(side, now, -1, read[m, u], free, g, delta)
                _edge(side, 1 - now, 1, read[m, u], free, g, delta)
            if last < deaths[m]:
                u = last - 1
                side = x[m, last]
                g = group[u] - g0
                _edge(now, side, -1, read[m, u], free, g, delta)
                _edge(1 - now, side, 1, read[m, u], free, g, delta)
        change = 0.0
        for g in range(g0, g1 + 1):
            fresh[g - g0] = group_time(
                g,
                tallies[g, HITS] + delta[g - g0, HITS],
                tallies[g, GROWN] + delta[g - g0, GROWN],
                tallies[g, PROMOTED] + delta[g - g0, PROMOTED],
                tallies[g, FETCHED] + delta[g - g0, FETCHED],
                tallies[g, DEMOTED] + delta[g - g0, DEMOTED],
                clock,
            )
            change += fresh[g - g0] - times[g]
        if change > 0.0:
            if change > 30.0 * heat:
                continue
            state += GOLDEN
            if np.exp(-change / heat) < (_bits(state) >> 10) * 2.0**-52:
                continue
        accepted += 1
        x[n, first:last] = 1 - here
        if other >= 0:
            x[other, first:last] = 0
        else:
            for u in range(first, last):
                used[u] += 1 - 2 * np.int64(here)
        for g in range(g0, g1 + 1):
            times[g] = fresh[g - g0]
            for kind in range(KINDS):
                tallies[g, kind] += delta[g - g0, kind]
    return accepted


@inlined
def _edge(before, after, sign, is_read, free, g, delta):
    """Count, `sign` times, the move from state `before` to `after`, if it is one."""
    if before < after:
        delta[g, PROMOTED] += sign
        if free == 0 or is_read == 0:
            delta[g, FETCHED] += sign
    elif before > after and free == 0:
        delta[g, DEMOTED] += sign


@inlined
def _bits(state):
    """62 random bits of a state of splitmix64."""
    return np.int64(mix(state) >> np.uint64(2))
