"""How long a sweep will take and how much it will write, before it is run.

A formula of the workload's geometry says which runs are longer than others; what a second of the
formula is worth on this machine, with these policies, short runs of some points tell.
"""

from typing import NamedTuple

import numpy as np

from hmsim.config.run import ReplaySpec, RunSpec
from hmsim.sweep.points import Task
from hmsim.workload.steps import Geometry

# One core of a desktop machine, to within a factor of some: Python's share of a run, a step's own
# cost, and a word of a bitset generated, and seen by a policy.
RUN_SECONDS, STEP_SECONDS, WORD_SECONDS = 1e-2, 4e-6, 5e-9
BOUND_SECONDS, PAIR_SECONDS, MOST_PAIRS = 0.05, 3e-9, 3e7  # of a dual bound; pair: block x step
PASS_SECONDS = 5e-10  # a pair of those beyond the most, generated once more and certified
REPLAY_BYTES_PER_SECOND = {"analytic": np.inf, "run": 30e9, "burst": 0.02e9}
PROBES = 4  # runs of a sweep that are tried
SAMPLED_GROUPS = 256  # replayed where as many are as the error needs, each after another one
# On disk, of the journal, the dataset and the table: whatever the size, a point, a policy of a point.
SWEEP_BYTES, POINT_BYTES, POLICY_BYTES = 50_000, 1000, 2000


def reckon(spec: RunSpec, geometry: Geometry) -> float:
    """Seconds of a run on one core, by the formula."""
    policies = len(spec.policies.names)
    words = geometry.steps * geometry.words * (1 + policies)
    seconds = RUN_SECONDS + geometry.steps * STEP_SECONDS * policies + words * WORD_SECONDS
    pairs = geometry.steps * geometry.slots
    if spec.bound.method == "dual":
        bounds = 1 if spec.replay.fidelity == "analytic" else 2  # of replays, one of their own
        seconds += bounds * BOUND_SECONDS
        seconds += bounds * (PAIR_SECONDS * min(pairs, MOST_PAIRS) + PASS_SECONDS * pairs)
    group = 1 if spec.latency.barrier == "layer" else geometry.lanes
    taken = group * replayed_groups(spec.replay, geometry.steps // group)
    read = geometry.slots * geometry.block_bytes / 2  # about half of a lane, at most
    rate = REPLAY_BYTES_PER_SECOND[spec.replay.fidelity]
    return seconds + policies * taken * read / rate


def replayed_groups(replay: ReplaySpec, groups: int) -> int:
    """Of so many barrier groups, how many go through the memories, those that come before a measured
    one among them."""
    if replay.sample == 0 and replay.error > 0:
        return min(groups, SAMPLED_GROUPS)
    period = max(1, replay.sample)
    return groups if period == 1 else min(groups, 2 * -(-groups // period))


class Reckoned(NamedTuple):
    """A run of a sweep. `place`: of one of its points, each axis from 0 to 1."""

    task: Task
    place: tuple[float, ...]
    seconds: float  # by the formula


def chosen(runs: list[Reckoned], most: int) -> list[int]:
    """The runs to probe: all of them, or some from the shortest to the longest, evenly."""
    order = sorted(range(len(runs)), key=lambda i: runs[i].seconds)
    if len(order) <= most:
        return order
    return [order[round(i * (len(order) - 1) / (most - 1))] for i in range(most)]


def seconds_of(runs: list[Reckoned], probed: dict[int, float]) -> list[float]:
    """Seconds of all runs, from those of some.

    A run that was not probed takes what the formula says, times what the probes of its neighbours
    took beyond it: the nearer two are on the axes, the more alike they are.
    """
    if not probed:
        return [run.seconds for run in runs]
    ratio = np.log([seconds / runs[i].seconds for i, seconds in probed.items()])
    places = np.array([runs[i].place for i in probed]).reshape(len(probed), -1)
    found = []
    for i, run in enumerate(runs):
        if i in probed:
            found.append(probed[i])
            continue
        weight = 1 / (((places - np.array(run.place)) ** 2).sum(axis=1) + 1e-3)
        found.append(run.seconds * float(np.exp(weight @ ratio / weight.sum())))
    return found


def wall_seconds(seconds: list[float], jobs: int) -> float:
    """Of runs on so many workers: no less than a fair share, and than the longest of them."""
    return max(sum(seconds) / jobs, max(seconds, default=0.0))
