"""What a policy's step function sees and answers, and how it is compiled.

At every step t the driver calls

    step(now, hbm, own, moves)

after the reads of step t, to decide where blocks live at step t + 1. The driver, not the policy,
carries the moves out and checks each one: a number that is no block's, promoting a block that is in
HBM already or does not exist, demoting one that is not in HBM, a count of moves that cannot be, or
more residents than HBM holds is an error that names step and block. What the function sees it
cannot write to: then it does not compile. A block that dies at t + 1 is not moved, and its
capacity is free at once. A newborn that does not fit goes to DRAM. There are no moves in the last
step.
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
    """The step, and the steps ahead that an oracle may look at. Read only.

    Attributes:
        step: Number of the step, from 0.
        row: Row of `bits` that is this step's; row `row + k` is the step k later, as far as
            `ahead_tokens` of the policy reaches.
        rows: Rows of `bits` that exist.
        lane: The lane that the step reads and appends to.
        next_lane: The lane of the next step.
        lanes_of: int64 [rows], the lane of every row.
        bits: uint64 [rows, words], the read sets, over the slots of the row's lane.
        appended: int64 [appends], slots of `lane` appended to in this step.
        appended_bytes: int64 [appends], bytes appended to each.
        coming: int64 [next appends], slots of `next_lane` that the next step appends to, where
            blocks may be born.
        hbm_bytes: Bytes of other HBM reads of this step (weights).
        compute_s: Seconds that this step takes at least.
    """

    step: int
    row: int
    rows: int
    lane: int
    next_lane: int
    lanes_of: I64
    bits: U64
    appended: I64
    appended_bytes: I64
    coming: I64
    hbm_bytes: float
    compute_s: float


class Hbm(NamedTuple):
    """What exists, and is in HBM, during this step. Read only. A block's number is lane * slots +
    slot.

    Attributes:
        resident: uint64 [lanes, words], bitsets of the blocks in HBM.
        alive: uint64 [lanes, words], bitsets of the blocks that exist.
        used: int64 [1], how many blocks are in HBM.
        capacity: How many blocks HBM holds.
    """

    resident: U64
    alive: U64
    used: I64
    capacity: int


class Own(NamedTuple):
    """The policy's own memory, made by `Policy.own`, kept from step to step.

    The compiled driver knows one type of step function, so all policies share these three arrays
    and lay out what they need in them; a table in the docstring of each policy's class says how.

    Attributes:
        bits: uint64 [any, any], as a rule rows of `words` for bitsets.
        ints: int64 [any].
        floats: float64 [any].
    """

    bits: U64
    ints: I64
    floats: np.ndarray


class Moves(NamedTuple):
    """The answer, written by the step function.

    Attributes:
        promote: int64 [blocks], numbers of the blocks to bring into HBM; the first `count[0]`
            count.
        demote: int64 [blocks], numbers of the blocks to send to DRAM; the first `count[1]` count.
        place: int64 [next appends]. `place[j]` = 0 sends slot `coming[j]`, if it is born at the
            next step, to DRAM; 1, as it stands when `step` is called, to HBM as long as capacity is
            left.
        count: int64 [2], how many promotions and demotions there are; 0 at first.
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
    """Compile a step function for the driver. Its machine code is cached on disk.

    Args:
        function: Takes (now, hbm, own, moves), see `Now`, `Hbm`, `Own` and `Moves`, and returns
            nothing. It is compiled by Numba, without Python objects.

    Returns:
        The compiled function.

    Raises:
        TypeError: The function does not compile; one line says why.
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
