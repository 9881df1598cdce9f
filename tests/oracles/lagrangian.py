"""The Lagrangian of the placement problem, block by block and step by step."""

import numpy as np

from hmsim.bound.exact.problem import Problem
from hmsim.bound.objective import TIME, Objective
from tests.oracles import times


def slow_lagrangian(
    problem: Problem, rates: times.Rates, variant: str, barrier: str, term_price, capacity_price,
    cost: Objective = TIME,
) -> float:  # fmt: skip
    """The Lagrangian at given prices [G, terms] and [T], block by block and step by step."""
    term_price = cost.power * term_price
    steps = np.arange(problem.steps)
    group = steps if barrier == "layer" else np.unique(problem.token, return_inverse=True)[1]
    inclusive = variant in times.INCLUSIVE
    size = problem.block_bytes
    hbm = term_price[:, 0][group] / rates.hbm
    er, ew, mi, mo = (term_price[:, 1:] @ np.array(times.terms(variant, rates)))[group].T
    floor = cost.power - term_price.sum(axis=1)
    value = float((floor[group] * problem.compute_s + hbm * problem.hbm_bytes).sum())
    value += float(cost.weights_hbm * problem.hbm_bytes.sum())
    value -= problem.capacity * capacity_price.sum()
    for n in range(problem.blocks):
        first, last = problem.birth[n], problem.death[n]
        paid = np.zeros((problem.steps, 2))
        paid[:, 1] = capacity_price
        fill = np.zeros(problem.steps, bool)
        for t in problem.read_step[problem.read_offset[n] : problem.read_offset[n + 1]]:
            far, near = er[t] + cost.attention_dram, hbm[t] + cost.attention_hbm
            paid[t, 0] += size * far
            paid[t, 1] += size * (min(near, far) if inclusive else near)
            fill[t] = inclusive
        for k in range(problem.append_offset[n], problem.append_offset[n + 1]):
            t, w = problem.append_step[k], problem.append_bytes[k]
            far = ew[t] + cost.append_dram
            paid[t, 0] += w * far
            paid[t, 1] += w * (hbm[t] + cost.append_hbm + (far if inclusive else 0.0))
        v0, v1 = paid[first]
        for t in range(first + 1, last):
            u = t - 1
            fetch = 0.0 if fill[u] else mi[u] + cost.promotion_dram
            up = size * (hbm[u] + cost.promotion_hbm + fetch)
            out = hbm[u] + mo[u] + cost.demotion_hbm + cost.demotion_dram
            down = 0.0 if inclusive else size * out
            v0, v1 = min(v0, v1 + down) + paid[t, 0], min(v1, v0 + up) + paid[t, 1]
        value += min(v0, v1)
    return value
