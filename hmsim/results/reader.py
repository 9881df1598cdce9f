"""A result file as data: its record, its steps, and both as tables for people and other tools."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hmsim import hdf5
from hmsim.config.base import parse_toml
from hmsim.config.run import RunSpec, resolve
from hmsim.errors import InputError, did_you_mean
from hmsim.results import summary
from hmsim.results.schema import Record, read_record

if TYPE_CHECKING:
    import pandas
    import xarray


class ResultFile:
    """A result file. Its record is read at once; per-step variables when they are asked for.

    Attributes:
        path: Of the file.
        record: All that the file says of the run as a whole and of each policy.
        attributes: Of the run as a whole, by name.
        policies: Names of the policies, in the order of every array's first axis.
        totals: By name, a float64 array [policies] in the unit that
            `hmsim.results.schema.TOTALS` says.
    """

    def __init__(self, path: Path, record: Record):
        self.path, self.record = path, record
        self.attributes, self.policies = record.attributes, record.policies
        self.totals = {name: np.array(values) for name, values in record.totals.items()}

    @classmethod
    def open(cls, path: str | Path, partial: bool = False) -> Self:
        """Open a result file.

        Args:
            path: Of the file, as `hmsim run -o` or `hmsim.run(output=...)` wrote it.
            partial: Take a file, too, whose run was cut short.

        Returns:
            The result.

        Raises:
            InputError: The file is no result, an older hmsim wrote it, or (unless `partial`) its
                run was cut short.
        """
        record = read_record(path)
        if not record.attributes["complete"] and not partial:
            raise InputError(
                f"{path}: incomplete: {record.attributes['steps_done']:,} steps were done when it "
                "was cut short; run it again"
            )
        return cls(Path(path), record)

    @property
    def title(self) -> str:
        """The run's title, or what stands in for one."""
        return self.attributes["title"] or self.attributes["workload_title"]

    @property
    def spec(self) -> RunSpec:
        """The configuration, resolved; `hmsim.run(result.spec)` repeats the run."""
        return resolve(parse_toml(self.attributes["config"], self.path), [], str(self.path))

    def steps(self, name: str) -> np.ndarray:
        """Read a per-step variable.

        Args:
            name: Of the variable, such as `time_s` (seconds), `promotion_bytes` (bytes) or
                `resident_bytes`. `hmsim info FILE --json` lists them, and `to_xarray` has their
                units.

        Returns:
            An array [policies, steps], or [policies, steps, memories] with HBM first and DRAM
            second; `token` and `layer` are [steps].

        Raises:
            InputError: There is no variable of that name; the nearest one is named.
        """
        with hdf5.reading(self.path) as file:
            if name not in file:
                raise InputError(f"{self.path}: no variable {name!r}{did_you_mean(name, file)}")
            return hdf5.part(file, name)

    def bound_history(self) -> np.ndarray:
        """How the bound was found.

        Returns:
            float64 [passes, 3]: the number of the pass, the best value of the dual so far in
            seconds, and the seconds taken from the start. [0, 3] where nothing was searched for, as
            with `bound.method = "split"`.
        """
        with hdf5.reading(self.path) as file:
            return hdf5.part(file, "bound/history") if "bound/history" in file else np.zeros((0, 3))

    def bandwidth(self, moves: bool = False) -> np.ndarray:
        """What each memory gives in each step, by the analytic times.

        Bytes that attention and weights read in a memory, over the step's time. Their sum over both
        memories is the aggregate bandwidth, as each byte is read once.

        Args:
            moves: Count everything that a memory carries: appends, promotions and demotions too. A
                move is in both memories' columns, as it reads one and writes the other.

        Returns:
            GB/s, float64 [policies, steps, memories], with HBM first and DRAM second. 0 where a
            step takes no time.
        """
        names = ["attention_read_bytes", "weight_read_bytes"]
        if moves:
            names += ["append_write_bytes", "promotion_bytes", "demotion_bytes"]
        carried = np.sum([self.steps(name) for name in names], axis=0, dtype=np.float64)
        seconds = self.steps("time_s")[:, :, None]
        return np.divide(carried, seconds, out=np.zeros_like(carried), where=seconds > 0) / 1e9

    def total(self, policy: str, name: str) -> float:
        """One of a policy's totals.

        Args:
            policy: Its name in this run.
            name: Of the total, a key of `totals`, such as `total_time_s` or `gap`.

        Returns:
            The number in the unit that `hmsim.results.schema.TOTALS` says; NaN where the run has
            none, as of replayed times where nothing was replayed.

        Raises:
            InputError: There is no such policy or total; the nearest one is named.
        """
        if policy not in self.policies:
            raise InputError(
                f"{self.path}: no policy {policy!r}{did_you_mean(policy, self.policies)}"
            )
        if name not in self.totals:
            raise InputError(f"{self.path}: no total {name!r}{did_you_mean(name, self.totals)}")
        return float(self.totals[name][self.policies.index(policy)])

    def report(self) -> dict[str, Any]:
        """What `hmsim run --json` prints of this run, as plain data."""
        return summary.as_dict(self.record)

    def to_xarray(self) -> "xarray.Dataset":
        """Everything in the file as a dataset. Needs xarray: `pip install 'hmsim[xarray]'`.

        Returns:
            A dataset with the dimensions policy, step and memory, and a unit on every variable.
        """
        return hdf5.as_xarray(self.path)

    def to_dataframe(self) -> "pandas.DataFrame":
        """The totals as a table. Needs pandas, which xarray brings: `pip install 'hmsim[xarray]'`.

        Returns:
            A row for each policy. Units stand in the columns' names; what has none is a share or a
            count.

        Raises:
            InputError: There is no pandas.
        """
        try:
            import pandas
        except ImportError:
            raise InputError("to_dataframe: needs pandas: pip install 'hmsim[xarray]'") from None

        return pandas.DataFrame(self.totals, index=pandas.Index(self.policies, name="policy"))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The main totals as text.

        Returns:
            The headings, and a row of cells for each policy.
        """
        return summary.as_rows(self.record)

    def notes(self) -> list[str]:
        """What a reader of the table must know, a line each: the bound, the replay, the wall time."""
        return summary.notes(self.record)

    def __repr__(self) -> str:
        return summary.as_text(self.record, f"{self.title}  [{self.path.name}]")

    def _repr_html_(self) -> str:
        head, rows = self.table()
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        notes = "<br>".join(map(html.escape, [*summary.about(self.record), *self.notes()]))
        return (
            f"<b>{html.escape(self.title)}</b><table><thead><tr>{cells}</tr></thead>"
            f"<tbody>{body}</tbody></table><small>{notes}</small>"
        )
