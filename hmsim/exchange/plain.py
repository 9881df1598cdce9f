"""Plain address traces: one `LD ADDRESS` or `ST ADDRESS` a line, decimal or 0x hexadecimal."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmsim.errors import InputError

_KINDS = {"LD": 0, "ST": 1}


def read_trace(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Addresses in bytes and writes (0 or 1): int64 [n] each; InputError numbers a bad line.

    Blank lines and lines that start with # are skipped.
    """
    addresses, writes = [], []
    try:
        with open(path, encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                address, write = _parse(path, number, line)
                addresses.append(address)
                writes.append(write)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: no plain trace: not ASCII text") from None
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
        f"{path}: line {number}: {line.strip()!r}; expected 'LD ADDRESS' or 'ST ADDRESS',"
        " decimal or 0x"
    )
