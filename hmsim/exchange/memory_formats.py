"""Memory traces of other tools: one writer each, all from the same requests.

A writer takes an open binary file and batches of requests in order of time, and returns how many it
wrote. Times are rounded down to the target's clock, which keeps their order.
"""

from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.errors import InputError

I64 = NDArray[np.int64]


class Batch(NamedTuple):
    """Memory requests in order of time.

    Attributes:
        time_ps: int64 [n], picoseconds.
        write: int64 [n], 1 for a write.
        address: int64 [n], byte addresses.
        size: int64 [n], bytes.
    """

    time_ps: I64
    write: I64
    address: I64
    size: I64


class Target(NamedTuple):
    """What a format needs to know of the simulator that will read it.

    Attributes:
        clock_hz: Frequency of its cycles, Hz.
        decode: From byte addresses, int64 [n], to the levels of the address map, int64 [n] each,
            the column in bursts; None where the format needs none.
        columns_per_burst: Device columns of a burst: 8 on HBM, 16 on LPDDR5.
    """

    clock_hz: float = 1.6e9
    decode: Callable[[I64], list[I64]] | None = None
    columns_per_burst: int = 8


class Format(NamedTuple):
    """One format: what it is for, and how it is written.

    Attributes:
        tool: The simulator that reads it.
        granule: Bytes of one transaction, into which accesses are split; 0: whole accesses.
        timed: Whether it carries times.
        line_bytes: Bytes of a typical record, for estimates.
        suffix: Of a file's name, as the tool wants it.
        write: Writes batches into an open binary file for a target, and returns their number.
    """

    tool: str
    granule: int
    timed: bool
    line_bytes: int
    suffix: str
    write: Callable[[BinaryIO, Iterable[Batch], Target], int]


def _ramulator_load_store(file: BinaryIO, batches: Iterable[Batch], target: Target) -> int:
    """`LD ADDR` or `ST ADDR` a line, hexadecimal; no times, no sizes, nothing else in the file."""
    names = ("LD", "ST")
    return _lines(
        file,
        (
            (
                f"{names[w]} 0x{a:x}"
                for w, a in zip(b.write.tolist(), b.address.tolist(), strict=True)
            )
            for b in batches
        ),
    )


def _ramulator_read_write(file: BinaryIO, batches: Iterable[Batch], target: Target) -> int:
    """`R level,level,..,column` a line, reads only: one write voids all reads of such a trace."""
    decode = target.decode
    if decode is None:
        raise InputError("ramulator-rw: needs the address mapping that gives bank, row and column")

    def texts(batch: Batch) -> Iterable[str]:
        levels = decode(batch.address[batch.write == 0])
        levels[-1] = levels[-1] * target.columns_per_burst
        rows = np.column_stack(levels).tolist()
        return ("R " + ",".join(map(str, row)) for row in rows)

    return _lines(file, map(texts, batches))


def _dramsim3(file: BinaryIO, batches: Iterable[Batch], target: Target) -> int:
    """`0xADDR READ|WRITE CYCLE` a line, by cycle of the memory clock.

    The reader repeats or loses the last record: a read at the end of time stands there instead,
    with no newline behind it.
    """
    names = ("READ", "WRITE")
    count = _lines(
        file,
        (
            (
                f"0x{address:x} {names[write]} {cycle}"
                for address, write, cycle in zip(
                    b.address.tolist(),
                    b.write.tolist(),
                    _cycles(b, target).tolist(),
                    strict=True,
                )
            )
            for b in batches
        ),
    )
    file.write(b"0x0 READ 9223372036854775807")
    return count


def _dramsys(file: BinaryIO, batches: Iterable[Batch], target: Target) -> int:
    """`CYCLE: (LENGTH) read|write 0xADDR` a line; cycles of the player's clock fit 32 bits."""
    names = ("read", "write")

    def texts(batch: Batch) -> Iterable[str]:
        cycles = _cycles(batch, target)
        if cycles.size and cycles[-1] >= 1 << 32:
            raise InputError(
                "dramsys: cycles do not fit 32 bits; export fewer steps or at a lower clock"
            )
        return (
            f"{cycle}: ({size}) {names[write]} 0x{address:x}"
            for cycle, size, write, address in zip(
                cycles.tolist(),
                batch.size.tolist(),
                batch.write.tolist(),
                batch.address.tolist(),
                strict=True,
            )
        )

    return _lines(file, map(texts, batches))


def _gem5(file: BinaryIO, batches: Iterable[Batch], target: Target) -> int:
    """Length-delimited protobuf packets behind a magic word; ticks are picoseconds."""
    header = b"\x0a\x05hmsim" + b"\x10\x00" + b"\x18" + _varint(10**12)
    file.write(b"gem5" + _varint(len(header)) + header)
    count = 0
    for batch in batches:
        packets = bytearray()
        for time, write, address, size in zip(*(column.tolist() for column in batch), strict=True):
            packet = (
                b"\x08" + _varint(time) + (b"\x10\x04" if write else b"\x10\x01")
                + b"\x18" + _varint(address) + b"\x20" + _varint(size)
            )  # fmt: skip
            packets += _varint(len(packet)) + packet
        file.write(packets)
        count += batch.time_ps.size
    return count


def _csv(file: BinaryIO, batches: Iterable[Batch], target: Target) -> int:
    """`time_ps,op,address,size` with a header; op is R or W."""
    file.write(b"time_ps,op,address,size\n")
    return _lines(
        file,
        (
            (
                f"{time},{'W' if write else 'R'},{address},{size}"
                for time, write, address, size in zip(
                    *(column.tolist() for column in b), strict=True
                )
            )
            for b in batches
        ),
    )


def _lines(file: BinaryIO, batches: Iterable[Iterable[str]]) -> int:
    """Write lines, each ended by a newline; returns how many."""
    count = 0
    for batch in batches:
        lines = list(batch)
        if lines:
            file.write(("\n".join(lines) + "\n").encode())
        count += len(lines)
    return count


def _cycles(batch: Batch, target: Target) -> I64:
    return np.floor(batch.time_ps * (target.clock_hz / 1e12)).astype(np.int64)


def _varint(value: int) -> bytes:
    """A protobuf base-128 number, least significant group first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


FORMATS = {
    "ramulator": Format("Ramulator 2.1 LoadStoreTrace", 32, False, 14, "", _ramulator_load_store),
    "ramulator-rw": Format(
        "Ramulator 2.1 ReadWriteTrace", 32, False, 22, "", _ramulator_read_write
    ),
    "dramsim3": Format("DRAMsim3", 64, True, 26, ".trace", _dramsim3),
    "dramsys": Format("DRAMSys STL", 64, True, 36, ".stl", _dramsys),
    "gem5": Format("gem5 traffic generator", 64, True, 19, "", _gem5),
    "csv": Format("CSV", 0, True, 32, ".csv", _csv),
}
