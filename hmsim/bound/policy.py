"""`dual`: the best schedule that the bound's search finds, carried out move by move.

An oracle: it solves the whole workload before step 0 (see docs/placement.md). Its distance to the
bound is the certified gap.
"""

import numpy as np

from hmsim.bits import has, unpack
from hmsim.bound.changes import Changes, Dense
from hmsim.bound.exact import anneal
from hmsim.bound.search import CANDIDATES, Search
from hmsim.bound.solve import by_prices, check_call
from hmsim.bound.whole import small_problem
from hmsim.config.enumerations import GAP, PROMPTS
from hmsim.errors import InputError
from hmsim.placement import policies
from hmsim.placement.driver import EMPTY, PolicyRun, Run, Samples, capacity_blocks
from hmsim.placement.latency import Rates
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.workload.steps import I64, Steps, Workload
from hmsim.workload.windows import Window

# Own.ints, of a window: where the moves after each of its rows begin [rows + 1], and then the moves,
# 2 * block + 1 of what shall be in HBM at the next step, 2 * block of what shall not.


@policy_step
def step(now, hbm, own, moves):
    """Carry out the schedule's moves after this step."""
    slots = hbm.resident.shape[1] * 64
    resident, alive = hbm.resident.reshape(-1), hbm.alive.reshape(-1)
    for j in range(now.coming.size):
        moves.place[j] = 0
    for i in range(own.ints[now.row], own.ints[now.row + 1]):
        block, up = own.ints[i] >> 1, own.ints[i] & 1
        inside, exists = has(resident, block), has(alive, block)
        if up == 0 and inside:
            moves.demote[moves.count[1]] = block
            moves.count[1] += 1
        elif up == 1 and exists and not inside:
            moves.promote[moves.count[0]] = block
            moves.count[0] += 1
        elif up == 1 and not exists:  # born at the next step
            for j in range(now.coming.size):
                if now.coming[j] == block % slots:
                    moves.place[j] = 1


class Dual(Policy):
    """The search of `hmsim bound`, for the run's own latency model.

    Attributes:
        achievable_s: Seconds that the schedule takes by what the search says; there once it is found.
    """

    name = "dual"
    step = step
    foresight = True
    moved_options = {"variant": "latency.variant", "barrier": "latency.barrier"}

    def __init__(self, gap: float = GAP, time_s: float | None = None, moves: int = 2_000_000):
        if not (isinstance(moves, int) and moves >= 0):
            raise InputError(f"policy dual: moves: {moves!r}: a whole number from 0 up")
        if not (isinstance(gap, int | float) and 0 <= gap < 1):
            raise InputError(f"policy dual: gap: {gap!r}: a share from 0 up, below 1")
        if time_s is not None and not (isinstance(time_s, int | float) and time_s > 0):
            raise InputError(f"policy dual: time_s: {time_s!r}: seconds, above 0")
        self._gap, self._time_s, self._moves = float(gap), time_s, moves

    def start(
        self,
        workload: Workload,
        capacity: float,
        rates: Rates,
        variant: str,
        barrier: str = "layer",
        prompt: str = "oldest",
    ) -> Run:
        """Solve; see `BasePolicy.start`. The schedule says where the prompt lies."""
        capacity_blocks(workload, capacity)  # says what is wrong as every policy does
        check_call(rates, variant, barrier, self._gap, self._time_s)
        found = self._search(workload, capacity, rates, variant, barrier)
        if isinstance(found, str):
            best = policies.make(found, dict(dict(CANDIDATES)[found]))
            self.ahead_tokens = best.ahead_tokens
            order = EMPTY if prompt == EMPTY else PROMPTS[0]  # that the search took
            return best.start(workload, capacity, rates, variant, barrier, order)
        self._first = found.first()
        return _Following(self, workload, capacity, rates, variant, barrier, prompt, found)

    def prompt(self, workload, capacity, rates):
        """The prompt blocks that the schedule has in HBM at step 0."""
        return self._first & workload.prompt

    def _search(
        self, workload: Workload, capacity: float, rates: Rates, variant: str, barrier: str
    ) -> Changes | str:
        """The moves of the best schedule, or the policy whose it is. What the search took is free
        again afterwards."""
        search = Search(
            workload, rates, capacity, variant, barrier, self._gap, self._time_s,
            lambda line: self.tell(f"{self.name}: {line}"),
        )  # fmt: skip
        search.keeps_paths = True
        problem = small_problem(search)
        found = by_prices(search, "dual" if problem is None else "anneal")
        policy, schedule, self.achievable_s = found.policy, search.schedule, found.achievable_s
        if problem is not None:
            assert found.prices is not None  # only `milp` has none
            longer = anneal.Schedule(problem, search.setting())
            seconds = anneal.improve(longer, [found.prices], workload.seed, self._moves)
            if found.achievable_s is None or seconds <= found.achievable_s:
                policy, schedule, self.achievable_s = None, Dense(problem, longer.x), seconds
        if policy is not None:
            return policy
        assert schedule is not None  # else a policy's is the best
        changes = Changes(workload.geometry)
        self.tell(f"{self.name}: the schedule is made again, move by move")
        schedule.tell(changes)
        changes.finish()
        return changes


class _Following(PolicyRun):
    """The driver, which finds in `Own.ints` the moves of its window, and births at step 0 likewise."""

    def __init__(self, policy: Dual, workload: Workload, capacity: float, rates: Rates,
                 variant: str, barrier: str, prompt: str, changes: Changes):  # fmt: skip
        super().__init__(policy, workload, capacity, rates, variant, barrier, prompt)
        self._changes = changes

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, Samples]:
        first = window.steps.first
        moves = self._changes.between(first, first + window.rows)
        self._own = Own(np.zeros((1, 1), np.uint64), moves, np.zeros(1))
        return super().advance(window, wanted)

    def _place_first(self, steps: Steps) -> None:
        appended = steps.append_slot[: steps.append_offset[1]]
        there = unpack(self._changes.first()[steps.lane[0]])
        self._moves.place[: len(appended)] = there[appended]
