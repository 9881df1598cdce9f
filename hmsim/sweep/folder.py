"""A sweep's directory: what it sweeps, and a journal of finished points.

sweep.toml    the sweep, complete in itself
base.toml     its base run: `hmsim run base.toml --set KEY=VALUE...` repeats a point
points.jsonl  a line for every finished point, written as it finishes
sweep.h5      all points, the axes as dimensions
sweep.csv     the same, a row for every point and policy; sweep.parquet likewise, if asked for

The journal has one writer, who holds the lock `.lock`. A kill can cut off its last line at most,
which then does not count: a journal is read up to what is no whole entry.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import tomli_w

from hmsim import files
from hmsim.config.run import with_paths
from hmsim.config.sweep import Sweep, load_sweep, with_models
from hmsim.errors import InputError

SWEEP, BASE, JOURNAL, LOCK = OWN = ("sweep.toml", "base.toml", "points.jsonl", ".lock")


class Folder:
    """The directory of `sweep`, held by one coordinator at a time; a context manager."""

    def __init__(self, path: Path, sweep: Sweep, resume: bool):
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be made: {error.strerror}") from None
        known = (path / SWEEP).exists()
        if known and not (path / BASE).exists():
            raise InputError(f"{path}: holds a {SWEEP} that no sweep has made; choose another one")
        if known and load_sweep(path / SWEEP)[1:] != sweep[1:]:
            raise InputError(f"{path}: holds another sweep; choose another directory")
        journal = path / JOURNAL
        if known and not resume and journal.exists() and journal.stat().st_size:
            raise InputError(f"{path}: holds points of this sweep; continue it with --resume")
        strangers = {each.name for each in path.iterdir()} - set(OWN)
        if not known and strangers:
            raise InputError(f"{path}: holds other files; choose a new or empty directory")
        self._held = ExitStack()
        busy = f"{path}: another `hmsim sweep` is at work here"
        self._held.enter_context(files.locked(path / LOCK, busy))
        files.check_output(path / JOURNAL)
        self._file = self._held.enter_context((path / JOURNAL).open("ab"))
        if not known:

            def moved(to: str) -> str:
                return os.path.relpath(to, path)

            base = with_paths(sweep.base, moved)
            axes = {
                name: axis.model_dump(by_alias=True, exclude_unset=True)
                for name, axis in with_models(sweep.axes, moved).items()
            }
            whole = {"title": sweep.title, "base": base, "axes": axes}
            try:
                files.write_text(path / BASE, tomli_w.dumps(base))
                # The last to be written: a directory with it is whole.
                files.write_text(path / SWEEP, tomli_w.dumps(whole))
            except BaseException:
                self._held.close()
                raise

    def __enter__(self) -> "Folder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._held.close()

    def finished(self) -> Iterator[dict[str, Any]]:
        """The journal's entries so far. What a kill left of a last line is cut off for good."""
        end = 0
        for entry, end in _entries(self.path):  # noqa: B007
            yield entry
        os.truncate(self.path / JOURNAL, end)

    def add(self, entry: dict[str, Any]) -> None:
        """One finished point, on disk for other processes to see when this returns.

        Raises InputError where it cannot be written; what was written of it is taken back.
        """
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            os.truncate(self.path / JOURNAL, end)
            raise InputError(
                f"{self.path / JOURNAL}: cannot be written: {files.reason(error)}"
            ) from None


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of the journal in the directory `path`, the whole ones."""
    for entry, _ in _entries(path):
        yield entry


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Entries, each with the file's length up to its end."""
    end = 0
    with files.reading(path / JOURNAL) as file:
        for line in file:
            entry = _entry(line)
            if entry is None:
                return
            end += len(line)
            yield entry, end


def _entry(line: bytes) -> dict[str, Any] | None:
    """What a line of the journal says; None if it is no whole entry."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = (
        isinstance(entry, dict)
        and isinstance(entry.get("hash"), str)
        and isinstance(entry.get("changes"), dict)
        and isinstance(entry.get("error", ""), str)
        and isinstance(entry.get("report", {}), dict)
    )
    return entry if whole else None
