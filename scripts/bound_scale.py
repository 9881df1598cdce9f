"""The certified bound of whole workloads: `python scripts/bound_scale.py [OUT.csv] [NAME...]`.

One row a workload and variant: bound, schedule, gap, and what that took in time and memory, each in
a process of its own. NAME picks rows whose names contain it; OUT.csv keeps its other rows. About an
hour on two idle cores. `load` is the mean number of processes that wanted a core: above the count
of cores, the wall time is not that of an idle machine, and processor time up to twice as much.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

WORKLOADS = Path(__file__).parent.parent / "workloads"
VARIANTS = ("text", "code", "exclusive", "inclusive")
PAPER = {
    "low": ["paper-60.toml"],
    "like NarrativeQA": [
        "paper-60-real.toml", "--system", "gh200-paper", "--set", "system.hbm.capacity=23 GiB",
    ],
    "high": ["paper-60-high.toml"],
}  # fmt: skip
QUEST = ["quest-2048.toml", "--system", "gh200-96gb", "--set", "workload.copies=16"]
CASES = {
    f"paper-60 {variation}, {variant}": [*arguments, "--variant", variant]
    for variation, arguments in PAPER.items() for variant in VARIANTS
} | {
    "quest-2048, 16 sequences, 48 GB, text": [*QUEST, "--set", "system.hbm.capacity=48GB"],
}  # fmt: skip
COLUMNS = ("case", "bound_s", "achievable_s", "gap", "passes", "wall_s", "cpu_s", "peak_GB", "load")


def measured(arguments: list[str]) -> tuple[str, ...]:
    """One `hmsim bound`: what it prints, and what it used."""
    command = [sys.executable, "-m", "hmsim", "bound", str(WORKLOADS / arguments[0])]
    process = subprocess.Popen(
        [*command, *arguments[1:], "--json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = json.loads(process.stdout.read())
    load = max(os.getloadavg()[:2])
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return (
        f"{found['bound_s']:.6g}", f"{found['achievable_s']:.6g}", f"{found['gap']:.4f}",
        str(found["iterations"]), f"{found['wall_s']:.0f}",
        f"{usage.ru_utime + usage.ru_stime:.0f}", f"{usage.ru_maxrss / 1e6:.2f}", f"{load:.1f}",
    )  # fmt: skip


def main() -> None:
    out, *names = sys.argv[1:] or ["/dev/stdout"]
    kept: dict[str, list[str]] = {}
    if os.path.isfile(out):
        with open(out, newline="") as file:
            first, *rows = csv.reader(file)
        kept = {row[0]: row for row in rows if tuple(first) == COLUMNS}
    for name, arguments in CASES.items():
        if not names or any(part in name for part in names):
            kept[name] = [name, *measured(arguments)]
            with open(out, "w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(kept[name] for name in CASES if name in kept)


if __name__ == "__main__":
    main()
