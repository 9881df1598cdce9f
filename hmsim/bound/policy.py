"""`dual`: the schedule that the bound's own prices lead to, repaired to fit and then annealed.

An oracle: it solves the whole workload before step 0 (see docs/placement.md), so it is for
workloads whose dense schedule fits in memory. Its distance to the bound is the certified gap.
"""

import numpy as np

from hmsim.bits import has, pack
from hmsim.errors import InputError
from hmsim.placement.policies.api import Own, Policy, policy_step

# Own.ints: where each step's events begin [steps + 1], then the events: block + 1 of what shall be
# in HBM at the next step, -(block + 1) of what shall not, ascending within a step.


@policy_step
def step(now, hbm, own, moves):
    """Carry out the schedule's changes after this step."""
    slots = hbm.resident.shape[1] * 64
    resident, alive = hbm.resident.reshape(-1), hbm.alive.reshape(-1)
    for j in range(now.coming.size):
        moves.place[j] = 0
    for i in range(own.ints[now.step], own.ints[now.step + 1]):
        event = own.ints[i]
        block = abs(event) - 1
        inside, exists = has(resident, block), has(alive, block)
        if event < 0 and inside:
            moves.demote[moves.count[1]] = block
            moves.count[1] += 1
        elif event > 0 and exists and not inside:
            moves.promote[moves.count[0]] = block
            moves.count[0] += 1
        elif event > 0 and not exists:  # born at the next step
            for j in range(now.coming.size):
                if now.coming[j] == block % slots:
                    moves.place[j] = 1


class Dual(Policy):
    """Prices, rounding, annealing, for the run's own latency model."""

    name = "dual"
    step = step
    foresight = True
    moved_options = {"variant": "latency.variant", "barrier": "latency.barrier"}

    def __init__(self, moves: int = 2_000_000):
        if not (isinstance(moves, int) and moves >= 0):
            raise InputError(f"policy dual: moves: {moves!r}: a whole number from 0 up")
        self._moves = moves

    def prompt(self, workload, capacity, rates):
        """Solve; the prompt blocks that the schedule has in HBM at step 0."""
        from hmsim.bound import bound
        from hmsim.bound.exact.anneal import MAX_PAIRS, Schedule, improve
        from hmsim.bound.exact.problem import collect
        from hmsim.bound.paths.words import gather
        from hmsim.bound.prices import Setting

        shape = workload.geometry
        pairs = shape.lanes * shape.slots * shape.steps
        if pairs > MAX_PAIRS:
            raise InputError(
                f"policy dual: {pairs:,} pairs of a block and a step are too many for a dense "
                f"schedule ({MAX_PAIRS:,}); take fewer steps or larger blocks"
            )
        capacity_bytes = capacity * float(shape.block_bytes) + shape.resident_bytes
        how = (self.variant, self.barrier)
        prices = bound(workload, rates, capacity_bytes, *how, method="anneal").prices
        assert prices is not None  # only `milp` has none
        problem = collect(workload, capacity_bytes)
        setting = Setting(gather(workload, 1)[0], rates, *how, shape.block_bytes, problem.capacity)
        schedule = Schedule(problem, setting)
        improve(schedule, [prices], workload.seed, self._moves)
        self._problem, self._x = problem, schedule.x
        flags = np.zeros(shape.lanes * shape.slots, np.uint8)
        flags[problem.number[schedule.x[:, 0] == 1]] = 1
        self._prompt = workload.prompt
        return pack(flags.reshape(shape.lanes, -1)) & workload.prompt

    def own(self, geometry, capacity, rates, resident):
        """The schedule's changes by step."""
        problem, x = self._problem, self._x.astype(np.int64)
        step, number = np.arange(problem.steps), problem.number
        word = self._prompt[number // geometry.slots, number % geometry.slots // 64]
        in_prompt = (word >> (number % 64).astype(np.uint64)) & np.uint64(1) == 1
        change = np.diff(x, axis=1)  # after steps 0 .. T - 2
        change *= (step[1:] < problem.death[:, None]) & (step[1:] >= problem.birth[:, None])
        # The driver, not the schedule, placed what is born at step 0: put that right at once.
        first = (problem.birth == 0) & ~in_prompt
        if problem.steps > 1:
            change[first, 0] = 2 * x[first, 1] - 1
        when, block = np.nonzero(change.T)
        counts = np.bincount(when, minlength=problem.steps)
        offset = problem.steps + 1 + np.concatenate([[0], np.cumsum(counts)])
        events = change[block, when] * (number[block] + 1)
        ints = np.concatenate([offset, events]).astype(np.int64)
        return Own(np.zeros((1, geometry.words), np.uint64), ints, np.zeros(1))
