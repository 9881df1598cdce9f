"""Prices that raise the Lagrangian: a coarse search, then scaled supergradient steps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.workload.steps import F64

MOMENTUM, MEMORY = 0.8, 0.99  # of the gradient, and of its square (Adam's betas). By trial


class Ascent(NamedTuple):
    """The best prices met, their value, and the best value so far after each pass."""

    dual: Dual
    value: float
    history: list[float]


def capacity_unit(setting: Setting) -> float:
    """What a step's capacity for one block can be worth: one read from DRAM, in seconds or joules."""
    cost = setting.objective
    spared = max(0.0, cost.attention_dram - cost.attention_hbm)
    return setting.block_bytes * (cost.power / setting.rates.off_package + spared)


def coarse_start(lagrangian: Lagrangian) -> Ascent:
    """The best of few prices that are the same at every step.

    One of the mixes, with free capacity, is the bound of reads split at best between both memories.
    """
    setting = lagrangian.setting
    corners = np.eye(setting.all_in_dram.shape[1])
    mixes = [corners[0]]
    for term in corners[1:-1]:
        mixes += [
            share * corners[0] + (1 - share) * term for share in (0.0, 0.5, setting.rates.split)
        ]
    history: list[float] = []
    best = Ascent(_uniform(setting, mixes[0], 0.0), -np.inf, history)
    unit = capacity_unit(setting)

    def attempt(mix: F64, capacity: float) -> None:
        nonlocal best
        dual = _uniform(setting, mix, capacity)
        value, _ = lagrangian(dual)
        if value > best.value:
            best = Ascent(dual, value, history)
        history.append(best.value)

    for mix in mixes:
        for capacity in (0.0, 1e-2 * unit):
            attempt(mix, capacity)
    mix = best.dual.term[0]
    for capacity in (1e-4, 1e-3, 3e-3, 3e-2, 1e-1, 1.0):
        attempt(mix, capacity * unit)
    return best


def ascend(
    lagrangian: Lagrangian,
    start: Dual,
    passes: int,
    steps: tuple[float, float] = (4.0, 1e-3),
    capacity_step: float = 0.3,
    pieces: int | None = None,
    stop: Callable[[float], bool] = lambda best: False,
) -> Ascent:
    """Raise the value from `start` in `passes` steps, or until `stop(best value)`.

    Adam's rule, projected: momentum over the running root mean square, here of a group's whole row
    of terms, and of each step's capacity. The step falls geometrically from `steps[0]` to
    `steps[1]`, in units of 1 for terms and of `capacity_step` times `capacity_unit` for capacity.
    With `pieces`, prices are the same within that many about equal pieces of time: a sample of few
    blocks can tell no more.
    """
    unit = capacity_step * capacity_unit(lagrangian.setting)
    term, capacity = start.term.copy(), start.capacity.copy()
    term_mean, capacity_mean = np.zeros_like(term), np.zeros_like(capacity)
    term_square, capacity_square = np.zeros(len(term)), np.zeros_like(capacity)
    history: list[float] = []
    best = Ascent(start, -np.inf, history)
    for k in range(passes):
        here = Dual(term, capacity)
        value, slope = lagrangian(here)
        if value > best.value:
            best = Ascent(here, value, history)
        history.append(best.value)
        if stop(best.value):
            break
        steep, swell = slope.term - slope.term.mean(axis=1, keepdims=True), slope.capacity
        if pieces is not None:
            steep, swell = _pooled(steep, pieces), _pooled(swell, pieces)
        term_mean += (1 - MOMENTUM) * (steep - term_mean)
        capacity_mean += (1 - MOMENTUM) * (swell - capacity_mean)
        term_square += (1 - MEMORY) * ((steep**2).sum(axis=1) - term_square)
        capacity_square += (1 - MEMORY) * (swell**2 - capacity_square)
        early = np.sqrt(1 - MEMORY ** (k + 1)) / (1 - MOMENTUM ** (k + 1))
        length = early * steps[0] * (steps[1] / steps[0]) ** (k / passes)
        tiny = np.finfo(float).tiny
        term = on_simplex(term + length * term_mean / (np.sqrt(term_square) + tiny)[:, None])
        capacity = np.maximum(
            capacity + length * unit * capacity_mean / (np.sqrt(capacity_square) + tiny), 0.0
        )
    return best


def _pooled(values: F64, pieces: int) -> F64:
    """Means over about equal stretches of the first axis, in every place of the stretch."""
    start = np.unique(len(values) * np.arange(pieces) // pieces)
    size = np.diff(start, append=len(values))
    means = np.add.reduceat(values, start, axis=0) / size.reshape(-1, *[1] * (values.ndim - 1))
    return np.repeat(means, size, axis=0)


def on_simplex(rows: F64) -> F64:
    """The nearest point of the probability simplex to each row."""
    ordered = -np.sort(-rows, axis=1)
    excess = np.cumsum(ordered, axis=1) - 1.0
    rank = np.arange(1, rows.shape[1] + 1)
    kept = (ordered * rank > excess).sum(axis=1)
    shift = excess[np.arange(len(rows)), kept - 1] / kept
    near = np.maximum(rows - shift[:, None], 0.0)
    return near / near.sum(axis=1, keepdims=True)


def _uniform(setting: Setting, mix: F64, capacity: float) -> Dual:
    term = np.tile(mix, (len(setting.start), 1))
    return Dual(term, np.full(setting.timeline.steps, capacity))
