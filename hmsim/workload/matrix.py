"""Selection by attention scores from a file."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmsim import files, hdf5, machine
from hmsim.bits import pack
from hmsim.config.workload import MatrixSpec
from hmsim.errors import InputError, did_you_mean
from hmsim.workload.batch import Schedule
from hmsim.workload.steps import I64, U64

# What NumPy and its zip archives raise, beside OSError and ValueError, on what is damaged.
_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, AttributeError, SyntaxError)


def read_matrix(path: Path, dataset: str, shape: tuple[int, int, int]) -> NDArray[np.floating]:
    """Scores [steps, layers, heads, past tokens] from .npz or HDF5, checked.

    `shape`: steps, layers and past tokens that the workload needs. Raises InputError.
    """
    scores = _load(path, dataset)
    if scores.ndim == 3:
        scores = scores[:, :, None]
    where = f"{path}: {dataset}"
    if scores.ndim != 4 or scores.dtype.kind not in "fiu":
        raise InputError(
            f"{where}: {scores.dtype} of shape {scores.shape}: expected numbers "
            "[step, layer, past token] or [step, layer, head, past token]"
        )
    found = scores.shape[0], scores.shape[1], scores.shape[3]
    if found[:2] != shape[:2] or found[2] < shape[2]:
        raise InputError(
            f"{where}: {found[0]} steps, {found[1]} layers, {found[2]} past tokens: the workload "
            f"has {shape[0]} steps, {shape[1]} layers and {shape[2]} past tokens"
        )
    bad = np.argwhere(~np.isfinite(scores))
    if bad.size:
        step, layer, head, token = bad[0]
        raise InputError(
            f"{where}: step {step}, layer {layer}, head {head}, token {token}: "
            f"{scores[step, layer, head, token]}; scores must be finite"
        )
    return scores


def matrix_shape(path: Path, dataset: str) -> tuple[int, int, int]:
    """Steps, layers and past tokens of the scores in a file."""
    shape = _load(path, dataset).shape
    if len(shape) not in (3, 4):
        raise InputError(f"{path}: {dataset}: expected [step, layer, (head,) past token]")
    return shape[0], shape[1], shape[-1]


def _load(path: Path, dataset: str) -> NDArray[Any]:
    if path.suffix != ".npz":
        with hdf5.reading(path) as file:
            _known(path, dataset, file)
            return hdf5.part(file, dataset)
    try:
        with files.reading(path) as raw, np.load(raw, allow_pickle=False) as archive:
            _known(path, dataset, archive)
            size = archive.zip.getinfo(f"{dataset}.npy").file_size
            machine.need_memory(2 * size, f"{path}: {dataset}")
            return np.asarray(archive[dataset])
    except InputError:
        raise
    except (*hdf5.DAMAGE, *_BAD_ARCHIVE) as error:
        raise InputError(
            f"{path}: not a readable .npz file of numbers ({files.first_line(error)})"
        ) from None


def _known(path: Path, dataset: str, store: Any) -> None:
    if dataset not in store:
        raise InputError(f"{path}: no dataset {dataset!r}{did_you_mean(dataset, list(store))}")


class Matrix:
    """Read sets of `MatrixSpec`: one sequence, whose scores are [steps, layers, heads, tokens]."""

    def __init__(
        self,
        schedule: Schedule,
        scores: NDArray[np.floating],
        spec: MatrixSpec,
        windows: Sequence[int | None],
    ) -> None:
        self.schedule, self.scores, self.spec, self.windows = schedule, scores, spec, windows

    def fill(self, bits: U64, reads: I64, step: int) -> None:
        """As `Selection.fill`."""
        for k in range(bits.shape[0]):
            past = int(self.schedule.prompt[0]) + step + k
            for lane in range(bits.shape[1]):
                read = self._read(self.scores[step + k, lane, :, :past])
                seen = self.windows[lane]
                if seen is not None:  # what is outside the layer's window cannot be read
                    read[: max(past - seen, 0) // self.schedule.block_tokens] = False
                reads[k, lane] = read.sum()
                packed = pack(read)
                bits[k, lane, : packed.size] = packed

    def _read(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Pages that any head's scores [heads, tokens] choose."""
        size = self.schedule.block_tokens
        starts = np.arange(0, scores.shape[1], size)
        best = np.maximum.reduceat(scores, starts, axis=1)
        order = np.argsort(-best, axis=1, kind="stable")
        if self.spec.mass is not None:
            mass = np.add.reduceat(scores, starts, axis=1).clip(min=0)
            rising = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
            counts = (rising < self.spec.mass * rising[:, -1:]).sum(axis=1) + 1
        else:
            wanted = (
                -(-self.spec.budget // size)
                if self.spec.budget is not None
                else round((self.spec.keep or 0) * starts.size)
            )
            counts = np.full(len(best), min(wanted, starts.size))
        read = np.zeros(starts.size, np.bool_)
        for blocks, count in zip(order, counts, strict=True):
            read[blocks[:count]] = True
        return read
