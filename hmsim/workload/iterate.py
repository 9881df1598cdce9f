"""A workload step by step, for those who use nothing else of hmsim."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hmsim.bits import numbers
from hmsim.config.workload import WorkloadSpec
from hmsim.workload.open import open_workload
from hmsim.workload.steps import I64, U64, Steps, Workload


class Step(NamedTuple):
    """One (token, layer): a row of a table of steps, of whose arrays it gives views.

    Attributes:
        chunk: The table.
        row: The row of it.
        workload: The workload that it is a step of.
    """

    chunk: Steps
    row: int
    workload: Workload

    @property
    def number(self) -> int:
        """Which step of the workload this is, counted from 0."""
        return self.chunk.first + self.row

    @property
    def token(self) -> int:
        """The token step, counted from 0 or as the model counts."""
        return int(self.chunk.token[self.row])

    @property
    def layer(self) -> int:
        """The lane that is read: the layer, or 0 where layers share one lane."""
        return int(self.chunk.lane[self.row])

    @property
    def bits(self) -> U64:
        """The read set, uint64 [words]: bit s % 64 of word s // 64 says that slot s is read."""
        return self.chunk.bits[self.row]

    @property
    def reads(self) -> int:
        """How many blocks are read."""
        return int(self.chunk.reads[self.row])

    @property
    def append_slot(self) -> I64:
        """Slots of the blocks appended to, int64 [appends], ascending."""
        return self.chunk.append_slot[self._appends]

    @property
    def append_bytes(self) -> I64:
        """Bytes appended to each of them, int64 [appends]."""
        return self.chunk.append_bytes[self._appends]

    @property
    def hbm_bytes(self) -> float:
        """Bytes of weights and index read from HBM."""
        return float(self.chunk.hbm_bytes[self.row])

    @property
    def compute_s(self) -> float:
        """Seconds that computing takes at least."""
        return float(self.chunk.compute_s[self.row])

    def blocks(self) -> tuple[I64, I64]:
        """The blocks that are read.

        Returns:
            Sequence and position in it of each, both int64 [reads]. The block at position p of a
            sequence holds its tokens p * tokens_per_block and on.
        """
        slots = numbers(self.bits)
        geometry = self.workload.geometry
        _, sequence, position = self.workload.locate(self.layer * geometry.slots + slots)
        return sequence, position

    @property
    def _appends(self) -> slice:
        offset = self.chunk.append_offset
        return slice(int(offset[self.row]), int(offset[self.row + 1]))


def steps(spec: WorkloadSpec | Mapping[str, Any] | str | Path) -> Iterator[Step]:
    """Every step of a workload, one after another, whatever the workload's length.

    Args:
        spec: What `open_workload` takes: a spec, a `[workload]` table as a dict, or the path of a
            TOML file or of a trace file.

    Yields:
        The steps. Their arrays are never written to again, so they may be kept.

    Raises:
        InputError: The spec, or a file, is missing or wrong; raised with the first step.
    """
    workload = open_workload(spec)
    for chunk in workload.chunks():
        for row in range(chunk.rows):
            yield Step(chunk, row, workload)
