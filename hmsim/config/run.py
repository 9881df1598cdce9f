"""The configuration of `hmsim run`: one TOML file, and the changes of the command line."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hmsim.config import toml
from hmsim.config.base import Bytes, Seconds, Strict, load, read_toml
from hmsim.config.system import SystemSpec, with_preset
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError

Fidelity = Literal["analytic", "run", "burst"]
Variant = Literal["text", "code", "exclusive", "inclusive"]
Barrier = Literal["layer", "token"]

PATHS = ("workload.trace", "workload.requests.path", "workload.matrix.path")  # of data files


class PoliciesSpec(Strict):
    """Which policies run, and their parameters by name."""

    names: list[str] = ["unlimited", "static", "reactive"]
    """Built-in policies by name, or one's own as `package.module:NAME`."""
    options: dict[str, dict[str, Any]] = {}
    """Parameters, in a table for each policy's name."""


class ReplaySpec(Strict):
    """How steps go through the memories."""

    fidelity: Fidelity = "run"
    """Memories not modelled, learned from samples of bursts, or burst by burst."""
    copies: Literal["exclusive", "inclusive"] = "exclusive"
    """Not read; goes with [latency]."""
    barrier: Barrier = "layer"
    """Where all memories wait for each other: after each layer, or after each token."""
    sample: int = Field(default=0, ge=0, json_schema_extra={"unit": "barrier groups"})
    """Every so many groups one is replayed; 1: all; 0: about 16 groups in all."""
    outstanding: Bytes | None = None
    """Bytes that the GPU keeps in flight; the system's unless given."""


class BoundSpec(Strict):
    """What the analytic times and their bound obey, and how tight the bound shall be.

    `split`: all demand bytes at the memories' full rates. `dual`: the certified Lagrangian bound,
    from few passes over a sample of blocks, or with a `gap` above 0 until that gap is reached
    (or `time` is up).
    """

    method: Literal["split", "dual"] = "dual"
    """How the bound is found."""
    variant: Variant = "text"
    """The latency model of the analytic times and their bound."""
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
    replay: ReplaySpec = ReplaySpec()
    """How steps go through the memories."""
    bound: BoundSpec = BoundSpec()
    """How tight the bound shall be."""
    output: OutputSpec = OutputSpec()
    """Files to write."""

    def as_toml(self) -> str:
        """The resolved configuration; a run of it is this run."""
        data = self.model_dump(exclude_none=True)
        # Keys of one kind of workload exclude those of another, so defaults stay away.
        data["workload"] = self.workload.model_dump(exclude_none=True, exclude_unset=True)
        return toml.dumps(data)


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
    return with_paths(data, lambda path: str(folder / path))


def with_paths(data: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """`data` with every path of a data file in it changed."""
    for key in PATHS:
        *tables, last = key.split(".")
        table: Any = data
        for name in tables:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(table.get(last), str):
            data = replaced(data, key, change(table[last]))
    return data


def resolve(data: dict[str, Any], changes: list[str], source: str) -> RunSpec:
    """A run from plain data; `source` opens the line of any error."""
    if isinstance(data.get("system"), str):
        data = data | {"system": {"preset": data["system"]}}
    for change in changes:
        data = changed(data, change)
    if "system" in data:
        data = data | {"system": with_preset(data["system"])}
    return load(RunSpec, data, source)


def changed(data: dict[str, Any], change: str) -> dict[str, Any]:
    """`data` with one `a.b=value` applied; the value is TOML, or else a plain string."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise InputError(f"--set {change}: write KEY=VALUE, such as system.hbm.capacity=24GB")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return replaced(data, key, value)


def replaced(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`data` with `value` at the dotted `key`; nothing is changed in place."""
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
