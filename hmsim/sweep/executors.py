"""Where tasks run: worker processes on this machine, or a Dask cluster.

Both are `concurrent.futures` executors with a few words more: how many tasks to keep in flight,
what to do when a worker has died, and how to stop at once.
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, process
from multiprocessing import resource_tracker
from typing import Any, Protocol

from hmsim import machine
from hmsim.errors import InputError
from hmsim.interrupts import starting_processes
from hmsim.sweep import worker

AHEAD = 3  # tasks in flight for every worker, so that none waits for the coordinator
CONNECT_SECONDS = 5


class Pool(Protocol):
    """What the coordinator needs of an executor."""

    @property
    def window(self) -> int:
        """How many tasks to keep in flight."""
        ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future: ...

    def renew(self) -> None:
        """After a worker has died with tasks that nobody repeats: be ready for tasks again."""
        ...

    def stop(self, at_once: bool) -> None: ...


class LocalPool:
    """`jobs` worker processes. Spawned, since a fork after Numba's threads have run may hang."""

    def __init__(self, jobs: int):
        self._jobs = jobs
        self._start()

    def _start(self) -> None:
        resource_tracker.ensure_running()  # its start would let signals through, in `submit`
        others = set(multiprocessing.active_children())
        self._pool = ProcessPoolExecutor(
            self._jobs, multiprocessing.get_context("spawn"), initializer=worker.prepare
        )
        self._others = others

    @property
    def window(self) -> int:
        return AHEAD * self._jobs

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        with starting_processes(multiprocessing, process):
            return self._pool.submit(function, *arguments)

    def renew(self) -> None:
        self.stop(at_once=True)
        self._start()

    def stop(self, at_once: bool) -> None:
        if at_once:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
        self._pool.shutdown(wait=True, cancel_futures=at_once)


def pool_for(scheduler: str | None, jobs: int | None, points: int) -> Callable[[], Pool]:
    """Makes the pool for so many points: on a Dask `scheduler`, or of `jobs` processes here.

    As many jobs as there are cores, unless given. InputError for a number below 1.
    """
    jobs = jobs if jobs is not None else machine.cores()
    if jobs < 1:
        raise InputError(f"--jobs: {jobs}: at least 1")

    def pool() -> Pool:
        if scheduler is not None:
            return DaskPool(scheduler)
        return LocalPool(min(jobs, points))

    return pool


class DaskPool:
    """The workers of a Dask scheduler; they may come and go, Dask repeats what dies with them."""

    REFRESH_SECONDS = 5.0

    def __init__(self, address: str):
        try:
            from distributed import Client
        except ImportError:
            raise InputError(
                "--scheduler: needs Dask: pip install 'hmsim[cluster]', here and on the workers"
            ) from None
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:  # TimeoutError is an OSError
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"--scheduler {address}: cannot be reached: {reason}") from None
        self._executor = self._client.get_executor()
        self._counted = -self.REFRESH_SECONDS
        self._threads = 0

    @property
    def window(self) -> int:
        now = time.monotonic()
        if now - self._counted > self.REFRESH_SECONDS:
            self._counted, self._threads = now, sum(self._client.nthreads().values())
        return AHEAD * max(self._threads, 2)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        return self._executor.submit(function, *arguments)

    def renew(self) -> None:
        """Nothing to do: the scheduler looks after its workers."""

    def stop(self, at_once: bool) -> None:
        self._executor.shutdown(wait=not at_once)
        self._client.close(timeout=CONNECT_SECONDS)
