"""The Lagrangian of the placement problem, block by block and step by step."""

import numpy as np

from hmsim.bound.exact.problem import Problem
from tests.oracles import times


def slow_lagrangian(
    problem: Problem, rates: times.Rates, variant: str, barrier: str, term_price, capacity_price
) -> float:
    """The Lagrangian at given prices [G, terms] and [T], block by block and step by step."""
    steps = np.arange(problem.steps)
    group = steps if barrier == "layer" else np.unique(problem.token, return_inverse=True)[1]
    inclusive = variant in times.INCLUSIVE
    size = problem.block_bytes
    hbm = term_price[:, 0][group] / rates.hbm
    er, ew, mi, mo = (term_price[:, 1:] @ np.array(times.terms(variant, rates)))[group].T
    floor = 1 - term_price.sum(axis=1)
    value = float((floor[group] * problem.compute_s + hbm * problem.hbm_bytes).sum())
    value -= problem.capacity * capacity_price.sum()
    for n in range(problem.blocks):
        first, last = problem.birth[n], problem.death[n]
        cost = np.zeros((problem.steps, 2))
        cost[:, 1] = capacity_price
        fill = np.zeros(problem.steps, bool)
        for t in problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]:
            cost[t, 0] += size * er[t]
            cost[t, 1] += size * (min(hbm[t], er[t]) if inclusive else hbm[t])
            fill[t] = inclusive
        for k in range(problem.append_offset[n], problem.append_offset[n + 1]):
            t, w = problem.append_step[k], problem.append_bytes[k]
            cost[t, 0] += w * ew[t]
            cost[t, 1] += w * (hbm[t] + (ew[t] if inclusive else 0.0))
        v0, v1 = cost[first]
        for t in range(first + 1, last):
            u = t - 1
            up = size * (hbm[u] + (0.0 if fill[u] else mi[u]))
            down = 0.0 if inclusive else size * (hbm[u] + mo[u])
            v0, v1 = min(v0, v1 + down) + cost[t, 0], min(v1, v0 + up) + cost[t, 1]
        value += min(v0, v1)
    return value
