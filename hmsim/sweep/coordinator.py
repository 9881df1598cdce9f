"""Runs the points of a sweep on a pool of workers and writes down what they answer."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, NamedTuple

from hmsim.config.sweep import Sweep
from hmsim.errors import InputError
from hmsim.sweep import worker
from hmsim.sweep.axes import expand
from hmsim.sweep.collect import collect
from hmsim.sweep.executors import Pool
from hmsim.sweep.folder import Folder
from hmsim.sweep.points import Plan, Task, tasks

STRIKES = 3  # times that a task, on its own, may end its worker


class Failure(NamedTuple):
    """A point that has no result."""

    changes: dict[str, Any]
    error: str


class Swept(NamedTuple):
    """What a sweep did. `points` counts places in the grid, `computed` different ones run now."""

    points: int
    computed: int
    known: int  # different ones, in the directory from an earlier run
    failures: list[Failure]
    notes: list[str]  # what a reader of the results must know, a line each
    finished: bool  # False: interrupted
    wall_s: float


def plan_of(
    sweep: Sweep, source: str, most: int | None = None, allow_plugins: bool = False
) -> Plan:
    """The sweep's points; InputError for an axis that is no axis of this run, for more points than
    `most`, and for policies of users' own unless `allow_plugins`."""
    plan = Plan(sweep.base, expand(sweep.axes, source), source)
    if most is not None and plan.size > most:
        raise InputError(f"{source}: {plan.size:,} points; if so many are meant, add --yes")
    plan.check(allow_plugins)
    return plan


def sweep_into(
    folder: Folder,
    plan: Plan,
    sweep: Sweep,
    pool: Callable[[], Pool],
    progress: Callable[[int], None],
    parquet: bool = False,
    allow_plugins: bool = False,
) -> Swept:
    """Compute every point that the folder lacks, then write its dataset and table(s).

    `pool` makes the pool once it is needed. A KeyboardInterrupt stops the workers, writes what is
    finished and returns with `finished` False. Points that failed before are tried again.
    """
    began = time.perf_counter()
    run = _Run(folder, plan, progress, allow_plugins)
    finished = True
    try:
        run.drive(pool)
    except KeyboardInterrupt:
        finished = False
    notes = collect(folder.path, plan, run.hashes, sweep.title, parquet)
    wall_s = time.perf_counter() - began
    return Swept(plan.size, run.computed, run.known, run.failures, notes, finished, wall_s)


class _Run:
    """The state of one pass over the points."""

    def __init__(
        self, folder: Folder, plan: Plan, progress: Callable[[int], None], allow_plugins: bool
    ):
        self.allow_plugins = allow_plugins
        self.folder, self.plan, self.progress = folder, plan, progress
        self.hashes: dict[tuple[int, ...], str] = {}  # of the points that were looked at
        self.failures: list[Failure] = []
        self.computed = 0
        # Failed points are tried again; whichever entry of a point comes last counts.
        done = {entry["hash"]: "error" not in entry for entry in folder.finished()}
        self._known = {name for name, good in done.items() if good}
        self.known = len(self._known)
        self._changes: dict[str, dict[str, Any]] = {}  # of the points in flight

    def drive(self, pool: Callable[[], Pool]) -> None:
        """Keep the pool's window full until every task has been answered."""
        todo = self._todo()
        first = next(todo, None)
        if first is None:
            return
        workers = pool()
        flight: dict[Future, Task] = {}
        again: deque[Task] = deque()  # were in flight when a worker died; now one at a time
        strikes: dict[int, int] = {}
        at_once = True
        try:
            while first is not None or flight or again:
                alone = bool(again)
                while len(flight) < (1 if alone else workers.window):
                    task = again.popleft() if again else first
                    if task is None:
                        break
                    flight[_submit(workers, task, self.allow_plugins)] = task
                    if alone:
                        break
                    first = next(todo, None)
                finished, _ = wait(flight, return_when=FIRST_COMPLETED)
                broken = []
                for future in finished:
                    task = flight.pop(future)
                    try:
                        self._record(task, future.result())
                    except BrokenExecutor:
                        broken.append(task)
                    except Exception as error:  # an executor's own, such as Dask's KilledWorker
                        self._record(task, {"error": f"{type(error).__name__}: {error}"})
                if broken:
                    broken += flight.values()
                    flight.clear()
                    workers.renew()
                    again.extend(self._suspects(broken, strikes))
            at_once = False
        finally:
            workers.stop(at_once)

    def _todo(self) -> Iterator[Task]:
        """Tasks for what the folder lacks; notes every point's hash on the way."""
        taken = set(self._known)
        for group in self.plan.groups():
            fresh = []
            for point in group:
                self.hashes[point.place] = point.hash
                if point.hash in taken:
                    continue
                taken.add(point.hash)
                if point.spec is None:
                    self._enter(point.hash, point.changes, {"error": point.error})
                else:
                    self._changes[point.hash] = point.changes
                    fresh.append(point)
            yield from tasks(fresh)

    def _suspects(self, broken: list[Task], strikes: dict[int, int]) -> Iterator[Task]:
        """The tasks to try again, each alone; those that have ended their worker are failures."""
        for task in broken:
            if len(broken) == 1:
                strikes[id(task.spec)] = strikes.get(id(task.spec), 0) + 1
            if strikes.get(id(task.spec), 0) < STRIKES:
                yield task
            else:
                error = f"its worker process died {STRIKES} times (killed, or out of memory)"
                self._record(task, {"error": error})

    def _record(self, task: Task, answer: worker.Answer) -> None:
        """A task's answer, as an entry for each of its points.

        A point some of whose policies failed has both: a report of the others, and an error.
        """
        labels, failed = task.spec.policies.names, answer.get("failed", {})
        for name, policies in task.wanted.items():
            own = answer
            if "report" in answer:
                found = answer["report"]["policies"]
                picked = {own: found[labels[at]] for at, own in policies if labels[at] in found}
                lines = [failed[labels[at]] for at, _ in policies if labels[at] in failed]
                own = {"report": answer["report"] | {"policies": picked}} if picked else {}
                own |= {"error": "; ".join(dict.fromkeys(lines))} if lines else {}
            self._enter(name, self._changes.pop(name), own)
            self.computed += 1

    def _enter(self, name: str, changes: dict[str, Any], answer: worker.Answer) -> None:
        self.folder.add({"hash": name, "changes": changes} | answer)
        if "error" in answer:
            self.failures.append(Failure(changes, answer["error"]))
        self.progress(1)


def _submit(workers: Pool, task: Task, allow_plugins: bool) -> Future:
    """The task's future; it has failed already where the pool has just lost a worker."""
    try:
        return workers.submit(worker.run, task.spec, allow_plugins)
    except BrokenExecutor as error:
        future: Future = Future()
        future.set_exception(error)
        return future
