"""hmsim: a memory-hierarchy microsimulator for sparse-attention LLM decoding."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Where the public names live; each is imported when it is first used.
_HOMES = {
    "Result": "hmsim.results.reader",
    "open_sweep": "hmsim.sweep.dataset",
    "run": "hmsim.results.reader",
    "steps": "hmsim.workload.iterate",
    "run_sweep": "hmsim.sweep.run",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module("hmsim.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'hmsim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
