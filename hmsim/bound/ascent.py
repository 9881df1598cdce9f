"""Prices that raise the Lagrangian: a coarse search, then scaled supergradient steps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hmsim.bound import ascent_kernel as kernel
from hmsim.bound.prices import Dual, Lagrangian, Setting, in_slices
from hmsim.workload.steps import F64, I64

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
    term, capacity = start.term, start.capacity
    group_pieces, step_pieces = _pieces(len(term), pieces), _pieces(len(capacity), pieces)
    term_mean, term_square = (
        np.zeros((len(group_pieces), term.shape[1])),
        np.zeros(len(group_pieces)),
    )
    capacity_mean, capacity_square = np.zeros((2, len(step_pieces)))
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
        early = np.sqrt(1 - MEMORY ** (k + 1)) / (1 - MOMENTUM ** (k + 1))
        length = early * steps[0] * (steps[1] / steps[0]) ** (k / passes)
        term, capacity = np.empty_like(term), np.empty_like(capacity)
        _climb(
            kernel.climb_terms, group_pieces, slope.term, length, term_mean, term_square, here.term,
            term,
        )  # fmt: skip
        _climb(
            kernel.climb_capacity, step_pieces, slope.capacity, length * unit, capacity_mean,
            capacity_square, here.capacity, capacity,
        )  # fmt: skip
    return best


def _climb(
    climb: Callable[..., None], starts: I64, slope: F64, length: float, mean: F64, square: F64,
    here: F64, there: F64,
) -> None:  # fmt: skip
    """A step of all pieces, from prices `here` to `there`."""
    paces = (1 - MOMENTUM, 1 - MEMORY)

    def work(first: int, last: int) -> None:
        climb(first, last, starts, slope, length, paces, mean, square, here, there)

    in_slices(work, len(starts))


def _pieces(count: int, pieces: int | None) -> I64:
    """Where about equal stretches of `count` places begin; each place by itself for None."""
    if pieces is None:
        return np.arange(count)
    return np.unique(count * np.arange(pieces) // pieces)


def _uniform(setting: Setting, mix: F64, capacity: float) -> Dual:
    term = np.tile(mix, (len(setting.start), 1))
    return Dual(term, np.full(setting.timeline.steps, capacity))
