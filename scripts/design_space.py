"""HBM capacity x link bandwidth x sparsity for three superchips: `python scripts/design_space.py`.

Sweeps `design_space.toml` into OUT/sweep, going on from where an earlier call stopped, and draws
the gap to the certified bound and the speed-up over static placement of every superchip, and how
bandwidth grows with capacity. `--quick` takes the ends of every axis only, into OUT/quick.
"""

import argparse
import shutil
import sys
from pathlib import Path

import tomli_w

import hmsim
from hmsim.cli import main as hmsim_command
from hmsim.config.base import read_toml
from hmsim.plot import draw

SWEEP = Path(__file__).with_suffix(".toml")
RESULTS = Path(__file__).parents[1] / "results" / "design_space"
COMMAND = "python scripts/design_space.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, metavar="OUT")
    parser.add_argument("--jobs", default="2", metavar="N", help="worker processes")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    out: Path = options.output / "quick" if options.quick else options.output
    out.mkdir(parents=True, exist_ok=True)
    sweep = quick(out) if options.quick else SWEEP
    call = ["sweep", str(sweep), "-o", str(out / "sweep"), "--resume", "--jobs", options.jobs]
    status = hmsim_command(call)
    if status not in (0, 1):  # 1: some points failed, and the figures show which
        return status
    shutil.copy(out / "sweep" / "sweep.csv", out / "points.csv")
    figures(out)
    return status


def quick(out: Path) -> Path:
    """The sweep with the first and the last value of every axis but the superchips."""
    data = read_toml(SWEEP)
    for name, axis in data["axes"].items():
        if "log" in axis:
            axis["log"]["count"] = 2
        elif name != "superchip":
            axis["values"] = [axis["values"][0], axis["values"][-1]]
    path = out / "quick.toml"
    path.write_text(tomli_w.dumps(data))
    return path


def figures(out: Path) -> None:
    data = hmsim.open_sweep(out / "sweep")
    for chip in data["superchip"].values:
        for value in ("gap", "speedup"):
            draw("sweep-heatmap", data, out / f"{value}-{chip}.png", COMMAND, x="capacity",
                 y="sparsity", value=value, policy="balanced", at={"superchip": chip})  # fmt: skip
        draw("sweep-line", data, out / f"bandwidth-{chip}.png", COMMAND, x="capacity",
             at={"superchip": chip, "sparsity": 0.9})  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
