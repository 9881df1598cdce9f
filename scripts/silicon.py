"""docs/silicon.md and its figure: simulated against measured, row by row.

Every row of tests/references/silicon.csv is a published measurement and the call of `hmsim measure`
that repeats it. `python scripts/validate_memory.py` runs this too; `python scripts/silicon.py` runs
this alone, in a minute.
"""

import csv
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from hmsim.cli import parser
from hmsim.cli.measure import measured
from hmsim.plot import style

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests/references/silicon.csv"
PAGE, FIGURE = ROOT / "docs/silicon.md", ROOT / "docs/pictures/silicon.svg"
SOURCES = {
    "A": "outputs of the authors' benchmark of arXiv 2408.11556, in a public fork "
    "(ntua-el20062/grace-hopper-benchmark @505e82c): quad GH200, 96 GB HBM3, 120 GB LPDDR5X-8533",
    "B": "mredenti/PowerCapping, OpenCL_benchmark.md @f57c11cb: GH200 with 480 GB",
    "D": "dnhkng.github.io, GH200 benchmarks: GH200 with 480 GB",
    "F": "pytorch/FBGEMM PR #3993",
    "M": "bsc-mem/Mess-Results @16ab1d60: Grace, LPDDR5X-8533, 72 cores; latencies interpolated",
    "R": "note on arXiv 2405.11425, section 2.1",
    "S": "CMU-SAFARI/HBM-Power @318d3d1f: three H200 SXM",
    "T": "caps-tum/mt4g @4cc5566",
    "U": "users of a DGX Station",
    "Z": "Azure/AI-benchmarking-guide @8fd0c6e: BabelStream on an H100 SXM",
}
MISSED = 0.10  # relative error from which a row is discussed by name


class Row(NamedTuple):
    """A measurement beside its simulation."""

    system: str
    call: str
    unit: str
    low: float
    high: float
    simulated: float
    fixes: str
    source: str
    note: str
    limiter: str

    @property
    def error(self) -> float:
        """Relative, to the nearer end of what was measured."""
        return self.simulated / min(max(self.simulated, self.low), self.high) - 1


def rows() -> list[Row]:
    """Every row of the reference, the worst first."""
    made = []
    with open(REFERENCE, newline="") as file:
        for line in csv.DictReader(file):
            call = ["measure", line["system"], *shlex.split(line["call"])]
            result = measured(parser().parse_args(call))
            low, high = float(line["low"]), float(line["high"])
            made.append(
                Row(
                    line["system"], line["call"], line["unit"], low, high,
                    getattr(result, line["key"]), line["fixes"], line["source"], line["note"],
                    result.limiter,
                )
            )  # fmt: skip
    return sorted(made, key=lambda row: -abs(row.error))


def summary(chosen: list[Row]) -> str:
    errors = [100 * abs(row.error) for row in chosen]
    return f"{np.median(errors):.1f} % in the median, {max(errors):.1f} % at worst"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(chosen: list[Row]) -> list[str]:
    lines = [
        "| error | `hmsim measure` ... | measured | simulated | limiter | source |",
        "|---:|---|---:|---:|---|---|",
    ]
    for row in chosen:
        span = _number(row.low)
        if row.high > row.low:
            span = f"{_number(row.low)}-{_number(row.high)}"
        source = row.source + (f": {row.note}" if row.note else "")
        call = f"{row.system} {row.call}".strip()
        lines.append(
            f"| {100 * row.error:+.1f} % | `{call}` | {span} {row.unit} |"
            f" {_number(row.simulated)} | {row.limiter.replace('_', ' ')} | {source} |"
        )
    return lines


def page(made: list[Row]) -> str:
    free = [row for row in made if not row.fixes]
    fitted = [row for row in made if row.fixes]
    missed = [row for row in made if abs(row.error) >= MISSED]
    text = (ROOT / "scripts/silicon_page.md").read_text(encoding="utf-8")
    parts = {
        "ALL": f"{len(made)} figures: {summary(made)}",
        "FREE": f"{len(free)} figures that nobody fitted: {summary(free)}",
        "FITTED": f"{len(fitted)} figures that fix a parameter each: {summary(fitted)}",
        "COUNT": str(len(fitted)),
        "FIGURES": str(len(made)),
        "MISSED": f"{len(missed)} of {len(made)}",
        "FREE TABLE": "\n".join(_table(free)),
        "FITTED TABLE": "\n".join(_table(fitted)),
        "PARAMETERS": "\n".join(
            f"| {row.fixes} | `{row.system} {row.call}`: {_number(row.high)} {row.unit} |"
            for row in sorted(fitted, key=lambda row: row.fixes)
        ),
        "SOURCES": "\n".join(f"- **{key}** {value}" for key, value in SOURCES.items()),
    }
    for name, part in parts.items():
        text = text.replace(f"<<{name}>>", part)
    return text


def draw(made: list[Row]) -> None:
    """Simulated over measured, each row a point; the band is 15 %."""
    with style.figure("page", 4.8, FIGURE, "python scripts/silicon.py") as figure:
        ax = figure.subplots()
        for kind, marker, filled in (
            ("nobody fitted it", "o", True),
            ("fixes a parameter", "s", False),
        ):
            chosen = [row for row in made if bool(row.fixes) != filled]
            for unit, color in (("GB/s", "#0072b2"), ("ns", "#d55e00")):
                some = [row for row in chosen if row.unit == unit]
                ax.plot(
                    [row.high for row in some], [row.simulated for row in some], marker,
                    color=color, mfc=color if filled else "none", ms=5, alpha=0.8,
                    label=f"{'bandwidth' if unit == 'GB/s' else 'latency'}, {kind}",
                )  # fmt: skip
        ends = np.array([120.0, 6000.0])
        ax.plot(ends, ends, color="0.5", lw=0.8)
        ax.fill_between(ends, 0.85 * ends, 1.15 * ends, color="0.5", alpha=0.15, lw=0)
        ax.set(
            xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal",
            xlabel="measured (GB/s, ns)", ylabel="simulated",
        )  # fmt: skip
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axis.set_minor_locator(NullLocator())
        style.legend_below(ax, 2)


def write() -> list[Row]:
    """Measure, and write the page and its figure."""
    made = rows()
    PAGE.write_text(page(made), encoding="utf-8")
    draw(made)
    return made


if __name__ == "__main__":
    for row in write():
        print(f"{100 * row.error:+6.1f} %  {row.system} {row.call}")
