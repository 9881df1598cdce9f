"""The kernel that takes a window's sampled groups through the memories, one after another."""

from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from hmsim.bits import assign
from hmsim.jit import compiled_for, kernel
from hmsim.memory import superchip_kernel
from hmsim.memory.burst_state import ACTIVATIONS, ROW_HITS
from hmsim.memory.device import Extents
from hmsim.memory.sampling_kernel import LEARN, REPLAY
from hmsim.memory.superchip_kernel import CHIP, REASONS, SERVED
from hmsim.simulate.extents_kernel import Layout, most_extents, place
from hmsim.workload.steps import I64, U64, Steps

F64 = NDArray[np.float64]


class Sampled(NamedTuple):
    """The groups of a window that are replayed, and where blocks are in each of their steps."""

    first: I64  # [groups] row of the steps
    last: I64  # [groups] one past the last
    sample: I64  # [rows] which of the placements is that of a row
    before: U64  # [samples, lanes * words]
    after: U64  # [samples, lanes * words]
    moved: F64  # [rows, MOVED] bytes, see extents_kernel


class Replayed(NamedTuple):
    """What each group took: seconds [groups]; row_hits and activations [groups, 2]; bus_ticks
    [groups, 2, REASONS]."""

    seconds: F64
    row_hits: I64
    activations: I64
    bus_ticks: I64

    @classmethod
    def empty(cls, groups: int) -> "Replayed":
        return cls(
            np.zeros(groups),
            np.zeros((groups, 2), np.int64),
            np.zeros((groups, 2), np.int64),
            np.zeros((groups, 2, REASONS), np.int64),
        )


@kernel
def _with_room(extents, n, room):
    """The first n of the extents, with room for so many."""
    address, size, write = (
        np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    )  # fmt: skip
    assign(address[:n], extents.address)
    assign(size[:n], extents.size)
    assign(write[:n], extents.write)
    return Extents(address, size, write)


@kernel
def _first(extents, n):
    return Extents(extents.address[:n], extents.size[:n], extents.write[:n])


_one, _two, _three = np.zeros(1, np.int64), *(np.zeros((1,) * n, np.uint64) for n in (2, 3))
_LAYOUT = Layout(_one, _one, np.zeros(1, np.uint64), _one, _one, _one, 0, 0)
_SAMPLED = Sampled(_one, _one, _one, _two, _two, np.zeros((1, 1)))


@compiled_for(
    types.void(
        types.FunctionType(REPLAY), types.FunctionType(LEARN), CHIP, SERVED, typeof(_LAYOUT),
        typeof(Steps.empty(1)), typeof(_SAMPLED), typeof(Replayed.empty(1)),
    )
)  # fmt: skip
def replay_groups(replay, learn, chip, served, layout, steps, sampled, out):
    """Put groups through the superchip, in order. `served`: work space."""
    none = np.empty(0, np.int64)
    hbm, dram, position = Extents(none, none, none), Extents(none, none, none), none
    for group in range(len(sampled.first)):
        h = d = 0
        for row in range(sampled.first[group], sampled.last[group]):
            k, moved = sampled.sample[row], sampled.moved[row]
            before, after = sampled.before[k], sampled.after[k]
            most = max(h, d) + most_extents(layout, steps, row, before, after, moved)
            if len(position) <= most:
                hbm, dram = _with_room(hbm, h, 2 * most), _with_room(dram, d, 2 * most)
                position = np.empty(2 * most + 1, np.int64)
            h, d = place(layout, steps, row, before, after, moved, hbm, h, dram, d)
        superchip_kernel.step(
            replay, learn, chip, _first(hbm, h), _first(dram, d), position, served
        )
        out.seconds[group] = served.seconds[0]
        for memory in range(2):
            out.row_hits[group, memory] = served.counts[memory, ROW_HITS]
            out.activations[group, memory] = served.counts[memory, ACTIVATIONS]
            assign(out.bus_ticks[group, memory], served.bus_ticks[memory])
