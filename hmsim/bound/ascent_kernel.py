"""One step of an ascent: Adam's rule, and back on to what prices may be."""

import numpy as np

from hmsim.bound.prices_kernel import end_of
from hmsim.jit import inlined, kernel
from hmsim.workload.steps import F64, I64

TINY = np.finfo(np.float64).tiny  # where nothing has moved yet


@inlined
def project(row, ordered):
    """Put `row` [K] at the nearest point of the probability simplex; `ordered` [K] is to work in.

    Condat, "Fast projection onto the simplex and the l1 ball" (2016), algorithm 1. Sorted by
    exchanges that do not branch: the order of prices is nothing that a processor could guess.
    """
    count = row.size
    for k in range(count):  # the largest first
        value = row[k]
        for at in range(k):
            larger, value = max(ordered[at], value), min(ordered[at], value)
            ordered[at] = larger
        ordered[k] = value
    excess, above, kept = -1.0, -1.0, 1
    for k in range(count):
        excess += ordered[k]
        if ordered[k] * (k + 1) > excess:
            above, kept = excess, k + 1
    shift, total = above / kept, 0.0
    for k in range(count):
        row[k] = max(row[k] - shift, 0.0)
        total += row[k]
    for k in range(count):
        row[k] /= total


@kernel
def climb_terms(
    first: int,
    last: int,
    starts: I64,
    slope: F64,
    length: float,
    paces: tuple[float, float],
    mean: F64,
    square: F64,
    term: F64,
    climbed: F64,
) -> None:
    """Fill `climbed`: where a step leads from prices `term` [G, K], in pieces `first` .. `last` - 1.

    A piece's groups take the same step, by the mean of their `slope`. `mean` [P, K] and `square` [P]
    are its running averages, at `paces`, of that mean and of its square.
    """
    terms = slope.shape[1]
    steep, ordered = np.empty((2, terms))
    for p in range(first, last):
        begin, end = starts[p], end_of(p, starts, len(slope))
        steep[:] = 0.0
        for g in range(begin, end):
            level = 0.0
            for k in range(terms):
                level += slope[g, k]
            level /= terms
            for k in range(terms):
                steep[k] += slope[g, k] - level
        power = 0.0
        for k in range(terms):
            steep[k] /= end - begin
            mean[p, k] += paces[0] * (steep[k] - mean[p, k])
            power += steep[k] * steep[k]
        square[p] += paces[1] * (power - square[p])
        scale = np.sqrt(square[p]) + TINY
        for g in range(begin, end):
            moved = g == begin
            for k in range(terms):
                moved = moved or term[g, k] != term[g - 1, k]
            for k in range(terms):
                if moved:
                    climbed[g, k] = term[g, k] + length * mean[p, k] / scale
                else:  # as the one before it, in one piece with it
                    climbed[g, k] = climbed[g - 1, k]
            if moved:
                project(climbed[g], ordered)


@kernel
def climb_capacity(
    first: int,
    last: int,
    starts: I64,
    slope: F64,
    length: float,
    paces: tuple[float, float],
    mean: F64,
    square: F64,
    capacity: F64,
    climbed: F64,
) -> None:
    """The same of prices of `capacity` [T], none of which falls below 0."""
    for p in range(first, last):
        begin, end = starts[p], end_of(p, starts, len(slope))
        swell = 0.0
        for t in range(begin, end):
            swell += slope[t]
        swell /= end - begin
        mean[p] += paces[0] * (swell - mean[p])
        square[p] += paces[1] * (swell * swell - square[p])
        step = length * mean[p] / (np.sqrt(square[p]) + TINY)
        for t in range(begin, end):
            climbed[t] = max(capacity[t] + step, 0.0)
