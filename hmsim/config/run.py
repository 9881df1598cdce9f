"""The configuration of `hmsim run`: one TOML file, and the changes of the command line."""

import os
import tomllib
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import Field, create_model, model_validator

from hmsim.config.base import Bytes, Seconds, Strict, load, read_toml
from hmsim.config.calibration import FitSpec
from hmsim.config.enumerations import Barrier, Data, Prompt, Variant
from hmsim.config.model import is_path
from hmsim.config.system import SystemSpec, with_preset
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError, did_you_mean

Fidelity = Literal["analytic", "run", "burst"]

# Keys of older configurations, and what the error about one says.
MOVED = {
    "bound.variant": "moved to latency.variant",
    "replay.barrier": "moved to latency.barrier",
    "replay.copies": "gone: copies follow from latency.variant (text, exclusive: exclusive; "
    "code, inclusive: inclusive)",
}

DEEPEST = 16  # dots of a key
PATHS = ("workload.trace", "workload.requests.path", "workload.matrix.path")  # of data files
MODEL = "workload.model"  # a file's path, or else a preset's name or a table


class PoliciesSpec(Strict):
    """Which policies run, and their parameters by name."""

    names: list[str] = Field(default=["unlimited", "static", "reactive"], min_length=1)
    """Built-in policies by name, or one's own as `package.module:NAME`."""
    prompt: Prompt = "oldest"
    """Which blocks of the prompt fill HBM before step 0: the oldest, the newest, or what the first
    token reads (`scored`). Policies with a rule of their own keep to it."""
    options: dict[str, dict[str, Any]] = {}
    """Parameters, in a table for each policy's name."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"names: {name!r} is there twice; an alias gives it other options")
        return self


class LatencySpec(Strict):
    """The latency model: of times, bounds, policies that reckon, and replays alike.

    Copies follow from the variant: a replay of `code` or `inclusive` keeps one of every block in
    DRAM (appends are written through, reads fill, demotions are free), one of `text` or `exclusive`
    does not. A group of steps ends at a barrier: each layer of a token, or each token.
    """

    variant: Variant = "text"
    """Which terms a step's time is the longest of, and whether DRAM keeps copies."""
    barrier: Barrier = "layer"
    """Where all memories wait for each other: after each layer, or after each token."""


class ReplaySpec(Strict):
    """How steps go through the memories."""

    fidelity: Fidelity = "run"
    """Memories not modelled, learned from samples of bursts, or burst by burst."""
    sample: int = Field(default=0, ge=0, json_schema_extra={"unit": "barrier groups"})
    """Of every so many groups one is replayed; 1: all; 0: as many in all as `error` needs."""
    error: float = Field(default=0.005, ge=0, lt=1)
    """Half of the 95 % interval of the time of every policy, as a share of that time, that a sample
    of 0 aims at; 0: every group."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """The same seed draws the same groups."""
    outstanding: Bytes | None = None
    """Bytes that the GPU keeps in flight; the system's unless given."""


class JoulesSpec(Strict):
    """How energy is reckoned; the coefficients are the memories' and the link's own."""

    data: Data = "random"
    """What is read and written: random data, or such as never change from beat to beat."""


class BoundSpec(Strict):
    """How the bound is found, and how tight it shall be.

    `split`: all demand bytes at the memories' full rates. `dual`: the certified Lagrangian bound,
    from few passes over a sample of blocks, or with a `gap` above 0 until that gap is reached
    (or `time` is up).
    """

    method: Literal["split", "dual"] = "dual"
    """How the bound is found."""
    gap: float = Field(default=0.0, ge=0, lt=1)
    """Stop once the gap is at most this share of the time; 0: the bound of few passes alone."""
    time: Seconds | None = None
    """Stop searching after so long."""


class OutputSpec(Strict):
    """Files to write; relative to where the command runs."""

    result: str | None = None
    """Result file (HDF5)."""
    figure: str | None = None
    """Figure of achieved against optimal bandwidth (png, pdf or svg)."""


class RunSpec(Strict):
    """Everything that determines a run."""

    title: str = ""
    """A name for people."""
    system: SystemSpec
    """The superchip: a preset's name, or a table of keys, over those of a `preset` if it has one."""
    workload: WorkloadSpec
    """What is read at which step."""
    policies: PoliciesSpec = PoliciesSpec()
    """Which policies run."""
    latency: LatencySpec = LatencySpec()
    """The latency model of times, bounds, policies and replays."""
    replay: ReplaySpec = ReplaySpec()
    """How steps go through the memories."""
    bound: BoundSpec = BoundSpec()
    """How tight the bound shall be."""
    energy: JoulesSpec = JoulesSpec()
    """How energy is reckoned."""
    output: OutputSpec = OutputSpec()
    """Files to write."""

    def as_toml(self) -> str:
        """The resolved configuration; a run of it is this run."""
        data = self.model_dump(exclude_none=True)
        # Keys of one kind of workload exclude those of another, so defaults stay away.
        data["workload"] = self.workload.model_dump(exclude_none=True, exclude_unset=True)
        return tomli_w.dumps(data)


def check_others(data: dict[str, Any], source: str, own: str) -> None:
    """InputError for a stray table or key anywhere in a file, the table `own` left to its reader."""
    _refuse_moved(data, source)
    others = {key: value for key, value in data.items() if key != own}
    if "system" in others:
        others["system"] = with_preset(others["system"])
    found = load(_other_tables(), others, source)
    policies: PoliciesSpec = found.policies  # type: ignore[attr-defined]
    _check_named(policies, policies.names, source)


@cache
def _other_tables() -> type[Strict]:
    """What may stand beside `[workload]` or `[system]` in a file of which a command reads one."""
    tables: dict[str, Any] = {
        name: (field.annotation, field.default)
        for name, field in RunSpec.model_fields.items()
        if name not in ("system", "workload")
    }
    # Of `hmsim workload calibrate`; what it may aim at, it knows alone.
    tables |= {"fit": (FitSpec | None, None), "targets": (dict[str, Any], {})}
    tables |= {"system": (SystemSpec | None, None), "workload": (WorkloadSpec | None, None)}
    return create_model("OtherTables", __base__=Strict, **tables)


def load_run(path: str | Path, changes: list[str] = []) -> RunSpec:  # noqa: B006
    """The run that the file at `path` describes, after `key=value` changes.

    Paths of data inside the file start at its folder; those of a change at the current one.
    """
    return resolve(read_run(path), changes, str(path))


def read_run(path: str | Path) -> dict[str, Any]:
    """The file's plain data, unchecked; paths of data in it start at the current folder."""
    return anchored(read_toml(path), Path(path).parent)


def anchored(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`data` with its relative paths, which start at `folder`, starting at the current folder."""
    return with_paths(data, lambda path: os.path.normpath(folder / path))


def data_files(data: dict[str, Any]) -> list[str]:
    """The data files that a configuration names."""
    found: list[str] = []
    with_paths(data, lambda path: found.append(path) or path)  # type: ignore[func-returns-value]
    return found


def with_paths(data: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """`data` with every path of a data file, or of a model's, in it changed."""
    return _with_paths(data, (*PATHS, MODEL), change)


def with_model_at(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`data` with the path of its model, which starts at `folder`, starting at the current one."""
    return _with_paths(data, (MODEL,), lambda path: os.path.normpath(folder / path))


def _with_paths(
    data: dict[str, Any], keys: tuple[str, ...], change: Callable[[str], str]
) -> dict[str, Any]:
    for key in keys:
        *tables, last = key.split(".")
        table: Any = data
        for name in tables:
            table = table.get(name) if isinstance(table, dict) else None
        given = table.get(last) if isinstance(table, dict) else None
        if isinstance(given, str) and (key != MODEL or is_path(given)):
            data = replaced(data, key, change(given))
    return data


def resolve(
    data: dict[str, Any], changes: list[str], source: str, policies: Collection[str] = ()
) -> RunSpec:
    """A run from plain data; `source` opens the line of any error.

    Options of a policy that does not run are a mistake, unless the data named it before the
    changes, or it is one of `policies`, which other runs of the same data have: then they are left
    out.
    """
    known = {*policies, *_names(data)}
    if isinstance(data.get("system"), str):
        data = data | {"system": {"preset": data["system"]}}
    for change in changes:
        data = changed(data, change)
    if "system" in data:
        data = data | {"system": with_preset(data["system"])}
    _refuse_moved(data, source)
    spec = load(RunSpec, data, source)
    _check_named(spec.policies, known, source)
    options = {name: spec.policies.options[name] for name in spec.policies.names
               if name in spec.policies.options}  # fmt: skip
    return spec.model_copy(
        update={"policies": spec.policies.model_copy(update={"options": options})}
    )


def _check_named(policies: PoliciesSpec, known: Collection[str], source: str) -> None:
    """InputError for options of a policy that neither runs nor is one of `known`."""
    for name in policies.options:
        if name not in known and name not in policies.names:
            hint = did_you_mean(name, policies.names)
            raise InputError(f"{source}: policies.options.{name}: no such policy runs{hint}")


def _names(data: dict[str, Any]) -> list[str]:
    """The policies that unchecked data names."""
    policies = data.get("policies")
    names = policies.get("names") if isinstance(policies, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class _BoundTables(Strict):
    latency: LatencySpec = LatencySpec()
    bound: BoundSpec = BoundSpec()
    energy: JoulesSpec = JoulesSpec()


def bound_tables(data: dict[str, Any], source: str) -> tuple[LatencySpec, BoundSpec, JoulesSpec]:
    """The tables of a run's plain data that a bound needs beside its system and workload."""
    _refuse_moved(data, source)
    tables = load(
        _BoundTables,
        {key: data[key] for key in _BoundTables.model_fields if key in data},
        source,
    )
    return tables.latency, tables.bound, tables.energy


def _refuse_moved(data: dict[str, Any], source: str) -> None:
    """InputError where `data` has a key that older versions had; it says what to write now."""
    for key, now in MOVED.items():
        table, name = key.split(".")
        if isinstance(data.get(table), dict) and name in data[table]:
            raise InputError(f"{source}: {key}: {now}")


def changed(data: dict[str, Any], change: str) -> dict[str, Any]:
    """`data` with one `a.b=value` applied; the value is TOML, or else a plain string."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise InputError(f"--set {change}: write KEY=VALUE, such as system.hbm.capacity=24GB")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    return replaced(data, key, value)


def replaced(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`data` with `value` at the dotted `key`; nothing is changed in place."""
    if key.count(".") > DEEPEST:
        raise InputError(f"--set {key:.60}...: unknown key; none is so deep")
    return _with(data, key.split("."), value, key)


def _with(data: dict[str, Any], path: list[str], value: Any, key: str) -> dict[str, Any]:
    if len(path) == 1:
        if path[0] == "system" and isinstance(value, str):
            value = {"preset": value}
        return data | {path[0]: value}
    below = data.get(path[0], {})
    if not isinstance(below, dict):
        raise InputError(f"--set {key}: {path[0]} is {below!r}, not a table")
    return data | {path[0]: _with(below, path[1:], value, key)}
