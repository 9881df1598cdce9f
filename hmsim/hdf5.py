"""HDF5 files, written so that a full disk does no harm, and read so that a bad file does none.

The HDF5 library cannot recover from a failed write: it keeps what it could not write, and closing
the file, or the end of the process, then fails or crashes. So it writes through a file object that
notes the first failure and drops everything after it; `Output.check` raises what was noted.

What a file says is data of its own: one that points to other files (external links, virtual
datasets, external storage), holds arrays where single values belong, or is damaged, is refused with
an `InputError` that names the file and the place in it.
"""

import io
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from hmsim import files, machine
from hmsim.errors import InputError
from hmsim.interrupts import Guard

DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


class Output:
    """An HDF5 file that is being written: `file` to write to, closed by leaving the block."""

    def __init__(self, path: Path, mode: str = "w") -> None:
        self._guard = Guard(h5py, sys.modules[__name__])
        try:
            self._sink = _Sink(path)
            self.file = h5py.File(self._sink, mode)
        except BaseException:
            self._guard.end()
            raise

    def check(self) -> None:
        """OSError if anything could not be written so far. Buffers may hold more."""
        self._sink.check()

    def failure(self, path: Path, error: BaseException) -> InputError:
        """The error to raise where writing what is to be `path` has ended in `error`."""
        return InputError(f"{path}: cannot be written: {files.reason(self._sink.error or error)}")

    def close(self) -> None:
        """Write what is left; OSError if anything at all could not be written."""
        try:
            with suppress(*(DAMAGE if self._sink.error else ())):
                self.file.close()
        finally:
            self._sink.close()
            self._guard.end()
        self.check()


@contextmanager
def writing(
    path: str | Path, inputs: Iterable[str | Path] = (), called: str | Path | None = None
) -> Iterator[Output]:
    """A new HDF5 file that becomes `path` as a whole or not at all, as `files.writing` says."""
    with files.writing(path, inputs, called) as beside:
        output = Output(beside)
        try:
            yield output
        except BaseException as error:
            with suppress(OSError):
                output.close()
            if isinstance(error, DAMAGE):
                output.check()  # HDF5's own trouble comes from the write that failed
            raise
        output.close()


class _Sink(io.RawIOBase):
    """The bytes of an HDF5 file. What cannot be written is kept until the file is closed: HDF5 reads
    again what it wrote, and crashes where it finds something else."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        self._kept: list[tuple[int, bytes]] = []  # where, and what
        self.error: OSError | None = None

    def check(self) -> None:
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        at, done = self._file.tell(), 0
        try:
            while self.error is None and done < len(view):
                done += self._file.write(view[done:]) or 0
        except OSError as error:
            self.error = error
        if done < len(view):
            self._kept.append((at + done, bytes(view[done:])))
            self._file.seek(at + len(view))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        at = self._file.tell()
        count = self._file.readinto(view) or 0
        if self._kept:
            whole = min(len(view), max(0, self._end() - at))
            view[count:whole] = bytes(max(0, whole - count))
            for start, data in self._kept:
                first, last = max(at, start), min(at + whole, start + len(data))
                if first < last:
                    view[first - at : last - at] = data[first - start : last - start]
            count = self._file.seek(at + whole) - at
        return count

    def _end(self) -> int:
        """How long the file would be."""
        ends = (start + len(data) for start, data in self._kept)
        return max(os.fstat(self._file.fileno()).st_size, *ends)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._kept and whence == io.SEEK_END:
            return self._file.seek(self._end() + offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def opened(path: str | Path) -> h5py.File:
    """The HDF5 file `path` for reading; InputError if there is none, or it cannot be read as one."""
    with files.reading(path) as file:
        _check_heaps(path, file)
    try:
        return h5py.File(path, "r")
    except DAMAGE as error:
        if isinstance(error, BlockingIOError):
            raise InputError(f"{path}: another process is writing it") from None
        raise InputError(
            f"{path}: not a readable HDF5 file (empty, truncated, or of another format)"
        ) from None


def _check_heaps(path: str | Path, file: BinaryIO) -> None:
    """InputError for a heap of texts whose entries do not fill it: HDF5 2.0 reads one for ever.

    Such a heap is "GCOL", version 1 and its size in 16 bytes; then its entries, each a number, a
    count, and the size of what follows. Number 0 is what is free, its own 16 bytes included.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = -1
        while (start := data.find(b"GCOL\1\0\0\0", start + 1)) >= 0 and start + 16 <= size:
            end = start + int.from_bytes(data[start + 8 : start + 16], "little")
            at = start + 16
            while end <= size and at + 16 <= end:
                number = int.from_bytes(data[at : at + 2], "little")
                length = int.from_bytes(data[at + 8 : at + 16], "little")
                at += 16 + -(-length // 8) * 8 if number else length
                if at > end or (not number and length < 16):
                    raise damaged(path)


def need_xarray(asked: str | Path) -> None:
    """InputError, one line, where there is no xarray; `asked` says what wants it."""
    try:
        import h5netcdf  # noqa: F401
        import xarray  # noqa: F401
    except ImportError:
        raise InputError(f"{asked}: needs xarray: pip install 'hmsim[xarray]'") from None


def as_xarray(path: str | Path) -> Any:
    """The whole file as an xarray dataset, in memory; InputError where it cannot be read as one."""
    need_xarray(path)
    import xarray

    with opened(path) as file:
        check_inside(file)
    try:
        return xarray.load_dataset(path, engine="h5netcdf")
    except DAMAGE as error:
        raise damaged(path, error) from None


@contextmanager
def reading(path: str | Path) -> Iterator[h5py.File]:
    """As `opened`, for a block that does nothing but read: what fails in it is the file's fault."""
    with opened(path) as file:
        try:
            yield file
        except InputError:
            raise
        except DAMAGE as error:
            raise damaged(path, error) from None


def damaged(path: str | Path, error: BaseException | None = None) -> InputError:
    """The error to raise for a file that is not what it should be."""
    shown = f" ({files.first_line(error)})" if error is not None else ""
    return InputError(f"{path}: damaged, cannot be read{shown}")


def check_format(file: h5py.File, name: str, version: int) -> None:
    """InputError unless the file says that it is of the format `name`, of a version up to this."""
    path = file.filename
    found = attribute(file, "format", str, "")
    if found != name:
        raise InputError(f"{path}: format is {found!r}, not {name!r}")
    said = attribute(file, "version", int)
    if not 1 <= said <= version:
        newer = "is newer than" if said > version else "is below 1, not up to"
        raise InputError(f"{path}: version {said} {newer} {version}, which this reads")


def check_inside(file: h5py.File) -> None:
    """InputError if anything in the file lies in another one, or nowhere."""
    links: list[tuple[str, bool]] = []
    try:
        file.visititems_links(
            lambda name, link: links.append((name, isinstance(link, h5py.HardLink)))
        )
        for name, hard in links:
            if not hard or isinstance(file[name], h5py.Dataset):
                dataset(file, name)
    except InputError:
        raise
    except DAMAGE as error:
        raise damaged(file.filename, error) from None


def has(file: h5py.File, name: str) -> bool:
    """Whether anything, be it a link, has that name; InputError where the file is damaged there."""
    try:
        return file.get(name, getlink=True) is not None
    except DAMAGE as error:
        raise damaged(f"{file.filename}: /{name}", error) from None


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset `name`, which must be there and lie in the file itself; else InputError."""
    path, where = file.filename, ""
    try:
        for part in name.strip("/").split("/"):
            where = f"{where}/{part}"
            link = file.get(where, getlink=True)
            if link is None:
                raise InputError(f"{path}: dataset {where} is missing")
            if isinstance(link, h5py.ExternalLink):
                raise InputError(f"{path}: {where}: a link to another file, which is not followed")
            if isinstance(link, h5py.SoftLink) and file.get(where) is None:
                raise InputError(f"{path}: {where}: a link that leads nowhere")
        found = file[where]
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{path}: {where}: expected a dataset")
        _check_own(file, where, found)
        return found
    except InputError:
        raise
    except DAMAGE as error:
        raise damaged(f"{path}: {where}", error) from None


def part(file: h5py.File, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
    """Elements first .. last - 1 along the first axis of the dataset `name`, all unless given.

    Raises InputError for a dataset that is missing, damaged, or larger than the memory.
    """
    data = dataset(file, name)
    try:
        if data.ndim == 0:
            return np.asarray(data[()])
        count = (data.shape[0] if last is None else last) - first
        each = int(np.prod(data.shape[1:], dtype=object)) * max(data.dtype.itemsize, 8)
        machine.need_memory(count * each, f"{file.filename}: /{name.strip('/')}")
        return np.asarray(data[first : first + count])
    except InputError:
        raise
    except DAMAGE as error:
        raise damaged(f"{file.filename}: /{name.strip('/')}", error) from None


def attribute(item: Any, name: str, kind: type, default: Any = None) -> Any:
    """The attribute `name` of a file, group or dataset as a `kind` (int, float or str).

    `default` where there is none. Raises InputError for an array, for what is no such value, and,
    without a default, for an attribute that is missing.
    """
    path = item.file.filename
    try:
        if name not in item.attrs:
            if default is None:
                raise InputError(f"{path}: attribute {name} is missing")
            return default
        value = item.attrs[name]
    except InputError:
        raise
    except DAMAGE as error:
        raise damaged(f"{path}: attribute {name}", error) from None
    try:
        return scalar(value, kind)
    except (ValueError, TypeError, OverflowError):
        expected = "text" if kind is str else "a number"
        raise InputError(f"{path}: attribute {name} {value!r:.60}: not {expected}") from None


def scalar(value: Any, kind: type) -> Any:
    """A single value of HDF5 as a `kind` (int, float or str); ValueError if it is none."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, np.generic):
        value = value.item()
    if kind is str:
        if not isinstance(value, str):
            raise ValueError("not text")
        value.encode()  # h5py reads other bytes than UTF-8 as lone surrogates
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError("not a number")
    if kind is int and not float(value).is_integer():
        raise ValueError("not a whole number")
    return kind(value)


def _check_own(file: h5py.File, name: str, found: h5py.Dataset) -> None:
    if found.is_virtual or found.external:
        raise InputError(f"{file.filename}: {name}: its data lie in another file; not followed")
