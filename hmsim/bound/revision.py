"""A schedule in which no block would rather be elsewhere, from prices: blocks choose again and again.

Prices alone are no guide where they are ties: where a bound splits reads between the memories, a
block is read as cheaply from either, and what decides is what the others do. So each block in turn
takes its cheapest path at what its deeds cost beside all others' (`revision_kernel`), at first mixed
with the prices given, and at a price of capacity that rises with what is taken. Unlike annealing,
which tries one interval at a time, a block considers its whole life at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim.bound import revision_kernel as kernel
from hmsim.bound.ascent import capacity_unit
from hmsim.bound.exact.anneal_kernel import KINDS, group_costs
from hmsim.bound.exact.problem import Problem
from hmsim.bound.paths.tables_kernel import Prices
from hmsim.bound.prices import Dual, Setting
from hmsim.workload.steps import I64

MOST_PAIRS = 6_000_000_000  # blocks x steps: one bit each
BLOCKS_A_CALL = 256  # between two looks at the clock, and at what capacity costs, at most
CALLS_A_FILL = (
    256  # calls whose blocks would fill HBM, at least: what it costs changes little in one
)
LEAST_FOR_RANGES = 8  # blocks a call: for fewer, to sum up ranges takes longer than their steps do
LEAST_CAPACITY_PRICE = 1e-4  # reads from DRAM, a block and step: where prices say that it is free
MOST_DEARER = 1e3  # factor on the price of capacity, where it is overdrawn


class Round(NamedTuple):
    """One choice of all blocks; `revision_kernel.Mood` has the other fields."""

    doublings: int
    given: float
    dearer: float  # power of the share of HBM that is taken, by which its price rises
    hard: bool


# By trial, on a real model's selection; no sweep of it is kept. Softer first rounds, where HBM may be
# overdrawn, make shorter schedules; a price of capacity that follows too soon what is taken swings.
ROUNDS = (
    Round(3, 0.9, 8.0, False),
    Round(3, 0.7, 8.0, False),
    Round(3, 0.5, 8.0, False),
    Round(4, 0.2, 16.0, False),
    Round(5, 0.0, 64.0, True),
    Round(6, 0.0, 64.0, True),
    Round(kernel.EXACT, 0.0, 64.0, True),
)


# From a schedule that is good where HBM holds more: within 4 to 7 % of what all rounds find.
FEWER_ROUNDS = (ROUNDS[0], ROUNDS[2], ROUNDS[-1])


class Revised:
    """The schedule, which begins with every block in DRAM, or as one of the same workload.

    Attributes:
        problem: Whose blocks they are.
        books: Its paths, and what they add up to.
        best: The paths of the best legal schedule of the last call of `follow`, if they are kept.
    """

    def __init__(
        self, problem: Problem, setting: Setting, books: kernel.Books | None = None
    ) -> None:
        self.problem, self._setting = problem, setting
        self.best: np.ndarray | None = None
        groups = len(setting.start)
        self.books = books or kernel.Books(
            np.zeros((problem.blocks, -(-problem.steps // 64)), np.uint64),
            np.zeros(problem.steps, np.int64),
            np.zeros((groups, KINDS), np.int64),
        )
        self._margins = kernel.Margins(*np.empty((5, groups)))
        self._space = kernel.new_space(problem.steps)
        some = min(BLOCKS_A_CALL, problem.capacity // CALLS_A_FILL)
        ranges = some >= LEAST_FOR_RANGES
        self._some = some if ranges else BLOCKS_A_CALL
        self._tree = kernel.new_tree(problem.steps if ranges else 0)

    @property
    def legal(self) -> bool:
        """Whether it is within capacity."""
        return bool(self.books.used.max(initial=0) <= self.problem.capacity)

    @property
    def cost(self) -> float:
        """Seconds, or joules."""
        setting, costs = self._setting, np.empty(len(self.books.tallies))
        group_costs(
            self.books.tallies, self.problem.block_bytes, setting.demand, setting.latency,
            setting.objective, costs,
        )  # fmt: skip
        return float(costs.sum())

    def follow(
        self, dual: Dual, seed: int, rounds: tuple[Round, ...] = ROUNDS,
        stop: Callable[[], bool] = lambda: False, keeps: bool = False,
    ) -> float:  # fmt: skip
        """Go through the rounds, from these prices; the least cost of a legal schedule on the way.

        Infinite where it is stopped before there is one. `keeps` its paths as well.
        """
        rng, best = np.random.default_rng(seed), np.inf
        self.best = None
        least = LEAST_CAPACITY_PRICE * capacity_unit(self._setting)
        prices = self._setting.prices(Dual(dual.term, np.maximum(dual.capacity, least)))
        for each in rounds:
            whole = self._round(each, prices, rng.permutation(self.problem.blocks), stop)
            if self.legal and self.cost < best:
                best = self.cost
                self.best = self.books.path.copy() if keeps else None
            if not whole:
                break
        return best

    def _round(self, each: Round, prices: Prices, order: I64, stop: Callable[[], bool]) -> bool:
        """Whether all blocks have chosen."""
        problem, setting = self.problem, self._setting
        taken = np.arange(problem.blocks + 1) / max(1, problem.capacity)
        dearer = np.minimum(taken**each.dearer, MOST_DEARER)
        kernel.reckon_all(
            self.books.tallies, float(problem.block_bytes), setting.demand, setting.latency,
            setting.objective, each.doublings, self._margins,
        )  # fmt: skip
        scene = kernel.Scene(
            setting.group, np.append(setting.start, problem.steps), problem.capacity,
            float(problem.block_bytes), setting.demand, setting.latency, setting.objective,
            kernel.Mood(each.doublings, each.given, int(each.hard)), prices, dearer,
        )  # fmt: skip
        for first in range(0, len(order), self._some):
            if stop():
                return False
            kernel.choose_again(
                order[first : first + self._some], problem, scene, self.books, self._margins,
                self._tree, self._space,
            )  # fmt: skip
        return True
