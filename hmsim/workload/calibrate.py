"""Fit a generator's parameters to published statistics."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from hmsim.config.base import load, read_toml
from hmsim.config.calibration import CalibrationSpec, FitSpec
from hmsim.config.run import with_model_at
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError, did_you_mean
from hmsim.workload.open import open_workload
from hmsim.workload.statistics import measure
from hmsim.workload.steps import F64

TOLERANCE = 0.01  # a target given as a number is met to one per cent of itself
EXPLORED = 0.4  # share of the evaluations that look everywhere before the best is refined


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` finds. `rows`: statistic, wanted range, achieved value, met."""

    spec: WorkloadSpec  # of full size, with the fitted parameters
    fitted: dict[str, float]
    rows: list[tuple[str, tuple[float, float], float, bool]]
    evaluations: int

    def format_table(self) -> str:
        """Parameters, then targets against what was achieved."""
        lines = [f"{name} = {value:g}" for name, value in self.fitted.items()]
        width = max(len(name) for name, *_ in self.rows)
        for name, (low, high), achieved, met in self.rows:
            wanted = f"{low:g} .. {high:g}"
            lines.append(
                f"{name:<{width}}  {wanted:>18}  {achieved:8.4g}  {'' if met else 'missed'}"
            )
        return "\n".join([*lines, f"after {self.evaluations} evaluations"])

    def as_toml(self) -> str:
        """The fitted spec as a file for `hmsim workload generate`."""
        data = self.spec.model_dump(exclude_unset=True, exclude_none=True)
        return tomli_w.dumps({"workload": data})


def calibrate(path: Path, progress: Callable[[int, float], None] | None = None) -> Calibration:
    """Fit the spec in the file at `path` (a `CalibrationSpec`); InputError for what is wrong in it.

    A Sobol sample of the box of parameters, then Nelder-Mead from its best point, on the sum of
    squared relative distances to the wanted ranges. Trials share their seed, so that the distance
    is a function of the parameters alone. `progress` is told evaluations and the best distance.
    """
    from scipy.optimize import minimize
    from scipy.stats import qmc

    given = load(CalibrationSpec, with_model_at(read_toml(path), path.parent), str(path))
    fit, names = given.fit, list(given.fit.parameters)
    trial = trial_of(given.workload, fit, str(path))
    wanted = {name: _range(target) for name, target in given.targets.items()}
    achieved(trial, wanted, path.parent, str(path))  # the names of the statistics are right
    cache: dict[tuple[float, ...], float] = {}
    best: list[Any] = [math.inf, None]

    def distance(unit: F64) -> float:
        values = tuple(
            _denormal(x, *fit.parameters[name], _is_whole(trial, name))
            for x, name in zip(np.clip(unit, 0, 1), names, strict=True)
        )
        if values not in cache:
            spec = with_values(trial, dict(zip(names, values, strict=True)), str(path))
            found = achieved(spec, wanted, path.parent, str(path))
            cache[values] = sum(_miss(found[name], *wanted[name]) ** 2 for name in wanted)
            if cache[values] < best[0]:
                best[:] = [cache[values], values]
            if progress is not None:
                progress(len(cache), best[0])
        return cache[values]

    sobol = qmc.Sobol(len(names), seed=1)
    count = 1 << max(2, int(math.log2(max(4.0, EXPLORED * fit.evaluations))))
    start = min(sobol.random(min(count, fit.evaluations)), key=distance)
    left = fit.evaluations - len(cache)
    if left > 0 and best[0] > 0:
        corners = start + np.vstack([np.zeros(len(names)), 0.15 * np.eye(len(names))])
        minimize(
            distance,
            start,
            method="Nelder-Mead",
            bounds=[(0, 1)] * len(names),
            options={
                "maxfev": left,
                "initial_simplex": np.where(corners > 1, corners - 0.3, corners),
                "fatol": 1e-6,
                "xatol": 1e-3,
            },
        )
    fitted = dict(zip(names, best[1], strict=True))
    found = achieved(with_values(trial, fitted, str(path)), wanted, path.parent, str(path))
    rows = [
        (name, wanted[name], found[name], _miss(found[name], *wanted[name]) == 0) for name in wanted
    ]
    return Calibration(with_values(given.workload, fitted, str(path)), fitted, rows, len(cache))


def achieved(
    spec: WorkloadSpec, names: Any, base: Path, source: str = "targets"
) -> dict[str, float]:
    """The named statistics of a spec's workload."""
    report = measure(open_workload(spec, base)).as_json()
    return {name: _look_up(report, name, source) for name in names}


def _look_up(report: dict[str, Any], name: str, source: str) -> float:
    """`union.12` is report["union"][12]; keys may hold dots themselves."""
    head, _, rest = name.partition(".")
    value: Any = report.get(head)
    if isinstance(value, dict):
        keyed = {str(key): entry for key, entry in value.items()}
        if rest not in keyed:
            raise InputError(f"{source}: targets.{name}: known: {', '.join(keyed)}")
        value = keyed[rest]
    elif head not in report or rest or isinstance(value, (str, list)):
        raise InputError(f"{source}: targets.{name}: no statistic{did_you_mean(head, report)}")
    return math.nan if value is None else float(value)


def trial_of(spec: WorkloadSpec, fit: FitSpec, source: str) -> WorkloadSpec:
    """A smaller workload of the same kind: few steps, few layers, none of them dense."""
    if spec.tokens is None:
        raise InputError(f"{source}: workload.tokens: calibration needs one context length")
    first = spec.tokens[0]
    last = min(spec.tokens[1], first + fit.steps - 1)
    changes: dict[str, Any] = {"tokens": (first, last), "layers": fit.layers}
    if spec.scores is not None:
        changes["scores"] = spec.scores.model_copy(update={"dense_layers": 0})
    return spec.model_copy(update=changes)


def with_values(spec: WorkloadSpec, values: dict[str, float], source: str) -> WorkloadSpec:
    """`spec` with dotted keys changed, validated anew."""
    data = spec.model_dump(exclude_unset=True)
    for name, value in values.items():
        table = data
        *path, key = name.split(".")
        for part in path:
            table = table.setdefault(part, {})
        table[key] = value
    return load(WorkloadSpec, data, f"{source}: workload")


def _is_whole(spec: WorkloadSpec, name: str) -> bool:
    """Whether the parameter is a whole number, by its present value."""
    value: Any = spec
    for part in name.split("."):
        value = getattr(value, part, None)
    return isinstance(value, int)


def _denormal(x: float, low: float, high: float, whole: bool) -> float:
    """The value at x of 0 .. 1; logarithmic where the range spans more than a factor of ten."""
    value = low * (high / low) ** x if low > 0 and high / low > 10 else low + (high - low) * x
    return round(value) if whole else float(f"{value:.3g}")


def _range(target: float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(target, tuple):
        return target
    return target - TOLERANCE * abs(target), target + TOLERANCE * abs(target)


def _miss(value: float, low: float, high: float) -> float:
    """Relative distance to the range, 0 within it."""
    if math.isnan(value):
        return 1.0
    middle = max(abs(low + high) / 2, 1e-9)
    return max(low - value, value - high, 0.0) / middle
