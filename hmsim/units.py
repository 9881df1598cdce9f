"""Quantities as people write them ("24 GB", "450 GB/s", "18.75 ns") to base units and back.

Base units: bytes, bytes per second, seconds, hertz, volts, amperes, watts, joules per bit. A bare
number is already in base units. Decimal prefixes are powers of 1000 (GB), binary ones of 1024 (GiB).
"""

import math
import re

_DECIMAL: dict[str, float] = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
}
_BINARY: dict[str, float] = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_BYTES = {f"{p}B": f for p, f in (_DECIMAL | _BINARY).items()}

UNITS: dict[str, dict[str, float]] = {
    "bytes": _BYTES,
    "bytes/s": {f"{u}/s": f for u, f in _BYTES.items()},
    "seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "ps": 1e-12},
    "hertz": {f"{p}Hz": f for p, f in _DECIMAL.items()},
    "volts": {"V": 1, "mV": 1e-3},
    "amperes": {"A": 1, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6},
    "watts": {"W": 1, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6},
    "joules/bit": {"J/bit": 1, "nJ/bit": 1e-9, "pJ/bit": 1e-12, "fJ/bit": 1e-15},
}
_EXAMPLE = {
    "bytes": "24 GB", "bytes/s": "450 GB/s", "seconds": "18.75 ns", "hertz": "1.6 GHz",
    "volts": "1.1 V", "amperes": "70.5 mA", "watts": "140 mW", "joules/bit": "1.3 pJ/bit",
}  # fmt: skip
_NUMBER = r"[-+]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*(\S*)\s*")


def pattern(kind: str) -> str:
    """The regular expression of what `parse` takes for `kind`, as in a JSON Schema."""
    known = "|".join(map(re.escape, UNITS[kind]))
    return rf"^\s*({_NUMBER})\s*({known})?\s*$"


def parse(value: object, kind: str) -> float:
    """`value` in the base unit of `kind` (a key of UNITS); ValueError says what is allowed."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected {kind}, such as {_EXAMPLE[kind]!r} or a bare number")
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is no quantity; write {kind} such as {_EXAMPLE[kind]!r}")
        number, unit = match.groups()
        scale = 1.0 if unit == "" else UNITS[kind].get(unit)
        if scale is None:
            raise ValueError(f"unit {unit!r} does not measure {kind}; write {_EXAMPLE[kind]!r}")
        value = float(number) * scale
    try:
        value = float(value)
    except OverflowError:
        raise ValueError("too large") from None
    if math.isnan(value):
        raise ValueError("not a number")
    return value


def whole(value: object, kind: str) -> int:
    """As `parse`, where only a whole number makes sense: fractions are cut off."""
    number = parse(value, kind)
    if math.isinf(number):
        raise ValueError(f"must be finite; write {_EXAMPLE[kind]!r}")
    return int(number)


def show_bytes(n: float) -> str:
    """Bytes for people, decimal prefixes, three significant digits: '8.39 GB'."""
    return _show(n, "B")


def show_bandwidth(rate: float) -> str:
    """Bytes per second for people, always in GB/s: '4,900 GB/s'."""
    return f"{rate / 1e9:,.4g} GB/s" if rate < 1e12 else f"{rate / 1e9:,.0f} GB/s"


def show_seconds(t: float) -> str:
    """Seconds for people: '24.592 s', '75.06 µs'."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if abs(t) >= scale or unit == "ns":
            return f"{t / scale:.5g} {unit}"
    raise AssertionError


def show_joules(energy: float) -> str:
    """Joules for people, four significant digits: '24.59 J', '75.06 µJ'."""
    for unit, scale in (("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6), ("nJ", 1e-9)):
        if abs(energy) >= scale or unit == "nJ":
            return f"{energy / scale:.4g} {unit}"
    raise AssertionError


def _show(n: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(n) < 1000 or prefix == "P":
            return f"{n:.3g} {prefix}{unit}"
        n /= 1000
    raise AssertionError
