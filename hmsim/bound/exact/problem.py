"""The placement problem of an instance that fits in memory, and the time of a given schedule.

`Problem` is block-centric: what reads, grows and ends each block. `placement_cost` evaluates what
a solver returns, schedules and shares alike, by what drivers count and the latency model.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.bits import unpack
from hmsim.bound.objective import TIME, Objective
from hmsim.config.enumerations import BARRIERS
from hmsim.errors import InputError
from hmsim.placement.latency import (
    APPEND,
    APPEND_HBM,
    COUNTS,
    DEMOTED,
    FILLED,
    HITS,
    PROMOTED,
    READS,
    RESIDENT,
    Groups,
    Rates,
    latency_of,
    variant_traffic,
)
from hmsim.workload.steps import F64, I64, Steps, Workload, group_starts

MAX_READS = 50_000_000  # of a workload, held in memory
SHARE_TOLERANCE = 1e-6  # of the capacity, by which a solver's shares may exceed it


class Problem(NamedTuple):
    """Blocks that are ever read or appended to, over T steps. Ragged data are CSR by block.

    The others never gain from HBM, so any optimum leaves them in DRAM at no cost.
    """

    block_bytes: int
    capacity: int  # blocks that HBM holds beside what is resident
    token: I64  # [T]
    hbm_bytes: F64  # [T] other HBM reads
    compute_s: F64  # [T]
    number: I64  # [N] global block number
    birth: I64  # [N] first step alive; 0 for a prompt block
    death: I64  # [N] first step no longer alive, at most T
    read_offset: I64  # [N + 1]
    read_step: I64  # ascending within a block
    append_offset: I64  # [N + 1]
    append_step: I64
    append_bytes: I64

    @property
    def steps(self) -> int:
        return len(self.token)

    @property
    def blocks(self) -> int:
        return len(self.number)

    @property
    def pairs(self) -> int:
        """Pairs of a block and a step at which it is alive."""
        return int((self.death - self.birth).sum())


def check_setting(variant: str, barrier: str, rates: Rates) -> None:
    """InputError unless variant and barrier are known and the rates are positive."""
    if barrier not in BARRIERS:
        raise InputError(f"barrier: {barrier!r} is not one of {', '.join(BARRIERS)}")
    for name, rate in rates._asdict().items():
        if not rate > 0:
            raise InputError(f"{name} bandwidth: {rate!r} must be above zero")
    latency_of(variant, rates)


def capacity_in_blocks(
    capacity: float, resident_bytes: float, block_bytes: int, blocks: int
) -> int:
    """Whole blocks that fit in `capacity` bytes beside `resident_bytes`; at most `blocks`."""
    free = capacity - resident_bytes
    if not free >= 0:
        raise InputError(
            f"capacity: {capacity:.6g} bytes cannot hold the {resident_bytes:.6g} bytes that are "
            "resident (weights); more HBM is needed"
        )
    return blocks if free >= blocks * block_bytes else int(free // block_bytes)


def collect(workload: Workload, capacity: float) -> Problem:
    """The problem of a whole workload; InputError where it would not fit in memory."""
    geometry = workload.geometry
    slots = geometry.slots
    read: list[tuple[I64, I64]] = []
    parts: list[Steps] = []
    total = 0
    for chunk in workload.chunks():
        total += int(chunk.reads.sum())
        if total > MAX_READS:
            raise InputError(
                f"workload: over {MAX_READS:,} reads do not fit in memory; "
                "use method dual, which streams them"
            )
        row, slot = np.nonzero(unpack(chunk.bits))
        read.append((chunk.first + row, chunk.lane[row] * slots + slot))
        parts.append(chunk.without_bits())

    steps = Steps.join(parts)
    read_step, read_block = (np.concatenate(a) for a in zip(*read, strict=True))
    append_step, append_block = steps.append_row, steps.append_block(slots)
    born = steps.append_born == 1
    number = np.unique(np.concatenate([read_block, append_block]))
    birth = np.zeros(len(number), np.int64)
    death = np.full(len(number), steps.rows, np.int64)
    for at, block, into in (
        (append_step[born], append_block[born], birth),
        (steps.death_row, steps.death_block, death),
    ):
        kept = np.isin(block, number)
        into[np.searchsorted(number, block[kept])] = at[kept]
    read_offset, order = _by_block(number, read_block, read_step)
    append_offset, append_order = _by_block(number, append_block, append_step)
    every = geometry.lanes * slots
    return Problem(
        geometry.block_bytes,
        capacity_in_blocks(capacity, geometry.resident_bytes, geometry.block_bytes, every),
        steps.token,
        steps.hbm_bytes,
        steps.compute_s,
        number,
        birth,
        death,
        read_offset,
        read_step[order],
        append_offset,
        append_step[append_order],
        steps.append_bytes[append_order],
    )


def alive_mask(problem: Problem) -> NDArray[np.bool_]:
    """[N, T] where each block is alive."""
    steps = np.arange(problem.steps)
    return (steps >= problem.birth[:, None]) & (steps < problem.death[:, None])


def placement_cost(
    problem: Problem, x: NDArray, rates: Rates, variant: str, barrier: str,
    objective: Objective = TIME,
) -> float:  # fmt: skip
    """Seconds (or joules) of a placement `x` [N, T]: the share of block n in HBM while step t runs.

    Shares of 0 and 1 are a schedule. InputError where blocks are in HBM that are not alive, or more
    than it holds (beyond the rounding of a solver).
    """
    held = x.sum(axis=0)
    if x.shape != (problem.blocks, problem.steps):
        raise InputError(f"placement: shape {x.shape}, expected blocks x steps")
    if x[~alive_mask(problem)].any():
        raise InputError("placement: a block is in HBM at a step where it is not alive")
    if (held > problem.capacity + SHARE_TOLERANCE * max(1, problem.capacity)).any():
        step = int(np.argmax(held))
        raise InputError(
            f"placement: {held[step]:.9g} blocks at step {step}, HBM holds {problem.capacity}"
        )
    groups = Groups(problem.hbm_bytes, problem.compute_s, group_starts(problem.token, barrier))
    counts = _counts(problem, x.astype(np.float64))
    return objective.of(variant_traffic(counts, groups, problem.block_bytes, rates, variant))


def _counts(problem: Problem, x: F64) -> F64:
    """What a placement does at each step, [T, len(COUNTS)], as a policy's driver counts it."""
    steps, owner = problem.steps, np.arange(problem.blocks)
    counts = np.zeros((steps, len(COUNTS)))
    reader = np.repeat(owner, np.diff(problem.read_offset))
    writer = np.repeat(owner, np.diff(problem.append_offset))
    read, grown = problem.read_step, problem.append_step
    alive = alive_mask(problem)
    change = np.where(alive[:, 1:] & alive[:, :-1], np.diff(x, axis=1), 0.0)
    change = np.pad(change, ((0, 0), (0, 1)))  # no moves in the last step
    rise = np.maximum(change, 0.0)
    counts[:, READS] = np.bincount(read, minlength=steps)
    counts[:, HITS] = np.bincount(read, x[reader, read], steps)
    counts[:, RESIDENT] = x.sum(axis=0)
    counts[:, APPEND] = np.bincount(grown, problem.append_bytes, steps)
    counts[:, APPEND_HBM] = np.bincount(grown, problem.append_bytes * x[writer, grown], steps)
    counts[:, PROMOTED] = rise.sum(axis=0)
    counts[:, FILLED] = np.bincount(read, rise[reader, read], steps)
    counts[:, DEMOTED] = np.maximum(-change, 0.0).sum(axis=0)
    return counts


def _by_block(number: I64, block: I64, step: I64) -> tuple[I64, I64]:
    """CSR offsets, and the order that sorts events by block and then step."""
    order = np.lexsort((step, block))
    offset = np.searchsorted(block[order], np.append(number, np.iinfo(np.int64).max))
    return offset.astype(np.int64), order
