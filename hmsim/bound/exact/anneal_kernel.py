"""Schedules that exist: blocks that follow prices while there is room, and annealing on real moves.

A *flip* takes one block out of HBM, or into it, over an interval of steps; where HBM is full,
another block that is there throughout the interval takes the opposite flip. Costs (times, or joules)
of the groups that a flip touches are evaluated exactly, the others not at all.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bound.objective import Objective
from hmsim.bound.paths.tables_kernel import Prices
from hmsim.bound.prices import Demand
from hmsim.jit import inlined, kernel
from hmsim.placement.latency_kernel import Copies, Latency, group_seconds, served_by_hbm
from hmsim.random import GOLDEN, mix
from hmsim.workload.steps import F64, I64

REACH = 65  # steps, of the longest flip: 32 both ways, and the one between
TRIES = 4  # at finding a block to swap with. By trial
COOL_EVERY = 256  # moves between two temperatures: what a power costs is then nothing
# Columns of tallies, one row a group. Counts of blocks, but for the bytes of NEAR_BYTES.
KINDS = 5
NEAR_READS, NEAR_BYTES, PROMOTIONS, FETCHES, DEMOTIONS = range(KINDS)


class Instance(NamedTuple):
    """Blocks [N] and steps [T], dense."""

    birth: I64
    death: I64
    read: np.ndarray  # uint8 [N, T]
    grown: np.ndarray  # [N, T] bytes appended, of a type that holds a whole block's
    group: I64  # [T]
    capacity: int  # blocks
    block_bytes: int


@inlined
def moved(g, reads, grown, promoted, fetched, demoted, size, demand, copies):
    """Bytes of a group, as `latency_kernel.group_seconds` takes them, from a row of tallies."""
    other = demand.hbm_bytes[g] + grown + size * (promoted + demoted)
    appended = demand.appended[g] - (1 - copies.append) * grown
    return other, size * reads, appended, size * fetched, size * demoted


@inlined
def priced(
    g,
    seconds,
    other,
    hits,
    grown,
    promoted,
    appended,
    fetches,
    demotions,
    size,
    demand,
    latency,
    cost,
):
    """Seconds or joules of a group that takes so long; its bytes are as `moved` returns them."""
    found = cost.power * seconds
    if cost.attention_dram == 0.0:  # no energy
        return found
    near = served_by_hbm(other, demand.reads[g], hits, appended, fetches, demotions, latency)
    return found + (
        cost.attention_hbm * near
        + cost.attention_dram * (demand.reads[g] - near)
        + cost.weights_hbm * demand.hbm_bytes[g]
        + cost.append_hbm * grown
        + cost.append_dram * appended
        + cost.promotion_hbm * size * promoted
        + cost.promotion_dram * fetches
        + (cost.demotion_hbm + cost.demotion_dram) * demotions
    )


@inlined
def group_cost(g, reads, grown, promoted, fetched, demoted, size, demand, latency, cost):
    """Seconds or joules of a group by a row of tallies; blocks of `size` bytes."""
    other, hits, appended, fetches, demotions = moved(
        g, reads, grown, promoted, fetched, demoted, size, demand, latency.copies
    )
    seconds = group_seconds(
        other, demand.reads[g], hits, appended, fetches, demotions, demand.floor_s[g], latency
    )
    return priced(
        g, seconds, other, hits, grown, promoted, appended, fetches, demotions, size, demand,
        latency, cost,
    )  # fmt: skip


@kernel
def group_costs(
    tallies: I64, size: int, demand: Demand, latency: Latency, cost: Objective, costs: F64
) -> None:
    """Fill `costs` [G]."""
    for g in range(len(costs)):
        row = tallies[g]
        costs[g] = group_cost(
            g, row[0], row[1], row[2], row[3], row[4], float(size), demand, latency, cost
        )


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
            v1 += prices.capacity[t] + prices.append[t] * instance.grown[n, t]
            if instance.read[n, t] == 1:
                v1 += prices.read[t]
            if used[t] >= instance.capacity:
                v1 = np.inf
        state = 1 if v1 < v0 else 0
        for t in range(death - 1, birth - 1, -1):
            x[n, t] = state
            used[t] += state
            if t > birth and choice[t] >> state & 1:
                state = 1 - state


@kernel
def tally(instance: Instance, copies: Copies, x: np.ndarray, tallies: I64) -> None:
    """Tallies [G, KINDS] of a schedule, added."""
    for n in range(len(x)):
        for t in range(instance.birth[n], instance.death[n]):
            g = instance.group[t]
            if x[n, t] == 1:
                tallies[g, NEAR_READS] += instance.read[n, t]
                tallies[g, NEAR_BYTES] += instance.grown[n, t]
            if t + 1 < instance.death[n]:
                _edge(x[n, t], x[n, t + 1], 1, instance.read[n, t], copies, g, tallies)


@kernel
def anneal(
    moves: int,
    warm: float,
    cold: float,
    seed: int,
    instance: Instance,
    demand: Demand,
    latency: Latency,
    cost: Objective,
    used: I64,
    tallies: I64,
    costs: F64,
    x: np.ndarray,
) -> int:
    """Try `moves` flips, at temperatures (seconds or joules) that fall from `warm` to `cold`.

    Changes `x`, `used`, `tallies` and `costs` [G] together; returns how many flips were accepted.
    """
    # Locals, and helpers that are inlined: handing bundles of arrays to calls would cost more than
    # the moves themselves.
    births, deaths, read, grown = instance.birth, instance.death, instance.read, instance.grown
    group, capacity, size = instance.group, instance.capacity, float(instance.block_bytes)
    copies = latency.copies
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
                full |= used[u] >= capacity
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
                delta[group[u] - g0, NEAR_READS] += sign * read[m, u]
                delta[group[u] - g0, NEAR_BYTES] += sign * grown[m, u]
            # The moves at both ends: each one there is none, or the opposite is gone.
            if first > births[m]:
                u = first - 1
                side = x[m, u]
                g = group[u] - g0
                _edge(side, now, -1, read[m, u], copies, g, delta)
                _edge(side, 1 - now, 1, read[m, u], copies, g, delta)
            if last < deaths[m]:
                u = last - 1
                side = x[m, last]
                g = group[u] - g0
                _edge(now, side, -1, read[m, u], copies, g, delta)
                _edge(1 - now, side, 1, read[m, u], copies, g, delta)
        change = 0.0
        for g in range(g0, g1 + 1):
            fresh[g - g0] = group_cost(
                g,
                tallies[g, NEAR_READS] + delta[g - g0, NEAR_READS],
                tallies[g, NEAR_BYTES] + delta[g - g0, NEAR_BYTES],
                tallies[g, PROMOTIONS] + delta[g - g0, PROMOTIONS],
                tallies[g, FETCHES] + delta[g - g0, FETCHES],
                tallies[g, DEMOTIONS] + delta[g - g0, DEMOTIONS],
                size,
                demand,
                latency,
                cost,
            )
            change += fresh[g - g0] - costs[g]
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
            costs[g] = fresh[g - g0]
            for kind in range(KINDS):
                tallies[g, kind] += delta[g - g0, kind]
    return accepted


@inlined
def _edge(before, after, sign, is_read, copies, g, delta):
    """Count, `sign` times, the move from state `before` to `after`, if it is one."""
    if before < after:
        delta[g, PROMOTIONS] += sign
        delta[g, FETCHES] += sign * (copies.fill if is_read == 1 else 1)
    elif before > after:
        delta[g, DEMOTIONS] += sign * copies.demote


@inlined
def _bits(state):
    """62 random bits of a state of splitmix64."""
    return np.int64(mix(state) >> np.uint64(2))
