"""hmsim as a library: run a configuration, open a result, look at it, hand it on."""

import html
import shutil
import tempfile
import tomllib
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from hmsim.config.run import RunSpec, load_run, resolve
from hmsim.errors import InputError, did_you_mean
from hmsim.results.schema import check
from hmsim.units import show_bytes

if TYPE_CHECKING:
    import pandas
    import xarray

SHOWN = (  # totals that a table shows: name, heading, scale, format
    ("total_time_s", "time s", 1.0, "{:,.4g}"),
    ("tokens_per_s", "tokens/s", 1.0, "{:,.2f}"),
    ("aggregate_bandwidth_bytes_per_s", "GB/s", 1e-9, "{:,.0f}"),
    ("hbm_read_share", "HBM share", 1.0, "{:.3f}"),
    ("gap", "gap %", 100.0, "{:.2f}"),
    ("replay_total_time_s", "replay s", 1.0, "{:,.4g}"),
    ("replay_aggregate_bandwidth_bytes_per_s", "replay GB/s", 1e-9, "{:,.0f}"),
    ("replay_gap", "replay gap %", 100.0, "{:.2f}"),
)


def run(
    config: str | Path | dict[str, Any] | RunSpec,
    changes: Sequence[str] = (),
    output: str | Path | None = None,
) -> "Result":
    """Run a configuration: a TOML file, its plain data, or a RunSpec, after `key=value` changes.

    The result file is `output`; without one it is temporary and goes when the Result does.
    Raises InputError where the configuration is wrong, before anything is computed.
    """
    from hmsim.simulate import run as engine

    if isinstance(config, RunSpec):
        if changes:
            raise InputError("changes: a RunSpec is resolved; change it with model_copy")
        spec = config
    elif isinstance(config, dict):
        spec = resolve(config, list(changes), "config")
    else:
        spec = load_run(config, list(changes))
    folder = None
    if output is None:
        folder = tempfile.mkdtemp(prefix="hmsim-")
        output = Path(folder) / "result.h5"
    try:
        engine.execute(spec, Path(output), lambda _: None)
        result = Result.open(output)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder is not None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


class Result:
    """A result file. Totals are read at once; per-step variables when they are asked for."""

    def __init__(self, path: Path, attributes: dict[str, Any], totals: dict[str, np.ndarray],
                 policies: list[str]):  # fmt: skip
        self.path = path
        self.attributes = attributes
        self.policies = policies
        self.totals = totals  # name -> float64 [policies], units as in the file

    @classmethod
    def open(cls, path: str | Path, partial: bool = False) -> "Result":
        """The result in the file `path`; InputError if it is none, or (unless `partial`) cut short."""
        check(path)
        with h5py.File(path, "r") as file:
            attributes = {key: _plain(value) for key, value in file.attrs.items()}
            policies = [name.decode() for name in file["policy"][()]]
            totals = {
                name: dataset[()]
                for name, dataset in file.items()
                if isinstance(dataset, h5py.Dataset) and dataset.shape == (len(policies),)
                and name not in ("policy", "step") and dataset.dtype.kind == "f"
            }  # fmt: skip
        if not attributes["complete"] and not partial:
            raise InputError(
                f"{path}: incomplete: {attributes['steps_done']:,} steps were done when it was cut "
                "short; run it again"
            )
        return cls(Path(path), attributes, totals, policies)

    @property
    def title(self) -> str:
        """The run's title, or what stands in for one."""
        workload = self.spec.workload
        return self.attributes["title"] or workload.title or str(workload.trace or workload.kind)

    @property
    def spec(self) -> RunSpec:
        """The configuration; `hmsim.run(result.spec)` repeats the run."""
        return resolve(tomllib.loads(self.attributes["config"]), [], str(self.path))

    @property
    def plot(self) -> "Plots":
        """Figures of this result: `result.plot.bandwidth(ax=...)` returns the axes."""
        return Plots(self)

    def steps(self, name: str) -> np.ndarray:
        """A per-step variable: [policies, steps] or [policies, steps, memories (HBM, DRAM)].

        `token` and `layer` are [steps].
        """
        with h5py.File(self.path, "r") as file:
            if name not in file:
                raise InputError(f"{self.path}: no variable {name!r}{did_you_mean(name, file)}")
            return file[name][()]

    def bound_history(self) -> np.ndarray:
        """How the bound was found, [passes, 3]: pass, best dual value so far in s, seconds taken.

        Empty where nothing was searched for, as with `bound.method = "split"`.
        """
        with h5py.File(self.path, "r") as file:
            found = file.get("bound/history")
            return np.zeros((0, 3)) if found is None else found[()]

    def total(self, policy: str, name: str) -> float:
        """One of a policy's totals, in the file's unit; NaN where the run has none."""
        if policy not in self.policies:
            raise InputError(
                f"{self.path}: no policy {policy!r}{did_you_mean(policy, self.policies)}"
            )
        return float(self.totals[name][self.policies.index(policy)])

    def report(self) -> dict[str, Any]:
        """What `hmsim run --json` says of policies, bound and peak."""
        policies = {name: self._policy(name) for name in self.policies}
        bound_s = float(self.attributes.get("bound_s", float("nan")))  # NaN: interrupted
        first = policies[self.policies[0]]
        demand = first["time_s"] * first["aggregate_bandwidth_GBps"]
        return {
            "policies": policies,
            "bound": {
                "time_s": bound_s,
                "bandwidth_GBps": demand / bound_s if bound_s else 0.0,
                "method": self.spec.bound.method,
                "iterations": int(self.attributes.get("bound_iterations", 0)),
                "variant": self.attributes["variant"],
                "barrier": self.attributes["barrier"],
            },
            "peak_bandwidth_GBps": self.attributes["peak_bandwidth_bytes_per_s"] / 1e9,
            "wall_s": self.attributes.get("wall_s", float("nan")),
        }

    def _policy(self, name: str) -> dict[str, Any]:
        def of(key: str) -> float:
            return self.total(name, key)

        numbers: dict[str, Any] = {
            "time_s": of("total_time_s"),
            "tokens_per_s": of("tokens_per_s"),
            "aggregate_bandwidth_GBps": of("aggregate_bandwidth_bytes_per_s") / 1e9,
            "hbm_read_share": of("hbm_read_share"),
            "migrated_bytes": of("migrated_bytes"),
            "bound_s": of("bound_s"),
            "gap": of("gap"),
        }
        if not np.isnan(of("replay_total_time_s")):
            numbers["replay"] = {
                "fidelity": self.attributes["fidelity"],
                "time_s": of("replay_total_time_s"),
                "ci95_s": of("replay_ci95_s"),
                "aggregate_bandwidth_GBps": of("replay_aggregate_bandwidth_bytes_per_s") / 1e9,
                "bound_s": of("replay_bound_s"),
                "gap": of("replay_gap"),
            }
        return numbers

    def to_xarray(self) -> "xarray.Dataset":
        """Everything in the file, with dimensions policy, step and memory, and units."""
        import xarray

        return xarray.load_dataset(self.path, engine="h5netcdf")

    def to_dataframe(self) -> "pandas.DataFrame":
        """The totals, a row for each policy; units stand in the columns' names, or are 1."""
        import pandas

        return pandas.DataFrame(self.totals, index=pandas.Index(self.policies, name="policy"))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The main totals for people: headings, and a row for each policy."""
        shown = [each for each in SHOWN if not np.isnan(self.totals[each[0]]).all()]
        rows = [
            [name, *(form.format(self.totals[key][k] * scale) for key, _, scale, form in shown)]
            for k, name in enumerate(self.policies)
        ]
        return ["policy", *(heading for _, heading, _, _ in shown)], rows

    def __repr__(self) -> str:
        head, rows = self.table()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if k == 0 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in (head, *rows)
        ]
        return "\n".join([f"{self.title}  [{self.path.name}]", *lines, self._footer()])

    def _repr_html_(self) -> str:
        head, rows = self.table()
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        return (
            f"<b>{html.escape(self.title)}</b><table><thead><tr>{cells}</tr></thead>"
            f"<tbody>{body}</tbody></table><small>{html.escape(self._footer())}</small>"
        )

    def _footer(self) -> str:
        report = self.report()
        bound = report["bound"]
        moved = ", ".join(
            f"{name} {show_bytes(policy['migrated_bytes'])}"
            for name, policy in report["policies"].items()
            if policy["migrated_bytes"] > 0
        )
        line = (
            f"bound ({bound['method']}, {bound['variant']}, barrier a {bound['barrier']}): "
            f"{bound['time_s']:.5g} s, {bound['bandwidth_GBps']:,.0f} GB/s; "
            f"pin peak {report['peak_bandwidth_GBps']:,.0f} GB/s"
        )
        return f"{line}; migrated: {moved}" if moved else line


class Plots:
    """The figures of a result, by name; each takes `ax` and options, and returns the axes."""

    def __init__(self, result: Result):
        self._result = result

    def __getattr__(self, name: str) -> Any:
        from functools import partial

        from hmsim import plot

        if name not in self.__dir__():
            raise AttributeError(f"no figure {name!r} of a result{did_you_mean(name, dir(self))}")
        return partial(getattr(plot, name), self._result)

    def __dir__(self) -> list[str]:
        from hmsim import plot

        return [
            name.replace("-", "_")
            for name, kind in plot.KINDS.items()
            if kind.of == "run" or kind.run_too
        ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
