"""Opening a sweep's directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from hmsim import hdf5
from hmsim.config.sweep import load_sweep
from hmsim.errors import InputError
from hmsim.sweep.axes import expand
from hmsim.sweep.collect import DATASET, FORMAT, VERSION, collect
from hmsim.sweep.folder import JOURNAL, SWEEP
from hmsim.sweep.points import Plan

if TYPE_CHECKING:
    import xarray


def open_sweep(directory: str | Path) -> "xarray.Dataset":
    """Open the results in a sweep's directory.

    A sweep that is still running, or was killed, gives what it has finished so far.

    Args:
        directory: As `hmsim sweep -o` or `run_sweep` left it.

    Returns:
        A dataset with the axes and the policies as dimensions. A policy's numbers have the names
        and units that they have in a result file (`total_time_s` in seconds, `gap` as a share); NaN
        where a point is missing. The attributes `points`, `missing` and `failed` count points.

    Raises:
        InputError: The directory is not that of a sweep, its sweep has not begun, or an older hmsim
            wrote it.
    """
    return hdf5.as_xarray(dataset_of(directory))


def dataset_of(directory: str | Path) -> Path:
    """The directory's HDF5 dataset, written anew if points have finished since."""
    path = Path(directory)
    if not (path / SWEEP).exists():
        raise InputError(f"{directory}: no directory of a sweep")
    dataset, journal = path / DATASET, path / JOURNAL
    if not journal.exists():
        raise InputError(f"{journal}: is missing; the sweep has not begun")
    if not dataset.exists() or dataset.stat().st_mtime_ns < journal.stat().st_mtime_ns:
        sweep = load_sweep(path / SWEEP)
        plan = Plan(sweep.base, expand(sweep.axes, str(path / SWEEP)), str(path / SWEEP))
        collect(path, plan, {point.place: point.hash for point in plan.points()}, sweep.title)
    _check(dataset)
    return dataset


def _check(path: Path) -> None:
    """InputError unless `path` is a dataset that this version reads."""
    with hdf5.reading(path) as file:
        hdf5.check_format(file, FORMAT, VERSION)
        if "policy_dimension" not in file.attrs:
            raise InputError(f"{path}: written by an older hmsim; run its sweep.toml again")
        hdf5.check_inside(file)
        for name in ("title", "created_by", "base", "policy_dimension"):
            hdf5.attribute(file, name, str)
        for name in ("points", "missing", "failed"):
            hdf5.attribute(file, name, int)
        if file.attrs["failed"] and "total_time_s" not in file:
            errors = filter(None, hdf5.part(file, "error").ravel())
            raise InputError(f"{path.parent}: no point has a result; {next(errors).decode()}")
        shape = hdf5.dataset(file, "point").shape
        for name in ("point", "error", "total_time_s"):
            found = hdf5.dataset(file, name)
            kind = "f" if name == "total_time_s" else "O"
            good = bool(shape) and found.shape[: len(shape)] == shape and found.dtype.kind == kind
            if not good or not all(len(dimension) for dimension in found.dims):
                raise InputError(f"{path}: /{name}: is not laid out along the sweep's axes")
