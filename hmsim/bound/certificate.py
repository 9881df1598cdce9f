"""The certifying pass: the Lagrangian over every block of a workload, streamed and never stored."""

from typing import Protocol

import numpy as np

from hmsim.bound.paths.runs import close, cut, open_segments, parts_of
from hmsim.bound.paths.runs_kernel import Segments, forward
from hmsim.bound.paths.tables_kernel import SPAN, build, new_tables
from hmsim.bound.paths.words import Events, events_of, new_events, sort_events
from hmsim.bound.paths.words_kernel import stream
from hmsim.bound.prices import Dual, Setting
from hmsim.jit import in_threads
from hmsim.workload.steps import Geometry, Steps

FEW_CHANGES = 1 / 64  # of a block's stretches: below, runs of reads are cheaper than the stretches


class Certificate:
    """Feed it every chunk of a workload, in order; `value()` is then a lower bound on its time.

    Whatever the prices, no schedule of the setting's variant and barrier takes less. Memory: two
    numbers a block, and tables of prices. Blocks are taken stretch by stretch, all in step, or,
    where their reads change seldom, by runs of reads; the first chunk decides.
    """

    def __init__(self, setting: Setting, geometry: Geometry, dual: Dual, parts: int = 1) -> None:
        self._setting, self._geometry, self._dual = setting, geometry, dual
        self._parts = parts
        self._pass: _Pass | None = None

    def feed(self, steps: Steps) -> None:
        """Take every block through these steps."""
        if self._pass is None:
            kind = _Runs if _changes(steps) < FEW_CHANGES else _Stretches
            self._pass = kind(self._setting, self._geometry, self._dual, self._parts)
        self._pass.feed(steps)

    def value(self) -> float:
        """The bound in seconds, once every chunk has been fed."""
        constant = self._setting.constant(self._dual)
        return constant if self._pass is None else constant + self._pass.cost()


class _Pass(Protocol):
    def feed(self, steps: Steps) -> None: ...

    def cost(self) -> float:
        """Of all blocks' cheapest paths, relative to lives in DRAM."""
        ...


class _Stretches:
    """All blocks together, stretch by stretch.

    A lane's last stretch waits for the next chunk, because blocks may still die in it.
    """

    def __init__(self, setting: Setting, geometry: Geometry, dual: Dual, parts: int) -> None:
        self._setting, self._geometry = setting, geometry
        self._prices = setting.prices(dual)
        self._parts = parts_of(geometry, parts)
        timeline = setting.timeline
        self._tables = []
        for lane in range(timeline.lanes):
            stretches = timeline.stretches_of(lane)
            self._tables.append(new_tables(1, len(stretches), 1).of(0))
            build(stretches, timeline.steps, self._prices, self._tables[-1])
        self._ahead, self._dram = np.zeros((2, geometry.lanes, geometry.slots))
        self._waiting = np.zeros((geometry.lanes, geometry.words), np.uint64)
        self._done = np.zeros(geometry.lanes, np.int64)  # stretches
        self._events = new_events()

    def feed(self, steps: Steps) -> None:
        timeline = self._setting.timeline
        end = steps.first + steps.rows
        events = [self._events, events_of(steps, self._geometry.slots, timeline)]
        own = [np.flatnonzero(steps.lane == lane) for lane in range(timeline.lanes)]
        upto = np.array(
            [
                np.searchsorted(timeline.stretches_of(lane), end) - 1
                for lane in range(timeline.lanes)
            ]
        )
        joined = Events(*(np.concatenate(column) for column in zip(*events, strict=True)))
        ripe = joined.stretch < upto[joined.block // self._geometry.slots]
        self._advance(steps, own, upto, Events(*(column[ripe] for column in joined)))
        self._events = Events(*(column[~ripe] for column in joined))

    def cost(self) -> float:
        none = np.zeros(0, np.int64)
        upto = np.diff(self._setting.timeline.stretch_offset)
        empty = Steps.empty(self._geometry.words)
        self._advance(empty, [none] * len(upto), upto, self._events)
        return float((self._dram + np.minimum(self._ahead, 0.0)).sum())

    def _advance(self, steps: Steps, own: list, upto: np.ndarray, events: Events) -> None:
        """All lanes up to, without, stretches `upto`; of a lane's `own` rows the last one waits."""
        geometry, timeline = self._geometry, self._setting.timeline
        lane_of = events.block // geometry.slots
        sources, ordered = [], []
        for lane in range(geometry.lanes):
            # Row of each stretch; -1 for the one that has waited.
            stretches = np.arange(self._done[lane], upto[lane])
            first = upto[lane] + 1 - len(own[lane]) if len(own[lane]) else upto[lane]
            source = np.full(len(stretches), -1)
            known = stretches >= first
            source[known] = own[lane][stretches[known] - first]
            sources.append(source)
            mine = lane_of == lane
            ordered.append(
                sort_events(Events(*(column[mine] for column in events)), geometry.slots)
            )

        def work(i: int) -> None:
            part = self._parts[i]
            for lane in range(part.first_lane, part.last_lane):
                stream(
                    part.first_word, part.last_word, sources[lane], int(self._done[lane]),
                    self._waiting[lane], steps.bits, ordered[lane], timeline.stretches_of(lane),
                    self._prices, self._tables[lane], self._ahead[lane], self._dram[lane],
                )  # fmt: skip

        in_threads(work, len(self._parts))
        for lane, mine in enumerate(own):
            if len(mine):
                self._waiting[lane] = steps.bits[mine[-1]]
        self._done = np.maximum(self._done, upto)


class _Runs:
    """By runs of reads, with tables of the next SPAN stretches of each lane."""

    def __init__(self, setting: Setting, geometry: Geometry, dual: Dual, parts: int) -> None:
        self._setting = setting
        self._prices = setting.prices(dual)
        self._parts = parts_of(geometry, parts)
        timeline = setting.timeline
        self._base = [np.zeros(timeline.lanes, np.int64) for _ in self._parts]
        stretches = min(SPAN, int(np.diff(timeline.stretch_offset).max()))
        self._tables = [
            new_tables(part.last_lane - part.first_lane, stretches) for part in self._parts
        ]
        for i, part in enumerate(self._parts):
            for lane in range(part.first_lane, part.last_lane):
                self._build(i, lane)
        self._ahead, self._dram = np.zeros((2, geometry.lanes * geometry.slots))
        self._open = open_segments(geometry, int(timeline.table.lane[0]), len(self._parts))

    def feed(self, steps: Steps) -> None:
        def work(i: int) -> None:
            for segments, lane in cut(steps, self._parts[i], self._open[i]):
                self._forward(i, segments)
                if lane >= 0:
                    self._base[i][lane] += SPAN
                    self._build(i, lane)

        in_threads(work, len(self._parts))

    def cost(self) -> float:
        for i, (part, state) in enumerate(zip(self._parts, self._open, strict=True)):
            self._forward(i, close(part, state))
        return float((self._dram + np.minimum(self._ahead, 0.0)).sum())

    def _forward(self, i: int, segments: Segments) -> None:
        timeline = self._setting.timeline
        forward(
            segments, self._parts[i].first_lane, self._base[i], timeline.stretch_offset,
            timeline.stretch_step, self._prices, self._tables[i], self._ahead, self._dram,
        )  # fmt: skip

    def _build(self, i: int, lane: int) -> None:
        """Tables of a lane from its base on."""
        timeline = self._setting.timeline
        stretches, base = timeline.stretches_of(lane), self._base[i][lane]
        end = stretches[base + SPAN] if base + SPAN < len(stretches) else timeline.steps
        tables = self._tables[i].of(lane - self._parts[i].first_lane)
        build(stretches[base : base + SPAN], int(end), self._prices, tables)


def _changes(steps: Steps) -> float:
    """How often a block of a lane is read where it was not the step before, or the reverse."""
    same = np.flatnonzero(steps.lane == steps.lane[-1])[-17:]
    if len(same) < 2:
        return 1.0
    bits = steps.bits[same]
    return np.bitwise_count(bits[1:] ^ bits[:-1]).sum() / (64.0 * bits[1:].size)
