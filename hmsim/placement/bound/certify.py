"""The certifying pass: the Lagrangian over every block of a workload, streamed and never stored."""

import numpy as np

from hmsim.placement.bound.dual import Dual, Setting
from hmsim.placement.bound.dual_kernel import Segments, forward, new_paths
from hmsim.placement.bound.segments import (
    close,
    cut,
    in_threads,
    open_segments,
    parts_of,
    rows_of,
    sample_of_slots,
)
from hmsim.placement.bound.tables_kernel import SPAN, build, new_tables
from hmsim.placement.window import Window
from hmsim.workload.stream import Chunk, Geometry


class Certificate:
    """Feed it every chunk of a workload, in order; `value()` is then a lower bound on its time.

    Whatever the prices, no schedule of the setting's variant and barrier takes less. Memory: two
    numbers a block, and tables of the next SPAN cells of each lane.
    """

    def __init__(self, setting: Setting, geometry: Geometry, dual: Dual, parts: int = 1) -> None:
        self._setting, self._geometry, self._dual = setting, geometry, dual
        self._prices = setting.prices(dual)
        self._parts = parts_of(geometry, parts)
        timeline = setting.timeline
        self._base = [np.zeros(timeline.lanes, np.int64) for _ in self._parts]
        cells = min(SPAN, int(np.diff(timeline.cell_offset).max()))
        self._tables = [new_tables(part.last_lane - part.first_lane, cells) for part in self._parts]
        for i, part in enumerate(self._parts):
            for lane in range(part.first_lane, part.last_lane):
                self._build(i, lane)
        self._paths = new_paths(geometry.lanes * geometry.slots)
        sample = sample_of_slots(geometry, 1)
        self._open = open_segments(geometry, sample, int(timeline.lane[0]), len(self._parts))

    def feed(self, chunk: Chunk | Window) -> None:
        """Take every block through the chunk's steps, or the window's own ones."""
        rows = rows_of(chunk)

        def work(i: int) -> None:
            for segments, lane in cut(rows, self._parts[i], self._open[i]):
                self._forward(i, segments)
                if lane >= 0:
                    self._base[i][lane] += SPAN
                    self._build(i, lane)

        in_threads(work, len(self._parts))

    def value(self) -> float:
        """The bound in seconds, once every chunk has been fed."""
        for i, (part, state) in enumerate(zip(self._parts, self._open, strict=True)):
            self._forward(i, close(part, state))
        paths = self._paths
        return self._setting.constant(self._dual) + float(np.minimum(paths.dram, paths.hbm).sum())

    def _forward(self, i: int, segments: Segments) -> None:
        timeline = self._setting.timeline
        forward(
            0, len(segments.block), segments, self._parts[i].first_lane, self._base[i],
            timeline.cell_offset, timeline.cell_step, self._prices, self._tables[i], self._paths,
            np.empty(len(segments.block), np.uint8),
        )  # fmt: skip

    def _build(self, i: int, lane: int) -> None:
        """Tables of a lane from its base on."""
        timeline = self._setting.timeline
        cells, base = timeline.cells_of(lane), self._base[i][lane]
        end = cells[base + SPAN] if base + SPAN < len(cells) else timeline.steps
        tables = self._tables[i].of(lane - self._parts[i].first_lane)
        build(cells[base : base + SPAN], int(end), self._prices, tables)
