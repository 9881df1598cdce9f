"""A `scores` spec fitted to a trace: what `hmsim workload calibrate TRACE.h5` does.

Only the order of scores matters, so the slow part's deviation is 1 and the rest is relative to it.
What a block's age takes off its score follows from how often blocks of each age are read, a first
flicker from the overlap of consecutive read sets; the other parameters are searched for, on few
tokens of all layers and on all tokens of few layers, so that statistics and dynamics come out as
the trace's.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from hmsim.bits import unpack
from hmsim.config.base import load
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload.dynamics import measure_dynamics
from hmsim.workload.first import First
from hmsim.workload.open import open_workload
from hmsim.workload.statistics import measure
from hmsim.workload.steps import F64, Workload

TRIAL_TOKENS = 160  # of a trial of all layers
TRIAL_SCORES = 1 << 22  # steps times blocks of that trial, about
LONG_LAYERS = 3  # of a trial of all tokens
_LONG = ("persistence", "top_share", "newest_share")  # what it is for
AGE_ROUNDS = 6  # in which the loss by age is made to fit
FLICKER_ROUNDS = 5  # in which the flicker is halved in on
EVALUATIONS = 150

# What may be off, by how much: as it is, or as a share of the trace's value.
_POINTS, _SHARE = "points", "share"
TARGETS: dict[str, tuple[str, float]] = {
    "overlap": (_POINTS, 0.03),
    "adjacent_overlap": (_POINTS, 0.03),
    "union": (_POINTS, 0.03),
    "lru_multiple": (_POINTS, 0.03),
    "belady_multiple": (_POINTS, 0.03),
    "top_share": (_POINTS, 0.05),
    "newest_share": (_SHARE, 0.2),
    "persistence": (_SHARE, 0.2),
    "one_step_stays": (_SHARE, 0.2),
    "miss_dispersion": (_SHARE, 0.2),
    "miss_memory": (_SHARE, 0.2),
    "overlap_spread": (_SHARE, 0.2),
    "overlap_away": (_SHARE, 0.2),
}

# What is searched: least and greatest value; logarithmic where the least is above 0.
PARAMETERS: dict[str, tuple[float, float]] = {
    "popularity": (0.0, 3.0),
    "slow_steps": (8.0, 2048.0),
    "flicker": (0.03, 2.0),
    "burst": (0.0, 1.5),
    "burst_steps": (1.0, 6.0),
    "layer_correlation": (0.0, 1.0),
    "band_correlation": (0.0, 1.0),
    "layer_spread": (0.0, 1.2),
}
_START = {"popularity": 0.7, "slow_steps": 256.0, "flicker": 0.25, "burst": 0.5, "burst_steps": 2.0,
          "layer_correlation": 0.5, "band_correlation": 0.4, "layer_spread": 0.4}  # fmt: skip


class Row(NamedTuple):
    """One statistic of the trace and of the workload that the fitted spec makes."""

    name: str
    real: float
    made: float
    allowed: float  # difference

    @property
    def met(self) -> bool:
        return abs(self.real - self.made) <= self.allowed


@dataclass(frozen=True)
class Fit:
    """What `fit_trace` finds: the spec, and how far it is met at the trace's full size."""

    spec: WorkloadSpec
    rows: list[Row]
    evaluations: int

    def format_table(self) -> str:
        """Every statistic: the trace's value, the spec's, and what was missed."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'statistic':<{width}}  {'trace':>8}  {'spec':>8}  {'allowed':>8}"]
        for row in self.rows:
            lines.append(
                f"{row.name:<{width}}  {row.real:8.4f}  {row.made:8.4f}  {row.allowed:8.4f}"
                f"{'' if row.met else '  missed'}"
            )
        met = sum(row.met for row in self.rows)
        return "\n".join(
            [*lines, f"{met} of {len(self.rows)} met, after {self.evaluations} evaluations"]
        )

    def as_toml(self) -> str:
        """The fitted spec as a file for `hmsim workload generate`."""
        data = self.spec.model_dump(exclude_unset=True, exclude_none=True)
        return tomli_w.dumps({"workload": data})


def fit_trace(
    trace: Workload,
    evaluations: int = EVALUATIONS,
    progress: Callable[[int], None] | None = None,
) -> Fit:
    """Fit the process that scores blocks to a trace.

    Args:
        trace: Steps of single layers, of one sequence.
        evaluations: Trials, at most.
        progress: Called with the number of trials that more are done.

    Raises:
        InputError: The trace has several sequences, steps of no layer, a prompt of no block, or too
            few tokens.
    """
    from scipy.optimize import minimize

    whole = _spec_of(trace)
    size = _trial_size(trace)
    begin = First(trace, size * trace.geometry.lanes)
    wanted = _of_both(_figures(begin), _figures(trace))
    goal = _ages_read(begin)
    names = list(PARAMETERS)
    best: tuple[float, dict[str, Any]] = (math.inf, {})
    count = 0
    first = dict(_START)
    ages = _ages(goal, whole, first, size)
    first["flicker"] = _flicker(wanted["overlap"], whole, first, ages, size)
    ages = _ages(goal, whole, first, size, _scaled(ages, first))

    def distance(unit: F64) -> float:
        nonlocal best, count
        values = dict(zip(names, map(_value, names, np.clip(unit, 0, 1)), strict=True))
        table = values | {"ages": _scaled(ages, values)}
        found = _of_both(
            _figures(open_workload(_with(whole, table, tokens=size))),
            _figures(open_workload(_with(whole, table, layers=LONG_LAYERS)), _LONG),
        )
        far = _distance(wanted, found)
        count += 1
        if far < best[0]:
            best = far, table
        if progress is not None:
            progress(1)
        return far

    start = np.array([_unit(name, first[name]) for name in names])
    for share in (0.6, 0.4):  # the loss by age is fitted anew in between
        corners = start + np.vstack([np.zeros(len(names)), 0.2 * np.eye(len(names))])
        minimize(
            distance, start, method="Nelder-Mead", bounds=[(0, 1)] * len(names),
            options={
                "maxfev": max(1, int(share * evaluations)),
                "initial_simplex": np.where(corners > 1, corners - 0.4, corners),
            },
        )  # fmt: skip
        start = np.array([_unit(name, best[1][name]) for name in names])
        values = {name: best[1][name] for name in names}
        ages = _ages(goal, whole, values, size, best[1]["ages"])
        best = math.inf, best[1] | {"ages": _scaled(ages, values)}
        distance(start)
    spec = _with(whole, best[1])
    return Fit(spec, compare(trace, open_workload(spec)), count)


def compare(trace: Workload, made: Workload) -> list[Row]:
    """The statistics of a trace beside those of a workload that stands for it."""
    real, found = _figures(trace), _figures(made)
    return [Row(name, real[name], found[name], _allowed(name, real[name])) for name in real]


def _spec_of(trace: Workload) -> WorkloadSpec:
    """The trace's sizes as a spec whose scores have still to be found."""
    shape = trace.geometry
    if shape.sequences != 1 or shape.lanes != shape.layers or shape.steps % shape.lanes:
        raise InputError(f"{trace.title}: a spec is fitted to one sequence, decoded layer by layer")
    size = shape.tokens_per_block
    before = int(np.bitwise_count(trace.prompt[0]).sum())
    if before == 0 or shape.steps < 4 * shape.lanes:
        raise InputError(f"{trace.title}: needs a prompt and 4 tokens or more to fit a spec to")
    reads = [int(count) for chunk in trace.chunks() for count in chunk.reads]
    weights = float(next(iter(trace.chunks())).hbm_bytes.mean())
    mean, fresh = float(np.mean(reads)), _starts_block(trace)
    first = before * size if fresh else before * size - 1
    alive = before + shape.steps / shape.lanes / size / 2
    steady = float(np.std(reads)) < 0.02 * mean
    chosen: dict[str, Any] = (
        {"budget": round(mean) * size} if steady else {"keep": min(1.0, round(mean / alive, 4))}
    )
    return load(
        WorkloadSpec,
        {
            "kind": "scores",
            "title": f"fitted to {trace.title}",
            "source": "hmsim workload calibrate",
            "model": {
                "title": trace.title, "layers": shape.layers, "hidden": 1, "heads": 1, "ffn": 0,
                "vocab": 1, "kv_bytes_per_token_layer": shape.block_bytes // size,
                "other_parameters": round(weights / 2),
            },
            "block_tokens": size,
            "tokens": [first, first + shape.steps // shape.lanes - 1],
            "scores": chosen | {"slow": 1.0, "flicker_steps": 1},
        },
        trace.title or "trace",
    )  # fmt: skip


def _starts_block(trace: Workload) -> bool:
    """Whether the first new token begins a block of its own."""
    return bool(next(iter(trace.chunks())).append_born[:1].all())


def _trial_size(trace: Workload) -> int:
    shape = trace.geometry
    fits = TRIAL_SCORES // (shape.lanes * shape.slots)
    return max(4, min(TRIAL_TOKENS, shape.steps // shape.lanes, max(fits, 32)))


def _with(
    spec: WorkloadSpec, scores: dict[str, Any], tokens: int | None = None, layers: int | None = None
) -> WorkloadSpec:
    """`spec` with values of its scores, and fewer tokens or layers if so many are given."""
    data = spec.model_dump(exclude_unset=True)
    table: dict[str, Any] = {
        key: [_short(x) for x in value] if key == "ages" else _short(value)
        for key, value in scores.items()
    }
    for name in ("slow_steps", "burst_steps"):
        table[name] = round(table[name])
    data["scores"] = data["scores"] | table
    if tokens is not None:
        data["tokens"] = (spec.tokens[0], spec.tokens[0] + tokens - 1)  # type: ignore[index]
    if layers is not None:
        data["layers"] = min(layers, data["model"]["layers"])
    return load(WorkloadSpec, data, "fit")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _of_both(short: dict[str, float], long: dict[str, float]) -> dict[str, float]:
    """The figures of a trial of few tokens, and those that the one of all tokens is for."""
    return {
        name: figure
        for figures, is_long in ((short, False), (long, True))
        for name, figure in figures.items()
        if (name.partition(".")[0] in _LONG) == is_long
    }


def _figures(workload: Workload, names: Iterable[str] = TARGETS) -> dict[str, float]:
    """What `TARGETS` names, or some of it, curves by entry; what cannot be told is left out."""
    report = measure(workload).as_json() | measure_dynamics(workload).as_json()
    flat: dict[str, float] = {}
    for name in names:
        value = report[name]
        entries = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name}.{key}".rstrip("."): each for key, each in entries if each is not None}
    return flat


def _allowed(name: str, real: float) -> float:
    kind, size = TARGETS[name.partition(".")[0]]
    return size if kind == _POINTS else size * abs(real)


def _distance(wanted: dict[str, float], found: dict[str, float]) -> float:
    """The sum over statistics of the mean square over a curve, in what is allowed."""
    groups: dict[str, list[float]] = {}
    for name, real in wanted.items():
        off = (found.get(name, 0.0) - real) / max(_allowed(name, real), 1e-3)
        groups.setdefault(name.partition(".")[0], []).append(min(off * off, 100.0))
    return sum(sum(group) / len(group) for group in groups.values())


def _ages_read(workload: Workload) -> F64:
    """Share of the blocks of each doubling of age that is read, [doublings]."""
    read, there = np.zeros(64), np.zeros(64)
    blocks = int(np.bitwise_count(workload.prompt[0]).sum())
    for chunk in workload.chunks():
        flags = unpack(chunk.bits)
        born = np.add.reduceat(np.append(chunk.append_born, 0), chunk.append_offset[:-1])
        born[np.diff(chunk.append_offset) == 0] = 0
        alive = blocks + np.cumsum(np.where(chunk.lane == 0, born, 0))
        blocks = int(alive[-1])
        for count in np.unique(alive):
            rows = alive == count
            age = count - np.arange(count)
            doubling = np.floor(np.log2(age)).astype(np.int64)
            reads = flags[rows, :count].sum(axis=0, dtype=np.int64)
            read += np.bincount(doubling, reads, 64)
            there += np.bincount(doubling, minlength=64) * np.count_nonzero(rows)
    known = there > 0
    return read[known] / there[known]


def _ages(
    goal: F64, spec: WorkloadSpec, values: dict[str, Any], tokens: int, start: Any = None
) -> list[float]:
    """Scores lost by age with which blocks of each age are read as often as in the trace."""
    ages = np.zeros(goal.size) if start is None else np.array(start)
    step = 0.5 * _deviation(values)
    for _ in range(AGE_ROUNDS):
        made = _ages_read(open_workload(_with(spec, values | {"ages": list(ages)}, tokens)))
        made = np.resize(made, goal.size)
        ages = ages + np.clip(step * (_logit(made) - _logit(goal)), -2, 2)
        ages -= ages[-1]
    return [float(x) / _deviation(values) for x in ages]


def _flicker(
    overlap: float, spec: WorkloadSpec, values: dict[str, Any], ages: list[float], tokens: int
) -> float:
    """The flicker with which a read set overlaps the next as in the trace: the more, the less."""
    low, high = 0.0, 1.0
    for _ in range(FLICKER_ROUNDS):
        unit = (low + high) / 2
        tried = values | {"flicker": _value("flicker", unit)}
        made = open_workload(_with(spec, tried | {"ages": _scaled(ages, tried)}, tokens))
        low, high = (unit, high) if measure(made).overlap > overlap else (low, unit)
    return _value("flicker", (low + high) / 2)


def _deviation(values: dict[str, Any]) -> float:
    """Of a score, about."""
    flicker = values["flicker"] * math.exp(values["burst"] ** 2)
    return math.sqrt(1 + values["popularity"] ** 2 + flicker**2)


def _scaled(ages: list[float], values: dict[str, Any]) -> list[float]:
    return [age * _deviation(values) for age in ages]


def _logit(share: F64) -> F64:
    share = np.clip(share, 1e-4, 1 - 1e-4)
    return np.log(share / (1 - share))


def _value(name: str, unit: float) -> float:
    low, high = PARAMETERS[name]
    return float(low * (high / low) ** unit if low > 0 else low + (high - low) * unit)


def _unit(name: str, value: float) -> float:
    low, high = PARAMETERS[name]
    share = (
        math.log(value / low) / math.log(high / low) if low > 0 else (value - low) / (high - low)
    )
    return min(max(share, 0.0), 1.0)
