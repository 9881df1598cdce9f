"""Result files: per-step traffic and times of every policy, as HDF5 that xarray opens as it is.

Dimensions `policy`, `step`, `memory` (hbm, dram), `reason` (what data buses did), `cause` (what takes
energy); units stand on every variable. A file is written step block by step block and is readable at
any time; its attribute `complete` is 1 once everything is in it.

**Names.** A quantity has one name and one unit, which the name ends in (`_s`, `_bytes`, `_GBps`),
in result files, sweeps (`sweep.h5`, `sweep.csv`), tables and JSON. In files it is the path in the
JSON of `hmsim run`, joined by `_`: `replay.gap` there is `replay_gap` here, `bound.time_s` is
`bound_time_s`. One prefix tells a sum over all steps from the steps' own values: `time_s` and
`replay_time_s` are of a step, `total_time_s` and `replay_total_time_s` of the run, which in the
JSON, where no steps are, are a policy's `time_s` and `replay.time_s`.

**Warm-up steps** are not in the file: sums over `step` are the totals. The coordinate `step` counts
from the workload's beginning, so its first value is how many there were.

**Moves** are in both memories' columns: a block that is promoted is a DRAM read and an HBM write.
Take one memory of `promotion_bytes` or `demotion_bytes`, never their sum over `memory`.
"""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from hmsim import __version__, files, hdf5
from hmsim.config.enumerations import CAUSES
from hmsim.errors import InputError

FORMAT, VERSION = "hmsim-result", 1
BLOCK = 32_768  # steps a chunk: whole chunks are written at once
# What a data bus does with a tick: carry data, or the reason why not (see hmsim.memory.address_trace).
REASONS = (
    "data", "no_request", "queue_full", "in_flight_limit", "row_cycle", "activation_rate",
    "refresh", "turnaround", "spacing", "command_bus", "link",
)  # fmt: skip
SIZES = {"memory": 2, "reason": len(REASONS), "cause": len(CAUSES)}

# Per policy and step: name -> (further dimensions, type, unit, meaning)
STEP_VARIABLES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "time_s": ((), "f8", "s", "analytic time of the step"),
    "attention_read_bytes": (("memory",), "i8", "byte", "KV blocks read by attention"),
    "weight_read_bytes": (("memory",), "i8", "byte", "weights read"),
    "read_bandwidth_GBps": (
        ("memory",), "f8", "GB/s", "attention and weight reads of the memory over the step's time"
    ),
    "append_write_bytes": (("memory",), "i8", "byte", "new KV written"),
    "promotion_bytes": (("memory",), "i8", "byte", "blocks moved to HBM: HBM writes, DRAM reads"),
    "demotion_bytes": (("memory",), "i8", "byte", "blocks moved to DRAM: HBM reads, DRAM writes"),
    "link_to_gpu_bytes": ((), "i8", "byte", "carried by the link towards the GPU"),
    "link_to_dram_bytes": ((), "i8", "byte", "carried by the link towards DRAM"),
    "resident_bytes": ((), "i8", "byte", "KV in HBM during the step"),
    "replay_time_s": ((), "f8", "s", "time by the memory kernels; NaN where not replayed"),
    "row_hits": (("memory",), "i8", "1", "bursts that found their row open; missing: not replayed"),
    "activations": (("memory",), "i8", "1", "rows opened; missing: not replayed"),
    "bus_ticks": (
        ("memory", "reason"), "i8", "1",
        "ticks of all data buses of a memory, by reason, in a replayed step (summed over a barrier "
        "group, at its last step); missing: not replayed",
    ),
    "energy_J": (
        ("memory", "cause"), "f4", "J",
        "energy of the step by its bytes and its analytic time; the link's is DRAM's",
    ),
    "replay_energy_J": (
        ("memory", "cause"), "f4", "J",
        "the same by the rows that memory kernels opened (a barrier group's at its last step) and the "
        "replayed time; NaN where not replayed",
    ),
}  # fmt: skip
COUNTED = ("row_hits", "activations", "bus_ticks")  # -1 is "not replayed"
# Few steps have these: only those are written, in chunks of so many.
SPARSE = {"bus_ticks": 256, "replay_energy_J": 256}

# Per policy: name -> (path in a policy's JSON, unit, meaning)
TOTALS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "total_time_s": (("time_s",), "s", "decode time, analytic"),
    "tokens_per_s": (("tokens_per_s",), "1/s", "tokens decoded a second, all sequences together"),
    "tpot_s": (("tpot_s",), "s", "time per output token of one sequence: a token step, mean"),
    "sequence_tokens_per_s": (("sequence_tokens_per_s",), "1/s", "tokens a second of one sequence"),
    "aggregate_bandwidth_GBps": (
        ("aggregate_bandwidth_GBps",), "GB/s", "attention and weight reads over time"
    ),
    "hbm_read_share": (
        ("hbm_read_share",), "1", "share of the bytes read (weights too) that came from HBM"
    ),
    "kv_hit_rate": (("kv_hit_rate",), "1", "share of the KV block reads whose block was in HBM"),
    "kv_hbm_read_share": (
        ("kv_hbm_read_share",), "1", "share of the KV bytes read that came from HBM"
    ),
    "migrated_bytes": (("migrated_bytes",), "byte", "promoted and demoted"),
    "cold_share": (
        ("cold_share",), "1",
        "1 - seconds per byte read of the second half of the steps over those of all: what of the "
        "time the start is to blame for",
    ),
    "total_energy_J": (("energy", "total_J"), "J", "energy of the decode, analytic"),
    "energy_per_token_J": (("energy", "per_token_J"), "J", "the same a token"),
    "energy_low_J": (
        ("energy", "low_J"), "J", "the total with every doubtful coefficient at its low end"
    ),
    "energy_high_J": (("energy", "high_J"), "J", "the same at the high ends"),
    **{
        f"energy_{memory}_{cause}_J": (
            ("energy", f"{memory}_{cause}_J"), "J", f"{cause} of {memory.upper()}"
        )
        for memory in ("hbm", "dram")
        for cause in CAUSES[:-1]
    },
    "energy_link_J": (("energy", "link_J"), "J", "the link"),
    "bound_s": (("bound_s",), "s", "no placement takes less"),
    "gap": (("gap",), "1", "(time - bound) / time"),
    "replay_sampled_steps": (("replay", "sampled_steps"), "1", "steps that were replayed"),
    "replay_total_time_s": (
        ("replay", "time_s"), "s", "decode time by the memory kernels, from the sample"
    ),
    "replay_ci95_s": (("replay", "ci95_s"), "s", "half width of its 95 % confidence interval"),
    "replay_aggregate_bandwidth_GBps": (
        ("replay", "aggregate_bandwidth_GBps"), "GB/s", "the same reads over that time"
    ),
    "replay_total_energy_J": (
        ("replay", "energy_J"), "J", "energy by the memory kernels, from the sample"
    ),
    "replay_energy_per_token_J": (("replay", "energy_per_token_J"), "J", "the same a token"),
    "replay_bound_s": (("replay", "bound_s"), "s", "no replay of any placement takes less"),
    "replay_gap": (("replay", "gap"), "1", "(replayed time - bound) / replayed time"),
}  # fmt: skip
# Per policy, what it says of itself: name -> (type, meaning)
TRAITS: dict[str, tuple[str, str]] = {
    "is_schedule": ("i1", "1: says where blocks live, within HBM's capacity; 0: a floor"),
    "foresight": ("i1", "1: knows reads to come"),
    "bound_kind": ("text", "held against: variant, the run's bound; own, itself; pooled"),
}

# What the root says of every result, finished or not.
REQUIRED: dict[str, type] = {
    "complete": int, "steps_done": int, "created_by": str, "title": str, "config": str, "seed": int,
    "fidelity": str, "energy_data": str, "peak_bandwidth_GBps": float, "system": str,
    "workload_title": str,
    "workload_steps": int, "workload_warmup_steps": int, "workload_layers": int,
    "workload_sequences": int,
    "workload_block_bytes": int, "workload_tokens_per_block": int, "workload_seed": int,
    "bound_method": str, "bound_variant": str, "bound_barrier": str, "numba": str, "numpy": str,
}  # fmt: skip
FINISHED: dict[str, type] = {  # and of one that is finished
    "workload_token_steps": int, "workload_tokens": int, "workload_demand_bytes": float,
    "bound_time_s": float, "bound_bandwidth_GBps": float, "bound_iterations": int, "wall_s": float,
}  # fmt: skip


class Record(NamedTuple):
    """A run in short: all that a file says, but for its steps. Tables and JSON are made of it.

    attributes  of the run as a whole; JSON tables joined as above
    policies    their names
    totals      by name of TOTALS, a number for each policy; NaN: there is none
    traits      by name of TRAITS, likewise
    """

    attributes: dict[str, Any]
    policies: list[str]
    totals: dict[str, list[float]]
    traits: dict[str, list[Any]]


class ResultWriter:
    """Writes one result file; a context manager.

    The file comes to be with all its variables, empty and marked incomplete, and is readable from
    then on: a kill leaves what was finished. Where nothing stands at `path` it has that name from
    the start. A file that stands there stays until the new one is complete; meanwhile, and after an
    interruption, the new one is called NAME.RANDOM.partial, and `at` says so.
    Raises InputError where the place cannot be written to, is one of the `inputs`, or the disk is
    full: then nothing of the new file is left.
    """

    def __init__(
        self,
        path: Path,
        policies: list[str],
        traits: dict[str, list[Any]],
        steps: int,
        attributes: dict[str, Any],
        inputs: Iterable[str | Path] = (),
    ):
        self.path = self.at = files.check_output(path, inputs)
        if path.exists():
            self.at = files.fresh(path.parent, ".partial", f"{path.name[:200]}.")
            self.at.unlink()
        self._steps = steps
        self._pending: list[dict[str, list[np.ndarray]]] = [{} for _ in policies]
        self._written = [0] * len(policies)
        with hdf5.writing(self.at, called=path) as output:
            self._file = output.file
            self._create(policies, traits, attributes)
        self._output = hdf5.Output(self.at, "r+")
        self._file = self._output.file

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what is finished when interrupted; delete the file after any other failure."""
        keep = kind is None or issubclass(kind, KeyboardInterrupt)
        try:
            if keep:
                for policy in range(len(self._pending)):
                    self._flush(policy, everything=True)
            self._output.close()
            if kind is None and self.at != self.path:
                os.replace(self.at, self.path)
            if keep and kind is not None:
                raise KeyboardInterrupt(f"the finished steps are in {self.at}")
        except (OSError, RuntimeError) as error:  # h5py's, of a disk that is full
            keep = False
            raise self._output.failure(self.path, error) from None
        finally:
            if not keep:
                self.at.unlink(missing_ok=True)

    def _create(
        self, policies: list[str], traits: dict[str, list[Any]], attributes: dict[str, Any]
    ) -> None:
        file = self._file
        file.attrs.update(
            {"format": FORMAT, "version": VERSION, "created_by": f"hmsim {__version__}"}
            | {"complete": 0, "steps_done": 0}
            | attributes
        )
        text = h5py.string_dtype()
        axes: dict[str, Any] = {
            "policy": np.array(policies, dtype=object),
            "step": attributes["workload_warmup_steps"] + np.arange(self._steps),
            "memory": np.array(["hbm", "dram"], dtype=object),
            "reason": np.array(REASONS, dtype=object),
            "cause": np.array(CAUSES, dtype=object),
        }
        for name, values in axes.items():
            kind = text if values.dtype == object else values.dtype
            file.create_dataset(name, data=values, dtype=kind).make_scale(name)
        for name, kind in (("token", "i8"), ("layer", "i2")):
            dataset = file.create_dataset(
                name, (self._steps,), kind, chunks=(min(BLOCK, max(self._steps, 1)),),
                compression="gzip", compression_opts=1, shuffle=True,
            )  # fmt: skip
            dataset.dims[0].attach_scale(file["step"])
            dataset.attrs["units"] = "1"
        block = min(BLOCK, max(self._steps, 1))
        for name, (further, kind, unit, meaning) in STEP_VARIABLES.items():
            tail = tuple(SIZES[each] for each in further)
            rows = min(SPARSE.get(name, block), block)
            dataset = file.create_dataset(
                name, (len(policies), self._steps, *tail), kind, chunks=(1, rows, *tail),
                compression="gzip", compression_opts=1, shuffle=kind != "f8",  # what is smaller
                fillvalue=-1 if kind[0] == "i" else np.nan,
            )  # fmt: skip
            self._describe(dataset, ("policy", "step", *further), unit, meaning)
            if name in COUNTED:
                dataset.attrs["_FillValue"] = np.array([-1], dtype=kind)
        for name, (_, unit, meaning) in TOTALS.items():
            dataset = file.create_dataset(name, data=np.full(len(policies), np.nan))
            self._describe(dataset, ("policy",), unit, meaning)
        for name, (kind, meaning) in TRAITS.items():
            kind = text if kind == "text" else kind
            dataset = file.create_dataset(name, data=traits[name], dtype=kind)
            self._describe(dataset, ("policy",), "1", meaning)
        file.flush()

    def _describe(
        self, dataset: h5py.Dataset, dimensions: tuple[str, ...], unit: str, meaning: str
    ) -> None:
        for axis, name in enumerate(dimensions):
            dataset.dims[axis].attach_scale(self._file[name])
        dataset.attrs["units"] = unit
        dataset.attrs["long_name"] = meaning

    def steps(self, first: int, token: np.ndarray, layer: np.ndarray) -> None:
        """Which token and layer the steps from `first` on are."""
        self._file["token"][first : first + len(token)] = token
        self._file["layer"][first : first + len(layer)] = layer

    def append(self, policy: int, variables: dict[str, np.ndarray]) -> None:
        """The next steps of a policy: an array for every name of STEP_VARIABLES."""
        for name, values in variables.items():
            self._pending[policy].setdefault(name, []).append(values)
        self._flush(policy, everything=False)

    def finish(self, record: Record, history: np.ndarray) -> None:
        """The totals by policy and the attributes; after this the file is complete.

        `history` [passes, 3] is how the bound was found: pass, best dual value so far in s (of a
        sample of the blocks, where there is one), seconds taken.
        """
        if len(history):
            dataset = self._file.create_dataset("bound/history", data=history)
            dataset.attrs["long_name"] = "pass, best dual value so far in s, seconds taken"
            dataset.attrs["units"] = "1, s, s"
        for policy in range(len(record.policies)):
            self._flush(policy, everything=True)
        for name, values in record.totals.items():
            self._file[name][:] = values
        self._file.attrs.update(record.attributes | {"complete": 1})

    def _flush(self, policy: int, everything: bool) -> None:
        pending = self._pending[policy]
        rows = sum(map(len, next(iter(pending.values())))) if pending else 0
        whole = rows if everything else rows - rows % BLOCK
        if whole == 0:
            return
        start = self._written[policy]
        for name, parts in pending.items():
            values = np.concatenate(parts)
            self._write(name, policy, start, values[:whole])
            pending[name] = [values[whole:]]
        self._written[policy] = start + whole
        self._file.attrs["steps_done"] = min(self._written)
        self._file.flush()
        self._output.check()

    def _write(self, name: str, policy: int, start: int, values: np.ndarray) -> None:
        dataset = self._file[name]
        if name not in SPARSE:
            dataset[policy, start : start + len(values)] = values
            return
        known = ~np.isnan(values) if values.dtype.kind == "f" else values != -1
        filled = np.flatnonzero(known.reshape(len(values), -1).any(axis=1))
        for run in np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1):
            if len(run):
                rows = slice(start + run[0], start + run[-1] + 1)
                dataset[policy, rows] = values[run[0] : run[-1] + 1]


def check(path: str | Path) -> None:
    """InputError unless `path` is a result file that this version reads."""
    with hdf5.reading(path) as file:
        hdf5.check_format(file, FORMAT, VERSION)
        hdf5.check_inside(file)


def read_record(path: str | Path) -> Record:
    """A file's record; InputError unless this version of hmsim can read it."""
    check(path)
    with hdf5.reading(path) as file:
        lacking = [name for name in (*TOTALS, *TRAITS) if name not in file]
        lacking += [name for name in REQUIRED if name not in file.attrs]
        if lacking:
            by = hdf5.attribute(file, "created_by", str, "an older hmsim")
            raise InputError(
                f"{path}: lacks {lacking[0]!r}, so {by} of another time wrote it; its attribute "
                "`config` is the run to repeat"
            )
        for name, kind in (REQUIRED | FINISHED).items():
            if name in REQUIRED or name in file.attrs or file.attrs["complete"]:
                hdf5.attribute(file, name, kind)
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
        policies = [hdf5.scalar(name, str) for name in hdf5.part(file, "policy").ravel()]
        columns = {name: hdf5.part(file, name) for name in (*TOTALS, *TRAITS)}
        for name, values in columns.items():
            if values.shape != (len(policies),) or not policies:
                raise InputError(f"{path}: /{name}: expected a value for every policy")
        totals = {name: [hdf5.scalar(each, float) for each in columns[name]] for name in TOTALS}
        traits = {
            name: [hdf5.scalar(each, str if kind == "text" else int) for each in columns[name]]
            for name, (kind, _) in TRAITS.items()
        }
        if any(math.isinf(each) for each in totals["replay_sampled_steps"]):
            raise InputError(f"{path}: /replay_sampled_steps: expected whole numbers")
    return Record(attributes, policies, totals, traits)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
