"""Address traces of other tools, read.

A reader yields numbered records: lines, or a gem5 trace's packets. What it does not know, it refuses:
no word is taken for a read because it is not known to be a write.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hmsim import files
from hmsim.errors import InputError, did_you_mean
from hmsim.exchange import plain, text

LONGEST_LINE = 4096  # bytes
MOST_PACKETS = 1 << 30  # bytes of a gem5 trace, which is read as a whole


class Access(NamedTuple):
    """One access of a trace.

    Attributes:
        time: Cycles or picoseconds, as the format counts; None where it has no times.
        write: Whether it is a write.
        address: Byte address.
        size: Bytes; 0 where the format has no sizes: one burst.
    """

    time: float | None
    write: bool
    address: int
    size: int


def read_addresses(path: Path, form: str) -> Iterator[Access]:
    """Read another tool's address trace, gzipped or not, as a stream.

    Args:
        path: The file.
        form: A key of READERS; docs/workloads.md describes the formats.

    Yields:
        The accesses, in the file's order.

    Raises:
        InputError: The format is unknown, the file cannot be read, or a line (or packet) of it,
            which is named, is malformed.
    """
    if form not in READERS:
        raise InputError(f"format {form!r}: unknown{did_you_mean(form, READERS)}")
    reader = READERS[form]
    record = "packet" if reader is _gem5 else "line"
    number = 0
    with text.unpacked(path) as file:
        for number, access in reader(path, file):
            if access.size < 1 and reader is not _ramulator:
                raise InputError(f"{path}: {record} {number}: {access.size} bytes: 1 at least")
            if access.size > plain.MOST_BYTES or access.address + access.size > plain.END:
                raise InputError(
                    f"{path}: {record} {number}: {access.size:,} bytes at {access.address:#x}: "
                    f"at most {plain.MOST_BYTES:,} bytes, below 2^62"
                )
            yield access
    if not number:
        raise InputError(f"{path}: empty: holds no access")


def write_plain(accesses: Iterator[Access], path: Path, inputs: Iterable[str | Path] = ()) -> int:
    """Write accesses as `LD|ST ADDRESS+BYTES` lines, for `hmsim replay`.

    Args:
        accesses: What is written; without `+BYTES` where the size is 0.
        path: The file. It is there once it is complete.
        inputs: Files that must not be overwritten.

    Returns:
        How many lines there are.

    Raises:
        InputError: The file cannot be written, or is one of the inputs.
    """
    count = 0
    with files.writing(path, inputs) as beside, beside.open("w", encoding="ascii") as file:
        for access in accesses:
            kind = "ST" if access.write else "LD"
            size = f"+{access.size}" if access.size else ""
            file.write(f"{kind} 0x{access.address:x}{size}\n")
            count += 1
    return count


Records = Iterator[tuple[int, Access]]  # each with its number

_DRAMSIM3 = re.compile(r"(?:0x)?([0-9a-fA-F]{1,16})\s+(\S+)\s+(\d{1,19})")
# Whether they write. DRAMsim3 takes every other word for a read.
_OPERATIONS = {
    "READ": False, "read": False, "P_MEM_RD": False, "P_FETCH": False, "IFETCH": False,
    "WRITE": True, "write": True, "P_MEM_WR": True, "BOFF": True,
}  # fmt: skip
_END_OF_TIME = 2**63 - 1  # cycle of the record that only guards the end of a file


def _dramsim3(path: Path, file: BinaryIO) -> Records:
    for number, line in _lines(file):
        match = _DRAMSIM3.fullmatch(line)
        if match is None:
            raise InputError(f"{path}: line {number}: {line!r:.80}: expected 'HEXADDR OP CYCLE'")
        address, operation, cycle = int(match[1], 16), match[2], int(match[3])
        if operation not in _OPERATIONS:
            raise InputError(
                f"{path}: line {number}: {operation!r:.40}: no operation; DRAMsim3 has"
                f" {', '.join(_OPERATIONS)}"
            )
        if cycle != _END_OF_TIME:
            yield number, Access(cycle, _OPERATIONS[operation], address, 64)


_STL = re.compile(
    r"(\d{1,19}):\s*(?:\((\d{1,19})\)\s*)?(read|write)\s+0x([0-9a-fA-F]{1,16})(?:\s+\S+)?"
)


def _dramsys(path: Path, file: BinaryIO) -> Records:
    """Absolute cycles in `.stl`; in `.rstl` they count from the access before."""
    relative, now = path.name.endswith(".rstl"), 0
    for number, line in _lines(file):
        if line.startswith("#"):
            continue
        match = _STL.fullmatch(line)
        if match is None:
            raise InputError(
                f"{path}: line {number}: {line!r:.80}: expected 'CYCLE: (LENGTH) read|write 0xADDR'"
            )
        now = int(match[1]) + (now if relative else 0)
        yield number, Access(now, match[3] == "write", int(match[4], 16), int(match[2] or 64))


def _ramulator(path: Path, file: BinaryIO) -> Records:
    """The lines that `hmsim replay` takes, by the same parser, which sees to limits and numbers."""
    for part in plain.parse(path, plain.blocks(file)):
        columns = (part.write.tolist(), part.address.tolist(), part.size.tolist())
        for write, address, size in zip(*columns, strict=True):
            yield 1, Access(None, bool(write), address, size)


def _csv(path: Path, file: BinaryIO) -> Records:
    lines = _lines(file)
    number, header = next(lines, (0, ""))
    if number and header != "time_ps,op,address,size":
        raise InputError(f"{path}: line {number}: expected the header time_ps,op,address,size")
    for number, line in lines:
        match = re.fullmatch(r"(\d{1,19}),([RW]),(\d{1,19}),(\d{1,19})", line)
        if match is None:
            raise InputError(f"{path}: line {number}: {line!r:.80}: expected TIME,R|W,ADDRESS,SIZE")
        yield number, Access(int(match[1]), match[2] == "W", int(match[3]), int(match[4]))


def _lines(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    for number in itertools.count(1):
        raw = file.readline(LONGEST_LINE)
        if not raw:
            return
        line = raw.decode("ascii", "replace").strip()
        if line:
            yield number, line


# Commands of gem5's packets (MemCmd, version 20 to 24) that reach a memory, and whether they write;
# from 30 on, numbers differ between versions.
_COMMANDS = {
    1: False, 11: False, 12: False, 13: False, 22: False, 24: False, 25: False, 26: False,
    4: True, 7: True, 8: True, 9: True, 16: True, 27: True,
}  # fmt: skip
_WITHOUT_DATA = (10, 17)  # CleanEvict, UpgradeReq


def _gem5(path: Path, file: BinaryIO) -> Records:
    data = file.read(MOST_PACKETS + 1)
    if len(data) > MOST_PACKETS:
        raise InputError(f"{path}: too large, {MOST_PACKETS:,} bytes at most")
    if not data:
        return
    if data[:4] != b"gem5":
        raise InputError(f"{path}: no gem5 packet trace: the file does not begin with 'gem5'")
    packet = 0
    try:
        header, at = _message(data, 4)
        if not 0 < header.get(3, 10**12) < 1 << 62:
            raise InputError(f"{path}: header: {header[3]} ticks a second")
        scale = 1e12 / header.get(3, 10**12)
        while at < len(data):
            packet += 1
            fields, at = _message(data, at)
            if fields.get(2) in _WITHOUT_DATA:
                continue
            if fields.get(2) not in _COMMANDS:
                known = ", ".join(map(str, sorted(_COMMANDS)))
                raise InputError(
                    f"{path}: packet {packet}: command {fields.get(2)}: no read or write; {known}"
                )
            for key, name in ((1, "tick"), (3, "address"), (4, "size")):
                if key not in fields:
                    raise InputError(f"{path}: packet {packet}: has no {name}")
            yield packet, Access(fields[1] * scale, _COMMANDS[fields[2]], fields[3], fields[4])
    except (IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: packet {packet}: malformed or truncated") from None


def _message(data: bytes, at: int) -> tuple[dict[int, int], int]:
    """Whole-number fields of one length-delimited protobuf message, and where the next begins."""
    length, at = _varint(data, at)
    end = at + length
    if end > len(data):
        raise IndexError
    fields: dict[int, int] = {}
    while at < end:
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            fields[tag >> 3], at = _varint(data, at)
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")
    return fields, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] >= 0x80 and shift < 63:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


READERS: dict[str, Callable[[Path, BinaryIO], Records]] = {
    "ramulator": _ramulator,
    "dramsim3": _dramsim3,
    "dramsys": _dramsys,
    "gem5": _gem5,
    "csv": _csv,
}
