"""What a policy's step function sees and answers, and how it is compiled.

At every step t the driver calls

    step(now, hbm, own, moves)

after the reads of step t, to decide where blocks live at step t + 1. The driver, not the policy,
carries the moves out and checks each one: a number that is no block's, promoting a block that is in
HBM already or does not exist, demoting one that is not in HBM, a count of moves that cannot be, or
more residents than HBM holds is an error that names step and block. What the function sees it
cannot write to: then it does not compile. A block that dies at t + 1 is not moved, and its room is
free at once. A newborn that does not fit goes to DRAM. There are no moves in the last step.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numba.core.errors import NumbaError

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


def read_only(array: np.ndarray) -> np.ndarray:
    """The same memory as an array that cannot be written through, by compiled code either."""
    view = array.view()
    view.setflags(write=False)
    return view


_one, _two = np.zeros(1, np.int64), np.zeros((1, 1), np.uint64)
_seen, _seen_two = read_only(_one), read_only(_two)
STEP = types.void(
    typeof(Now(0, 0, 0, 0, 0, _seen, _seen_two, _seen, _seen, _seen, 0.0, 0.0)),
    typeof(Hbm(_seen_two, _seen_two, _seen, 0)),
    typeof(Own(_two, _one, np.zeros(1))),
    typeof(Moves(_one, _one, _one, _one)),
)


def policy_step(function: Callable) -> Callable:
    """Compile a step function for the driver; cached on disk.

    Raises TypeError, in one line, for a function that does not compile.
    """
    try:
        return compiled_for(STEP)(function)
    except NumbaError as error:
        text = re.sub("\x1b\\[[0-9;]*m", "", str(error))
        if re.search(r"setitem\(readonly array|Cannot modify readonly", text):
            reason = "it writes to an array of `now` or `hbm`, which are read only"
        else:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            reason = "; ".join(lines[1:2] or lines[:1])
        raise TypeError(f"{function.__name__} does not compile: {reason}") from None
