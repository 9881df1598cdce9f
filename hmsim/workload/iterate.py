"""A workload step by step, for those who use nothing else of hmsim."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmsim.config.base import load, read_toml
from hmsim.config.workload import WorkloadSpec
from hmsim.workload.open import load_spec, open_workload
from hmsim.workload.steps import I64, U64, Workload


class Step(NamedTuple):
    """One (token, layer). The arrays are views of a chunk that is never written to again."""

    number: int
    token: int
    layer: int
    bits: U64  # [words] bit s % 64 of word s // 64: the page at slot s is read
    reads: int  # pages read
    append_slot: I64  # pages appended to
    append_bytes: I64
    hbm_bytes: float  # weights and index read
    workload: Workload

    def pages(self) -> tuple[I64, I64]:
        """Sequence and position of every page read, both [reads]."""
        slots = np.flatnonzero(np.unpackbits(self.bits.view(np.uint8), bitorder="little"))
        geometry = self.workload.geometry
        lane = self.layer if geometry.lanes > 1 else 0
        _, sequence, position = self.workload.locate(lane * geometry.slots + slots)
        return sequence, position


def steps(spec: WorkloadSpec | Mapping[str, Any] | str | Path) -> Iterator[Step]:
    """Every step of a workload: of a spec, its `[workload]` table, a TOML file or a trace file.

    Raises InputError for what is wrong with it.
    """
    workload = _open(spec)
    for chunk in workload.chunks():
        offset = chunk.append_offset.tolist()
        columns = (chunk.token, chunk.lane, chunk.reads, chunk.hbm_bytes)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for k, (token, lane, reads, hbm_bytes) in enumerate(rows):
            appended = slice(offset[k], offset[k + 1])
            yield Step(
                chunk.first + k,
                token,
                lane,
                chunk.bits[k],
                reads,
                chunk.append_slot[appended],
                chunk.append_bytes[appended],
                hbm_bytes,
                workload,
            )


def _open(spec: WorkloadSpec | Mapping[str, Any] | str | Path) -> Workload:
    if isinstance(spec, WorkloadSpec):
        return open_workload(spec)
    if isinstance(spec, Mapping):
        return open_workload(load(WorkloadSpec, dict(spec), "workload"))
    path = Path(spec)
    if path.suffix != ".toml":
        return open_workload(WorkloadSpec(trace=str(path)))
    return open_workload(load_spec(read_toml(path), str(path)), path.parent)
