"""Prices that raise the Lagrangian: a coarse search, then scaled supergradient steps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim.bound.prices import Dual, Lagrangian, Setting
from hmsim.workload.steps import F64

MOMENTUM, MEMORY = 0.8, 0.99  # of the gradient, and of its square


class Ascent(NamedTuple):
    """The best prices met, their value, and the best value so far after each pass."""

    dual: Dual
    value: float
    history: list[float]


def room_unit(setting: Setting) -> float:
    """What room for a block during a step can be worth: one read from DRAM, in seconds."""
    return setting.block_bytes / setting.rates.off_package


def coarse_start(lagrangian: Lagrangian) -> Ascent:
    """The best of few prices that are the same at every step.

    One of the mixes, with free room, is the bound of reads split at best between both memories.
    """
    setting = lagrangian.setting
    corners = np.eye(setting.all_in_dram.shape[1])
    mixes = [corners[0]]
    for arm in corners[1:-1]:
        mixes += [
            share * corners[0] + (1 - share) * arm for share in (0.0, 0.5, setting.rates.split)
        ]
    history: list[float] = []
    best = Ascent(_uniform(setting, mixes[0], 0.0), -np.inf, history)
    unit = room_unit(setting)

    def attempt(mix: F64, room: float) -> None:
        nonlocal best
        dual = _uniform(setting, mix, room)
        value, _ = lagrangian(dual)
        if value > best.value:
            best = Ascent(dual, value, history)
        history.append(best.value)

    for mix in mixes:
        for room in (0.0, 1e-2 * unit):
            attempt(mix, room)
    mix = best.dual.arm[0]
    for room in (1e-4, 1e-3, 3e-3, 3e-2, 1e-1, 1.0):
        attempt(mix, room * unit)
    return best


def ascend(
    lagrangian: Lagrangian,
    start: Dual,
    passes: int,
    rates: tuple[float, float] = (4.0, 1e-3),
    room_step: float = 0.3,
    pieces: int | None = None,
    stop: Callable[[float], bool] = lambda best: False,
) -> Ascent:
    """Raise the value from `start` in `passes` steps, or until `stop(best value)`.

    Adam's rule, projected: momentum over the running root mean square, here of a group's whole row
    of arms, and of each step's room. The step falls geometrically from `rates[0]` to `rates[1]`, in
    units of 1 for arms and of `room_step` times `room_unit` for room. With `pieces`, prices are the
    same within that many stretches of time: a sample of few blocks can tell no more.
    """
    unit = room_step * room_unit(lagrangian.setting)
    arm, room = start.arm.copy(), start.room.copy()
    arm_mean, room_mean = np.zeros_like(arm), np.zeros_like(room)
    arm_square, room_square = np.zeros(len(arm)), np.zeros_like(room)
    history: list[float] = []
    best = Ascent(start, -np.inf, history)
    for k in range(passes):
        here = Dual(arm, room)
        value, slope = lagrangian(here)
        if value > best.value:
            best = Ascent(here, value, history)
        history.append(best.value)
        if stop(best.value):
            break
        steep, swell = slope.arm - slope.arm.mean(axis=1, keepdims=True), slope.room
        if pieces is not None:
            steep, swell = _pooled(steep, pieces), _pooled(swell, pieces)
        arm_mean += (1 - MOMENTUM) * (steep - arm_mean)
        room_mean += (1 - MOMENTUM) * (swell - room_mean)
        arm_square += (1 - MEMORY) * ((steep**2).sum(axis=1) - arm_square)
        room_square += (1 - MEMORY) * (swell**2 - room_square)
        early = np.sqrt(1 - MEMORY ** (k + 1)) / (1 - MOMENTUM ** (k + 1))
        rate = early * rates[0] * (rates[1] / rates[0]) ** (k / passes)
        tiny = np.finfo(float).tiny
        arm = on_simplex(arm + rate * arm_mean / (np.sqrt(arm_square) + tiny)[:, None])
        room = np.maximum(room + rate * unit * room_mean / (np.sqrt(room_square) + tiny), 0.0)
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


def _uniform(setting: Setting, mix: F64, room: float) -> Dual:
    arm = np.tile(mix, (len(setting.start), 1))
    return Dual(arm, np.full(setting.timeline.steps, room))
