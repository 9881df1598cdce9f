"""Plain address traces, read by compiled code: one access a line.

    LD 0x1f40         reads the burst that holds the address
    ST 8000           writes it
    LD 0x1f40+256     reads so many bytes from the address on

Numbers are decimal or 0x hexadecimal. Blank lines count for nothing, nor does what follows a #. A
file may be gzipped. It is read block by block, so that its length costs no memory.
"""

from collections.abc import Container, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.errors import InputError
from hmsim.exchange.text import unpacked
from hmsim.ready import Ready

I64 = NDArray[np.int64]

BLOCK = 1 << 20  # bytes read at a time; no line may be longer
SHORTEST = len("LD 0\n")
MOST_BYTES = 1 << 30  # of one access
END = 1 << 62  # no address is so large

BLANK, _OTHER = 16, 17  # what a byte is, beside the digits 0 to 15
_parse = Ready("hmsim.exchange.plain_kernel", "parse")
_CLASS = np.full(256, _OTHER, np.uint8)
_CLASS[list(b" \t\r\v\f")] = BLANK
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _CLASS[list(_digits)] = np.arange(16)


class Accesses(NamedTuple):
    """Accesses in order.

    Attributes:
        address: int64 [n], bytes.
        size: int64 [n], bytes; 0 is the one burst that holds the address.
        write: int64 [n], 1 for a write.
        text: The lines that say so; empty where there is no file.
        before: Lines of the file before those; accesses before these where there is no file.
        part: Which part of the trace they are, from 0.
    """

    address: I64
    size: I64
    write: I64
    text: bytes = b""
    before: int = 0
    part: int = 0

    def where(self, index: int) -> str:
        """Where one of these stands, for people.

        Args:
            index: Which, from 0.

        Returns:
            Such as "line 12", or "access 12" where there is no file.
        """
        if not self.text:
            return f"access {self.before + index + 1}"
        lines = enumerate(self.text.split(b"\n"), self.before + 1)
        said = (number for number, line in lines if line.partition(b"#")[0].strip())
        return f"line {next(islice(said, index, None))}"


def read_trace(path: str | Path, only: Container[int] | None = None) -> Iterator[Accesses]:
    """Read a plain address trace, gzipped or not, block by block.

    Args:
        path: The file.
        only: Which parts of it (`Accesses.part`, of a reading before) are wanted; None for all.

    Yields:
        Some accesses; all together, in the file's order.

    Raises:
        InputError: The file cannot be read, or holds no access, or a line of it, which is named,
            says something else.
    """
    with unpacked(path) as file:
        yield from parse(path, blocks(file), only)


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """What is in a file, in pieces of at most BLOCK bytes."""
    return iter(lambda: file.read(BLOCK), b"")


def parse(
    path: str | Path, text: Iterable[bytes], only: Container[int] | None = None
) -> Iterator[Accesses]:
    """As `read_trace`, of a file's text in pieces."""
    lines = 0
    found = False
    for number, part in enumerate(_whole_lines(text)):
        if only is not None and number not in only:
            lines += part.count(b"\n")
            continue
        if not part.endswith(b"\n"):
            raise InputError(f"{path}: line {lines + 1}: longer than {BLOCK:,} bytes")
        address, size, write = np.empty((3, len(part) // SHORTEST + 1), np.int64)
        count, read, wrong = _parse(np.frombuffer(part, np.uint8), _CLASS, address, size, write)
        if wrong >= 0:
            _refuse(path, lines + read + 1, part[wrong : part.index(b"\n", wrong)])
        if count:
            found = True
            yield Accesses(address[:count], size[:count], write[:count], part, lines, number)
        lines += read
    if not found:
        raise InputError(f"{path}: the trace is empty; write lines such as 'LD 0x1f40'")


def _whole_lines(text: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that end with a line, without a byte order mark; one that does not
    is part of a line that is too long."""
    rest = None
    for block in text:
        if rest is None:
            rest, block = b"", block.removeprefix(b"\xef\xbb\xbf")
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
        if len(rest) > BLOCK:
            yield rest
    if rest:
        yield rest + b"\n"


def _refuse(path: str | Path, number: int, line: bytes) -> None:
    if not line.isascii():
        raise InputError(f"{path}: line {number}: no plain trace: not ASCII text")
    raise InputError(
        f"{path}: line {number}: {line.decode().strip()!r:.80}; expected 'LD ADDRESS' or"
        f" 'ST ADDRESS', decimal or 0x, below 2^62, +BYTES behind it if need be,"
        f" {MOST_BYTES:,} at most"
    )
