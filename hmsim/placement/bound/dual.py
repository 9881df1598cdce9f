"""The Lagrangian of the placement problem, its gradient, and prices that raise it.

Each barrier group splits one second's worth of price over the arms of its time (HBM, the arms of
t_e, the compute floor); each step prices a block's room in HBM. Whatever the prices, each block's
cheapest path alone, less what all the room costs, cannot exceed the time of any schedule.
"""

from typing import NamedTuple

import numpy as np

from hmsim.placement.bound.dual_kernel import Use, backward, forward, new_paths, new_use, settle
from hmsim.placement.bound.segments import Stored, Timeline, in_threads
from hmsim.placement.bound.tables_kernel import Prices, build, new_tables
from hmsim.placement.traffic import INCLUSIVE, Rates, dram_arms, group_starts
from hmsim.workload.stream import F64, I64


class Dual(NamedTuple):
    """Prices: of arms [G, arms + floor], >= 0, rows that sum to 1; of room [T], s a block, >= 0."""

    arm: F64
    room: F64


class Setting:
    """The problem but for its blocks: what turns prices of arms into prices of what blocks do."""

    def __init__(
        self,
        timeline: Timeline,
        rates: Rates,
        variant: str,
        barrier: str,
        block_bytes: int,
        room: int,
    ) -> None:
        self.timeline, self.rates, self.block_bytes, self.room = timeline, rates, block_bytes, room
        self.inclusive = variant in INCLUSIVE
        self.arms = dram_arms(variant, rates)
        self.start: I64 = group_starts(timeline.token, barrier)
        groups = len(self.start)
        self.group: I64 = np.repeat(
            np.arange(groups), np.diff(self.start, append=timeline.steps)
        ).astype(np.int64)
        # Seconds of each arm if every block stays in DRAM: the costs of paths are relative to it.
        reads, grown = block_bytes * timeline.reads.astype(float), timeline.append_bytes
        columns = [timeline.hbm_bytes / rates.hbm]
        columns += [er * reads + ew * grown for er, ew, _, _ in self.arms]
        columns.append(timeline.compute_s)
        self.all_in_dram: F64 = np.stack([self.by_group(column) for column in columns], axis=1)

    def by_group(self, values: np.ndarray) -> F64:
        """Sums over each group's steps."""
        values = values.astype(np.float64)
        return values if len(self.start) == len(values) else np.add.reduceat(values, self.start)

    def prices(self, dual: Dual) -> Prices:
        """What the prices of arms and room make a block's deeds cost."""
        size = float(self.block_bytes)
        arm = np.ascontiguousarray(dual.arm.T)
        hbm = arm[0] / self.rates.hbm
        er, ew, mi, mo = self.arms.T @ arm[1:-1]
        if self.inclusive:
            columns = (
                size * np.minimum(hbm - er, 0.0), hbm,
                size * (hbm + mi), size * hbm, np.zeros_like(hbm),
            )  # fmt: skip
        else:
            move = size * (hbm + mi)
            columns = (size * (hbm - er), hbm - ew, move, move, size * (hbm + mo))
        read, append, promote, fill, demote = (column[self.group] for column in columns)
        return Prices(read, append, dual.room, promote, fill, demote)

    def constant(self, dual: Dual) -> float:
        """The Lagrangian without its blocks."""
        return float((dual.arm * self.all_in_dram).sum() - self.room * dual.room.sum())

    def gradient(self, dual: Dual, use: Use, weight: float) -> Dual:
        """Seconds of each arm and occupancy less room if blocks do as in `use`, `weight` times."""
        size = self.block_bytes * weight
        steps = self.timeline.steps
        by_step = np.bincount(self.timeline.cell_step, np.cumsum(use.hit)[:-1], steps)
        hits = size * self.by_group(by_step)
        promoted, filled, demoted = (
            size * self.by_group(moves[:steps]) for moves in (use.promote, use.fill, use.demote)
        )
        grown = weight * self.by_group(use.append[:steps])
        arm = self.all_in_dram.copy()
        if self.inclusive:
            hbm = dual.arm[:, 0] / self.rates.hbm
            er = dual.arm[:, 1:-1] @ self.arms[:, 0]
            hits = np.where(hbm < er, hits, np.where(hbm > er, 0.0, hits / 2))
            arm[:, 0] += (hits + promoted + filled + grown) / self.rates.hbm
            fetched, demoted, written = promoted, np.zeros_like(demoted), np.zeros_like(grown)
        else:
            fetched, written = promoted + filled, grown
            arm[:, 0] += (hits + fetched + demoted + grown) / self.rates.hbm
        for k, (er, ew, mi, mo) in enumerate(self.arms):
            arm[:, 1 + k] += mi * fetched + mo * demoted - er * hits - ew * written
        change = use.arrive.copy()
        change[1:] += use.promote[:-1] + use.fill[:-1] - use.demote[:-1]
        occupancy = np.cumsum(change)[:-1].astype(np.float64)
        return Dual(arm, weight * occupancy - float(self.room))


class Lagrangian:
    """Evaluates prices on stored blocks, each of which stands for `weight` blocks."""

    def __init__(
        self, setting: Setting, stored: list[Stored], birth: I64, weight: float = 1.0
    ) -> None:
        self.setting, self.weight = setting, weight
        self._stored = [part for part in stored if len(part.segments.block)]
        self._birth = birth
        timeline = setting.timeline
        cells = int(np.diff(timeline.cell_offset).max())
        self._tables = [new_tables(1, cells) for _ in self._stored]
        self._trace = [np.empty(len(part.segments.block), np.uint8) for part in self._stored]
        self._paths = new_paths(len(birth))
        self._base = np.zeros(timeline.lanes, np.int64)
        self.passes = 0

    @property
    def segments(self) -> int:
        """Segments that a pass goes through."""
        return sum(len(trace) for trace in self._trace)

    def __call__(self, dual: Dual) -> tuple[float, Dual]:
        """The value at `dual` and a supergradient."""
        timeline = self.setting.timeline
        prices = self.setting.prices(dual)
        self._paths.dram[:], self._paths.hbm[:] = 0.0, 0.0
        uses = [new_use(timeline.steps, len(timeline.cell_step)) for _ in self._stored]
        in_threads(lambda part: self._run(part, prices, uses[part]), len(self._stored))
        use = new_use(timeline.steps, len(timeline.cell_step))
        for part in uses:
            for total, own in zip(use, part, strict=True):
                total += own
        # `state` is now the one at birth.
        np.add.at(use.arrive, self._birth[self._paths.state == 1], 1)
        self.passes += 1
        cost = float(np.minimum(self._paths.dram, self._paths.hbm).sum())
        value = self.setting.constant(dual) + self.weight * cost
        return value, self.setting.gradient(dual, use, self.weight)

    def _run(self, part: int, prices: Prices, use: Use) -> None:
        timeline, paths = self.setting.timeline, self._paths
        segments, lane_offset = self._stored[part]
        tables, trace = self._tables[part], self._trace[part]
        for lane in range(timeline.lanes):
            begin, end = lane_offset[lane], lane_offset[lane + 1]
            if begin == end:
                continue
            build(timeline.cells_of(lane), timeline.steps, prices, tables.of(0))
            forward(
                begin, end, segments, lane, self._base, timeline.cell_offset, timeline.cell_step,
                prices, tables, paths, trace,
            )  # fmt: skip
            settle(begin, end, segments.block, paths)
            backward(
                begin, end, segments, lane, timeline.cell_offset, timeline.cell_step,
                prices, tables, paths, trace, use,
            )  # fmt: skip
