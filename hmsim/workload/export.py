"""Workloads as memory traces of other tools.

A step's reads go to the addresses where its blocks lie, then its appends; both are split into the
target's transactions. Requests arrive at a steady rate, in bytes a second. Weights are left out.
"""

import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

import hmsim
from hmsim import files
from hmsim.bits import numbers
from hmsim.errors import InputError, did_you_mean
from hmsim.exchange.memory_formats import FORMATS, Batch, Format, Target
from hmsim.workload import trace_kernel
from hmsim.workload.steps import I64, Steps, Workload, within

HBM, DRAM = 0, 1

# Where blocks lie: step, block numbers -> tier (HBM or DRAM) and byte address within it.
Addresses = Callable[[int, I64], tuple[I64, I64]]


@dataclass(frozen=True)
class Selected:
    """What of a workload is exported, and how fast it arrives.

    Attributes:
        first: The first step.
        last: One past the last step; None: to the end.
        every: Only every so many steps.
        tier: HBM (0), DRAM (1), or None for both; DRAM then lies behind HBM.
        hbm_bytes: Bytes of HBM for blocks, where DRAM's addresses begin.
        rate: Bytes a second at which requests arrive.
        stride: Bytes from block to block; None: the block's own, rounded up to whole transactions.
    """

    first: int = 0
    last: int | None = None
    every: int = 1
    tier: int | None = None
    hbm_bytes: int = 0
    rate: float = 1e12
    stride: int | None = None

    def check(self) -> None:
        """Check the pace and the period.

        Raises:
            InputError: One of them makes no sense.
        """
        if not 1 <= self.rate < math.inf:
            raise InputError(f"rate: {self.rate:g} bytes/s: from 1 byte/s up, such as '1 TB/s'")
        if self.every < 1:
            raise InputError(f"every: {self.every}: a whole number of steps, 1 or more")


class Estimate(NamedTuple):
    """How much an export will write, at most: a tier may hold less than everything.

    Attributes:
        requests: Number of requests.
        file_bytes: Bytes of the file, before any gzip.
    """

    requests: int
    file_bytes: int


class StaticAddresses:
    """Blocks in the order in which they come to be: HBM until it is full, then DRAM."""

    def __init__(self, workload: Workload, hbm_bytes: int, stride: int) -> None:
        shape = workload.geometry
        order = np.full(shape.lanes * shape.slots, -1, np.int64)
        known = numbers(workload.prompt)
        order[known] = np.arange(known.size)
        count = known.size
        for chunk in workload.chunks():
            number = chunk.append_block(shape.slots)[chunk.append_born == 1]
            order[number] = count + np.arange(number.size)
            count += number.size
        self._order, self._stride = order, stride
        self._fit = hbm_bytes // stride

    def __call__(self, step: int, block: I64) -> tuple[I64, I64]:
        rank = self._order[block]
        tier = (rank >= self._fit).astype(np.int64)
        return tier, (rank - tier * self._fit) * self._stride


def estimate(workload: Workload, form: str, selected: Selected) -> Estimate:
    """How much `export` would write, from one pass over the numbers of reads.

    Args:
        workload: What would be exported.
        form: A key of `hmsim.exchange.memory_formats.FORMATS`.
        selected: What of it.

    Returns:
        Requests and bytes, at most.

    Raises:
        InputError: The format is unknown, or the selection makes no sense.
    """
    kind = format_of(form)
    selected.check()
    size = workload.geometry.block_bytes
    granule = kind.granule or size
    requests = 0
    for chunk in workload.chunks():
        rows = _rows(chunk, selected, workload.geometry.steps)
        requests += int(chunk.reads[rows].sum()) * -(-size // granule)
        per_append = -(-chunk.append_bytes // granule)
        until = np.append(0, np.cumsum(per_append))[chunk.append_offset]
        requests += int(np.diff(until)[rows].sum())
    return Estimate(requests, requests * kind.line_bytes)


def export(
    workload: Workload,
    form: str,
    path: Path,
    selected: Selected = Selected(),
    target: Target | None = None,
    addresses: Addresses | None = None,
    progress: Callable[[int], None] | None = None,
    notes: dict[str, Any] | None = None,
    inputs: Iterable[str | Path] = (),
) -> int:
    """Write a workload as a memory trace of another tool.

    A step's reads go to the addresses where its blocks lie, then its appends; both are split into
    the target's transactions. Weights are left out. The file is there once it is complete, and
    gzipped if its name ends in .gz. A sidecar `NAME.meta.json` says where it comes from.

    Args:
        workload: What is exported.
        form: A key of `hmsim.exchange.memory_formats.FORMATS`; docs/workloads.md describes them.
        path: The file.
        selected: Which steps and which memory, and how fast requests arrive.
        target: What the format needs to know of the simulator that will read it.
        addresses: Where blocks lie: called once for every exported step, in order, with its number
            and its blocks' numbers, int64 [n], for the tier and the byte address of each. None:
            blocks keep to the order in which they come to be, in HBM until it is full.
        progress: Called with the number of steps done so far.
        notes: More for the sidecar: what `addresses` stands for, say.
        inputs: Files that must not be overwritten.

    Returns:
        How many requests the trace holds.

    Raises:
        InputError: The format is unknown, the selection holds no request, or a file cannot be
            written or is one of the inputs.
    """
    kind, shape = format_of(form), workload.geometry
    selected.check()
    granule, target = kind.granule, target or Target()
    stride = selected.stride or -(-shape.block_bytes // max(granule, 1)) * max(granule, 1)
    where = addresses or StaticAddresses(workload, selected.hbm_bytes, stride)
    if not range(shape.steps)[selected.first : selected.last]:
        raise InputError(
            f"export: steps {selected.first} .. {selected.last}: the trace has {shape.steps}"
        )
    batches = _requests(workload, selected, granule, where, progress)
    sidecar = sidecar_of(path)
    files.check_outputs([path, sidecar], inputs)
    with files.writing(sidecar, inputs) as meta_file, files.writing(path, inputs) as beside:
        with _opened(beside) as file:
            count = kind.write(file, batches, target)
        if count == 0:
            raise InputError("export: none of these steps' blocks lie in the chosen tier")
        meta = _provenance(workload, kind, form, granule, stride, selected, target, count)
        meta |= notes or {"policy": "static, in order of birth"}
        meta_file.write_text(json.dumps(meta, indent=1) + "\n")
    return count


def sidecar_of(path: Path) -> Path:
    """The file beside an export that says where it comes from.

    Raises InputError if another file than such a sidecar has that name.
    """
    sidecar = path.with_name(path.name + ".meta.json")
    if sidecar.is_file():
        try:
            ours = "hmsim" in files.read_json(sidecar)["created_by"]
        except (InputError, KeyError, TypeError):
            ours = False
        if not ours:
            raise InputError(
                f"{sidecar}: is no sidecar of an export and would be overwritten; move it away"
            )
    return sidecar


@contextmanager
def _opened(beside: Path) -> Iterator[BinaryIO]:
    """The file to write to, through gzip if that is what it is called."""
    with open(beside, "wb") as file:
        if beside.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
            yield cast(BinaryIO, packed)


def format_of(form: str) -> Format:
    """The format named `form`; InputError names the nearest known one."""
    if form not in FORMATS:
        raise InputError(f"format {form!r}: unknown{did_you_mean(form, FORMATS)}")
    return FORMATS[form]


def _rows(chunk: Steps, selected: Selected, steps: int) -> I64:
    """Rows of the chunk that are exported."""
    step = chunk.first + np.arange(chunk.reads.size)
    last = steps if selected.last is None else selected.last
    wanted = (step >= selected.first) & (step < last)
    return np.flatnonzero(wanted & ((step - selected.first) % selected.every == 0))


def _requests(
    workload: Workload,
    selected: Selected,
    granule: int,
    addresses: Addresses,
    progress: Callable[[int], None] | None,
) -> Iterator[Batch]:
    """One batch a step: its reads by block, then its appends.

    Appends fill a block from its start on; how full a prompt block is, a trace does not say, so
    those to it start there too, and wrap.
    """
    shape = workload.geometry
    filled = np.zeros(shape.lanes * shape.slots, np.int64)
    slots = np.arange(shape.slots)
    sent = 0
    for chunk in workload.chunks():
        wanted = set(_rows(chunk, selected, shape.steps).tolist())
        for k in range(chunk.reads.size):
            appends = slice(chunk.append_offset[k], chunk.append_offset[k + 1])
            base = int(chunk.lane[k]) * shape.slots
            to = base + chunk.append_slot[appends]
            lengths = chunk.append_bytes[appends]
            if k in wanted:
                read = np.empty(int(chunk.reads[k]), np.int64)
                trace_kernel.unpack(chunk.bits[k : k + 1], np.zeros(1, np.int64), slots, read)
                blocks = np.concatenate([base + read, to])
                tier, address = addresses(chunk.first + k, blocks)
                if selected.tier is None:
                    address = address + tier * selected.hbm_bytes
                offset = np.zeros(blocks.size, np.int64)
                offset[read.size :] = filled[to] % shape.block_bytes
                length = np.full(blocks.size, shape.block_bytes)
                length[read.size :] = lengths
                write = (np.arange(blocks.size) >= read.size).astype(np.int64)
                kept = slice(None) if selected.tier is None else tier == selected.tier
                batch = _split(address[kept] + offset[kept], length[kept], write[kept], granule)
                before = sent + np.cumsum(batch.size) - batch.size
                yield batch._replace(
                    time_ps=np.floor(before * (1e12 / selected.rate)).astype(np.int64)
                )
                sent += int(batch.size.sum())
            filled[to] += lengths
        if progress is not None:
            progress(chunk.first + chunk.reads.size)


def _split(address: I64, length: I64, write: I64, granule: int) -> Batch:
    """Accesses as the aligned transactions of `granule` bytes that cover them, without times.

    A granule of 0 leaves them as they are.
    """
    if granule == 0:
        return Batch(address, write, address, length)
    first = address // granule
    count = -(-(address + length) // granule) - first
    each = np.repeat(np.arange(address.size), count)
    lines = (first[each] + within(count)) * granule
    return Batch(lines, write[each], lines, np.full(each.size, granule))


def _provenance(
    workload: Workload,
    kind: Format,
    form: str,
    granule: int,
    stride: int,
    selected: Selected,
    target: Target,
    count: int,
) -> dict[str, Any]:
    return {
        "format": form,
        "tool": kind.tool,
        "created_by": f"hmsim {hmsim.__version__}",
        "title": workload.title,
        "seed": workload.seed,
        "workload": workload.toml,
        "requests": count,
        "transaction_bytes": granule,
        "block_stride_bytes": stride,
        "block_bytes": workload.geometry.block_bytes,
        "first_step": selected.first,
        "last_step": selected.last if selected.last is not None else workload.geometry.steps,
        "every": selected.every,
        "tier": {None: "whole", HBM: "hbm", DRAM: "dram"}[selected.tier],
        "hbm_bytes": selected.hbm_bytes,
        "rate_bytes_per_s": selected.rate,
        "clock_hz": target.clock_hz if kind.timed else None,
        "rounding": "times are rounded down; requests keep their order",
        "weights": "left out",
    }
