"""What a worker process does: one task after another, each a pure function of its configuration."""

import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from hmsim.config.run import RunSpec
from hmsim.errors import InputError, PolicyError

# {"report": ...}, with {"failed": {policy: one line}} where some of the policies failed; or
# {"error": one line}, with {"traceback": ...} of what nobody expected.
Answer = dict[str, Any]

if TYPE_CHECKING:
    from hmsim.sweep.probe import Probe


class Probed(NamedTuple):
    """What a run will take, or what went wrong; and how long it took to find out, in seconds and in
    those of a processor."""

    probe: "Probe | None"
    error: str
    wall_s: float
    processor_s: float


def prepare() -> None:
    """Start a local worker: Ctrl-C is the coordinator's to handle, and nobody outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def run(spec: RunSpec, allow_plugins: bool = False) -> Answer:
    """The report of a run (see `hmsim.results.summary`), or what went wrong.

    A policy that fails fails alone: the others run again without it.
    """
    _one_thread()
    from hmsim.results import summary
    from hmsim.simulate.run import execute

    failed: dict[str, str] = {}
    while True:
        try:
            ran = execute(spec, None, allow_plugins=allow_plugins)
            return {"report": summary.as_dict(ran.record)} | ({"failed": failed} if failed else {})
        except PolicyError as error:
            failed[error.policy] = str(error)
            left = [name for name in spec.policies.names if name not in failed]
            if not left:
                return {"error": "; ".join(dict.fromkeys(failed.values()))}
            policies = spec.policies.model_copy(update={"names": left})
            spec = spec.model_copy(update={"policies": policies})
        except InputError as error:
            return {"error": str(error)}
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return {"error": text, "traceback": traceback.format_exc()}


def probe(spec: RunSpec, allow_plugins: bool = False) -> Probed:
    """How long the run will take here, by short runs of its first steps."""
    _one_thread()
    from hmsim.sweep.probe import probe

    began, busy = time.perf_counter(), time.process_time()
    found, error = None, ""
    try:
        found = probe(spec, allow_plugins)
    except Exception as caught:  # what the run itself will say
        error = str(caught) or type(caught).__name__
    return Probed(found, error, time.perf_counter() - began, time.process_time() - busy)


def _one_thread() -> None:
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # workers are the parallelism


def _follow_parent() -> None:
    """End with the coordinator, also when it is killed: a pool's workers would wait for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
