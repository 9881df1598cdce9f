"""Figures, drawn from results. `hmsim.plot.KIND(data, ax=...)` draws one and returns its axes.

Every kind is a function of the data and of axes; without axes it makes a figure of its own. The
functions stand in `hmsim.plot.runs`, `timelines`, `sweeps`, `workloads` and `replays`; KINDS lists
them all.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of figure.

    Attributes:
        of: What it is drawn of: `run` is one result, `runs` a list of them, `sweep` a sweep's
            dataset, `workload` a workload's statistics, `replays` JSON objects of
            `hmsim replay --json` by label.
        module: The module of `hmsim.plot` that its function stands in.
        shows: What it shows, for people.
        run_too: Whether it can be drawn of one result as well.
    """

    of: str
    module: str
    shows: str
    run_too: bool = False

    def function(self, name: str) -> Any:
        """The function that draws this kind.

        Args:
            name: Of the kind, a key of KINDS.

        Returns:
            A function (data, ax, ...), which carries `height`: inches on a page, from the data.
        """
        return getattr(import_module(f"hmsim.plot.{self.module}"), name.replace("-", "_"))


KINDS = {
    "bandwidth": Kind("run", "runs", "achieved against optimal and pin peak, per policy"),
    "timeline": Kind("run", "timelines", "bandwidth by memory and cause, residents, migrations"),
    "split": Kind("run", "runs", "HBM's share of the reads against the best split"),
    "roofline": Kind("run", "runs", "aggregate bandwidth against HBM's share of the reads"),
    "energy": Kind("run", "runs", "joules a token by cause, per policy, and what is doubtful"),
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
    """Draw a figure of a kind into a file.

    Args:
        kind: A key of KINDS.
        data: What such a kind is drawn of; see `Kind.of`.
        path: The file; its name ends in .png, .pdf or .svg.
        command: What made it, for the file's metadata.
        width: `column` (3.5 inches), `page` (7.2) or `slide` (10).
        **options: Of the kind's function.

    Raises:
        InputError: The data lack what this kind shows, or the file cannot be written.
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
