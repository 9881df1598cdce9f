"""The exact optimum of small instances: the linear programme and its integral version, by HiGHS.

Variables: x[i,t] for every step at which block i is alive; p and q, promotion and demotion, for
every pair of such steps; for inclusive copies y <= x, the share of a read taken from HBM; tau, the
time of each group.

HiGHS works to absolute tolerances, so times reach it in units of the problem's own optimum. Nothing
that it says is believed unchecked: the LP's optimum must stand between the Lagrangian at its duals,
which no tolerance can make invalid, and the time of its placement; the MILP's between the LP's and
the time of its schedule. What fails is tried again nearer to scale, and then refused.
"""

from typing import Any, NamedTuple

import numpy as np

from hmsim.bound.exact.problem import Problem, placement_cost
from hmsim.bound.objective import TIME
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.errors import InputError, SolverError
from hmsim.workload.steps import F64, I64

MAX_PAIRS = {"lp": 2_000_000, "milp": 50_000}
BYTES_PER_PAIR = 2_000  # of HiGHS, measured
OPTIMUM = 1e3  # units of time that an optimum amounts to; HiGHS' tolerances are 1e-6 and below
AGREEMENT = 1e-6  # relative difference by which two values of one optimum may differ
# HiGHS' tolerances and, where its answers fail the check at one unit of time, what to try next.
TOLERANCES = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
ATTEMPTS = ("highs", "highs-ds", "highs-ipm", "highs-ds")


class Solution(NamedTuple):
    """What HiGHS found, checked: no placement (of the MILP: no schedule) takes less than `bound_s`,
    and `x` takes `time_s`."""

    time_s: float
    bound_s: float
    x: F64  # [N, T], 0 where a block is not alive
    prices: Dual  # of the LP


class _Model(NamedTuple):
    cost: F64
    lower: F64
    upper: F64
    integral: I64
    rows: Any  # scipy.sparse.csr_array
    low: F64
    high: F64
    first_term_row: int
    first_capacity_row: int
    column: I64  # [N, T] of x, -1 where not alive
    unit: float  # seconds or joules


def check_size(problem: Problem, method: str) -> None:
    """InputError, with an estimate and a way out, where HiGHS would not cope."""
    if problem.pairs > MAX_PAIRS[method]:
        raise InputError(
            f"method {method}: {problem.pairs:,} pairs of a block and a step need about "
            f"{problem.pairs * BYTES_PER_PAIR / 1e9:.1f} GB and hours; the limit is "
            f"{MAX_PAIRS[method]:,}; use method dual"
        )


def solve_lp(problem: Problem, lagrangian: Lagrangian) -> Solution:
    """The LP optimum and its prices. `lagrangian` is that of all the problem's blocks.

    SolverError where HiGHS' answers disagree with the Lagrangian or with the placement's time.
    """
    setting = lagrangian.setting
    power = setting.objective.power
    seconds = power * float(setting.all_in_dram.max(axis=1).sum()) + setting.fixed
    worst = np.inf
    for method in ATTEMPTS:
        found = _attempt_lp(problem, lagrangian, seconds, method)
        if found is None:
            continue
        error = found.time_s - found.bound_s
        if abs(error) <= AGREEMENT * found.time_s:
            return found._replace(bound_s=min(found.bound_s, found.time_s))
        worst = min(worst, abs(error) / found.time_s)
        if 0.0 < found.time_s < seconds:
            seconds = found.time_s
    raise SolverError(
        f"method lp: HiGHS' optimum, its prices and its placement disagree (by {worst:.1g} of the "
        "time at best); nothing is proven; use method dual"
    )


def _attempt_lp(
    problem: Problem, lagrangian: Lagrangian, seconds: float, method: str
) -> Solution | None:
    """The LP in units of which `seconds` make `OPTIMUM`; None where HiGHS gives up."""
    from scipy.optimize import linprog

    model = _build(problem, lagrangian.setting, seconds / OPTIMUM)
    equal = model.low == model.high
    at_most = ~equal
    result = linprog(
        model.cost,
        A_ub=model.rows[at_most] if at_most.any() else None,
        b_ub=model.high[at_most] if at_most.any() else None,
        A_eq=model.rows[equal] if equal.any() else None,
        b_eq=model.high[equal] if equal.any() else None,
        bounds=np.column_stack([model.lower, model.upper]),
        method=method,
        options=TOLERANCES,
    )
    if result.status != 0:
        return None
    row_dual = np.zeros(len(model.high))
    row_dual[at_most] = -result.ineqlin.marginals
    prices = _prices(model, row_dual, lagrangian.setting)
    x = np.clip(_placement(model, result.x), 0.0, 1.0)
    cost = _cost(problem, x, model, result.x, lagrangian.setting)
    return Solution(cost, lagrangian(prices)[0], x, prices)


def solve_milp(
    problem: Problem, lagrangian: Lagrangian, gap: float, time_s: float | None
) -> Solution:
    """The integral optimum, or what HiGHS has proven when `gap` or `time_s` is reached.

    SolverError where HiGHS' answer disagrees with the LP or with its schedule's time.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    relaxed = solve_lp(problem, lagrangian)
    unit = relaxed.time_s / OPTIMUM or 1.0
    model = _build(problem, lagrangian.setting, unit)
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
    x = np.rint(_placement(model, result.x))
    setting = lagrangian.setting
    taken = _cost(problem, x, model, result.x, setting)
    claimed = float(result.fun) * unit + setting.fixed
    bound = result.fun if result.mip_dual_bound is None else result.mip_dual_bound
    proven = float(bound) * unit + setting.fixed
    for what, wrong in (
        ("its schedule takes another time", abs(claimed - taken) > AGREEMENT * taken),
        ("its bound is above its schedule's time", proven > taken * (1 + AGREEMENT)),
        ("its schedule beats the LP", taken < relaxed.bound_s * (1 - AGREEMENT)),
    ):
        if wrong:
            raise SolverError(
                f"method milp: HiGHS says {claimed:.9g} s, at least {proven:.9g} s, but {what} "
                f"({taken:.9g} s; LP {relaxed.bound_s:.9g} s); nothing is proven; use method dual"
            )
    bound_s = min(max(proven, relaxed.bound_s), taken)
    return Solution(_placement_cost(problem, x, setting), bound_s, x, relaxed.prices)


def _placement_cost(problem: Problem, x: F64, setting: Setting) -> float:
    return placement_cost(
        problem, x, setting.rates, setting.variant, setting.barrier, setting.objective
    )


def _cost(problem: Problem, x: F64, model: _Model, solution: F64, setting: Setting) -> float:
    """Of a solver's placement. Where either side may serve a read, replays split reads for time
    alone, and the solver for the objective: then its own split counts."""
    if setting.latency.copies.either_side and setting.objective != TIME:
        return float(model.cost @ solution) * model.unit + setting.fixed
    return _placement_cost(problem, x, setting)


def _build(problem: Problem, setting: Setting, unit: float) -> _Model:
    """Columns: x, p, q, then y of reads (where either side may serve them), then tau.

    Times are in units of `unit` seconds; of energy, times its power, in units of `unit` joules.
    """
    from scipy.sparse import coo_array

    start, group, copies = setting.start, setting.group, setting.latency.copies
    size = float(problem.block_bytes)
    life = problem.death - problem.birth
    pairs, moves, reads = int(life.sum()), int((life - 1).sum()), len(problem.read_step)
    groups, steps = len(start), problem.steps

    owner = np.repeat(np.arange(problem.blocks), life)
    first = np.cumsum(life) - life
    step = np.arange(pairs) - np.repeat(first, life) + problem.birth[owner]
    column = np.full((problem.blocks, steps), -1, np.int64)
    column[owner, step] = np.arange(pairs)
    x_of_move = np.flatnonzero(step + 1 < problem.death[owner])
    move_step = step[x_of_move]
    read_owner = np.repeat(np.arange(problem.blocks), np.diff(problem.read_offset))
    x_of_read = column[read_owner, problem.read_step]
    read_group = group[problem.read_step]
    append_owner = np.repeat(np.arange(problem.blocks), np.diff(problem.append_offset))
    x_of_append = column[append_owner, problem.append_step]
    append_group = group[problem.append_step]
    is_read = np.zeros(pairs, bool)
    is_read[x_of_read] = True
    p, q = pairs, pairs + moves
    y = q + moves
    tau = y + (reads if copies.either_side else 0)
    columns = tau + groups
    near = y + np.arange(reads) if copies.either_side else x_of_read  # what is read from HBM

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
    if copies.either_side:
        index = np.arange(reads)
        add(index, y + index, 1.0)
        add(index, x_of_read, -1.0)
        close(np.full(reads, -np.inf), np.zeros(reads))

    # Every term: constant + coefficients <= tau.
    first_term_row = count
    fixed = np.bincount(group, problem.hbm_bytes, groups)
    read_bytes = np.bincount(read_group, minlength=groups) * size
    append_bytes = np.bincount(append_group, problem.append_bytes, groups)
    unit = unit or 1.0  # where nothing takes any time
    cost = setting.objective
    power = cost.power / unit
    hbm = power / setting.rates.hbm
    move_group = group[move_step]
    add(read_group, near, size * hbm)
    add(append_group, x_of_append, problem.append_bytes * hbm)
    add(move_group, p + move, size * hbm)
    if copies.demote:
        add(move_group, q + move, size * hbm)
    add(np.arange(groups), tau + np.arange(groups), -1.0)
    close(np.full(groups, -np.inf), -fixed * hbm)
    fetched = ~is_read[x_of_move] | (copies.fill == 1)
    for er, ew, mi, mo in setting.latency.term * power:
        add(read_group, near, -size * er)
        if not copies.append:
            add(append_group, x_of_append, -problem.append_bytes * ew)
        if copies.demote:
            add(move_group, q + move, size * mo)
        add(move_group[fetched], p + move[fetched], size * mi)
        add(np.arange(groups), tau + np.arange(groups), -1.0)
        close(np.full(groups, -np.inf), -(read_bytes * er + append_bytes * ew))
    first_capacity_row = count
    if problem.capacity < problem.blocks:
        add(step, np.arange(pairs), 1.0)
        close(np.full(steps, -np.inf), np.full(steps, float(problem.capacity)))

    matrix = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), (count, columns)
    ).tocsr()
    price = np.zeros(columns)
    price[tau:] = 1.0
    price[near] += size * (cost.attention_hbm - cost.attention_dram) / unit
    grown = cost.append_hbm - (1 - copies.append) * cost.append_dram
    price[x_of_append] += problem.append_bytes * grown / unit
    price[p + move] = size * (cost.promotion_hbm + fetched * cost.promotion_dram) / unit
    price[q + move] = copies.demote * size * (cost.demotion_hbm + cost.demotion_dram) / unit
    lower = np.zeros(columns)
    lower[tau:] = np.bincount(group, problem.compute_s, groups) * power
    upper = np.ones(columns)
    upper[tau:] = np.inf
    integral = np.zeros(columns, np.int64)
    integral[:pairs] = 1
    return _Model(
        price, lower, upper, integral, matrix, np.concatenate(low), np.concatenate(high),
        first_term_row, first_capacity_row, column, unit,
    )  # fmt: skip


def _placement(model: _Model, solution: F64) -> F64:
    return np.where(model.column >= 0, solution[model.column], 0.0)


def _prices(model: _Model, row_dual: F64, setting: Setting) -> Dual:
    """Prices from the duals of the rows: all >= 0, a group's summing to 1, the floor's the rest."""
    groups = len(setting.start)
    terms = row_dual[model.first_term_row : model.first_capacity_row].reshape(-1, groups).T
    terms = np.maximum(terms, 0.0)
    terms /= np.maximum(terms.sum(axis=1, keepdims=True), 1.0)
    floor = np.maximum(1.0 - terms.sum(axis=1, keepdims=True), 0.0)
    capacity = np.zeros(setting.timeline.steps)
    if model.first_capacity_row < len(row_dual):
        capacity = np.maximum(row_dual[model.first_capacity_row :], 0.0) * model.unit
    return Dual(np.hstack([terms, floor]), capacity)
