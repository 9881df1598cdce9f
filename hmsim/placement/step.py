"""What a policy's step function sees and answers, and how it is compiled.

At every step t the driver calls

    step(now, hbm, own, moves)

after the reads of step t, to decide where blocks live at step t + 1. The driver, not the policy,
carries the moves out and checks each one: promoting a block that is in HBM already or does not
exist, demoting one that is not in HBM, or more residents than HBM holds is an error that names step
and block. A block that dies at t + 1 is not moved, and its room is free at once. A newborn that
does not fit goes to DRAM. There are no moves in the last step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import typeof, types

from hmsim.jit import compiled_for
from hmsim.workload.steps import I64, U64


class Now(NamedTuple):
    """The step, and the steps ahead that an oracle may look at.

    Row `row` of `bits` is the read set of this step, over the slots of lane `lane`; row `row + k`
    is the step k later (as far as `ahead_tokens` of the policy reaches). `coming` are the slots of
    lane `next_lane` that the next step appends to, where blocks may be born.
    """

    step: int
    row: int
    rows: int  # rows of `bits` that exist
    lane: int
    next_lane: int
    lanes_of: I64  # [rows] lane of every row
    bits: U64  # [rows, words]
    appended: I64  # slots of `lane` appended to in this step
    appended_bytes: I64  # likewise
    coming: I64
    hbm_bytes: float  # other HBM reads of this step (weights)
    compute_s: float  # its compute floor


class Hbm(NamedTuple):
    """What exists, and is in HBM, during this step. Read only; blocks are `lane * slots + slot`."""

    resident: U64  # [lanes, words] bitsets
    alive: U64  # [lanes, words]
    used: I64  # [1] blocks resident
    capacity: int  # blocks


class Own(NamedTuple):
    """The policy's own memory, made by `Policy.own`, kept from step to step."""

    bits: U64  # [any, words]
    ints: I64
    floats: np.ndarray  # float64


class Moves(NamedTuple):
    """The answer. `count` = [promotions, demotions].

    `place[j]` = 0 sends slot `coming[j]`, if it is born at the next step, to DRAM; 1, as it stands
    when `step` is called, to HBM while there is room.
    """

    promote: I64
    demote: I64
    place: I64
    count: I64  # type: ignore[assignment]  # over tuple.count


_I1 = types.Array(types.int64, 1, "C")
_U2 = types.Array(types.uint64, 2, "C")
_one, _two = np.zeros(1, np.int64), np.zeros((1, 1), np.uint64)
STEP = types.void(
    typeof(Now(0, 0, 0, 0, 0, _one, _two, _one, _one, _one, 0.0, 0.0)),
    typeof(Hbm(_two, _two, _one, 0)),
    typeof(Own(_two, _one, np.zeros(1))),
    typeof(Moves(_one, _one, _one, _one)),
)


def policy_step(function: Callable) -> Callable:
    """Compile a step function for the driver; cached on disk."""
    return compiled_for(STEP)(function)
