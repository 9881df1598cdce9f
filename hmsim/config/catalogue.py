"""The catalogue: workloads and runs that come with hmsim, by name, and policies to start from.

In a checkout they are the folders `workloads/` and `examples/` beside the package; a wheel carries
the same files inside it.
"""

from pathlib import Path
from typing import NamedTuple

from hmsim.config.base import read_toml
from hmsim.errors import InputError, did_you_mean

PACKAGE = Path(__file__).parent.parent


class Entry(NamedTuple):
    """A file of the catalogue."""

    name: str
    title: str
    is_run: bool  # has a system; else a command that needs one must be given it
    path: Path


def folder(name: str) -> Path:
    """Where `workloads` or `examples` lie."""
    inside = PACKAGE / "catalogue" / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def entries() -> list[Entry]:
    """All workloads and runs, by name."""
    found = []
    for path in sorted(folder("workloads").glob("*.toml"), key=lambda path: path.stem):
        data = read_toml(path)
        title = data.get("title") or data["workload"]["title"]
        found.append(Entry(path.stem, title, "system" in data, path))
    return found


def find(given: str | Path, start: Path = Path()) -> str:
    """The path that `given` is, from the folder `start` on, or the catalogue's file of that name.

    A file that is there comes first. Raises InputError for a plain name that is neither.
    """
    name, path = str(given), start / given
    own = name if start == Path() else str(path)
    if path.exists() or Path(name).name != name:
        return own
    entry = folder("workloads") / f"{name}.toml"
    if entry.is_file():
        return str(entry)
    if "." not in name:
        known = [path.stem for path in folder("workloads").glob("*.toml")]
        raise InputError(
            f"{own}: no such file, and no name of `hmsim workload list`{did_you_mean(name, known)}"
        )
    return own
