"""How long a sweep will take and how much it will write, before it is run."""

from typing import NamedTuple

import numpy as np

from hmsim.config.run import RunSpec
from hmsim.workload.open import open_workload

# One core of a desktop machine, to within a factor of two or three: Python's share of a run, a
# step's own cost, and a word of a bitset generated, and seen by a policy.
RUN_SECONDS, STEP_SECONDS, WORD_SECONDS = 4e-3, 2e-6, 2.5e-9
BOUND_SECONDS, PAIR_SECONDS, MOST_PAIRS = 0.03, 1e-7, 1e7  # of a dual bound; pair: block x step
REPLAY_BYTES_PER_SECOND = {"analytic": np.inf, "run": 150e9, "burst": 0.5e9}
SAMPLED_GROUPS = 256  # replayed where as many are as the error needs, each after another one
POINT_BYTES, POLICY_BYTES = 900, 800  # of the journal, the dataset and the table


class Estimate(NamedTuple):
    """Of one point: seconds on one core, bytes on disk."""

    seconds: float
    bytes: float


def estimate(spec: RunSpec) -> Estimate:
    """From the workload's geometry; nothing is generated."""
    geometry = open_workload(spec.workload).geometry
    policies = max(1, len(spec.policies.names))
    words = geometry.steps * geometry.words * (1 + policies)
    seconds = RUN_SECONDS + geometry.steps * STEP_SECONDS * policies + words * WORD_SECONDS
    if spec.bound.method == "dual":
        pairs = min(geometry.steps * geometry.slots, MOST_PAIRS)
        bounds = 1 if spec.replay.fidelity == "analytic" else 2  # of replays, one of their own
        seconds += bounds * (BOUND_SECONDS + PAIR_SECONDS * pairs)
    group = 1 if spec.latency.barrier == "layer" else geometry.lanes
    taken = SAMPLED_GROUPS * group
    if spec.replay.sample:
        taken = min(geometry.steps, 2 * geometry.steps // spec.replay.sample)
    read = geometry.slots * geometry.block_bytes / 2  # about half of a lane, at most
    rate = REPLAY_BYTES_PER_SECOND[spec.replay.fidelity]
    seconds += policies * min(taken, geometry.steps) * read / rate
    return Estimate(seconds, POINT_BYTES + POLICY_BYTES * policies)
