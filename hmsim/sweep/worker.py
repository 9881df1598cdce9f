"""What a worker process does: one task after another, each a pure function of its configuration."""

import os
import signal
import sys
import threading
import traceback
from typing import Any

from hmsim.config.run import RunSpec
from hmsim.errors import InputError

Answer = dict[str, Any]  # {"report": ...}, or {"error": one line, "traceback": ...}


def prepare() -> None:
    """Start a local worker: Ctrl-C is the coordinator's to handle, and nobody outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def run(spec: RunSpec, allow_plugins: bool = False) -> Answer:
    """The report of a run (see `hmsim.results.summary`), or what went wrong."""
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # workers are the parallelism
    from hmsim.results import summary
    from hmsim.simulate.run import execute

    try:
        ran = execute(spec, None, allow_plugins=allow_plugins)
        return {"report": summary.as_dict(ran.record)}
    except InputError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def _follow_parent() -> None:
    """End with the coordinator, also when it is killed: a pool's workers would wait for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
