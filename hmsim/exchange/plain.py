"""Plain address traces: one `LD ADDRESS` or `ST ADDRESS` a line, decimal or 0x hexadecimal."""

import itertools
import os
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmsim import files, machine
from hmsim.errors import InputError

LONGEST_LINE = 4096  # bytes
BYTES_HELD = 16  # in memory for a byte of the file: 80 for "LD 0\n", with the replay's arrays

_KINDS = {"LD": 0, "ST": 1}


def read_trace(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Addresses in bytes and writes (0 or 1): int64 [n] each; InputError numbers a bad line.

    Blank lines and lines that start with # are skipped.
    """
    addresses, writes = array("q"), array("b")
    with files.reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        machine.need_memory(BYTES_HELD * size, f"{path}: a trace of {size:,} bytes")
        for number in itertools.count(1):
            raw = file.readline(LONGEST_LINE)
            if not raw:
                break
            if not raw.isascii():
                raise InputError(f"{path}: no plain trace: not ASCII text")
            line = raw.decode("ascii")
            if not line.strip() or line.startswith("#"):
                continue
            address, write = _parse(path, number, line)
            addresses.append(address)
            writes.append(write)
    if not addresses:
        raise InputError(f"{path}: the trace is empty; write lines such as 'LD 0x1f40'")
    return np.array(addresses, np.int64), np.array(writes, np.int64)


def _parse(path: str | Path, number: int, line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) == 2 and words[0] in _KINDS:
        try:
            address = int(words[1], 16 if words[1][:2] in ("0x", "0X") else 10)
        except ValueError:
            address = -1
        if 0 <= address < 1 << 62:
            return address, _KINDS[words[0]]
    raise InputError(
        f"{path}: line {number}: {line.strip()!r:.80}; expected 'LD ADDRESS' or 'ST ADDRESS',"
        " decimal or 0x"
    )
