"""What a worker process does: one task after another, each a pure function of its configuration."""

import os
import signal
import sys
import threading
import traceback
from typing import Any

from hmsim.config.run import RunSpec
from hmsim.errors import InputError, PolicyError

# {"report": ...}, with {"failed": {policy: one line}} where some of the policies failed; or
# {"error": one line}, with {"traceback": ...} of what nobody expected.
Answer = dict[str, Any]


def prepare() -> None:
    """Start a local worker: Ctrl-C is the coordinator's to handle, and nobody outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def run(spec: RunSpec, allow_plugins: bool = False) -> Answer:
    """The report of a run (see `hmsim.results.summary`), or what went wrong.

    A policy that fails fails alone: the others run again without it.
    """
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # workers are the parallelism
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


def _follow_parent() -> None:
    """End with the coordinator, also when it is killed: a pool's workers would wait for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
