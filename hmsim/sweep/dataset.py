"""Opening a sweep's directory."""

from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from hmsim.config.sweep import load_sweep
from hmsim.errors import InputError
from hmsim.sweep.collect import DATASET, FORMAT, VERSION, collect
from hmsim.sweep.coordinator import plan_of
from hmsim.sweep.folder import JOURNAL, SWEEP

if TYPE_CHECKING:
    import xarray


def open_sweep(directory: str | Path) -> "xarray.Dataset":
    """The results in a sweep's directory, the axes as dimensions; NaN where a point is missing.

    Attributes say how many points there are, are missing and have failed. A sweep that is still
    running, or was killed, gives what it has finished so far.
    """
    import xarray

    return xarray.load_dataset(dataset_of(directory), engine="h5netcdf")


def dataset_of(directory: str | Path) -> Path:
    """The directory's HDF5 dataset, written anew if points have finished since."""
    path = Path(directory)
    if not (path / SWEEP).exists():
        raise InputError(f"{directory}: no directory of a sweep")
    dataset, journal = path / DATASET, path / JOURNAL
    if not dataset.exists() or dataset.stat().st_mtime_ns < journal.stat().st_mtime_ns:
        sweep = load_sweep(path / SWEEP)
        plan = plan_of(sweep, str(path / SWEEP))
        collect(path, plan, {point.place: point.hash for point in plan.points()}, sweep.title)
    _check(dataset)
    return dataset


def _check(path: Path) -> None:
    """InputError unless `path` is a dataset that this version reads."""
    try:
        with h5py.File(path, "r") as file:
            found, version = file.attrs.get("format"), file.attrs.get("version")
            current = "policy_dimension" in file.attrs
    except OSError:
        raise InputError(f"{path}: not an HDF5 file, or a truncated one") from None
    if found != FORMAT:
        raise InputError(f"{path}: format is {found!r}, not {FORMAT!r}")
    if version is None or version > VERSION:
        raise InputError(f"{path}: version {version} is newer than {VERSION}, which this reads")
    if not current:
        raise InputError(f"{path}: written by an older hmsim; run its sweep.toml again")
