"""Trace files as workloads, and workloads as trace files."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

import hmsim
from hmsim.bits import numbers, pack
from hmsim.store.trace import SLAB_READS, Blocks, Header, Slab, TraceFile, write_trace
from hmsim.workload import trace_kernel
from hmsim.workload.steps import CHUNK_BYTES, I64, U64, Geometry, Steps, Workload


class TraceWorkload:
    """A trace file. Lanes are layers, or one lane where a step reads across layers.

    A block's slot is its rank among its lane's blocks. Tokens that do not ascend are numbered anew
    from 0. Raises InputError for a file that breaks a rule of the format.
    """

    def __init__(self, path: Path) -> None:
        self._file = file = TraceFile(path)
        header, blocks = file.header, file.blocks
        lane = np.zeros_like(blocks.layer) if file.one_lane else blocks.layer
        lanes = 1 if file.one_lane else header.layers
        order = np.argsort(lane, kind="stable")
        counts = np.bincount(lane, minlength=lanes)
        starts = np.cumsum(counts) - counts
        slot = np.empty_like(lane)
        slot[order] = np.arange(lane.size) - starts[lane[order]]
        slots = max(64, -(-int(counts.max(initial=0)) // 64) * 64)

        self.title, self.toml, self.seed = header.title, header.generator, header.seed
        self.geometry = Geometry(
            steps=file.steps,
            lanes=lanes,
            slots=slots,
            block_bytes=header.block_bytes,
            tokens_per_block=header.tokens_per_block,
            layers=header.layers,
            sequences=header.sequences,
            resident_bytes=header.resident_bytes,
        )
        self._slot = slot
        self._number = lane * slots + slot  # of each of the file's blocks
        self._block = np.full(lanes * slots, -1, np.int64)  # and back
        self._block[self._number] = np.arange(lane.size)
        mortal = np.flatnonzero(blocks.death < file.steps)
        self._dying = mortal[np.argsort(blocks.death[mortal], kind="stable")]

    @property
    def prompt(self) -> U64:
        there = np.zeros((self.geometry.lanes, self.geometry.slots), np.bool_)
        there.reshape(-1)[self._number[self._file.blocks.birth < 0]] = True
        return pack(there)

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        known = self._block[block]
        blocks = self._file.blocks
        return blocks.layer[known], blocks.sequence[known], blocks.position[known]

    def chunks(self) -> Iterator[Steps]:
        shape, blocks = self.geometry, self._file.blocks
        death = blocks.death[self._dying]
        for slab in self._file.slabs(steps=max(1, CHUNK_BYTES // (shape.words * 8))):
            count = slab.token.size
            bits = np.zeros((count, shape.words), np.uint64)
            trace_kernel.pack(slab.read_offset, slab.read_block, self._slot, bits)
            edges = np.searchsorted(death, slab.first + np.arange(count + 1))
            dying = self._dying[edges[0] : edges[-1]]
            step = slab.first + np.repeat(np.arange(count), np.diff(slab.append_offset))
            yield Steps(
                first=slab.first,
                lane=np.zeros(count, np.int64) if shape.lanes == 1 else slab.layer,
                token=self._tokens(slab),
                bits=bits,
                reads=np.diff(slab.read_offset),
                append_offset=slab.append_offset,
                append_slot=self._slot[slab.append_block],
                append_bytes=slab.append_bytes,
                append_born=(blocks.birth[slab.append_block] == step).astype(np.int64),
                death_offset=edges - edges[0],
                death_block=self._number[dying],
                hbm_bytes=slab.hbm_bytes,
                compute_s=slab.compute_s,
            )

    def _tokens(self, slab: Slab) -> I64:
        if self._file.ascending:
            return slab.token
        return self._file.token_index(slab.first + np.arange(slab.token.size))


def save(
    workload: Workload,
    path: Path,
    progress: Callable[[int], None] | None = None,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Write a workload as a trace file (HDF5), streaming.

    Two passes: the first learns when blocks live, the second writes what is read. Blocks are
    numbered by lane and slot. docs/workloads.md describes the file.

    Args:
        workload: What is written.
        path: The file. It is there once it is complete.
        progress: Called with the number of steps written so far.
        inputs: Files that must not be overwritten, as the workload is read from them.

    Raises:
        InputError: The file cannot be written, or is one of the inputs.
    """
    shape = workload.geometry
    birth, death = _lives(workload)
    block = np.flatnonzero(death >= 0)
    number = np.full(birth.size, -1, np.int64)
    number[block] = np.arange(block.size)
    blocks = Blocks(*workload.locate(block), birth[block], death[block])
    header = Header(
        block_bytes=shape.block_bytes,
        tokens_per_block=shape.tokens_per_block,
        layers=shape.layers,
        sequences=shape.sequences,
        resident_bytes=shape.resident_bytes,
        title=workload.title,
        seed=workload.seed,
        generator=workload.toml,
        created_by=f"hmsim {hmsim.__version__}",
    )

    def slabs() -> Iterator[Slab]:
        for chunk in workload.chunks():
            for steps in _short(chunk):
                yield _listed(steps, shape, number)
            if progress is not None:
                progress(chunk.first + chunk.reads.size)

    write_trace(path, header, blocks, slabs(), inputs)


def _short(chunk: Steps) -> Iterator[Steps]:
    """The chunk in tables of about SLAB_READS reads at most."""
    until = np.append(0, np.cumsum(chunk.reads))
    first = 0
    while first < chunk.rows:
        full = int(np.searchsorted(until, until[first] + SLAB_READS, side="right")) - 1
        last = max(full, first + 1)
        yield chunk.slice(first, last)
        first = last


def _listed(steps: Steps, shape: Geometry, number: I64) -> Slab:
    """The steps with their blocks listed by trace number."""
    read_offset = np.append(0, np.cumsum(steps.reads))
    read = np.empty(read_offset[-1], np.int64)
    trace_kernel.unpack(steps.bits, steps.lane * shape.slots, number, read)
    return Slab(
        first=steps.first,
        token=steps.token,
        layer=steps.lane if shape.lanes == shape.layers else np.full_like(steps.lane, -1),
        hbm_bytes=steps.hbm_bytes,
        compute_s=steps.compute_s,
        read_offset=read_offset,
        read_block=read,
        append_offset=steps.append_offset,
        append_block=number[steps.append_block(shape.slots)],
        append_bytes=steps.append_bytes,
    )


def _lives(workload: Workload) -> tuple[I64, I64]:
    """Birth and death step of every block number; -2 and -1 for numbers that hold no block."""
    shape = workload.geometry
    birth = np.full(shape.lanes * shape.slots, -2, np.int64)
    death = np.full(shape.lanes * shape.slots, -1, np.int64)
    prompt = numbers(workload.prompt)
    birth[prompt], death[prompt] = -1, shape.steps
    for chunk in workload.chunks():
        newborn = chunk.append_born == 1
        number = chunk.append_block(shape.slots)[newborn]
        birth[number], death[number] = chunk.first + chunk.append_row[newborn], shape.steps
        death[chunk.death_block] = chunk.first + chunk.death_row
    return birth, death
