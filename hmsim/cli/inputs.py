"""What the arguments of several commands name: workloads, systems, files to write."""

import os
import sys
from pathlib import Path
from typing import Any

from hmsim.errors import InputError


def open_source(path: str, changes: list[str]) -> Any:
    """The workload of a trace file, or of a TOML file with a `[workload]` table.

    Where only some of a model's layers are decoded, standard error says what stays in HBM.
    """
    from hmsim.results.summary import cut_short
    from hmsim.workload import open_workload
    from hmsim.workload.trace import TraceWorkload

    if not path.endswith(".toml"):
        if changes:
            raise InputError(f"--set: {path} is a trace file, which has nothing to change")
        return TraceWorkload(Path(path))
    workload = open_workload(spec_of(path, changes))
    shape, model = workload.geometry, getattr(workload, "model", None)
    if model is not None and shape.layers < model.layers:
        print(cut_short(shape.layers, model.layers, shape.resident_bytes), file=sys.stderr)
    return workload


def counted_source(path: str, changes: list[str]) -> Any:
    """The same without its warm-up, which only a TOML file can ask for."""
    from hmsim.workload.warmup import Counted

    workload = open_source(path, changes)
    return Counted(workload, spec_of(path, changes).warmup) if path.endswith(".toml") else workload


def spec_of(path: str, changes: list[str]) -> Any:
    """The `[workload]` table of a TOML file, with changes."""
    from hmsim.config.run import changed, read_run
    from hmsim.workload.open import load_spec

    data = read_run(path)
    for change in changes:
        data = changed(data, change)
    spec = load_spec(data, path)
    _check_policies(data)
    return spec


def _check_policies(data: dict[str, Any]) -> None:
    """InputError for policies that a checked file names, or options of theirs, that there are not;
    those of users' own are not looked at, as nothing runs them."""
    if "policies" in data:
        from hmsim.config.run import PoliciesSpec
        from hmsim.simulate.policies import check_policies

        check_policies(PoliciesSpec.model_validate(data["policies"]), allow=True)


def tables_of_bound(path: str, changes: list[str]) -> tuple[Any, Any, Any]:
    """The `[latency]`, `[bound]` and `[energy]` tables of a run's TOML; their defaults for any other
    source."""
    from hmsim.config.run import bound_tables, changed, read_run

    data: dict[str, Any] = read_run(path) if path.endswith(".toml") else {}
    for change in changes:
        data = changed(data, change)
    return bound_tables(data, path)


def table_of(change: str) -> str:
    """The table that a `KEY=VALUE` changes."""
    return change.partition("=")[0].partition(".")[0]


def system_of(given: str | None, changes: list[str], source: str) -> Any:
    """The system of a preset, of a file (its `[system]` table, or all of it), or of the run."""
    from hmsim.simulate.policies import check_memories

    if given is None and not source.endswith(".toml"):
        raise InputError("--system: a trace file has none; name a preset or a TOML file")
    system = measured_system(given or source, changes)
    check_memories(system)
    return system


def measured_system(where: str, changes: list[str]) -> Any:
    """The system of a preset or of a file, whether or not there is anything to place in it."""
    from hmsim.config.base import load
    from hmsim.config.run import changed, check_others, read_run
    from hmsim.config.system import SystemSpec, with_preset

    data: dict[str, Any] = {"system": where}
    if where.endswith(".toml"):
        data = read_run(where)
        if "system" not in data:
            data = {"system": data}
        else:
            check_others(data, where, "system")
            _check_policies(data)
    if isinstance(data["system"], str):
        data = {"system": {"preset": data["system"]}}
    for change in changes:
        data = changed(data, change)
    return load(SystemSpec, with_preset(data["system"]), f"{where}: system")


def inputs_of(path: str, data: dict[str, Any] | None = None) -> list[str]:
    """The files that a call reads: the one named, and the data files that its tables name."""
    from hmsim.config.run import data_files, read_run

    if data is None:
        data = read_run(path) if path.endswith(".toml") else {}
    return [path, *data_files(data)]


def check_environment() -> None:
    """InputError for a setting of the environment that would stop a library while it loads."""
    given = os.environ.get("NUMBA_NUM_THREADS")
    if given is not None and not (given.isascii() and given.isdecimal() and 0 < int(given) < 4097):
        raise InputError(f"NUMBA_NUM_THREADS: {given!r}: a whole number of threads, 1 or more")
