"""A search where every pass takes all blocks: ascent on their prices and a schedule, in stages; and the
exact methods, of small instances.
"""

import time

import numpy as np

from hmsim.bound import revision
from hmsim.bound.ascent import ascend, coarse_start
from hmsim.bound.changes import Dense, Told
from hmsim.bound.exact import anneal, lp
from hmsim.bound.exact.problem import Problem
from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.bound.results import BoundResult, gap_of
from hmsim.bound.rounding import Followed, cost_of
from hmsim.bound.search import NEAR_STEPS, Search

# Passes, all by trial.
FIRST_PASSES = 200  # first stage of a whole search
LEAST_PASSES, MOST_PASSES = 1000, 4000  # second stage: within these as many as
SECOND_STAGE_PAIRS = 2e9  # go through so many pairs, a second
FIRST_MOVES = 500_000  # flips of the first stage's annealing: about 0.2 s. By trial


def exact(search: Search, method: str) -> BoundResult:
    """By HiGHS. The LP's bound is the Lagrangian's value at its prices."""
    problem = search.problem()
    lp.check_size(problem, method)
    lagrangian = search.lagrangian(1)
    if method == "milp":
        left = max(0.1, search.began + search.time_s - time.perf_counter())
        limit = None if np.isinf(left) else left
        solved = lp.solve_milp(problem, lagrangian, search.gap, limit)
        return search.result(method, solved.bound_s, solved.time_s, 0, [], None)
    solved = lp.solve_lp(problem, lagrangian)
    achievable, _ = _annealed(
        search, problem, lagrangian.setting, [solved.prices], solved.bound_s, 4 * FIRST_MOVES
    )
    return search.result(method, solved.bound_s, achievable, 0, [], solved.prices)


def find(search: Search, method: str) -> BoundResult:
    """Prices and schedules of all blocks, in stages: two, and then, if there is a time to
    spend, ever longer ones."""
    lagrangian = search.lagrangian(1)
    problem = small_problem(search)
    revised = None if problem is not None else search.revised(lagrangian.setting)
    best = coarse_start(lagrangian)
    history = list(best.history)
    achievable, moves, passes, stage = np.inf, FIRST_MOVES, FIRST_PASSES, 0
    while True:
        if method != "anneal" or stage == 0:
            found = ascend(lagrangian, best.dual, passes, stop=search.watch)
            history += [max(best.value, value) for value in found.history]
            best = max(best, found, key=lambda ascent: ascent.value)
        if stage == 0 and problem is None:
            achievable = search.by_belady(lagrangian.setting, lagrangian.grid, best.value)
        if problem is not None:
            found_s, schedule = _annealed(
                search, problem, lagrangian.setting, [best.dual], best.value, moves
            )
            achievable = search.shorter(achievable, found_s, schedule)
        elif gap_of(best.value, achievable) > search.gap:
            found_s, schedule = _revised(search, revised, lagrangian, best.dual, stage)
            achievable = search.shorter(achievable, found_s, schedule)
        if stage == 0:
            achievable = search.policies_where_misled(best.value, achievable)
        search.tell(best.value, achievable)
        met = gap_of(best.value, achievable) <= search.gap
        if met or search.late() or (stage > 0 and np.isinf(search.time_s)):
            break
        moves *= 4
        passes *= 4
        if stage == 0:
            passes = _second_passes(lagrangian)
        stage += 1
    return search.result(method, best.value, achievable, lagrangian.passes, history, best.dual)


def near(search: Search, start: Dual, share: float) -> BoundResult:
    """A `share` of the work of `find`, from the prices `start` of a machine much like this one."""
    lagrangian = search.lagrangian(1)
    setting, problem = lagrangian.setting, small_problem(search)
    best, from_start = coarse_start(lagrangian), lagrangian.value(start)
    if from_start > best.value:
        best = best._replace(dual=start, value=from_start)
    history, achievable = [*best.history, best.value], np.inf
    books = search.gathered.books
    revised = None if books is None else search.revised(setting, books)
    stages = [(_second_passes(lagrangian), 4 * FIRST_MOVES)]
    if problem is not None:  # else a schedule takes too long for two
        stages.insert(0, (FIRST_PASSES, FIRST_MOVES))
    for passes, moves in stages:
        found = ascend(
            lagrangian, best.dual, int(np.ceil(share * passes)), NEAR_STEPS, stop=search.watch
        )
        history += [max(best.value, value) for value in found.history]
        best = max(best, found, key=lambda ascent: ascent.value)
        if problem is not None:
            found_s, _ = _annealed(
                search, problem, setting, [best.dual], best.value, int(share * moves)
            )
        else:
            found_s, _ = _revised(search, revised, lagrangian, best.dual, 0, revision.FEWER_ROUNDS)
        achievable = min(achievable, found_s)
        if gap_of(best.value, achievable) <= search.gap or search.late():
            break
    return search.result("dual", best.value, achievable, lagrangian.passes, history, best.dual)


def small_problem(search: Search) -> Problem | None:
    """The problem if a dense schedule of it fits in memory."""
    geometry = search.workload.geometry
    if geometry.lanes * geometry.slots * geometry.steps > anneal.MAX_PAIRS:
        return None
    return search.problem()


def _revised(
    search: Search, revised: revision.Revised | None, lagrangian: Lagrangian, dual: Dual, stage: int,
    rounds: tuple[revision.Round, ...] = revision.ROUNDS,
) -> tuple[float, Told | None]:  # fmt: skip
    """Cost of the best schedule of blocks that choose again, or, where that is too much or there is
    no time for it, of blocks that choose once; and that schedule."""
    found, schedule = np.inf, None  # type: float, Told | None
    if revised is not None:
        found, schedule = search.choose_again(revised, dual, search.workload.seed + stage, rounds)
    if np.isinf(found):
        cut = search.late if stage else lambda: False  # the first is a schedule at least
        schedule = followed = Followed(lagrangian.setting, lagrangian.grid, dual, cut)
        found = cost_of(lagrangian.setting, followed.use)
    return found, schedule


def _annealed(
    search: Search,
    problem: Problem,
    setting: Setting,
    duals: list[Dual],
    bound_s: float,
    moves: int,
) -> tuple[float, Told | None]:
    """Cost of the best schedule that rounding and annealing find, and that."""
    schedule = anneal.Schedule(problem, setting)
    found = anneal.improve(
        schedule, duals, search.workload.seed, moves,
        lambda found: search.late() or gap_of(bound_s, found) <= search.gap,
    )  # fmt: skip
    return found, Dense(problem, schedule.x)


def _second_passes(lagrangian: Lagrangian) -> int:
    """Of a whole search's second stage."""
    wanted = SECOND_STAGE_PAIRS / max(1, lagrangian.pairs)
    return int(np.clip(wanted, LEAST_PASSES, MOST_PASSES))
