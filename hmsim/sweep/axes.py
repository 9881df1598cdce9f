"""From the axes of a sweep's file to values: lists, ranges, zipped lists and designs."""

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from hmsim import units
from hmsim.config.sweep import MOST_VALUES, AxisSpec, Between, Design, Scalar
from hmsim.errors import InputError
from hmsim.results.schema import TOTALS, TRAITS

# Names that a dataset has for other things.
RESERVED = ("point", "error", "wall_s", "peak_bandwidth_GBps", "time_s", *TOTALS, *TRAITS)
RESERVED_STARTS = ("workload_", "bound_", "replay_")  # of a report's tables
NAME = re.compile(r"[^\W\d][\w.-]*")
BASE_UNITS = {"bytes": "byte", "bytes/s": "byte/s", "seconds": "s", "hertz": "Hz"}
SPELT = {"byte": "B", "byte/s": "B/s", "s": "s", "Hz": "Hz"}  # as configurations write them
POLICY_NAMES = "policies.names"


class Axis(NamedTuple):
    """A dimension of the sweep: at its i-th place, key k takes `values[i][k]`.

    `keys[k]` are the dotted keys that take the value together, `units[k]` the base unit of values
    that were written with one ("" for all others).
    """

    name: str
    keys: tuple[tuple[str, ...], ...]
    values: list[tuple[Any, ...]]
    units: tuple[str, ...]

    @property
    def is_policy(self) -> bool:
        """The axis changes nothing but policies: its points share workload and bound."""
        return all(key.startswith("policies.") for group in self.keys for key in group)

    def columns(self) -> dict[str, tuple[list[Any], str]]:
        """Each key's values along the axis, and their unit, by its name in a dataset."""
        names = [self.name] if len(self.keys) == 1 else [group[0] for group in self.keys]
        return {
            name: ([row[k] for row in self.values], self.units[k]) for k, name in enumerate(names)
        }

    def changes(self, place: int) -> dict[str, Any]:
        """Dotted key to value at a place of the axis."""
        row = self.values[place]
        return {key: row[k] for k, group in enumerate(self.keys) for key in group}


def expand(specs: dict[str, AxisSpec], source: str) -> list[Axis]:
    """The axes in the file's order; InputError for an empty axis, or one that clashes."""
    axes = [_expand(name, spec, f"{source}: axes.{name}") for name, spec in specs.items()]
    taken: dict[str, str] = {}  # key -> axis
    names: dict[str, str] = {}  # in the dataset -> axis
    for axis in axes:
        where = f"{source}: axes.{axis.name}"
        if not NAME.fullmatch(axis.name) or axis.name.endswith("."):
            raise InputError(
                f"{source}: axes: {axis.name!r}: a name is letters, digits and _ . - within, such "
                "as 'capacity'"
            )
        if (
            axis.name in RESERVED
            or axis.name.startswith(RESERVED_STARTS)
            or (axis.name == "policy" and not _takes_policy(axis))
        ):
            raise InputError(f"{where}: this name is taken; call the axis something else")
        if not axis.values:
            raise InputError(f"{where}: empty; give at least one value")
        for name in axis.columns():
            if name in names and names[name] != axis.name:
                raise InputError(f"{where}: {name} is the name of axis {names[name]} already")
            names[name] = axis.name
        names[axis.name] = axis.name
        for key in (key for group in axis.keys for key in group):
            if key in taken:
                raise InputError(f"{where}: {key} is on axis {taken[key]} already")
            taken[key] = axis.name
    return axes


def _takes_policy(axis: Axis) -> bool:
    return axis.keys == ((POLICY_NAMES,),)


def _expand(name: str, spec: AxisSpec, where: str) -> Axis:
    if spec.zip is not None:
        lengths = {len(column) for column in spec.zip.values()}
        if len(lengths) > 1:
            raise InputError(f"{where}.zip: lists of {sorted(lengths)} values; one length needed")
        rows = list(zip(*spec.zip.values(), strict=True))
        return Axis(name, tuple((key,) for key in spec.zip), rows, ("",) * len(spec.zip))
    for kind in ("latin_hypercube", "sobol"):
        design: Design | None = getattr(spec, kind)
        if design is not None:
            keys = tuple((key,) for key in design.over)
            units = tuple(
                _unit(f"{where}.{kind}.over.{key}", sides.start, sides.stop)
                for key, sides in design.over.items()
            )
            return Axis(name, keys, _designed(design, kind, f"{where}.{kind}"), units)
    unit = ""
    if spec.range is not None:
        values, unit = spaced(spec.range, f"{where}.range")
    elif spec.log is not None:
        unit = _unit(f"{where}.log", spec.log.start, spec.log.stop)
        values = _measured(dict.fromkeys(_by_ratio(spec.log, f"{where}.log")), unit)
    else:
        values = spec.values or []
    own = spec.key if spec.key is not None else name
    group = (own,) if isinstance(own, str) else tuple(own)
    if POLICY_NAMES in group:
        values = [_one_policy(value, where) for value in values]
    return Axis(name, (group,), [(value,) for value in values], (unit,))


def _one_policy(value: Any, where: str) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise InputError(f"{where}: {value!r}: one policy's name; policies.names holds several")
    return value


def spaced(given: Between, where: str) -> tuple[list[Any], str]:
    """Evenly spaced values, and the base unit that they are written in, "" for bare numbers."""
    unit = _unit(where, given.start, given.stop, given.step)
    return _measured(dict.fromkeys(_evenly(given, where)), unit), unit


def _evenly(given: Between, where: str) -> list[Any]:
    start, stop = number(given.start, where), number(given.stop, where)
    if given.count is not None:
        return _tidy(np.linspace(start, stop, given.count), given.round)
    step = number(given.step, where)
    if not step or (stop - start) / step < 0:
        raise InputError(f"{where}: step {given.step!r} does not lead from {given.start!r} on")
    steps = (stop - start) / step + 1e-9  # so that 0.1 + 0.1 + 0.1 reaches 0.3
    if not steps < MOST_VALUES:
        raise InputError(f"{where}: {steps:,.3g} values; {MOST_VALUES:,} at most")
    count = math.floor(steps) + 1
    return _tidy(start + step * np.arange(count), given.round)


def _by_ratio(given: Between, where: str) -> list[Any]:
    start, stop = number(given.start, where), number(given.stop, where)
    if start <= 0 or stop <= 0:
        raise InputError(f"{where}: from and to must be above zero")
    return _tidy(np.geomspace(start, stop, given.count or 0), given.round)


def _designed(design: Design, kind: str, where: str) -> list[tuple[Any, ...]]:
    """Rows of a Latin hypercube, or the first points of a scrambled Sobol sequence."""
    from scipy.stats import qmc

    size = len(design.over)
    if kind == "sobol":
        whole = 1 << max(design.points - 1, 0).bit_length()  # a power of two is balanced
        unit = qmc.Sobol(size, rng=design.seed).random(whole)[: design.points]
    else:
        unit = qmc.LatinHypercube(size, rng=design.seed).random(design.points)
    columns = []
    for k, (key, sides) in enumerate(design.over.items()):
        start, stop = number(sides.start, where), number(sides.stop, where)
        if sides.log and (start <= 0 or stop <= 0):
            raise InputError(f"{where}.over.{key}: from and to must be above zero")
        if sides.log:
            column = start * (stop / start) ** unit[:, k]
        else:
            column = start + (stop - start) * unit[:, k]
        unit_of = _unit(f"{where}.over.{key}", sides.start, sides.stop)
        columns.append(_measured(_tidy(column, sides.round), unit_of))
    return list(zip(*columns, strict=True))


def _tidy(values: np.ndarray, whole: bool) -> list[Any]:
    """Plain numbers; 12 digits, so that ranges read as they were meant."""
    plain = [float(f"{value:.12g}") for value in values]
    if whole:
        return [round(value) for value in plain]
    return [int(value) if value.is_integer() else value for value in plain]


def _measured(values: Iterable[Any], unit: str) -> list[Any]:
    """Values that were written with a unit say so: the key that takes them checks it."""
    return [f"{value} {SPELT[unit]}" for value in values] if unit else list(values)


def number(value: Scalar | None, where: str) -> float:
    """A number, or a quantity of any kind in its base unit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found: float | None = float(value)
    else:
        found = (quantity(value) or (None, ""))[0]
    if found is None or not math.isfinite(found):
        raise InputError(f"{where}: {value!r} is no number and no quantity such as '24 GB'")
    return found


def quantity(value: Any) -> tuple[float, str] | None:
    """A quantity string's value in its base unit, and that unit; None for anything else."""
    if isinstance(value, str):
        for kind, unit in BASE_UNITS.items():
            try:
                return float(f"{units.parse(value, kind):.12g}"), unit  # 0.3 GB is 300,000,000 B
            except ValueError:
                continue
    return None


def _unit(where: str, *values: Scalar | None) -> str:
    """The base unit that the values were written in, "" for bare numbers; InputError for two."""
    found = [quantity(value) for value in values]
    units = list(dict.fromkeys(each[1] for each in found if each is not None))
    if len(units) > 1:
        raise InputError(f"{where}: {units[0]} and {units[1]} do not measure the same")
    return units[0] if units else ""
