"""The configuration of `hmsim sweep`: a base run, and axes over any of its keys."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from hmsim.config.base import Strict, load, read_toml
from hmsim.config.catalogue import find
from hmsim.config.model import is_path
from hmsim.config.run import MODEL, OutputSpec, anchored, read_run, replaced, with_model_at
from hmsim.errors import InputError

Scalar = int | float | str
MOST_VALUES = 10_000_000  # of an axis


class Between(Strict):
    """Values from one end to the other. Give `count`, or `step` in a range."""

    start: Scalar = Field(alias="from")
    """First value."""
    stop: Scalar = Field(alias="to")
    """Last value."""
    count: int | None = Field(default=None, ge=1, le=MOST_VALUES)
    """Number of values."""
    step: Scalar | None = None
    """Distance from value to value, instead of `count`."""
    round: bool = False
    """Whether values are rounded to whole numbers."""


class Sides(Strict):
    """One key's interval in a design."""

    start: Scalar = Field(alias="from")
    """Lower end."""
    stop: Scalar = Field(alias="to")
    """Upper end."""
    log: bool = False
    """Whether values are spaced by equal ratios."""
    round: bool = False
    """Whether values are rounded to whole numbers."""


class Design(Strict):
    """A quasi-random sample of a box."""

    points: int = Field(ge=1, le=MOST_VALUES)
    """Number of points."""
    seed: int = Field(default=1, ge=0)
    """The same seed gives the same points."""
    over: dict[str, Sides] = Field(min_length=1)
    """The interval of each key."""


KINDS = ("values", "range", "log", "zip", "latin_hypercube", "sobol")


class AxisSpec(Strict):
    """One axis. Give exactly one of values, range, log, zip, latin_hypercube and sobol.

    Where `key` names several keys, all of them take the same value; `zip` gives each its own list.
    """

    key: str | list[str] | None = None
    """The key, or keys, that the axis is over; the axis's own name unless given."""
    values: list[Any] | None = None
    """These values."""
    range: Between | None = None
    """Evenly spaced values."""
    log: Between | None = None
    """Values of equal ratio."""
    zip: dict[str, list[Any]] | None = None
    """A list of values for each of several keys, which are taken together."""
    latin_hypercube: Design | None = None
    """A Latin hypercube over several keys."""
    sobol: Design | None = None
    """A Sobol sequence over several keys."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}")
        if self.key is not None and given[0] in ("zip", "latin_hypercube", "sobol"):
            raise ValueError(f"{given[0]} names its keys itself; leave out key")
        if self.range and (self.range.count is None) == (self.range.step is None):
            raise ValueError("range: give count or step")
        if self.log and (self.log.count is None or self.log.step is not None):
            raise ValueError("log: give count, not step")
        return self


class SweepSpec(Strict):
    """The file of a sweep. `set` changes the base before the axes do."""

    title: str = ""
    """A name for people."""
    base: str | dict[str, Any]
    """A run's file, relative to the sweep's, or a name of `hmsim workload list`; or its tables."""
    set: dict[str, Any] = {}
    """Changes to the base by dotted key, made before those of the axes."""
    axes: dict[str, AxisSpec] = Field(min_length=1)
    """The axes, by name."""


class Sweep(NamedTuple):
    """A sweep's file, read: the base run's plain data with `set` applied, and the axes."""

    title: str
    base: dict[str, Any]
    axes: dict[str, AxisSpec]


def load_sweep(path: str | Path) -> Sweep:
    """The sweep that the file at `path` describes; InputError says what is wrong with it."""
    return sweep_of(read_toml(path), Path(path).parent, str(path))


def sweep_of(data: dict[str, Any], folder: Path, source: str) -> Sweep:
    """The sweep of a file's plain data, whose paths start at `folder`."""
    spec = load(SweepSpec, data, source)
    if isinstance(spec.base, str):
        base = read_run(find(spec.base, folder))
    else:
        base = anchored(spec.base, folder)
    if isinstance(base.get("system"), str):
        base = base | {"system": {"preset": base["system"]}}  # a table, that keys can go into
    for key, value in spec.set.items():
        try:
            base = replaced(base, key, value)
        except InputError as error:
            raise InputError(f"{source}: set: {error}") from None
        if key in (MODEL, "workload"):
            base = with_model_at(base, folder)
    for table in ("system", "workload"):
        if not isinstance(base.get(table), dict):
            raise InputError(f"{source}: base: no [{table}], which a run needs")
    # Points have no use for it, but it is checked.
    load(OutputSpec, base.get("output", {}), f"{source}: base.output")
    title = spec.title or base.get("title") or Path(source).stem
    return Sweep(str(title), base, with_models(spec.axes, lambda to: os.path.normpath(folder / to)))


def with_models(axes: dict[str, AxisSpec], change: Callable[[str], str]) -> dict[str, AxisSpec]:
    """The axes with every path of a model's file on them changed."""

    def column(values: list[Any]) -> list[Any]:
        return [change(to) if isinstance(to, str) and is_path(to) else to for to in values]

    found = {}
    for name, axis in axes.items():
        keys = axis.key if isinstance(axis.key, list) else [axis.key or name]
        if axis.values is not None and MODEL in keys:
            axis = axis.model_copy(update={"values": column(axis.values)})
        elif axis.zip is not None and MODEL in axis.zip:
            axis = axis.model_copy(update={"zip": axis.zip | {MODEL: column(axis.zip[MODEL])}})
        found[name] = axis
    return found
