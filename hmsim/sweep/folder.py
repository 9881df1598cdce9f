"""A sweep's directory: what it sweeps, and a journal of finished points.

sweep.toml    the sweep, complete in itself
base.toml     its base run: `hmsim run base.toml --set KEY=VALUE...` repeats a point
points.jsonl  a line for every finished point, written as it finishes
sweep.h5      all points, the axes as dimensions
sweep.csv     the same, a row for every point and policy; sweep.parquet likewise, if asked for

The journal has one writer. A kill can cut off its last line at most, which then does not count.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from hmsim.config import toml
from hmsim.config.run import with_paths
from hmsim.config.sweep import Sweep, load_sweep, with_models
from hmsim.errors import InputError

SWEEP, BASE, JOURNAL = OWN = ("sweep.toml", "base.toml", "points.jsonl")


class Folder:
    """The directory of `sweep`, held by one coordinator at a time; a context manager."""

    def __init__(self, path: Path, sweep: Sweep, resume: bool):
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be made: {error.strerror}") from None
        known = (path / SWEEP).exists()
        if known and load_sweep(path / SWEEP)[1:] != sweep[1:]:
            raise InputError(f"{path}: holds another sweep; choose another directory")
        journal = path / JOURNAL
        if known and not resume and journal.exists() and journal.stat().st_size:
            raise InputError(f"{path}: holds points of this sweep; continue it with --resume")
        strangers = {each.name.removesuffix(".part") for each in path.iterdir()} - set(OWN)
        if not known and strangers:
            raise InputError(f"{path}: holds other files; choose a new or empty directory")
        self._file = self._lock()
        if not known:

            def moved(to: str) -> str:
                return os.path.relpath(to, path)

            base = with_paths(sweep.base, moved)
            axes = {
                name: axis.model_dump(by_alias=True, exclude_unset=True)
                for name, axis in with_models(sweep.axes, moved).items()
            }
            _write(path / BASE, toml.dumps(base))
            # The last to be written: a directory with it is whole.
            _write(path / SWEEP, toml.dumps({"title": sweep.title, "base": base, "axes": axes}))

    def _lock(self) -> BinaryIO:
        file = (self.path / JOURNAL).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise InputError(f"{self.path}: another `hmsim sweep` is at work here") from None
        return file

    def __enter__(self) -> "Folder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._file.close()

    def finished(self) -> Iterator[dict[str, Any]]:
        """The journal's entries so far. What a kill left of a last line is cut off for good."""
        end = 0
        for entry, end in _entries(self.path):  # noqa: B007
            yield entry
        os.truncate(self.path / JOURNAL, end)

    def add(self, entry: dict[str, Any]) -> None:
        """One finished point, on disk for other processes to see when this returns."""
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of the journal in the directory `path`, the whole ones."""
    for entry, _ in _entries(path):
        yield entry


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Entries, each with the file's length up to its end."""
    end = 0
    with (path / JOURNAL).open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield json.loads(line), end


def _write(path: Path, text: str) -> None:
    """A file that is there as a whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
