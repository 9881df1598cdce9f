"""A sweep as a call."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmsim.config.sweep import load_sweep, sweep_of
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
    """Run a sweep, a TOML file or its plain data, into the directory `output`, and open it.

    In `jobs` worker processes (as many as there are cores), or on a Dask `scheduler`. With `resume`
    a directory of the same sweep is gone on with. Points that fail are NaN; the attribute `failed`
    counts them. With `allow_plugins` the policies of your own that the sweep names are imported.
    Ctrl-C writes what is finished and raises KeyboardInterrupt. InputError where the
    sweep is wrong, before anything runs.

    Worker processes import the calling script: there, call it under `if __name__ == "__main__":`.
    """
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
