"""The public face: run a configuration, open a result, draw it, sweep."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hmsim import files, plot
from hmsim.config.catalogue import find
from hmsim.config.run import RunSpec, load_run, resolve
from hmsim.errors import InputError, did_you_mean
from hmsim.progress import Progress
from hmsim.results.reader import ResultFile
from hmsim.sweep.dataset import open_sweep
from hmsim.sweep.run import run_sweep

__all__ = ["Result", "open_sweep", "run", "run_sweep"]


def run(
    config: str | Path | dict[str, Any] | RunSpec,
    changes: Sequence[str] = (),
    output: str | Path | None = None,
    *,
    allow_plugins: bool = False,
    progress: bool = True,
) -> "Result":
    """Run a configuration, and open the result file that it leaves.

    Args:
        config: The path of a TOML file, or a name of `hmsim workload list`; or such a file's plain
            data as a dict, whose relative paths start at the current folder; or a resolved RunSpec,
            such as `Result.spec`.
        changes: Changes by dotted key, as `--set` takes them: `["system.hbm.capacity=24GB"]`. A
            RunSpec takes none.
        output: Where the result file (HDF5) shall be. None: in a temporary folder, which goes when
            the Result does.
        allow_plugins: Import the policies of your own that the configuration names. They are code.
        progress: Show a bar, in a notebook as a widget, once the run has taken two seconds.

    Returns:
        The result, opened. It prints as a table.

    Raises:
        InputError: The configuration is wrong, or `output` cannot be written. Both are found before
            anything is computed. Or a policy of your own answered with an illegal move.
    """
    from hmsim.simulate.run import execute

    if isinstance(config, RunSpec):
        if changes:
            raise InputError("changes: a RunSpec is resolved; change it with model_copy")
        spec = config
    elif isinstance(config, dict):
        spec = resolve(config, list(changes), "config")
    else:
        spec = load_run(find(config), list(changes))
    folder = None
    if output is None:
        folder = tempfile.mkdtemp(prefix="hmsim-")
        output = Path(folder) / "result.h5"
    elif isinstance(config, str | Path):
        files.check_output(output, [config])
    try:
        if progress:
            with Progress(0, " steps", "run") as bar:
                execute(spec, Path(output), bar, allow_plugins, bar.begin, bar.tell)
        else:
            execute(spec, Path(output), allow_plugins=allow_plugins)
        result = Result.open(output)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder is not None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


class Result(ResultFile):
    """A result file that also draws itself: `result.plot.bandwidth(ax=...)`.

    `hmsim.run` returns one, and `Result.open(path)` opens one that was written before.
    """

    @property
    def plot(self) -> "Plots":
        """Figures of this result, by name; each takes `ax` and options, and returns the axes."""
        return Plots(self)


class Plots:
    """The figures of a result, by name; each takes `ax` and options, and returns the axes."""

    def __init__(self, result: ResultFile):
        self._result = result

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dir__():
            raise AttributeError(f"no figure {name!r} of a result{did_you_mean(name, dir(self))}")
        return partial(getattr(plot, name), self._result)

    def __dir__(self) -> list[str]:
        return [
            name.replace("-", "_")
            for name, kind in plot.KINDS.items()
            if kind.of == "run" or kind.run_too
        ]
