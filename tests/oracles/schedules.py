"""The time of a schedule straight from the definition: dense, slow, and with formulas of its own.

It judges the package's latency model, solvers and searches, and so shares nothing with them.
"""

import numpy as np

from hmsim.bound.exact.problem import Problem, alive_mask
from hmsim.errors import InputError
from hmsim.placement.latency import Rates
from hmsim.workload.steps import group_starts


def schedule_time(
    problem: Problem, schedule: np.ndarray, rates: Rates, variant: str, barrier: str
) -> float:
    """Seconds of a 0/1 schedule [N, T] (block n in HBM while step t runs).

    With inclusive copies a block in HBM may be read from either side; each group takes the best
    real split. InputError where the schedule holds blocks that are not alive or breaks capacity.
    """
    x = np.asarray(schedule).astype(bool)
    alive = alive_mask(problem)
    if x.shape != alive.shape:
        raise InputError(f"schedule: shape {x.shape}, expected blocks x steps {alive.shape}")
    if (x & ~alive).any():
        block, step = np.argwhere(x & ~alive)[0]
        raise InputError(f"schedule: block {block} is in HBM at step {step}, where it is not alive")
    if (x.sum(axis=0) > problem.capacity).any():
        step = int(np.argmax(x.sum(axis=0) > problem.capacity))
        raise InputError(
            f"schedule: {int(x[:, step].sum())} blocks in HBM at step {step}, HBM holds "
            f"{problem.capacity}"
        )
    size = float(problem.block_bytes)
    owner = np.repeat(np.arange(problem.blocks), np.diff(problem.read_offset))
    r = np.zeros(x.shape, bool)
    r[owner, problem.read_step] = True
    owner = np.repeat(np.arange(problem.blocks), np.diff(problem.append_offset))
    w = np.zeros(x.shape)
    w[owner, problem.append_step] = problem.append_bytes

    both = alive[:, :-1] & alive[:, 1:]
    into = np.pad(both & ~x[:, :-1] & x[:, 1:], ((0, 0), (0, 1)))
    out = np.pad(both & x[:, :-1] & ~x[:, 1:], ((0, 0), (0, 1)))
    inclusive = variant in ("code", "inclusive")
    start = group_starts(problem.token, barrier)

    def per_group(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), start)

    hits, reads = per_group(size * (r & x).sum(axis=0)), per_group(size * r.sum(axis=0))
    hw = per_group((w * x).sum(axis=0))
    ew = per_group(w.sum(axis=0)) if inclusive else per_group((w * ~x).sum(axis=0))
    promoted = per_group(size * into.sum(axis=0))
    mi = per_group(size * (into & ~r).sum(axis=0)) if inclusive else promoted
    mo = np.zeros_like(mi) if inclusive else per_group(size * out.sum(axis=0))
    fixed = per_group(problem.hbm_bytes)
    floor = per_group(problem.compute_s)

    def time(from_hbm: np.ndarray) -> np.ndarray:
        t_h = (fixed + from_hbm + hw + promoted + mo) / rates.hbm
        t_e = _dram_time(reads - from_hbm, ew, mi, mo, rates, variant)
        return np.maximum(np.maximum(t_h, t_e), floor)

    if not inclusive:
        return float(time(hits).sum())
    # t_h rises and t_e falls with what is taken from HBM, so the best is where they cross.
    low, high = np.zeros_like(hits), hits.copy()
    for _ in range(200):
        middle = (low + high) / 2
        if ((middle == low) | (middle == high)).all():
            break
        t_h = (fixed + middle + hw + promoted) / rates.hbm
        crossed = t_h >= _dram_time(reads - middle, ew, mi, mo, rates, variant)
        low, high = np.where(crossed, low, middle), np.where(crossed, middle, high)
    return float(np.minimum(time(low), time(high)).sum())


def _dram_time(er, ew, mi, mo, rates: Rates, variant: str) -> np.ndarray:
    """t_e of the variant, from its definition."""
    _, bk_read, bk_write, bd = rates
    if variant == "text":
        moves = np.maximum(np.maximum((ew + mo) / bk_write, mi / bk_read), (ew + mi + mo) / bd)
        return er / min(bk_read, bd) + moves
    if variant == "code":
        if bk_read >= bd:
            return np.maximum((er + mi + ew) / bd, ew / bk_write)
        return np.maximum((er + mi) / min(bk_read, bd), ew / min(bk_write, bd - bk_read))
    link = np.maximum((er + mi) / bk_read, (ew + mo) / bk_write)
    return np.maximum(link, (er + ew + mi + mo) / bd)
