"""How long a run will take, found by running its first tokens."""

import time
from typing import NamedTuple

from hmsim.config.run import RunSpec
from hmsim.simulate.run import execute
from hmsim.sweep.estimate import reckon, replayed_groups
from hmsim.workload.first import First
from hmsim.workload.open import open_workload
from hmsim.workload.steps import Workload

PROBE_PAIRS = 7e7  # block x step: from here on a quick bound is found on a sample, as in long runs
LONGER = 3  # of two short runs, one has so many times the steps of the other
LEAST_SECONDS, LEAST_SHARE = 0.1, 0.25  # by which it takes longer, itself and of the shorter one
LONG_SECONDS = 5.0  # a run that takes as long is not repeated to replay more
FEW, MORE = 1, 4  # barrier groups that are measured in a replay


class Probe(NamedTuple):
    """Processor time of a whole run in a process that has its kernels at hand, and of loading them:
    seconds. A machine that is busy with other things makes that no longer."""

    seconds: float
    loading: float


class _Prober:
    """A run whose first steps can be run."""

    def __init__(self, spec: RunSpec, allow_plugins: bool) -> None:
        # What the search for a gap takes is nobody's to say.
        self.spec = spec.model_copy(update={"bound": spec.bound.model_copy(update={"gap": 0.0})})
        self.whole = open_workload(spec.workload)
        self.shape = self.whole.geometry
        self._allow_plugins = allow_plugins

    def run(self, steps: int | None = None, measured: int = FEW) -> float:
        """Processor time of its first steps, of whose groups so many are replayed and measured; or of
        all."""
        spec, workload = self.spec, self.whole
        if steps is not None:
            workload = self._first(steps)
            period = max(1, self._groups(workload.geometry.steps) // measured)
            spec = _with(spec, "replay", sample=period)
        if spec.workload.warmup:
            spec = _with(spec, "workload", warmup=0)
        began = time.process_time()
        execute(spec, None, allow_plugins=self._allow_plugins, workload=workload)
        return time.process_time() - began

    def reckoned(self, steps: int | None = None) -> float:
        """Seconds of its first steps, or of all, by a formula, replays left out."""
        spec = _with(self.spec, "replay", fidelity="analytic")
        return reckon(spec, self.shape if steps is None else self._first(steps).geometry)

    def taken(self, steps: int | None = None, measured: int = FEW) -> int:
        """Barrier groups that are replayed, those that warm the memories up among them."""
        groups = self._groups(self.shape.steps if steps is None else steps)
        replay = self.spec.replay
        if steps is not None:
            replay = replay.model_copy(update={"sample": max(1, groups // measured)})
        return replayed_groups(replay, groups)

    def _groups(self, steps: int) -> int:
        return steps if self.spec.latency.barrier == "layer" else -(-steps // self.shape.lanes)

    def _first(self, steps: int) -> Workload:
        """A shorter workload, made shorter where that is possible: chunks are made whole."""
        spec, tokens = self.spec.workload, -(-steps // self.shape.lanes)
        if spec.tokens is not None and spec.matrix is None:
            first, last = spec.tokens
            return open_workload(
                spec.model_copy(update={"tokens": (first, min(last, first + tokens - 1))})
            )
        if spec.requests is not None and spec.matrix is None:
            fewer = spec.requests.model_copy(update={"steps": min(tokens, spec.requests.steps)})
            return open_workload(spec.model_copy(update={"requests": fewer}))
        return First(self.whole, steps)


def probe(spec: RunSpec, allow_plugins: bool = False) -> Probe:
    """From two short runs, which tell what a step costs, and a third that replays more of them.

    They are as long as it takes to tell steps from what a run costs whatever its length; a run that
    is not much longer is run in full. Raises what the run itself would.
    """
    prober = _Prober(spec, allow_plugins)
    steps = 2 * prober.shape.lanes
    loading = prober.run(min(steps, prober.shape.steps))
    if spec.bound.method == "dual":
        steps = max(steps, int(PROBE_PAIRS / prober.shape.slots))
    seconds = prober.run(steps) if 2 * LONGER * steps < prober.shape.steps else 0.0
    while 2 * LONGER * steps < prober.shape.steps:
        longer = prober.run(LONGER * steps)
        if longer - seconds >= max(LEAST_SECONDS, LEAST_SHARE * seconds):
            return Probe(_extrapolated(prober, steps, seconds, longer), loading)
        steps, seconds = LONGER * steps, longer
    if prober.spec.replay.fidelity != "burst":
        return Probe(prober.run(), loading)
    seconds = prober.run(prober.shape.steps, FEW)
    return Probe(seconds + _replays(prober, prober.shape.steps, seconds, 0.0), loading)


def _extrapolated(prober: _Prober, steps: int, seconds: float, longer: float) -> float:
    """Of the whole run, where its first `steps` take `seconds`, and LONGER times as many `longer`."""
    short, long, whole = map(prober.reckoned, (steps, LONGER * steps, None))
    found = longer + (longer - seconds) * (whole - long) / (long - short)
    if prober.spec.replay.fidelity == "analytic":
        return found
    return found + _replays(prober, steps, seconds, (longer - seconds) / (LONGER - 1))


def _replays(prober: _Prober, steps: int, seconds: float, others: float) -> float:
    """Of the whole run's replays, but for those of its first `steps`, which took `seconds`: of these
    `others` at least were spent on something else."""
    few, whole = prober.taken(steps), prober.taken()
    if seconds < LONG_SECONDS:
        many = prober.taken(steps, MORE)
        group = (prober.run(steps, MORE) - seconds) / max(1, many - few)
    else:  # it is replays that take as long
        group = (seconds - others) / few
    return max(0.0, group) * (whole - few)


def _with(spec: RunSpec, table: str, **changes: object) -> RunSpec:
    return spec.model_copy(update={table: getattr(spec, table).model_copy(update=changes)})
