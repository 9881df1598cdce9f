"""How hmsim reads and writes files, whatever is in them.

**Writing.** `writing` is the only way in which a file comes to be: under a random hidden name in
the same folder, renamed when it is complete, removed when anything fails. So a file is there as a
whole or not at all, and what stood there before stays until then. It refuses whatever is no plain
file: a folder, a device, a pipe, a symbolic link (which would leave open whether the link or what
it points to is meant), an input of the same call.

**Reading.** `reading` opens what a user names. Both turn every failure into an `InputError` of one
line with the path.

**Locking.** `locked` holds a folder for one process at a time, on every system.
"""

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hmsim.errors import InputError

MOST_TEXT = 64 << 20  # bytes of a text file that is read as a whole, unless the caller says more


@contextmanager
def writing(
    path: str | Path, inputs: Iterable[str | Path] = (), called: str | Path | None = None
) -> Iterator[Path]:
    """A new, empty file to be filled, which becomes `path` once the block has ended without error.

    It keeps `path`'s suffix, by which libraries tell a format, and the permissions of the file that
    it replaces. Folders that are missing are made. `inputs` are files that must not be replaced.
    Raises InputError where `path` may not or cannot be written, now (see `check_output`) or at any
    write in the block: a full disk is one line that names `path` (or what it is `called`), and
    leaves nothing behind.
    """
    path = check_output(path, inputs)
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = fresh(path.parent, path.suffix)
        yield beside
        _finish(beside, path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in (path, path.parent, beside):
            raise  # the block's own trouble with some other file
        raise InputError(f"{called or path}: cannot be written: {reason(error)}") from None
    finally:
        if beside is not None:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, inputs: Iterable[str | Path] = ()) -> None:
    """`text` as the UTF-8 file `path`, as a whole or not at all; see `writing`."""
    write_bytes(path, text.encode("utf-8"), inputs)


def write_bytes(path: str | Path, data: bytes, inputs: Iterable[str | Path] = ()) -> None:
    """`data` as the file `path`, as a whole or not at all; see `writing`."""
    with writing(path, inputs) as beside:
        beside.write_bytes(data)


def check_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """`path`, if a file may be written there; nothing is changed.

    Raises InputError for a folder, a device, a pipe, a symbolic link, a file that is write-protected
    or one of `inputs`, and for a place where no file can be made.
    """
    target = Path(path)
    try:
        there = os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        there = None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise InputError(f"{path}: cannot be written: {reason(error)}") from None
    if not target.name:
        raise InputError(f"{path}: cannot be written: is a folder")
    for each in inputs:
        if _same(target, Path(each)):
            raise InputError(
                f"{path}: is an input of this call and would be overwritten; give another name"
            )
    if there is None:
        _check_folder(target)
    elif not stat.S_ISREG(there.st_mode):
        raise InputError(f"{path}: cannot be written: {_kind(there.st_mode)}, not a plain file")
    elif not os.access(target, os.W_OK) or not os.access(target.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: {os.strerror(errno.EACCES)}")
    return target


def check_outputs(
    paths: Iterable[str | Path | None], inputs: Iterable[str | Path] = ()
) -> list[Path | None]:
    """All outputs of a call, each checked by `check_output`, and no two of them the same file."""
    inputs, checked = list(inputs), list[Path | None]()
    for path in paths:
        target = None if path is None else check_output(path, inputs)
        if target is not None and any(_same(target, other) for other in checked if other):
            raise InputError(f"{path}: is given for two outputs of this call; name two files")
        checked.append(target)
    return checked


def fresh(folder: Path, suffix: str, stem: str = ".hmsim-") -> Path:
    """A new, empty file of a random name in `folder`; OSError where it cannot be made."""
    while True:
        path = folder / f"{stem}{secrets.token_hex(6)}{suffix[:32]}"
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path


def _finish(beside: Path, path: Path) -> None:
    """On disk, with the permissions of what it replaces, and under its own name."""
    with suppress(FileNotFoundError):
        os.chmod(beside, stat.S_IMODE(os.stat(path).st_mode))
    with open(beside, "r+b") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def _check_folder(target: Path) -> None:
    """InputError unless a file can be made here, and the folders that it needs."""
    folder = target.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{target}: cannot be written: {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{target}: cannot be written: {os.strerror(errno.EACCES)}")


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, or will be."""
    try:
        if one.exists() and other.exists():
            return os.path.samefile(one, other)
        return os.path.realpath(one) == os.path.realpath(other)
    except (OSError, ValueError):
        return False


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "is a folder"),
        (stat.S_ISLNK, "is a symbolic link"),
        (stat.S_ISFIFO, "is a pipe"),
        (stat.S_ISSOCK, "is a socket"),
    )
    return next((text for test, text in kinds if test(mode)), "is a device")


@contextmanager
def reading(path: str | Path, most: int | None = None) -> Iterator[BinaryIO]:
    """The file `path`, open for reading bytes.

    Raises InputError for one that is missing, a folder, a device, cannot be read, or (where that is
    known beforehand) holds more than `most` bytes.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
                raise InputError(f"{path}: cannot be read: is a device, not a file")
            if most is not None and found.st_size > most:
                raise InputError(f"{path}: {found.st_size:,} bytes: too large, {most:,} at most")
            yield file
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "null" not in str(error):
            raise  # the block's own
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None


def read_text(path: str | Path, most: int = MOST_TEXT) -> str:
    """The whole UTF-8 file `path`, a byte order mark left out; InputError as `reading`, or if it is
    no UTF-8 text."""
    with reading(path, most) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"{path}: too large, {most:,} bytes at most")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None


def sha256(path: str | Path) -> str:
    """The SHA-256 of the file `path`, in hexadecimal; InputError as `reading`."""
    digest = hashlib.sha256()
    with reading(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_json(path: str | Path, most: int = MOST_TEXT) -> Any:
    """What the JSON file `path` holds; InputError as `read_text`, or if it is no JSON."""
    return parse_json(read_text(path, most), str(path))


def parse_json(text: str | bytes, source: str) -> Any:
    """What the JSON `text` says; InputError, which `source` opens, if it is none."""
    try:
        return json.loads(text)
    except ValueError as error:  # also of a number with thousands of digits
        raise InputError(f"{source}: not JSON: {first_line(error)}") from None
    except RecursionError:
        raise InputError(f"{source}: not JSON: nested too deep") from None


def reason(error: BaseException) -> str:
    """Why the operating system refused, in a few words."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return first_line(error)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """The lock whose file is `path`, held by one process at a time; InputError `busy` if it is held.

    The system lets go of it when the process ends, however that happens; the file stays.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(busy) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {reason(error)}") from None
    try:
        yield
    finally:
        lock.release()
