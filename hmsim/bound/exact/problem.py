"""The placement problem of an instance that fits in memory, and the time of a given schedule.

`Problem` is block-centric: what reads, grows and ends each block. `schedule_time` evaluates a 0/1
schedule straight from the definition, without any of the machinery of the bounds, so that it can
judge them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.bits import unpack
from hmsim.errors import InputError
from hmsim.placement.latency import INCLUSIVE, VARIANTS, Rates
from hmsim.workload.steps import F64, I64, Steps, Workload, group_starts

BARRIERS = ("layer", "token")
MAX_CELLS = 50_000_000  # of a dense schedule


class Problem(NamedTuple):
    """Blocks that are ever read or appended to, over T steps. Ragged data are CSR by block.

    The others never gain from HBM, so any optimum leaves them in DRAM at no cost.
    """

    block_bytes: int
    room: int  # blocks that HBM holds beside what is resident
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
    def cells(self) -> int:
        """Pairs of a block and a step at which it is alive."""
        return int((self.death - self.birth).sum())


def check_setting(variant: str, barrier: str, rates: Rates) -> None:
    """InputError unless variant and barrier are known and the rates are positive."""
    if variant not in VARIANTS:
        raise InputError(f"variant: {variant!r} is not one of {', '.join(VARIANTS)}")
    if barrier not in BARRIERS:
        raise InputError(f"barrier: {barrier!r} is not one of {', '.join(BARRIERS)}")
    for name, rate in rates._asdict().items():
        if not rate > 0:
            raise InputError(f"{name} bandwidth: {rate!r} must be above zero")


def room_for_blocks(capacity: float, resident_bytes: float, block_bytes: int, blocks: int) -> int:
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
        if total > MAX_CELLS:
            raise InputError(
                f"workload: over {MAX_CELLS:,} reads do not fit in memory; "
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
        room_for_blocks(capacity, geometry.resident_bytes, geometry.block_bytes, every),
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


def schedule_time(
    problem: Problem, schedule: NDArray, rates: Rates, variant: str, barrier: str
) -> float:
    """Seconds of a 0/1 schedule [N, T] (block n in HBM while step t runs).

    With inclusive copies a block in HBM may be read from either side; each group takes the best
    real split. InputError where the schedule holds blocks that are not alive or breaks capacity.
    """
    x = np.asarray(schedule).astype(bool)
    alive = alive_mask(problem)
    if x.shape != alive.shape:
        raise InputError(f"schedule: shape {x.shape}, expected blocks x steps {alive.shape}")
    if (x & ~alive).any():
        block, step = np.argwhere(x & ~alive)[0]
        raise InputError(f"schedule: block {block} is in HBM at step {step}, where it is not alive")
    if (x.sum(axis=0) > problem.room).any():
        step = int(np.argmax(x.sum(axis=0) > problem.room))
        raise InputError(
            f"schedule: {int(x[:, step].sum())} blocks in HBM at step {step}, room for "
            f"{problem.room}"
        )
    size = float(problem.block_bytes)
    owner = np.repeat(np.arange(problem.blocks), np.diff(problem.read_offset))
    r = np.zeros(x.shape, bool)
    r[owner, problem.read_step] = True
    owner = np.repeat(np.arange(problem.blocks), np.diff(problem.append_offset))
    w = np.zeros(x.shape)
    w[owner, problem.append_step] = problem.append_bytes

    both = alive[:, :-1] & alive[:, 1:]
    into = np.pad(both & ~x[:, :-1] & x[:, 1:], ((0, 0), (0, 1)))
    out = np.pad(both & x[:, :-1] & ~x[:, 1:], ((0, 0), (0, 1)))
    inclusive = variant in INCLUSIVE
    start = group_starts(problem.token, barrier)

    def per_group(values: NDArray) -> F64:
        return np.add.reduceat(values.astype(np.float64), start)

    hits, reads = per_group(size * (r & x).sum(axis=0)), per_group(size * r.sum(axis=0))
    hw = per_group((w * x).sum(axis=0))
    ew = per_group(w.sum(axis=0)) if inclusive else per_group((w * ~x).sum(axis=0))
    promoted = per_group(size * into.sum(axis=0))
    mi = per_group(size * (into & ~r).sum(axis=0)) if inclusive else promoted
    mo = np.zeros_like(mi) if inclusive else per_group(size * out.sum(axis=0))
    fixed = per_group(problem.hbm_bytes)
    floor = per_group(problem.compute_s)

    def time(from_hbm: F64) -> F64:
        t_h = (fixed + from_hbm + hw + promoted + mo) / rates.hbm
        t_e = _dram_time(reads - from_hbm, ew, mi, mo, rates, variant)
        return np.maximum(np.maximum(t_h, t_e), floor)

    if not inclusive:
        return float(time(hits).sum())
    # t_h rises and t_e falls with what is taken from HBM, so the best is where they cross.
    low, high = np.zeros_like(hits), hits.copy()
    for _ in range(200):
        middle = (low + high) / 2
        t_h = (fixed + middle + hw + promoted) / rates.hbm
        crossed = t_h >= _dram_time(reads - middle, ew, mi, mo, rates, variant)
        low, high = np.where(crossed, low, middle), np.where(crossed, middle, high)
    return float(np.minimum(time(low), time(high)).sum())


def _dram_time(er: F64, ew: F64, mi: F64, mo: F64, rates: Rates, variant: str) -> F64:
    """t_e of the variant, from its definition."""
    _, bk_read, bk_write, bd = rates
    if variant == "text":
        moves = np.maximum(np.maximum((ew + mo) / bk_write, mi / bk_read), (ew + mi + mo) / bd)
        return er / min(bk_read, bd) + moves
    if variant == "code":
        if bk_read >= bd:
            return np.maximum((er + mi + ew) / bd, ew / bk_write)
        return np.maximum((er + mi) / min(bk_read, bd), ew / min(bk_write, bd - bk_read))
    link = np.maximum((er + mi) / bk_read, (ew + mo) / bk_write)
    return np.maximum(link, (er + ew + mi + mo) / bd)


def _by_block(number: I64, block: I64, step: I64) -> tuple[I64, I64]:
    """CSR offsets, and the order that sorts events by block and then step."""
    order = np.lexsort((step, block))
    offset = np.searchsorted(block[order], np.append(number, np.iinfo(np.int64).max))
    return offset.astype(np.int64), order
