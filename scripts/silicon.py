"""docs/silicon.md and its figure: simulated against measured, row by row.

Every row of tests/references/silicon.csv is a measurement and the call of `hmsim measure` that
repeats it. `python scripts/validate_memory.py` runs this too; `python scripts/silicon.py` runs this
alone, in a minute. With `--measured FILE --system NAME` it writes no page: it prints what
scripts/gpu_memory.cu measured on a GPU of your own beside what hmsim simulates.
"""

import argparse
import csv
import re
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
    "H": "`scripts/gpu_memory.cu` on an H100 SXM (80 GB, memory at 2,619 MHz) and an H200 SXM (141 GB, "
    "memory at 3,201 MHz), each alone in a virtual machine, driver 580.159, CUDA 13.0, November 2026",
    "M": "bsc-mem/Mess-Results @16ab1d60: Grace, LPDDR5X-8533, 72 cores; latencies interpolated",
    "R": "note on arXiv 2405.11425, section 2.1",
    "S": "CMU-SAFARI/HBM-Power @318d3d1f: three H200 SXM",
    "T": "caps-tum/mt4g @4cc5566",
    "U": "users of a DGX Station",
    "Z": "Azure/AI-benchmarking-guide @8fd0c6e: BabelStream on an H100 SXM",
}
# Of HBM, in pieces of 128 bytes to 64 KiB: how blocks of a KV cache are read.
KV_GATHER = re.compile(r"--pattern gather --bytes (?!32\b|64\b|1048576\b)")
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


def rows(reference: Path = REFERENCE, system: str | None = None) -> list[Row]:
    """Every row of a reference, the worst first. A file that names no systems is of one system."""
    made = []
    with open(reference, newline="") as file:
        for line in csv.DictReader(file):
            name = line.get("system", system)
            result = measured(parser().parse_args(["measure", name, *shlex.split(line["call"])]))
            low, high = float(line["low"]), float(line["high"])
            made.append(
                Row(
                    name, line["call"], line["unit"], low, high, getattr(result, line["key"]),
                    line.get("fixes", ""), line.get("source", ""), line["note"], result.limiter,
                )
            )  # fmt: skip
    return sorted(made, key=lambda row: -abs(row.error))


def summary(chosen: list[Row]) -> str:
    errors = [100 * abs(row.error) for row in chosen]
    return f"{np.median(errors):.1f} % off in the median, {max(errors):.1f} % at worst"


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
    gathers = [row for row in free if row.source == "H" and KV_GATHER.match(row.call)]
    text = (ROOT / "scripts/silicon_page.md").read_text(encoding="utf-8")
    parts = {
        "FREE": f"No parameter was fitted to {len(free)} of them: {summary(free)}",
        "FITTED": f"The other {len(fitted)} fix a parameter each: {summary(fitted)}",
        "GATHERS": f"Of these, {len(gathers)} are gathers of 128 bytes to 64 KiB, the sizes of KV "
        f"blocks, in the HBM of an H100 and an H200: {summary(gathers)}",
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
    """How far simulated is from measured, each row a point; the band is 15 %."""
    with style.figure("page", 3.4, FIGURE, "python scripts/silicon.py") as figure:
        ax = figure.subplots()
        for kind, marker, filled in (
            ("nobody fitted it", "o", True),
            ("fixes a parameter", "s", False),
        ):
            chosen = [row for row in made if bool(row.fixes) != filled]
            for unit, color in (("GB/s", "#0072b2"), ("ns", "#d55e00")):
                some = [row for row in chosen if row.unit == unit]
                ax.plot(
                    [row.high for row in some], [100 * row.error for row in some], marker,
                    color=color, mfc=color if filled else "none", ms=4, alpha=0.7,
                    label=f"{'bandwidth' if unit == 'GB/s' else 'latency'}, {kind}",
                )  # fmt: skip
        ax.axhline(0, color="0.5", lw=0.8)
        ax.axhspan(-15, 15, color="0.5", alpha=0.15, lw=0)
        ax.set(
            xscale="log", xlim=(5, 7000), ylim=(-25, 25),
            xlabel="measured (GB/s, ns)", ylabel="simulated is off by (%)",
        )  # fmt: skip
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.xaxis.set_minor_locator(NullLocator())
        style.legend_below(ax, 2)


def write() -> list[Row]:
    """Measure, and write the page and its figure."""
    made = rows()
    PAGE.write_text(page(made), encoding="utf-8")
    draw(made)
    return made


def _main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    options.add_argument(
        "--measured", metavar="FILE", type=Path, help="what scripts/gpu_memory.cu wrote"
    )
    options.add_argument("--system", metavar="NAME", help="the preset, or a TOML file, of that GPU")
    given = options.parse_args()
    if (given.measured is None) != (given.system is None):
        options.error("--measured and --system go together")
    if given.measured is None:
        for row in write():
            print(f"{100 * row.error:+6.1f} %  {row.system} {row.call}")
        return
    made = rows(given.measured, given.system)
    print(f"{summary(made)}\n\n  error   measured  simulated        call")
    for row in made:
        print(
            f"{100 * row.error:+6.1f} %  {row.high:9,.1f}  {row.simulated:9,.1f} {row.unit:5}"
            f"  {row.call}"
        )


if __name__ == "__main__":
    _main()
