"""Prices that raise the Lagrangian: a coarse search, then scaled supergradient steps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim.bound import ascent_kernel as kernel
from hmsim.bound.batches import Batches
from hmsim.bound.prices import Dual, Lagrangian, Setting, in_slices
from hmsim.workload.steps import F64, I64

MOMENTUM, MEMORY = 0.8, 0.99  # of the gradient, and of its square (Adam's betas). By trial
BATCH_MOMENTUM, BATCH_MEMORY = 0.9, 0.999  # likewise, where the gradient is a batch's
CHECKS = 8  # of a climb by batches


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


def coarse_start(lagrangian: Lagrangian | Batches) -> Ascent:
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
        value = lagrangian.value(dual)
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
    climb, here = _Climb(start, unit, pieces, (MOMENTUM, MEMORY)), start
    history: list[float] = []
    best = Ascent(start, -np.inf, history)
    for k in range(passes):
        value, slope = lagrangian(here)
        if value > best.value:
            best = Ascent(here, value, history)
        history.append(best.value)
        if stop(best.value):
            break
        here = climb.step(here, slope, steps[0] * (steps[1] / steps[0]) ** (k / passes))
    return best


def ascend_by_batches(
    batches: Batches,
    start: Dual,
    count: int,
    steps: tuple[float, float],
    capacity_step: float,
    spent: Callable[[float], float] = lambda best: 0.0,
) -> Ascent:
    """The same by `count` steps of one batch each, or until `spent(best value)` is 1.

    What is spent is a share of the time there is: the step's length falls by that, or by the steps
    taken, whichever is more. Values are compared now and then.
    """
    unit = capacity_step * capacity_unit(batches.setting)
    climb, here = _Climb(start, unit, None, (BATCH_MOMENTUM, BATCH_MEMORY)), start
    history: list[float] = []
    best = Ascent(start, -np.inf, history)
    way, checks = 0.0, 0
    for k in range(count + 1):
        if way >= checks / CHECKS:
            checks = int(way * CHECKS) + 1
            value = batches.value(here)
            if value > best.value:
                best = Ascent(here, value, history)
            history.append(best.value)
        if way == 1.0:
            break
        here = climb.step(here, batches(here), steps[0] * (steps[1] / steps[0]) ** way)
        history.append(best.value)
        way = max((k + 1) / count, min(1.0, spent(best.value)))
    return best


class _Climb:
    """Adam's rule, with its running averages at those `rates` of decay."""

    def __init__(
        self, start: Dual, unit: float, pieces: int | None, rates: tuple[float, float]
    ) -> None:
        self._unit, self._rates, self._taken = unit, rates, 0
        self._groups = _pieces(len(start.term), pieces)
        self._steps = _pieces(len(start.capacity), pieces)
        self._term_mean = np.zeros((len(self._groups), start.term.shape[1]))
        self._term_square = np.zeros(len(self._groups))
        self._capacity_mean, self._capacity_square = np.zeros((2, len(self._steps)))

    def step(self, here: Dual, slope: Dual, length: float) -> Dual:
        """Prices that far up the slope."""
        self._taken += 1
        momentum, memory = self._rates
        length *= np.sqrt(1 - memory**self._taken) / (1 - momentum**self._taken)
        paces = (1 - momentum, 1 - memory)
        there = Dual(np.empty_like(here.term), np.empty_like(here.capacity))
        in_slices(
            lambda first, last: kernel.climb_terms(
                first, last, self._groups, slope.term, length, paces, self._term_mean,
                self._term_square, here.term, there.term,
            ), len(self._groups),
        )  # fmt: skip
        in_slices(
            lambda first, last: kernel.climb_capacity(
                first, last, self._steps, slope.capacity, length * self._unit, paces,
                self._capacity_mean, self._capacity_square, here.capacity, there.capacity,
            ), len(self._steps),
        )  # fmt: skip
        return there


def _pieces(count: int, pieces: int | None) -> I64:
    """Where about equal stretches of `count` places begin; each place by itself for None."""
    if pieces is None:
        return np.arange(count)
    return np.unique(count * np.arange(pieces) // pieces)


def _uniform(setting: Setting, mix: F64, capacity: float) -> Dual:
    term = np.tile(mix, (len(setting.start), 1))
    return Dual(term, np.full(setting.timeline.steps, capacity))
