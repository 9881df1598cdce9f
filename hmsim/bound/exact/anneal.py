"""A schedule that exists, as cheap as can be found: what the bound is compared with."""

from collections.abc import Callable

import numpy as np

from hmsim.bound.exact import anneal_kernel as kernel
from hmsim.bound.exact.problem import Problem
from hmsim.bound.paths.runs_kernel import byte_count
from hmsim.bound.prices import Dual, Setting
from hmsim.workload.steps import F64, I64

MAX_PAIRS = 40_000_000  # blocks x steps, of the dense schedule: some bytes each
ROUNDS = 4  # of annealing, each warm again. By trial


class Schedule:
    """A 0/1 schedule of a problem, always within capacity: `x` uint8 [N, T] and its cost.

    It begins with every block in DRAM.
    """

    def __init__(self, problem: Problem, setting: Setting) -> None:
        shape = (problem.blocks, problem.steps)
        owner = np.arange(problem.blocks)
        read = np.zeros(shape, np.uint8)
        grown: np.ndarray = np.zeros(shape, byte_count(problem.block_bytes))
        read[np.repeat(owner, np.diff(problem.read_offset)), problem.read_step] = 1
        appended = np.repeat(owner, np.diff(problem.append_offset))
        grown[appended, problem.append_step] = problem.append_bytes
        self._instance = kernel.Instance(
            problem.birth,
            problem.death,
            read,
            grown,
            setting.group,
            problem.capacity,
            problem.block_bytes,
        )
        self._setting = setting
        self.x = np.zeros(shape, np.uint8)
        self._settle()

    @property
    def cost(self) -> float:
        """Seconds, or joules."""
        return float(self._costs.sum())

    def follow(self, dual: Dual, order: I64) -> None:
        """Every block in `order` takes its cheapest path at these prices while there is room."""
        self.x[:] = 0
        used = np.zeros(self.x.shape[1], np.int64)
        prices = self._setting.prices(dual)
        kernel.follow_prices(order, self._instance, prices, used, self.x)
        self._settle()

    def anneal(self, moves: int, warm: float, cold: float, seed: int) -> int:
        """Try `moves` flips at falling temperatures, in seconds or joules; returns how many were
        accepted."""
        if not len(self.x):
            return 0
        return kernel.anneal(
            moves, warm, cold, seed, self._instance, self._setting.demand, self._setting.latency,
            self._setting.objective,
            self._used, self._tallies, self._costs, self.x,
        )  # fmt: skip

    def take(self, x: np.ndarray) -> None:
        """Become the schedule `x` [N, T], which must be within capacity."""
        self.x = x.astype(np.uint8)
        self._settle()

    def _settle(self) -> None:
        """Tallies, occupancy and costs from `x` alone."""
        groups = len(self._setting.start)
        self._used: I64 = self.x.sum(axis=0, dtype=np.int64)
        self._tallies = np.zeros((groups, kernel.KINDS), np.int64)
        kernel.tally(self._instance, self._setting.latency.copies, self.x, self._tallies)
        self._costs: F64 = np.empty(groups)
        setting, size = self._setting, self._instance.block_bytes
        kernel.group_costs(
            self._tallies, size, setting.demand, setting.latency, setting.objective, self._costs
        )


def improve(
    schedule: Schedule,
    duals: list[Dual],
    seed: int,
    moves: int,
    stop: Callable[[float], bool] = lambda cost: False,
) -> float:
    """Round each of the prices, anneal the best of these schedules, and return its cost.

    At most ROUNDS rounds of `moves` flips, each starting warm again but half as warm, until one
    gains less than 1 part in 10,000 or `stop(cost)`.
    """
    rng = np.random.default_rng(seed)
    best_cost, best = schedule.cost, schedule.x.copy()
    for dual in duals:
        for _ in range(2):
            schedule.follow(dual, rng.permutation(len(schedule.x)))
            if schedule.cost < best_cost:
                best_cost, best = schedule.cost, schedule.x.copy()
    warm = 0.1 * best_cost / max(1, schedule.x.shape[1])
    schedule.take(best)
    for _ in range(ROUNDS):
        if stop(best_cost):
            break
        schedule.anneal(moves, warm, warm / 1000, int(rng.integers(2**62)))
        gained = schedule.cost < best_cost * (1 - 1e-4)
        if schedule.cost < best_cost:
            best_cost, best = schedule.cost, schedule.x.copy()
        if not gained:
            break
        schedule.take(best)
        warm /= 2
    schedule.take(best)
    return best_cost
