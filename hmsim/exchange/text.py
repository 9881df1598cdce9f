"""Text of other tools: lines of any origin, and the numbers and times that stand in them."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from hmsim import files
from hmsim.errors import InputError

LONGEST_LINE = 64 << 20  # bytes: a line may hold all the tokens of a prompt, or of a step

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,12}))?)?\s?(Z|UTC|[+-]\d\d:?(?:\d\d)?)?",
    re.ASCII,
)
_NANO = 10**9
_LARGEST = 1e18  # of a whole number: it fits 64 bits, and so do sums of some


@contextmanager
def unpacked(path: str | Path) -> Iterator[BinaryIO]:
    """The file `path`, open for reading bytes: those that are packed in it, where it is gzipped.

    Raises InputError as `files.reading` does, and for a damaged gzip file.
    """
    with files.reading(path) as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"  # type: ignore[attr-defined]
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb")) if packed else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"{path}: cannot be read: damaged gzip file ({files.first_line(error)})"
            ) from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The number, from 1, and the text of each line of a UTF-8 file, gzipped or not, as a stream.

    A line feed ends a line, a carriage return, or both (JSON text may hold what else Unicode calls a
    line's end). The file's byte order mark is left out.

    Raises InputError for a file that cannot be read or is no UTF-8 text, with the line.
    """
    with unpacked(path) as source:
        number = 0
        while raw := source.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                raise InputError(f"{path}: line {number}: longer than {LONGEST_LINE:,} bytes")
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{path}: line {number}: not a text file (UTF-8)") from None
            text = text.removesuffix("\n").removesuffix("\r")
            *before, last = text.split("\r") if "\r" in text else [text]
            for part in before:
                yield number, part
                number += 1
            yield number, last


def number(value: object) -> int | float | None:
    """What a JSON number, or a cell or string that spells one in ASCII, says; None if it is none.

    Numbers that say that they are whole are exact. Infinity and NaN are none.
    """
    if type(value) is int:
        return value
    if isinstance(value, str):
        text = value.strip()
        digits = text[1:] if text[:1] in ("+", "-") else text
        if len(text) < 400 and digits.isdecimal() and text.isascii():
            return int(text)
        if len(text) >= 400 or not _NUMBER.fullmatch(text):
            return None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def whole(value: object) -> int | None:
    """As `number`, for whole numbers below 10^18 in size, also written as 374.0."""
    if type(value) is str and len(value) < 18 and value.isdecimal() and value.isascii():
        return int(value)
    found = number(value)
    if found is None or abs(found) >= _LARGEST or found != int(found):
        return None
    return int(found)


def shown(value: object) -> str:
    """A value for an error, short."""
    if value is None or value == "":
        return "missing"
    try:
        return f"{value!r:.40}"
    except ValueError:  # a whole number with thousands of digits
        return "a number too long to write"


def nanoseconds(text: object) -> int | None:
    """A moment such as `2023-11-16 18:15:46.6805900` or `2024-05-10T00:00:00Z`; None if it is none.

    Nanoseconds from 1970 on, exact; a moment without an offset from UTC is in UTC.
    """
    match = _MOMENT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    day, minute, second, fraction, zone = match.groups()
    try:
        start = _minute(day, minute, zone or "Z")
    except (ValueError, OverflowError):
        return None
    if int(second or 0) > 59:
        return None
    return start + int(second or 0) * _NANO + int(((fraction or "") + "0" * 9)[:9])


@lru_cache(maxsize=64)
def _minute(day: str, minute: str, zone: str) -> int:
    """Nanoseconds of the start of a minute; ValueError if there is no such minute."""
    if zone in ("Z", "UTC"):
        zone = "+00:00"
    elif len(zone) == 3:
        zone += ":00"
    elif ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    moment = datetime.fromisoformat(f"{day}T{minute}:00{zone}").astimezone(UTC)
    return round(moment.timestamp()) * _NANO
