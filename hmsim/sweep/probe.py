"""How long a run will take, found by running its first tokens."""

import time
from typing import NamedTuple

from hmsim.config.run import RunSpec
from hmsim.simulate.run import execute
from hmsim.simulate.sampling import LEAST
from hmsim.sweep.estimate import reckon
from hmsim.workload.first import First
from hmsim.workload.open import open_workload
from hmsim.workload.steps import Workload

PROBE_PAIRS = 7e7  # block x step: from here on a quick bound is found on a sample, as in long runs
LONGER = 3  # of two short runs, one has so many times the steps of the other
LEAST_SECONDS, LEAST_SHARE = 0.1, 0.25  # by which it takes longer, itself and of the shorter one
LONG_SECONDS = 5.0  # a run that takes as long is not repeated to replay more
FEW, MORE = 2, 8  # barrier groups of two runs that tell what a burst by burst replay of one takes


class Probe(NamedTuple):
    """Processor time of a whole run in a process that has its kernels at hand, and of loading them:
    seconds. A machine that is busy with other things makes that no longer."""

    seconds: float
    loading: float


class Taken(NamedTuple):
    """What a run took: processor time in seconds, and barrier groups that a policy measured."""

    seconds: float
    measured: float


class _Prober:
    """A run whose first steps can be run."""

    def __init__(self, spec: RunSpec, allow_plugins: bool) -> None:
        # What the search for a gap takes is nobody's to say.
        self.spec = _with(spec, "bound", gap=0.0)
        if spec.workload.warmup:  # its steps are counted as any others
            self.spec = _with(self.spec, "workload", warmup=0)
        self.whole = open_workload(spec.workload)
        self.shape = self.whole.geometry
        self.group = 1 if spec.latency.barrier == "layer" else self.shape.lanes  # steps
        self._allow_plugins = allow_plugins

    def run(self, spec: RunSpec, steps: int) -> Taken:
        """What the first steps take."""
        workload = self.whole if steps >= self.shape.steps else self._first(steps)
        began = time.process_time()
        ran = execute(spec, None, allow_plugins=self._allow_plugins, workload=workload)
        seconds = time.process_time() - began
        sampled = [outcome.sampled_steps / self.group for outcome in ran.outcomes]
        return Taken(seconds, max(sampled, default=0.0))

    def reckoned(self, steps: int) -> float:
        """Seconds of the first steps by a formula, replays left out."""
        shape = self.shape if steps >= self.shape.steps else self._first(steps).geometry
        return reckon(_with(self.spec, "replay", fidelity="analytic"), shape)

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
    """From two short runs, which tell what a step costs; burst by burst replays are told apart.

    They are as long as it takes to tell steps from what a run costs whatever its length; a run that
    is not much longer is run in full. Raises what the run itself would.
    """
    prober = _Prober(spec, allow_plugins)
    plain = prober.spec
    if spec.replay.fidelity == "burst":  # the sampler replays as many groups, and takes no time
        plain = _with(plain, "replay", fidelity="run")
    whole, steps = prober.shape.steps, 2 * prober.shape.lanes
    loading = prober.run(plain, steps).seconds
    if spec.bound.method == "dual":
        steps = max(steps, int(PROBE_PAIRS / prober.shape.slots))
    found = _steps(prober, plain, steps, whole)
    if spec.replay.fidelity == "burst":
        groups, replay = whole / prober.group, spec.replay
        period = replay.sample or (1 if replay.error == 0 else 0)
        measured = groups / period if period else min(groups, max(LEAST, found.measured))
        bursts, more = _bursts(prober, min(groups, 2 * measured))
        return Probe(found.seconds + bursts, loading + more)
    return Probe(found.seconds, loading)


def _steps(prober: _Prober, spec: RunSpec, steps: int, whole: int) -> Taken:
    """Of a whole run, from short ones: a sample that is to be as exact measures as many groups in
    either."""
    shorter = prober.run(spec, steps) if 2 * LONGER * steps < whole else None
    while shorter is not None and 2 * LONGER * steps < whole:
        longer = prober.run(spec, LONGER * steps)
        more = longer.seconds - shorter.seconds
        if more >= max(LEAST_SECONDS, LEAST_SHARE * shorter.seconds):
            short, long, all_ = map(prober.reckoned, (steps, LONGER * steps, whole))
            rest = more * (all_ - long) / (long - short)
            return Taken(longer.seconds + rest, longer.measured)
        steps, shorter = LONGER * steps, longer
    return prober.run(spec, whole)


def _bursts(prober: _Prober, replayed: float) -> tuple[float, float]:
    """Seconds of so many groups' replays burst by burst, and of loading their kernels. Every other
    group of the probes is measured: it comes after one that warms the memories up."""
    groups = MORE * 2
    steps = min(groups * prober.group, prober.shape.steps)
    groups = max(1, steps // prober.group)

    def taken(replayed: int) -> Taken:
        period = max(1, 2 * groups // replayed)
        return prober.run(_with(prober.spec, "replay", sample=period), steps)

    loading = taken(FEW)
    few = taken(FEW) if loading.seconds < LONG_SECONDS else loading
    if few.seconds < LONG_SECONDS:
        many = taken(MORE)
        group = (many.seconds - few.seconds) / max(1.0, many.measured - few.measured)
    else:  # it is replays that take as long
        others = prober.run(_with(prober.spec, "replay", fidelity="run"), steps).seconds
        group = (few.seconds - others) / max(1.0, few.measured)
    return max(0.0, group) / 2 * replayed, max(0.0, loading.seconds - few.seconds)


def _with(spec: RunSpec, table: str, **changes: object) -> RunSpec:
    return spec.model_copy(update={table: getattr(spec, table).model_copy(update=changes)})
