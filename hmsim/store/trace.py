"""Trace files: which blocks are read and appended to at every step, in HDF5.

The schema is `SCHEMA`; what makes a file legal is checked by `TraceFile` and nothing else, once,
when it is opened. Both directions work on slabs of consecutive steps, never on a whole trace.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from hmsim import hdf5, machine
from hmsim.errors import InputError
from hmsim.store import trace_kernel

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

FORMAT, VERSION = "hmsim-trace", 1
SLAB_READS = 1 << 21  # reads of a slab, about
_CHUNK = 1 << 18  # elements of one HDF5 chunk
MOST_COUNT = 2**31  # of layers, sequences, tokens of a block, bytes of a block

# Dataset: (type on disk, whether a file may lack it).
SCHEMA: dict[str, tuple[str, bool]] = {
    "block/layer": ("u2", False),
    "block/sequence": ("u4", False),
    "block/position": ("u4", False),
    "block/birth": ("i4", False),
    "block/death": ("i4", True),
    "step/token": ("i4", False),
    "step/layer": ("i2", False),
    "step/hbm_bytes": ("f8", True),
    "step/compute_s": ("f8", True),
    "read/offset": ("i8", False),
    "read/block": ("u4", False),
    "append/offset": ("i8", False),
    "append/block": ("u4", False),
    "append/bytes": ("u4", False),
}


class Header(NamedTuple):
    """Root attributes of a trace file."""

    block_bytes: int
    tokens_per_block: int = 1
    layers: int = 1
    sequences: int = 1
    resident_bytes: float = 0.0
    title: str = ""
    seed: int = 0
    generator: str = ""  # the TOML that made it
    created_by: str = ""


class Blocks(NamedTuple):
    """One entry a block: where it belongs, and the steps at which it lives."""

    layer: I64
    sequence: I64
    position: I64
    birth: I64  # step of the first append, -1 where it is there before step 0
    death: I64  # first step at which it no longer exists, T where it stays


class Slab(NamedTuple):
    """K consecutive steps from `first` on, as the file has them: columns of `SCHEMA`.

    Blocks are listed by the file's numbers, not packed into bitsets of lanes, which a file does not
    have; `*_offset` [K + 1] starts at 0.
    """

    first: int
    token: I64
    layer: I64
    hbm_bytes: F64
    compute_s: F64
    read_offset: I64
    read_block: I64
    append_offset: I64
    append_block: I64
    append_bytes: I64


def write_trace(
    path: Path,
    header: Header,
    blocks: Blocks,
    slabs: Iterable[Slab],
    inputs: Iterable[str | Path] = (),
) -> None:
    """Write a trace file, which is at `path` once it is complete (see `files.writing`).

    Raises InputError where it cannot be written, or `path` is one of the `inputs`; whatever
    interrupts `slabs` leaves no file.
    """
    with hdf5.writing(path, inputs) as output:
        file = output.file
        file.attrs.update({"format": FORMAT, "version": VERSION, **header._asdict()})
        columns = {name: _Column(file, name) for name in SCHEMA}
        for name, values in zip(Blocks._fields, blocks, strict=True):
            columns[f"block/{name}"].extend(values)
        reads = appends = 0
        for slab in slabs:
            for name in ("token", "layer", "hbm_bytes", "compute_s"):
                columns[f"step/{name}"].extend(getattr(slab, name))
            columns["read/offset"].extend(reads + slab.read_offset[:-1])
            columns["read/block"].extend(slab.read_block)
            columns["append/offset"].extend(appends + slab.append_offset[:-1])
            columns["append/block"].extend(slab.append_block)
            columns["append/bytes"].extend(slab.append_bytes)
            reads += slab.read_block.size
            appends += slab.append_block.size
            output.check()
        columns["read/offset"].extend(np.array([reads]))
        columns["append/offset"].extend(np.array([appends]))
        for column in columns.values():
            column.close()


class _Column:
    """A growing one-dimensional dataset, written in whole chunks."""

    def __init__(self, file: h5py.File, name: str) -> None:
        dtype = np.dtype(SCHEMA[name][0])
        self.data = file.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,),
            compression="gzip", compression_opts=1, shuffle=dtype.kind != "f",
        )  # fmt: skip
        self.pending: list[NDArray[Any]] = []
        self.count = 0  # values pending

    def extend(self, values: NDArray[Any]) -> None:
        self.pending.append(values.astype(self.data.dtype))
        self.count += values.size
        if self.count >= _CHUNK:
            self._write(self.count // _CHUNK * _CHUNK)

    def close(self) -> None:
        self._write(self.count)

    def _write(self, count: int) -> None:
        if count == 0:
            return
        values = np.concatenate(self.pending)
        size = self.data.shape[0]
        self.data.resize(size + count, axis=0)
        self.data[size:] = values[:count]
        self.pending, self.count = [values[count:]], self.count - count


class TraceFile:
    """A legal trace file, open for reading.

    Raises InputError that names the file and the rule it breaks: a missing, empty, truncated or
    foreign file, a missing or misshapen dataset, a read outside a block's life, and so on.
    `one_lane`: some step has no layer, or touches a block of another layer than its own.
    `ascending`: later steps have later tokens.
    """

    header: Header
    blocks: Blocks
    steps: int
    one_lane: bool
    ascending: bool

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = hdf5.opened(path)
        self.header = self._read_header()
        self._check_shapes()
        self._read_offset = self._whole("read/offset")
        self._append_offset = self._whole("append/offset")
        self._check_offsets()
        self.blocks = self._read_blocks()
        self._check_steps()
        self._check_events()

    def slabs(self, reads: int = SLAB_READS, steps: int = 1 << 16) -> Iterator[Slab]:
        """The whole trace in slabs of whole tokens, of about `reads` reads and `steps` steps."""
        first = 0
        while first < self.steps:
            full = int(np.searchsorted(self._read_offset, self._read_offset[first] + reads))
            wanted = min(full, first + steps)
            ends = self._token_end
            fits = int(ends[max(int(np.searchsorted(ends, wanted, side="right")) - 1, 0)])
            last = fits if fits > first else int(ends[np.searchsorted(ends, first, side="right")])
            yield self._slab(first, last)
            first = last

    def token_index(self, step: I64) -> I64:
        """How many tokens lie before each of these steps'."""
        return np.searchsorted(self._token_end, step, side="right")

    def _slab(self, first: int, last: int) -> Slab:
        read = self._read_offset[first : last + 1]
        append = self._append_offset[first : last + 1]
        return Slab(
            first,
            self._part("step/token", first, last),
            self._part("step/layer", first, last),
            self._part("step/hbm_bytes", first, last),
            self._part("step/compute_s", first, last),
            read - read[0],
            self._part("read/block", read[0], read[-1]),
            append - append[0],
            self._part("append/block", append[0], append[-1]),
            self._part("append/bytes", append[0], append[-1]),
        )

    def _whole(self, name: str) -> NDArray[Any]:
        return self._part(name, 0, self._sizes[name])

    def _part(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Elements first .. last - 1 as int64 or float64; zeros for an absent dataset."""
        kind = np.float64 if SCHEMA[name][0].startswith("f") else np.int64
        if name not in self._sizes:
            return np.zeros(last - first, kind)
        return hdf5.part(self._file, name, first, last).astype(kind)

    def _read_header(self) -> Header:
        found = hdf5.attribute(self._file, "format", str, "")
        if found != FORMAT:
            raise InputError(f"{self.path}: format {found!r}: expected {FORMAT!r}")
        version = hdf5.attribute(self._file, "version", int, 0)
        if version != VERSION:
            raise InputError(f"{self.path}: version {version}: this reads version {VERSION}")
        defaults = Header._field_defaults
        header = Header(
            hdf5.attribute(self._file, "block_bytes", int),
            **{
                name: hdf5.attribute(self._file, name, type(default), default)
                for name, default in defaults.items()
            },
        )
        for name in ("block_bytes", "tokens_per_block", "layers", "sequences"):
            if not 1 <= getattr(header, name) <= MOST_COUNT:
                raise InputError(f"{self.path}: attribute {name}: from 1 to {MOST_COUNT:,}")
        if not 0 <= header.seed < 2**63:
            raise InputError(f"{self.path}: attribute seed: from 0 to 2^63 - 1")
        if not 0 <= header.resident_bytes < np.inf:
            raise InputError(f"{self.path}: attribute resident_bytes: must be finite, not negative")
        return header

    def _check_shapes(self) -> None:
        sizes: dict[str, int] = {}
        for name, (dtype, optional) in SCHEMA.items():
            if not hdf5.has(self._file, name):
                if optional:
                    continue
                raise InputError(f"{self.path}: dataset /{name} is missing")
            data = hdf5.dataset(self._file, name)
            allowed = "fiu" if dtype.startswith("f") else "iu"
            if data.ndim != 1:
                raise InputError(f"{self.path}: /{name}: expected a one-dimensional dataset")
            if data.dtype.kind not in allowed:
                raise InputError(f"{self.path}: /{name}: type {data.dtype}: expected {dtype}")
            sizes[name] = data.shape[0]
        self.steps = sizes["step/token"]
        if self.steps == 0:
            raise InputError(f"{self.path}: holds no step")
        for name, size in sizes.items():
            room, column = name.split("/")
            expected = {
                "block": sizes["block/layer"],
                "step": self.steps,
                "read": size,
                "append": sizes["append/block"],
            }[room]
            expected = self.steps + 1 if column == "offset" else expected
            if size != expected:
                raise InputError(f"{self.path}: /{name}: {size} entries: expected {expected}")
        self._sizes = sizes
        # Blocks and offsets are held; five columns, and as much again while they are checked.
        held = 16 * (5 * sizes["block/layer"] + 4 * self.steps)
        machine.need_memory(held, f"{self.path}: {sizes['block/layer']:,} blocks")

    def _check_offsets(self) -> None:
        for room, offset in (("read", self._read_offset), ("append", self._append_offset)):
            length = self._sizes[f"{room}/block"]
            if offset[0] != 0 or offset[-1] != length or (np.diff(offset) < 0).any():
                raise InputError(
                    f"{self.path}: /{room}/offset must start at 0, grow, and end at the length of "
                    f"/{room}/block, {length}"
                )

    def _read_blocks(self) -> Blocks:
        columns = {name: self._whole(f"block/{name}") for name in Blocks._fields[:-1]}
        birth = columns["birth"]
        if "block/death" in self._sizes:
            death = self._whole("block/death")
        else:
            death = np.full(birth.size, self.steps, np.int64)
        self._refuse((birth < -1) | (birth >= self.steps), "birth < -1 or birth >= T")
        bad_death = (death <= np.maximum(birth, 0)) | (death > self.steps)
        self._refuse(bad_death, "death <= max(birth, 0) or death > T")
        if "layers" not in self._file.attrs:
            most = int(columns["layer"].max(initial=0))
            self.header = self.header._replace(layers=most + 1)
        for name in ("sequence", "position"):
            strange = (columns[name] < 0) | (columns[name] >= 2**32)
            self._refuse(strange, f"{name} is not from 0 to 2^32 - 1")
        strange = (columns["layer"] < 0) | (columns["layer"] >= self.header.layers)
        self._refuse(strange, "layer is not below `layers`")
        if "sequences" in self._file.attrs:
            strange = columns["sequence"] >= self.header.sequences
            self._refuse(strange, "sequence is not below `sequences`")
        else:
            most = int(columns["sequence"].max(initial=0))
            self.header = self.header._replace(sequences=most + 1)
        return Blocks(**columns, death=death)

    def _refuse(self, bad: NDArray[np.bool_], rule: str) -> None:
        if bad.any():
            raise InputError(f"{self.path}: block {int(np.argmax(bad))}: {rule}")

    def _check_steps(self) -> None:
        token, layer = self._whole("step/token"), self._whole("step/layer")
        # One past the last step of every token.
        self._token_end = np.append(np.flatnonzero(np.diff(token)) + 1, token.size)
        heads = token[self._token_end - 1]
        self.ascending = bool((np.diff(heads) > 0).all())
        if np.unique(heads).size != heads.size:
            raise InputError(f"{self.path}: steps of one token that are not consecutive")
        if ((layer < -1) | (layer >= self.header.layers)).any():
            raise InputError(f"{self.path}: /step/layer: expected -1 .. {self.header.layers - 1}")
        for name in ("step/hbm_bytes", "step/compute_s"):
            values = self._part(name, 0, self.steps)
            if not (np.isfinite(values) & (values >= 0)).all():
                raise InputError(f"{self.path}: /{name}: must be finite and not negative")

    def _check_events(self) -> None:
        """Every rule about reads and appends, in one pass over the file."""
        filled = np.zeros(self.blocks.birth.size, np.int64)
        born = self.blocks.birth < 0
        self.one_lane = False
        for slab in self.slabs():
            rule, step, block, mixed = trace_kernel.check(
                slab, self.blocks, filled, born, self.header.block_bytes
            )
            self.one_lane |= bool(mixed)
            if rule:
                raise InputError(
                    f"{self.path}: step {step}, block {block}: {trace_kernel.RULES[rule]}"
                )
        self._refuse(~born, "birth >= 0 without an append at that step")
