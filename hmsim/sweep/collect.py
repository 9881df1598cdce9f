"""From a journal of points to one dataset with the axes as dimensions, and to a flat table.

The dataset is HDF5 that xarray opens as it is. A policy's numbers have a dimension `policy` after
the axes, unless an axis is over `policies.names`, which then takes its place.
"""

import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import tomli_w

from hmsim import __version__, hdf5
from hmsim.results.schema import TOTALS
from hmsim.results.summary import cut_short, flat, flat_policy
from hmsim.sweep.axes import POLICY_NAMES, quantity
from hmsim.sweep.folder import read_journal
from hmsim.sweep.points import Plan
from hmsim.sweep.table import PARQUET, write_csv, write_parquet

FORMAT, VERSION = "hmsim-sweep", 1
DATASET, TABLE = "sweep.h5", "sweep.csv"
UNITS = (("_GBps", "GB/s"), ("_bytes", "byte"), ("_ns", "ns"), ("_s", "s"))


class Column(NamedTuple):
    """One variable over the whole sweep, [*axes] or [*axes, policies], missing: NaN or ''."""

    values: np.ndarray
    by_policy: bool


class Coordinate(NamedTuple):
    """A key's values along an axis: numbers in base units, or text."""

    axis: str
    values: np.ndarray
    unit: str


def collect(
    path: Path,
    plan: Plan,
    hashes: dict[tuple[int, ...], str],
    title: str,
    parquet: bool = False,
) -> list[str]:
    """Write `sweep.h5` and `sweep.csv` in the directory `path` from its journal; return what a
    reader of them must know, a line each.

    `hashes`: the points' names by their place on each axis; a place that lacks one is unfinished.
    With `parquet`, `sweep.parquet` too; without, an older one goes.
    """
    policies, columns = _columns(path, plan, hashes)
    coordinates = _coordinates(plan)
    _write_dataset(path, plan, policies, columns, coordinates, title)
    table = _table(plan, policies, columns, coordinates)
    write_csv(path / TABLE, table)
    if parquet:
        units = {name: each.unit for name, each in coordinates.items()}
        write_parquet(path / PARQUET, table, {name: unit_of(name) for name in columns} | units)
    else:
        (path / PARQUET).unlink(missing_ok=True)
    return _notes(columns)


def _notes(columns: dict[str, Column]) -> list[str]:
    """Models of which only some layers are decoded, each once."""
    names = ("workload_layers", "workload_model_layers", "workload_resident_bytes")
    if not columns.keys() >= set(names):
        return []
    rows = zip(*(columns[name].values.ravel() for name in names), strict=True)
    told = dict.fromkeys(row for row in rows if not np.isnan(row).any())
    return [cut_short(int(decoded), int(layers), size) for decoded, layers, size in told]


def policy_axis(plan: Plan) -> int | None:
    """The axis that takes the place of the dimension `policy`, if any."""
    for k, axis in enumerate(plan.axes):
        if axis.keys == ((POLICY_NAMES,),):
            return k
    return None


def policies_along(plan: Plan, columns: dict[str, Column]) -> str:
    """The dimension that tells policies apart; empty where nothing does."""
    place = policy_axis(plan)
    if place is not None:
        return plan.axes[place].name
    return "policy" if any(column.by_policy for column in columns.values()) else ""


def _columns(
    path: Path, plan: Plan, hashes: dict[tuple[int, ...], str]
) -> tuple[list[str], dict[str, Column]]:
    """The policies' names and all variables, read from the journal in one pass."""
    places: dict[str, list[tuple[int, ...]]] = {}
    for index, name in hashes.items():
        places.setdefault(name, []).append(index)
    policies: list[str] = []
    single = policy_axis(plan) is not None
    texts: dict[str, bool] = {"point": True, "error": True}
    by_policy: set[str] = set()
    for _, policy, numbers in _records(path, places):  # what there is, before room is made for it
        if policy is not None and policy not in policies:
            policies.append(policy)
        for key, value in numbers.items():
            texts[key] = texts.get(key, False) or isinstance(value, str)
            if policy is not None and not single:
                by_policy.add(key)
    columns = {}
    for key, text in texts.items():
        shape = (*plan.shape, len(policies)) if key in by_policy else plan.shape
        empty = np.full(shape, "", object) if text else np.full(shape, np.nan)
        columns[key] = Column(empty, key in by_policy)
    for name, policy, numbers in _records(path, places):
        for key, value in numbers.items():
            place = (policies.index(policy),) if policy and key in by_policy else ()
            for index in places[name]:
                columns[key].values[index + place] = str(value) if texts[key] else value
    return policies, columns


def _records(
    path: Path, wanted: Container[str]
) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """A point's name, None and its own variables; then the same for each of its policies."""
    for entry in read_journal(path):
        if entry["hash"] in wanted:
            report = entry.get("report", {})
            policies = report.pop("policies", {})
            own = {"point": entry["hash"], "error": entry.get("error", "")}
            yield entry["hash"], None, own | _known(flat(report))
            for policy, numbers in policies.items():
                yield entry["hash"], policy, _known(flat_policy(numbers))


def _known(numbers: dict[str, Any]) -> dict[str, Any]:
    """Without what JSON has no number for."""
    return {key: value for key, value in numbers.items() if value is not None}


def _coordinates(plan: Plan) -> dict[str, Coordinate]:
    """By name. An axis of several keys, or of text, is numbered; its keys stand beside it."""
    found = {}
    for axis in plan.axes:
        for name, (given, unit) in axis.columns().items():
            values, own = _as_array(given)
            found[name] = Coordinate(axis.name, values, unit or own)
        if axis.name not in found:
            found[axis.name] = Coordinate(axis.name, np.arange(len(axis.values)), "1")
    return found


def _as_array(values: list[Any]) -> tuple[np.ndarray, str]:
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return np.array(values), "1"
    parsed = [quantity(value) for value in values]
    whole = [found for found in parsed if found is not None]
    if len(whole) == len(values) and len({kind for _, kind in whole}) == 1:
        return np.array([value for value, _ in whole]), whole[0][1]
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return np.array(texts, object), ""


def _write_dataset(
    path: Path,
    plan: Plan,
    policies: list[str],
    columns: dict[str, Column],
    coordinates: dict[str, Coordinate],
    title: str,
) -> None:
    dimensions = [axis.name for axis in plan.axes]
    with hdf5.writing(path / DATASET) as output:
        file = output.file
        missing = int((columns["point"].values == "").sum())
        failed = int((columns["error"].values != "").sum())
        file.attrs.update(
            {"format": FORMAT, "version": VERSION, "created_by": f"hmsim {__version__}",
             "title": title, "complete": int(missing == 0), "points": plan.size,
             "missing": missing, "failed": failed, "base": tomli_w.dumps(plan.base),
             "policy_dimension": policies_along(plan, columns)}
        )  # fmt: skip
        axes = {name: coordinates[name] for name in dimensions}
        if any(column.by_policy for column in columns.values()):
            axes["policy"] = Coordinate("policy", np.array(policies, object), "")
        for name, coordinate in axes.items():
            _dataset(file, name, coordinate.values, coordinate.unit).make_scale(name)
        beside = [name for name in coordinates if name not in axes]
        for name in beside:
            dataset = _dataset(file, name, coordinates[name].values, coordinates[name].unit)
            dataset.dims[0].attach_scale(file[coordinates[name].axis])
        if beside:
            file.attrs["coordinates"] = " ".join(beside)
        for name, (values, by_policy) in columns.items():
            dataset = _dataset(file, name, values, "" if values.dtype == object else unit_of(name))
            for k, dimension in enumerate([*dimensions, *(["policy"] if by_policy else [])]):
                dataset.dims[k].attach_scale(file[dimension])


def _dataset(file: h5py.File, name: str, values: np.ndarray, unit: str) -> h5py.Dataset:
    kind = h5py.string_dtype() if values.dtype == object else values.dtype
    dataset = file.create_dataset(name, data=values, dtype=kind)
    if unit:
        dataset.attrs["units"] = unit
    return dataset


def unit_of(name: str) -> str:
    """A total's unit, or the one that a variable's name ends in; "1" for a plain number."""
    if name in TOTALS:
        return TOTALS[name][1]
    return next((unit for ending, unit in UNITS if name.endswith(ending)), "1")


def _table(
    plan: Plan, policies: list[str], columns: dict[str, Column], coordinates: dict[str, Coordinate]
) -> dict[str, np.ndarray]:
    """Flat columns, a row for every point and policy; what is missing is NaN or ''."""
    single = policy_axis(plan) is not None
    rows = [""] if single or not policies else policies
    shape = (*plan.shape, len(rows))

    def along(values: np.ndarray, axis: int) -> np.ndarray:
        shaped = values.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        return np.broadcast_to(shaped, shape).ravel()

    names = [axis.name for axis in plan.axes]
    table = {
        name: along(each.values, names.index(each.axis))
        for name, each in coordinates.items()
        if len(each.values)
    }
    if not single:
        table["policy"] = along(np.array(rows, object), len(plan.shape))
    for name, (values, by_policy) in columns.items():
        full = values if by_policy else values[..., None]
        table[name] = np.broadcast_to(full, shape).ravel()
    return table
