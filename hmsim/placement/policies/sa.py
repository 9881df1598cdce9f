"""`sa`: simulated annealing over the two numbers of `lookahead`, on the workload's first tokens.

Metropolis: a change for the worse by dT seconds is taken with probability exp(-dT / C). A move
changes the window by 1 or 2 (probability 0.4), the share by 0.1 (0.4) or both (0.2). C starts where
80 % of the moves for the worse would be taken, falls by 0.9 a level, and the search ends when the
best has improved by less than 0.1 % over a few levels.
Source: arXiv 2508.13231 section 4. It searches a heuristic with foresight: no proven optimum.
"""

import math
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from hmsim.errors import InputError
from hmsim.placement.latency import Groups, Rates
from hmsim.placement.policies.lookahead import Lookahead
from hmsim.workload.steps import Workload
from hmsim.workload.windows import Window, windows

MOVES = 10  # a level
PATIENCE = 4  # levels without improvement
TENTHS = 10  # shares are searched in steps of 0.1


class Annealed(NamedTuple):
    """The best point found, its time in seconds, and how many points were tried."""

    window: int
    share: float
    time_s: float
    tried: int


def anneal(seconds: Callable[[int, float], float], longest: int, seed: int = 1) -> Annealed:
    """Minimise `seconds(window, share)` over windows of 1 .. longest tokens and shares of 0 .. 1.

    Starts from (1, 1.0). Deterministic for a seed; no point is evaluated twice.
    """
    rng = np.random.default_rng(seed)
    known: dict[tuple[int, int], float] = {}

    def cost(point: tuple[int, int]) -> float:
        if point not in known:
            known[point] = seconds(point[0], point[1] / TENTHS)
        return known[point]

    def neighbour(point: tuple[int, int]) -> tuple[int, int]:
        window, tenths = point
        kind = rng.random()
        if kind < 0.4 or kind >= 0.8:
            window += int(rng.choice([-2, -1, 1, 2]))
        if kind >= 0.4:
            tenths += int(rng.choice([-1, 1]))
        return min(max(window, 1), longest), min(max(tenths, 0), TENTHS)

    here = best = (1, TENTHS)
    walk = list(accumulate(range(MOVES), lambda point, _: neighbour(point), initial=here))
    uphill = [rise for old, new in pairwise(walk) if (rise := cost(new) - cost(old)) > 0]
    temperature = -float(np.mean(uphill)) / math.log(0.8) if uphill else 0.0
    idle = 0
    while idle < PATIENCE:
        before = cost(best)
        for _ in range(MOVES):
            new = neighbour(here)
            rise = cost(new) - cost(here)
            if rise <= 0 or (temperature > 0 and rng.random() < math.exp(-rise / temperature)):
                here = new
            if cost(here) < cost(best):
                best = here
        idle = idle + 1 if cost(best) > before * (1 - 1e-3) else 0
        temperature *= 0.9
    return Annealed(best[0], best[1] / TENTHS, cost(best), len(known))


class Sa(Lookahead):
    """`lookahead` at the point that annealing finds on the first `tokens` tokens."""

    name = "sa"

    def __init__(self, longest: int = 16, tokens: int = 32, seed: int = 1):
        super().__init__()
        for key, value in (("longest", longest), ("tokens", tokens)):
            if not (isinstance(value, int) and 1 <= value <= 4096):
                raise InputError(f"policy sa: {key}: {value!r}: a whole number from 1 to 4096")
        if not (isinstance(seed, int) and seed >= 0):
            raise InputError(f"policy sa: seed: {seed!r}: a whole number from 0 up")
        self.ahead_tokens, self._tokens, self._seed = longest, tokens, seed

    def prompt(self, workload, capacity, rates):
        """Anneal; and the prompt as `lookahead` places it."""
        found = self.search(workload, capacity, rates)
        self.ahead_tokens, self.share = found.window, found.share
        return super().prompt(workload, capacity, rates)

    def search(self, workload: Workload, capacity: int, rates: Rates) -> Annealed:
        """The best (window, share) for so many blocks of HBM, by the run's latency model."""
        sample = _first(workload, self._tokens, self.ahead_tokens)
        geometry = workload.geometry
        capacity_bytes = geometry.resident_bytes + (capacity + 0.5) * geometry.block_bytes

        def seconds(ahead: int, share: float) -> float:
            run = Lookahead(ahead, share).start(
                workload, capacity_bytes, rates, self.variant, self.barrier, self.order
            )
            total = 0.0
            for window in sample:
                counts, _ = run.advance(window)
                groups = Groups.of(window.own, self.barrier)
                total += float(run.traffic(counts, groups).time_s.sum())
            return total

        return anneal(seconds, self.ahead_tokens, self._seed)


def _first(workload: Workload, tokens: int, ahead: int) -> list[Window]:
    """The windows of the first tokens, the last one cut; what lies ahead of it stays in sight."""
    parts: list[Window] = []
    end = None  # one past the last token
    for window in windows(workload, ahead):
        token = window.own.token
        end = int(token[0]) + tokens if end is None else end
        rows = int(np.searchsorted(token, end))
        parts.append(window._replace(rows=rows))
        if rows < window.rows:
            break
    return [part for part in parts if part.rows]
