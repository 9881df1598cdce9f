"""What a sweep will take, before it is run: a formula, and probes of some of its runs."""

import time
from collections.abc import Callable
from concurrent.futures import as_completed
from typing import NamedTuple

import numpy as np

from hmsim.errors import InputError
from hmsim.sweep import worker
from hmsim.sweep.estimate import (
    POINT_BYTES,
    POLICY_BYTES,
    PROBES,
    SWEEP_BYTES,
    Reckoned,
    chosen,
    reckon,
    seconds_of,
    wall_seconds,
)
from hmsim.sweep.executors import Pool
from hmsim.sweep.points import Plan, tasks
from hmsim.units import show_seconds
from hmsim.workload.open import open_workload


class Forecast(NamedTuple):
    """Of a sweep. `seconds` of a point: an equal share of the run that computes it."""

    seconds: dict[str, float]  # by a point's hash
    errors: dict[str, str]  # one line, by the hash of a point that has no run
    wall_s: float  # of the whole sweep
    bytes: float  # on disk
    notes: list[str]  # what the numbers leave out


def forecast(
    plan: Plan,
    pool: Callable[[], Pool],
    jobs: int,
    progress: Callable[[int], None],
    allow_plugins: bool = False,
) -> Forecast:
    """From short runs of a few points, in workers such as the sweep's own.

    `progress` is told of each. A run whose probe fails is reckoned as if it did not.
    """
    runs, errors = _runs(plan)
    probes = chosen(runs, PROBES)
    start_up, probed, failed = _probed(runs, probes, pool, progress, allow_plugins)
    seconds = seconds_of(runs, probed)
    points, size = {}, float(SWEEP_BYTES)
    for run, each in zip(runs, seconds, strict=True):
        for name, policies in run.task.wanted.items():
            points[name] = each / len(run.task.wanted)
            size += POINT_BYTES + POLICY_BYTES * len(policies)
    notes = [f"a point that was tried failed: {line}" for line in dict.fromkeys(failed)]
    searches = [run.task.spec.bound for run in runs if run.task.spec.bound.gap > 0]
    if searches:
        most = [spec.time for spec in searches if spec.time is not None]
        limit = f"at most {show_seconds(max(most))} a point" if most else "any time"
        notes.append(f"the search for bounds of a given gap, {limit}, is not counted")
    wall = start_up + wall_seconds(seconds, min(jobs, max(1, len(runs))))
    return Forecast(points, errors, wall, size, notes)


def _runs(plan: Plan) -> tuple[list[Reckoned], dict[str, str]]:
    """The sweep's runs, each once; and why some points have none."""
    runs: list[Reckoned] = []
    errors: dict[str, str] = {}
    seen: set[str] = set()
    for group in plan.groups():
        fresh = {point.hash: point for point in group if point.hash not in seen}
        seen.update(fresh)
        errors |= {point.hash: point.error for point in fresh.values() if point.error is not None}
        for task in tasks(list(fresh.values())):
            try:
                seconds = reckon(task.spec, open_workload(task.spec.workload).geometry)
            except InputError as error:
                errors |= dict.fromkeys(task.wanted, str(error))
                continue
            first = fresh[next(iter(task.wanted))].place
            place = tuple(at / max(1, n - 1) for at, n in zip(first, plan.shape, strict=True))
            runs.append(Reckoned(task, place, seconds))
    return runs, errors


def _probed(
    runs: list[Reckoned], probes: list[int], pool: Callable[[], Pool],
    progress: Callable[[int], None], allow_plugins: bool,
) -> tuple[float, dict[int, float], list[str]]:  # fmt: skip
    """Seconds until workers are at work; seconds of the runs that were probed; errors.

    Probes tell processor time; all of them together, how much longer it takes on this machine now.
    """
    if not probes:
        return 0.0, {}, []
    seconds, failed = {}, []
    began, workers = time.perf_counter(), pool()
    start, loading, spent, done = 0.0, 0.0, np.zeros(2), False
    try:
        flight = {workers.submit(worker.probe, runs[i].task.spec, allow_plugins): i for i in probes}
        for future in as_completed(flight):
            found = future.result()
            start = start or max(0.0, time.perf_counter() - began - found.wall_s)
            spent += found.wall_s, found.processor_s
            if found.probe is None:
                failed.append(found.error)
            else:
                seconds[flight[future]] = found.probe.seconds
                loading = max(loading, found.probe.loading)
            progress(1)
        done = True
    finally:
        workers.stop(at_once=not done)
    longer = max(1.0, spent[0] / spent[1]) if spent[1] > 0 else 1.0
    return start + longer * loading, {i: longer * each for i, each in seconds.items()}, failed
