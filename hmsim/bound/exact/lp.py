"""The exact optimum of small instances: the linear programme and its integral version, by HiGHS.

Variables: x[i,t] for every step at which block i is alive; p and q, promotion and demotion, for
every pair of such steps; for inclusive copies y <= x, the share of a read taken from HBM; tau, the
time of each group. `prices_of` reads off the dual, from which `dual.lagrangian` makes a bound that
no solver tolerance can invalidate.
"""

from typing import Any, NamedTuple

import numpy as np

from hmsim.bound.exact.problem import Problem
from hmsim.errors import InputError
from hmsim.placement.latency import INCLUSIVE, Rates, dram_arms
from hmsim.workload.steps import F64, I64, group_starts

MAX_CELLS = {"lp": 2_000_000, "milp": 50_000}
BYTES_PER_CELL = 2_000  # of HiGHS, measured


class Solution(NamedTuple):
    """What HiGHS found. `bound_s` is proven by the solver, to its tolerance."""

    time_s: float
    bound_s: float
    x: F64  # [N, T], 0 where a block is not alive
    arm_price: F64  # [G, arms]: HBM, the arms of t_e; empty for MILP
    room_price: F64  # [T] seconds a block; empty for MILP


class _Model(NamedTuple):
    cost: F64
    lower: F64
    upper: F64
    integral: I64
    rows: Any  # scipy.sparse.csr_array
    low: F64
    high: F64
    first_arm_row: int
    first_room_row: int
    cell: I64  # [N, T] column of x, -1 where not alive


def check_size(problem: Problem, method: str) -> None:
    """InputError, with an estimate and a way out, where HiGHS would not cope."""
    if problem.cells > MAX_CELLS[method]:
        raise InputError(
            f"method {method}: {problem.cells:,} cells (blocks x steps alive) need about "
            f"{problem.cells * BYTES_PER_CELL / 1e9:.1f} GB and hours; the limit is "
            f"{MAX_CELLS[method]:,}; use method dual"
        )


def solve_lp(problem: Problem, rates: Rates, variant: str, barrier: str) -> Solution:
    """The LP optimum and its prices."""
    from scipy.optimize import linprog
    from scipy.sparse import vstack

    model = _build(problem, rates, variant, barrier)
    equal = model.low == model.high
    rows = model.rows
    at_most = ~equal
    result = linprog(
        model.cost,
        A_ub=vstack([rows[at_most]]) if at_most.any() else None,
        b_ub=model.high[at_most] if at_most.any() else None,
        A_eq=vstack([rows[equal]]) if equal.any() else None,
        b_eq=model.high[equal] if equal.any() else None,
        bounds=np.column_stack([model.lower, model.upper]),
        method="highs",
    )
    if result.status != 0:
        raise RuntimeError(f"HiGHS: {result.message}")
    dual = np.zeros(len(model.high))
    dual[at_most] = -result.ineqlin.marginals
    arm_price, room_price = _prices(model, dual, problem, barrier)
    return Solution(
        float(result.fun), float(result.fun), _schedule(model, result.x), arm_price, room_price
    )


def solve_milp(
    problem: Problem, rates: Rates, variant: str, barrier: str, gap: float, time_s: float | None
) -> Solution:
    """The integral optimum, or what HiGHS has proven when `gap` or `time_s` is reached."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    model = _build(problem, rates, variant, barrier)
    options: dict[str, float] = {"mip_rel_gap": gap}
    if time_s is not None:
        options["time_limit"] = time_s
    result = milp(
        model.cost,
        integrality=model.integral,
        bounds=Bounds(model.lower, model.upper),
        constraints=LinearConstraint(model.rows, model.low, model.high),
        options=options,
    )
    if result.x is None:
        raise InputError(
            f"method milp: HiGHS found no schedule ({result.message}); use method dual"
        )
    x = np.rint(_schedule(model, result.x))
    empty = np.zeros(0)
    proven = result.fun if result.mip_dual_bound is None else result.mip_dual_bound  # None: trivial
    return Solution(float(result.fun), float(proven), x, empty, empty)


def _build(problem: Problem, rates: Rates, variant: str, barrier: str) -> _Model:
    """Columns: x, p, q, then y of reads (inclusive only), then tau. Times in units of `scale`."""
    from scipy.sparse import coo_array

    inclusive = variant in INCLUSIVE
    size = float(problem.block_bytes)
    life = problem.death - problem.birth
    cells, moves, reads = int(life.sum()), int((life - 1).sum()), len(problem.read_step)
    start = group_starts(problem.token, barrier)
    groups, steps = len(start), problem.steps
    group = np.repeat(np.arange(groups), np.diff(start, append=steps))

    owner = np.repeat(np.arange(problem.blocks), life)
    first = np.cumsum(life) - life
    step = np.arange(cells) - np.repeat(first, life) + problem.birth[owner]
    cell = np.full((problem.blocks, steps), -1, np.int64)
    cell[owner, step] = np.arange(cells)
    x_of_move = np.flatnonzero(step + 1 < problem.death[owner])
    move_step = step[x_of_move]
    read_owner = np.repeat(np.arange(problem.blocks), np.diff(problem.read_offset))
    x_of_read = cell[read_owner, problem.read_step]
    read_group = group[problem.read_step]
    append_owner = np.repeat(np.arange(problem.blocks), np.diff(problem.append_offset))
    x_of_append = cell[append_owner, problem.append_step]
    append_group = group[problem.append_step]
    fill = np.zeros(cells, bool)
    if inclusive:
        fill[x_of_read] = True
    p, q = cells, cells + moves
    y = q + moves
    tau = y + (reads if inclusive else 0)
    columns = tau + groups
    near = y + np.arange(reads) if inclusive else x_of_read  # what is read from HBM

    rows: list[I64] = []
    cols: list[I64] = []
    values: list[F64] = []
    low: list[F64] = []
    high: list[F64] = []
    count = 0

    def add(row: I64, column: I64, value: Any) -> None:
        rows.append(count + row)
        cols.append(column)
        values.append(np.broadcast_to(np.asarray(value, np.float64), row.shape))

    def close(lower: Any, upper: Any) -> None:
        nonlocal count
        low.append(lower)
        high.append(upper)
        count += len(upper)

    # x[t+1] - x[t] = p - q
    move = np.arange(moves)
    add(move, x_of_move + 1, 1.0)
    add(move, x_of_move, -1.0)
    add(move, p + move, -1.0)
    add(move, q + move, 1.0)
    close(np.zeros(moves), np.zeros(moves))
    if inclusive:
        index = np.arange(reads)
        add(index, y + index, 1.0)
        add(index, x_of_read, -1.0)
        close(np.full(reads, -np.inf), np.zeros(reads))

    # Every arm, in seconds: constant + coefficients <= tau.
    first_arm_row = count
    fixed = np.bincount(group, problem.hbm_bytes, groups)
    read_bytes = np.bincount(read_group, minlength=groups) * size
    append_bytes = np.bincount(append_group, problem.append_bytes, groups)
    scale = float((fixed + read_bytes + append_bytes).max() / rates.hbm) or 1.0
    hbm = 1 / (rates.hbm * scale)
    move_group = group[move_step]
    add(read_group, near, size * hbm)
    add(append_group, x_of_append, problem.append_bytes * hbm)
    add(move_group, p + move, size * hbm)
    if not inclusive:
        add(move_group, q + move, size * hbm)
    add(np.arange(groups), tau + np.arange(groups), -1.0)
    close(np.full(groups, -np.inf), -fixed * hbm)
    arms = dram_arms(variant, rates) / scale
    fetched = ~fill[x_of_move]
    for er, ew, mi, mo in arms:
        add(read_group, near, -size * er)
        if not inclusive:
            add(append_group, x_of_append, -problem.append_bytes * ew)
            add(move_group, q + move, size * mo)
        add(move_group[fetched], p + move[fetched], size * mi)
        add(np.arange(groups), tau + np.arange(groups), -1.0)
        close(np.full(groups, -np.inf), -(read_bytes * er + append_bytes * ew))
    first_room_row = count
    if problem.room < problem.blocks:
        add(step, np.arange(cells), 1.0)
        close(np.full(steps, -np.inf), np.full(steps, float(problem.room)))

    matrix = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), (count, columns)
    ).tocsr()
    cost = np.zeros(columns)
    cost[tau:] = scale
    lower = np.zeros(columns)
    lower[tau:] = np.bincount(group, problem.compute_s, groups) / scale
    upper = np.ones(columns)
    upper[tau:] = np.inf
    integral = np.zeros(columns, np.int64)
    integral[:cells] = 1
    return _Model(
        cost, lower, upper, integral, matrix, np.concatenate(low), np.concatenate(high),
        first_arm_row, first_room_row, cell,
    )  # fmt: skip


def _schedule(model: _Model, solution: F64) -> F64:
    return np.where(model.cell >= 0, solution[model.cell], 0.0)


def _prices(model: _Model, dual: F64, problem: Problem, barrier: str) -> tuple[F64, F64]:
    """Prices (all >= 0, a group's arms summing to at most 1) from the duals of the rows."""
    groups = len(group_starts(problem.token, barrier))
    scale = model.cost[-1]
    arms = dual[model.first_arm_row : model.first_room_row].reshape(-1, groups).T / scale
    arms = np.maximum(arms, 0.0)
    arms /= np.maximum(arms.sum(axis=1, keepdims=True), 1.0)
    room = np.zeros(problem.steps)
    if model.first_room_row < len(dual):
        room = np.maximum(dual[model.first_room_row :], 0.0)
    return arms, room
