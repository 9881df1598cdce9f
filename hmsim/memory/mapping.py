"""Address maps: which bank and row a burst falls in, and which channel.

A map is linear over GF(2): every bit of a bank or row number is the XOR of some address bits. It
is kept as a list of *slices*, each of which XORs a run of address bits into a field; plain bit
slices and XOR hashes are then the same thing, to the kernel too.

A map is written as its fields from the least significant address bit up, after the offset within
a burst: `Bg2 Pc1 Co5 Si1 Ba2 Ro14`. A term `^Ro@3` behind a field XORs that field with the row
bits from bit 3 up: `Ba2^Ro@3`. Field names: Co column, Bg bank group, Ba bank, Pc pseudo channel,
Si stack ID (or Ra rank), Ro row.

A map with the field Ch is of a whole memory: `Co2 Ch4^Ro Bg2 ...`. One without is of a channel, whose
bursts are numbered as interleaving leaves them: channel bits lie above the interleave, and are taken
out. The named maps are of a channel.

Ch without a number of bits is for any number of channels, a power of two or not: `Co4 Ch Bg2 ...`.
What lies above it is divided by the number of channels. The quotient goes on to the fields that
follow; the remainder, turned by a hash of all bits of the quotient, is the channel.
"""

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.config.memory import MemorySpec
from hmsim.errors import InputError, did_you_mean

FIELDS = {
    "Pc": "pseudo_channels",
    "Si": "ranks",
    "Bg": "bank_groups",
    "Ba": "banks",
    "Ro": "rows",
    "Co": "columns",
}
NAMED = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR")
_TERM = re.compile(r"([A-Z][a-z])(\d+)((?:\^[A-Z][a-z](?:@\d+)?)*)")


class Mapping(NamedTuple):
    """Slices: `field[k] ^= ((line >> shift[k]) & mask[k]) << left[k]`, `line` = address / burst.

    `target`: 0 the flat bank number, 1 the row, 2 the column, 3 the channel. Slices are sorted by
    target.
    """

    shift: NDArray[np.int64]
    mask: NDArray[np.int64]
    left: NDArray[np.int64]
    target: NDArray[np.int64]
    bits: int  # address bits above the burst offset


class _Field(NamedTuple):
    name: str
    low: int  # first address bit
    width: int
    at: int  # first bit of the field that this piece holds


CHANNEL = "Ch"


def places_channel(text: str) -> bool:
    """Whether the map `text` says which channel a burst falls in."""
    return any(
        token.startswith(CHANNEL) and token not in (CHANNEL, *NAMED) for token in text.split()
    )


def divided(text: str, burst_bytes: int) -> tuple[str, int]:
    """The map of one channel, and the bytes in a row that belong to it: where `text` has Ch without a
    number of bits; else `text` itself, and 0."""
    fields = text.split()
    if CHANNEL not in fields:
        return text, 0
    at = fields.index(CHANNEL)
    below = [_TERM.fullmatch(field) for field in fields[:at]]
    if fields.count(CHANNEL) > 1 or places_channel(text):
        raise InputError(f"mapping {text!r}: Ch is there twice")
    bits = sum(int(match[2]) for match in below if match)
    return " ".join(fields[:at] + fields[at + 1 :]), burst_bytes << min(bits, 62)


def turns(rounds: Any, channels: int) -> Any:  # of int64 or arrays of it; the kernels' too
    """By how many channels a hash turns a round of stripes, one to each channel."""
    x = (rounds & ((1 << 34) - 1)) * 0x2545F49
    x = ((x ^ (x >> 21)) & ((1 << 34) - 1)) * 0x1B873593
    return (x >> 27) % channels


def widths(spec: MemorySpec) -> dict[str, int]:
    """Bits of each field of one channel."""
    sizes = {name: getattr(spec.organization, key) for name, key in FIELDS.items()}
    return {name: (size - 1).bit_length() for name, size in sizes.items()}


def parse(text: str, spec: MemorySpec, channels: int = 1) -> Mapping:
    """The map `text` for a channel of `spec`, or for so many where it has the field Ch; InputError
    unless it is a bijection."""
    size = widths(spec)
    whole = places_channel(text)
    if whole:
        if channels & (channels - 1):
            raise InputError(f"mapping {text!r}: Ch needs a power of two of channels: {channels}")
        size[CHANNEL] = (channels - 1).bit_length()
    pieces, terms = _read(_named(text, size), size)
    held = dict.fromkeys(size, 0)
    placed: list[_Field] = []
    low = 0
    for name, width in pieces:
        placed.append(_Field(name, low, width, held[name]))
        held[name] += width
        low += width
    for name, width in size.items():
        if held[name] != width and not (name == "Ro" and 0 < held[name] < width):
            needs = f"{channels} channels need" if name == CHANNEL else "the memory needs"
            raise InputError(
                f"mapping {text!r}: {name} has {held[name]} bits, {needs} {width} (a bijection)"
            )
    rows = spec.organization.rows
    if whole and rows & (rows - 1) and pieces[-1][0] != "Ro":
        raise InputError(
            f"mapping {text!r}: Ro must be the last field: {rows} rows are no power of two"
        )
    slices = [(piece.low, piece.width, piece.name, piece.at) for piece in placed]
    slices += _xor_slices(placed, terms, held)
    mapping = _pack(slices, size, low)
    if _rank(slices, low) != low:
        raise InputError(f"mapping {text!r}: not a bijection; two addresses share one place")
    return mapping


def decode(mapping: Mapping, lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """Flat bank, row and column of burst numbers within what the map is of: int64 [3, n]."""
    return _places(mapping, lines)[:3]


def channel_of(mapping: Mapping, lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """The channel of burst numbers within a memory, by a map that places it: int64 [n]."""
    return _places(mapping, lines)[3]


def _places(mapping: Mapping, lines: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.zeros((4, len(lines)), np.int64)
    for shift, mask, left, target in zip(*mapping[:4], strict=True):
        out[target] ^= ((lines >> shift) & mask) << left
    return out


def _named(text: str, size: dict[str, int]) -> str:
    """The bit list that a named map stands for."""

    def fields(*names: str) -> str:
        return " ".join(f"{name}{size[name]}" for name in names if size[name])

    if text == "RoBaRaCoCh":
        return fields("Co", "Pc", "Si", "Bg", "Ba", "Ro")
    if text == "ChRaBaRoCo":
        return fields("Co", "Ro", "Ba", "Bg", "Si", "Pc")
    if text == "MOP4CLXOR":
        # Two column bits stay lowest; each field is XORed with the next slice of the column.
        taken, hashed = 0, []
        for name in ("Pc", "Si", "Bg", "Ba"):
            if size[name]:
                term = f"^Co@{taken}" if taken < size["Co"] else ""
                hashed.append(f"{name}{size[name]}{term}")
                taken += size[name]
        row = f"Ro{size['Ro']}" + (f"^Co@{taken}" if taken < size["Co"] else "")
        low = min(2, size["Co"])
        rest = f"Co{size['Co'] - low}" if size["Co"] > low else ""
        return " ".join([f"Co{low}", *hashed, rest, row])
    return text


def _read(
    text: str, size: dict[str, int]
) -> tuple[list[tuple[str, int]], list[tuple[str, str, int]]]:
    """Pieces (field, width) from the low bits up, and XOR terms (field, other field, its bit)."""
    pieces, terms = [], []
    for token in text.split():
        match = _TERM.fullmatch(token)
        if match is None:
            raise InputError(
                f"mapping {text!r}: {token!r} is no field; write 'Bg2', 'Ba2^Ro@3' or one of"
                f" {', '.join(NAMED)}"
            )
        name = _known(text, match[1], size)
        pieces.append((name, int(match[2])))
        for term in match[3].split("^")[1:]:
            other, _, bit = term.partition("@")
            terms.append((name, _known(text, other, size), int(bit or 0)))
    if not pieces:
        raise InputError("mapping: empty; write for example 'Bg2 Pc1 Co5 Si1 Ba2 Ro14'")
    return pieces, terms


def _known(text: str, name: str, size: dict[str, int]) -> str:
    name = "Si" if name == "Ra" else name
    if name not in size:
        raise InputError(f"mapping {text!r}: unknown field {name!r}{did_you_mean(name, size)}")
    return name


def _xor_slices(
    placed: list[_Field], terms: list[tuple[str, str, int]], held: dict[str, int]
) -> list[tuple[int, int, str, int]]:
    slices = []
    for name, other, bit in terms:
        for piece in placed:
            if piece.name == other:
                first = max(bit, piece.at)
                end = min(bit + held[name], piece.at + piece.width)
                if first < end:
                    slices.append((piece.low + first - piece.at, end - first, name, first - bit))
    return slices


def _pack(slices: list[tuple[int, int, str, int]], size: dict[str, int], bits: int) -> Mapping:
    """Slices as arrays; the flat bank number is Pc, Si, Bg, Ba from the top down."""
    base, at = {}, 0
    for name in ("Ba", "Bg", "Si", "Pc"):
        base[name] = (0, at)
        at += size[name]
    base["Ro"], base["Co"], base[CHANNEL] = (1, 0), (2, 0), (3, 0)
    rows = sorted(
        (base[name][0], low, (1 << width) - 1, base[name][1] + to)
        for low, width, name, to in slices
        if width
    )
    target, shift, mask, left = (np.array([row[k] for row in rows], np.int64) for k in range(4))
    return Mapping(shift, mask, left, target, bits)


def _rank(slices: list[tuple[int, int, str, int]], bits: int) -> int:
    """Rank over GF(2) of the map from address bits to field bits."""
    columns: dict[tuple[str, int], int] = {}
    for low, width, name, to in slices:
        for k in range(width):
            key = (name, to + k)
            columns[key] = columns.get(key, 0) ^ (1 << (low + k))
    basis: list[int] = []
    for vector in columns.values():
        for row in basis:
            vector = min(vector, vector ^ row)
        if vector:
            basis.append(vector)
    return min(len(basis), bits)
