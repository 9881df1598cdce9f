"""A `scores` spec fitted to a trace: what `hmsim workload calibrate TRACE.h5` does.

Only the order of scores matters, so the slow part's deviation is 1 and the rest is relative to it.
Two things are solved for in every trial: what a block's age takes off its score, from how often
blocks of each age are read; and the flicker, from the overlap of consecutive read sets. The other
parameters are searched for, so that statistics and dynamics come out as the trace's. A trial is of
all steps; for ages and flicker the first of them do.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from hmsim.bits import unpack
from hmsim.config.base import load
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload.dynamics import measure_dynamics
from hmsim.workload.open import open_workload
from hmsim.workload.statistics import measure
from hmsim.workload.steps import F64, Steps, Workload
from hmsim.workload.view import View

SOLVED_SCORES = 1 << 24  # steps times blocks on which ages and flicker are solved for, about
STEP = 0.05  # by which a parameter is moved to see what it does, in units of its value
FAILURES = 3  # of steps in a row, after which that is looked at anew
FIRST_ROUNDS, ROUNDS = 8, 2  # in which ages and flicker are solved for: at first, in a trial
EVALUATIONS = 150

# What may be off, by how much: as it is, or as a share of the trace's value. What policies pay for
# is held tightest: misses, and for how long what was read is read again.
_POINTS, _SHARE = "points", "share"
TARGETS: dict[str, tuple[str, float]] = {
    "overlap": (_POINTS, 0.03),
    "adjacent_overlap": (_POINTS, 0.03),
    "union": (_POINTS, 0.03),
    "lru_multiple": (_POINTS, 0.03),
    "belady_multiple": (_POINTS, 0.03),
    "top_share": (_POINTS, 0.05),
    "newest_share": (_SHARE, 0.2),
    "persistence": (_SHARE, 0.1),
    "one_step_stays": (_SHARE, 0.2),
    "lru_misses": (_SHARE, 0.15),
    "lfu_misses": (_SHARE, 0.15),
    "shared_misses": (_SHARE, 0.15),
    "shared_peaks": (_SHARE, 0.15),
    "miss_peaks": (_SHARE, 0.2),
    "miss_dispersion": (_SHARE, 0.2),
    "miss_memory": (_SHARE, 0.2),
    "far_entering": (_SHARE, 0.2),
    "overlap_spread": (_SHARE, 0.2),
    "overlap_away": (_SHARE, 0.2),
}

# What is searched: least and greatest value; logarithmic where the least is above 0.
PARAMETERS: dict[str, tuple[float, float]] = {
    "popularity": (0.0, 3.0),
    "popularity_tail": (0.0, 2.0),
    "slow_steps": (64.0, 16384.0),
    "slow_fall": (0.3, 3.0),
    "flicker_tail": (0.0, 1.0),
    "burst": (0.0, 1.5),
    "burst_common": (0.0, 1.0),
    "layer_correlation": (0.0, 1.0),
    "band_correlation": (0.0, 1.0),
    "layer_spread": (0.0, 1.2),
}
_START = {"popularity": 0.4, "popularity_tail": 0.9, "slow_steps": 3000.0, "slow_fall": 0.8,
          "flicker_tail": 0.1, "burst": 0.6, "burst_common": 0.4, "layer_correlation": 0.2,
          "band_correlation": 0.7, "layer_spread": 0.5}  # fmt: skip
_FLICKER = (0.36, 0.01, 4.0)  # first, least and greatest
# What is left as it is. With 5 slow parts, each redrawn 6 times as often as the one before, the
# shortest lasts some tokens and the longest some thousand, as what a real model reads does.
_FIXED = {"slow": 1.0, "slow_parts": 5, "slow_ratio": 6.0, "flicker_steps": 1}
BURST_STEPS = (1, 2)  # the better of them is taken, as all else is at the start


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
        return toml_of(self.spec)


def toml_of(spec: WorkloadSpec) -> str:
    """A spec as a file."""
    return tomli_w.dumps({"workload": spec.model_dump(exclude_unset=True, exclude_none=True)})


def fit_trace(
    trace: Workload,
    evaluations: int = EVALUATIONS,
    progress: Callable[[int], None] | None = None,
    start: WorkloadSpec | None = None,
    keep: Callable[[WorkloadSpec], None] | None = None,
) -> Fit:
    """Fit the process that scores blocks to a trace.

    Args:
        trace: Steps of single layers, of one sequence.
        evaluations: Trials, at most.
        progress: Called with the number of trials that more are done.
        start: A spec of kind `scores` whose parameters are tried first, as far as they are searched.
        keep: Called with each spec that is the best so far.

    Raises:
        InputError: The trace has several sequences, steps of no layer, a prompt of no block, or too
            few tokens; or `start` is of another kind.
    """
    whole = _spec_of(trace)
    size = _solved_tokens(trace)
    wanted = _figures(trace)
    goal = _seen(trace)
    names = list(PARAMETERS)
    first, solved = _first(start, goal)
    best: tuple[float, dict[str, Any], _Solved] = (math.inf, {}, solved)
    count = 0

    def residuals(unit: F64, burst_steps: int | None = None) -> F64:
        nonlocal best, count
        if count == evaluations:
            raise _Spent
        values = dict(zip(names, map(_value, names, unit), strict=True))
        values["burst_steps"] = burst_steps or best[1]["burst_steps"]
        rounds = ROUNDS if best[1] else FIRST_ROUNDS
        now = _solve(goal, whole, values, size, best[2], rounds)
        table = values | {"flicker": now.flicker, "ages": _scaled(now, values)}
        off = _off(wanted, _figures(open_workload(_with(whole, table))))
        far = float(off @ off)
        count += 1
        if far < best[0]:
            best = far, table, now
            if keep is not None:
                keep(_with(whole, table))
        if progress is not None:
            progress(1)
        return off

    begin = np.array([_unit(name, first[name]) for name in names])
    with suppress(_Spent):
        for burst_steps in BURST_STEPS if start is None else [int(first["burst_steps"])]:
            residuals(begin, burst_steps)
        _descend(residuals, begin)
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
            "scores": chosen | _FIXED,
        },
        trace.title or "trace",
    )  # fmt: skip


def _first(start: WorkloadSpec | None, goal: "_Seen") -> tuple[dict[str, float], "_Solved"]:
    """What is tried first: parameters, and flicker and ages to solve from."""
    if start is None:
        return _START, _Solved(_FLICKER[0], np.zeros(goal.ages.size))
    if start.kind != "scores" or start.scores is None:
        raise InputError(f"start: a spec of kind {start.kind}: only one of kind scores will do")
    names = [*PARAMETERS, "burst_steps"]
    first = {name: float(getattr(start.scores, name)) for name in names}
    ages = np.array(start.scores.ages or [0.0])
    ages = ages[np.minimum(np.arange(goal.ages.size), ages.size - 1)] / _deviation(first)
    return first, _Solved(float(np.clip(start.scores.flicker, *_FLICKER[1:])), ages - ages[-1])


def _starts_block(trace: Workload) -> bool:
    """Whether the first new token begins a block of its own."""
    return bool(next(iter(trace.chunks())).append_born[:1].all())


def _solved_tokens(trace: Workload) -> int:
    shape = trace.geometry
    fits = SOLVED_SCORES // (shape.lanes * shape.slots)
    return min(shape.steps // shape.lanes, max(fits, 32))


def _with(spec: WorkloadSpec, scores: dict[str, Any], tokens: int | None = None) -> WorkloadSpec:
    """`spec` with values of its scores, and fewer tokens if so many are given."""
    data = spec.model_dump(exclude_unset=True)
    table: dict[str, Any] = {
        key: [_short(x) for x in value] if key == "ages" else _short(value)
        for key, value in scores.items()
    }
    table |= {key: round(table[key]) for key in ("slow_steps", "burst_steps")}
    data["scores"] = data["scores"] | table
    if tokens is not None:
        data["tokens"] = (spec.tokens[0], spec.tokens[0] + tokens - 1)  # type: ignore[index]
    return load(WorkloadSpec, data, "fit")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


class _Held(View):
    """A workload whose steps are made once."""

    def __init__(self, whole: Workload):
        super().__init__(whole, whole.geometry.steps, whole.prompt)
        self._chunks = list(whole.chunks())

    def chunks(self) -> Iterator[Steps]:
        """The steps of the whole workload."""
        return iter(self._chunks)


def _figures(workload: Workload) -> dict[str, float]:
    """What `TARGETS` names, curves by entry; what cannot be told is left out."""
    held = _Held(workload)
    everything = measure(held, lanes=held.geometry.lanes)  # layers are of different kinds
    report = everything.as_json() | measure_dynamics(held).as_json()
    flat: dict[str, float] = {}
    for name in TARGETS:
        value = report[name]
        entries = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name}.{key}".rstrip("."): each for key, each in entries if each is not None}
    return flat


def _allowed(name: str, real: float) -> float:
    kind, size = TARGETS[name.partition(".")[0]]
    return size if kind == _POINTS else size * abs(real)


class _Spent(Exception):
    """As many trials as were wanted are done."""


def _descend(residuals: Callable[[F64], F64], x: F64) -> None:
    """Make the sum of squared residuals small over 0 .. 1, until `residuals` raises _Spent.

    Levenberg and Marquardt's steps, with a Jacobian of differences that each step corrects
    (Broyden's rank one), and that is made anew where steps lead nowhere.
    """
    off, damping, scale = residuals(x), 0.1, STEP
    while True:
        columns = []
        for k in range(x.size):
            aside = x.copy()
            aside[k] += scale if x[k] < 0.5 else -scale
            columns.append((aside, residuals(aside)))
        jacobian = np.array([(found - off) / (aside - x).sum() for aside, found in columns]).T
        aside, found = min(columns, key=lambda column: float(column[1] @ column[1]))
        if found @ found < off @ off:
            x, off = aside, found
        failed = 0
        while failed < FAILURES:
            square = jacobian.T @ jacobian
            square += damping * np.diag(np.diag(square) + 1e-3)
            there = np.clip(x - np.linalg.solve(square, jacobian.T @ off), 0, 1)
            moved = there - x
            if not moved.any():
                break
            found = residuals(there)
            jacobian += np.outer(found - off - jacobian @ moved, moved) / (moved @ moved)
            if found @ found < 0.995 * (off @ off):
                x, off, damping, failed = there, found, damping / 3, 0
            else:
                damping, failed = damping * 4, failed + 1
        damping, scale = 0.1, 0.7 * scale


def _off(wanted: dict[str, float], found: dict[str, float]) -> F64:
    """How far each statistic is off, in what is allowed; a curve counts as much as a number."""
    curve = [name.partition(".")[0] for name in wanted]
    off = [
        (found.get(name, 0.0) - real) / max(_allowed(name, real), 1e-3)
        for name, real in wanted.items()
    ]
    return np.clip(off, -10, 10) / np.sqrt([curve.count(each) for each in curve])


class _Seen(NamedTuple):
    """What is solved for."""

    ages: F64  # share of the blocks of each doubling of age that is read, [doublings]
    overlap: float  # share of a read set that the layer's next one holds


class _Solved(NamedTuple):
    """With what: the flicker, and the loss by doublings of age in deviations of a score."""

    flicker: float
    ages: F64


def _seen(workload: Workload) -> _Seen:
    read, there = np.zeros(64), np.zeros(64)
    blocks = int(np.bitwise_count(workload.prompt[0]).sum())
    layers = workload.geometry.lanes
    before = np.zeros((0, workload.geometry.words), np.uint64)
    both = reads = 0
    for chunk in workload.chunks():
        rows = np.concatenate([before, chunk.bits])
        both += int(np.bitwise_count(rows[layers:] & rows[:-layers]).sum())
        reads += int(np.bitwise_count(rows[layers:]).sum())
        before = rows[-layers:]
        flags = unpack(chunk.bits)
        born = np.add.reduceat(np.append(chunk.append_born, 0), chunk.append_offset[:-1])
        born[np.diff(chunk.append_offset) == 0] = 0
        alive = blocks + np.cumsum(np.where(chunk.lane == 0, born, 0))
        blocks = int(alive[-1])
        past = alive - born  # what can be chosen: a block that a step begins is not yet there
        for count in np.unique(past):
            these = past == count
            age = count - np.arange(count)
            doubling = np.floor(np.log2(age)).astype(np.int64)
            total = flags[these, :count].sum(axis=0, dtype=np.int64)
            read += np.bincount(doubling, total, 64)
            there += np.bincount(doubling, minlength=64) * np.count_nonzero(these)
    known = there > 0
    return _Seen(read[known] / there[known], both / max(reads, 1))


def _solve(
    goal: _Seen,
    spec: WorkloadSpec,
    values: dict[str, Any],
    tokens: int,
    start: _Solved,
    rounds: int,
) -> _Solved:
    """With what blocks of each age are read, and read sets overlap, about as in the trace."""
    now = start
    for _ in range(rounds):
        table = values | {"flicker": now.flicker, "ages": _scaled(now, values)}
        made = _seen(open_workload(_with(spec, table, tokens)))
        # Of the oldest blocks of the trace there may be none on the first steps.
        ages = made.ages[np.minimum(np.arange(goal.ages.size), made.ages.size - 1)]
        ages = now.ages + np.clip(0.5 * (_logit(ages) - _logit(goal.ages)), -1, 1)
        # What leaves a read set grows about as the flicker does.
        leaves, wanted = max(1 - made.overlap, 1e-3), max(1 - goal.overlap, 1e-3)
        flicker = now.flicker * min(max((wanted / leaves) ** 1.2, 0.2), 5.0)
        now = _Solved(float(np.clip(flicker, *_FLICKER[1:])), ages - ages[-1])
    return now


def _scaled(solved: _Solved, values: dict[str, Any]) -> list[float]:
    """Scores lost by doublings of age."""
    return [float(age) * _deviation(values) for age in solved.ages]


def _deviation(values: dict[str, Any]) -> float:
    """About that of the steady parts of a score."""
    tail = values["popularity_tail"]
    popularity = values["popularity"] * math.sqrt(1 + 4 * tail + 8 * tail**2)
    return math.sqrt(1 + popularity**2)


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
