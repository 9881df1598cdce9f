"""Figures, drawn from results. `hmsim.plot.KIND(data, ax=...)` draws one and returns its axes.

Every kind is a function of the data and of axes; without axes it makes a figure of its own.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of figure: what it is drawn `of`, and where its function is."""

    of: str  # run: one result; runs: several; sweep; workload: statistics; replays: JSON objects
    module: str
    shows: str
    run_too: bool = False  # of one result as well

    def function(self, name: str) -> Any:
        """The function, which carries its own `width` and `height`."""
        return getattr(import_module(f"hmsim.plot.{self.module}"), name.replace("-", "_"))


KINDS = {
    "bandwidth": Kind("run", "runs", "achieved against optimal and pin peak, per policy"),
    "timeline": Kind("run", "timelines", "bandwidth by memory and cause, residents, migrations"),
    "split": Kind("run", "runs", "HBM's share of the reads against the best split"),
    "roofline": Kind("run", "runs", "aggregate bandwidth against HBM's share of the reads"),
    "gap": Kind("run", "runs", "how far each policy's time is above the bound"),
    "speedup": Kind("runs", "runs", "tokens per second relative to static"),
    "sweep-line": Kind("sweep", "sweeps", "a number along an axis, a line for each policy"),
    "sweep-heatmap": Kind("sweep", "sweeps", "a number over two axes"),
    "reuse": Kind("workload", "workloads", "reads by LRU stack distance"),
    "overlap": Kind("workload", "workloads", "read sets against earlier ones, and across layers"),
    "lost-cycles": Kind("replays", "replays", "why a memory is below its peak", run_too=True),
    "latency-load": Kind("replays", "replays", "read latency against bandwidth"),
}


def draw(
    kind: str, data: Any, path: Path, command: str, width: str = "page", **options: Any
) -> None:
    """Draw a figure of a kind into the file `path`; its metadata say which `command` made it.

    `width` is column, page or slide (see `hmsim.plot.style`).
    """
    from hmsim.plot import style

    function = KINDS[kind].function(kind)
    with style.figure(width, function.height(data), path, command) as figure:
        function(data, ax=figure.add_subplot(), **options)


def __getattr__(name: str) -> Any:
    kind = name.replace("_", "-")
    if kind not in KINDS:
        raise AttributeError(f"module 'hmsim.plot' has no attribute {name!r}")
    return KINDS[kind].function(kind)
