"""A sweep as a call."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmsim.config.sweep import load_sweep, sweep_of
from hmsim.hdf5 import need_xarray
from hmsim.sweep.coordinator import plan_of, sweep_into
from hmsim.sweep.dataset import open_sweep
from hmsim.sweep.executors import pool_for
from hmsim.sweep.folder import Folder
from hmsim.sweep.table import need_pyarrow

if TYPE_CHECKING:
    import xarray


def run_sweep(
    sweep: str | Path | dict[str, Any],
    output: str | Path,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    parquet: bool = False,
    allow_plugins: bool = False,
) -> "xarray.Dataset":
    """Run a sweep into a directory, and open it.

    Worker processes import the calling script. There, call this under
    `if __name__ == "__main__":`.

    Args:
        sweep: The path of a sweep's TOML file; or its plain data as a dict, whose relative paths
            start at the current folder.
        output: The directory: a new or an empty one, unless `resume`.
        jobs: Number of worker processes; as many as there are cores unless given.
        scheduler: Address of a Dask scheduler (`tcp://HOST:8786`), whose workers compute instead.
        resume: Go on with a directory of the same sweep: compute what is missing, and try failed
            points again.
        parquet: Write the table as `sweep.parquet` too. Needs pyarrow.
        allow_plugins: Import the policies of your own that the sweep names. They are code.

    Returns:
        What `open_sweep` gives. Points that fail are NaN there, and the attribute `failed` counts
        them.

    Raises:
        InputError: The sweep is wrong, the directory holds something else, or a library is missing.
            Found before anything runs.
        KeyboardInterrupt: After Ctrl-C, once what is finished has been written.
    """
    need_xarray("run_sweep")
    if isinstance(sweep, dict):
        source, spec = "sweep", sweep_of(sweep, Path(), "sweep")
    else:
        source, spec = str(sweep), load_sweep(sweep)
    plan = plan_of(spec, source, allow_plugins=allow_plugins)
    pool = pool_for(scheduler, jobs, plan.size)
    if parquet:
        need_pyarrow("parquet")
    with Folder(Path(output), spec, resume) as folder:
        swept = sweep_into(folder, plan, spec, pool, lambda _: None, parquet, allow_plugins)
    if not swept.finished:
        raise KeyboardInterrupt
    return open_sweep(output)
