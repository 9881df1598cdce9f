"""The certified bound of whole workloads: `python scripts/bound_scale.py [OUT.csv] [NAME...]`.

One row a workload and variant: bound, schedule, gap, and what that took in time and memory, each in
a process of its own. NAME picks rows whose names contain it; the short ones spend two minutes on
the search. About half an hour on two cores.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

WORKLOADS = Path(__file__).parent.parent / "workloads"
QUEST = ["quest-2048.toml", "--system", "gh200-96gb", "--set", "copies=16"]
SHORT = ["--time", "120"]
CASES = {
    "paper-60-high, text": ["paper-60-high.toml"],
    "paper-60-high, code": ["paper-60-high.toml", "--variant", "code"],
    "paper-60-high, inclusive, short": ["paper-60-high.toml", "--variant", "inclusive", *SHORT],
    "paper-60-high, exclusive, short": ["paper-60-high.toml", "--variant", "exclusive", *SHORT],
    "paper-60, text, short": ["paper-60.toml", *SHORT],
    "quest-2048, 16 sequences, 48 GB, text": [*QUEST, "--set", "system.hbm.capacity=48GB"],
}
COLUMNS = ("case", "bound_s", "achievable_s", "gap", "passes", "wall_s", "cpu_s", "peak_GB")


def measured(arguments: list[str]) -> tuple[str, ...]:
    """One `hmsim bound`: what it prints, and what it used."""
    command = [sys.executable, "-m", "hmsim", "bound", str(WORKLOADS / arguments[0])]
    process = subprocess.Popen(
        [*command, *arguments[1:], "--json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return (
        f"{found['bound_s']:.6g}", f"{found['achievable_s']:.6g}", f"{found['gap']:.4f}",
        str(found["iterations"]), f"{found['wall_s']:.0f}",
        f"{usage.ru_utime + usage.ru_stime:.0f}", f"{usage.ru_maxrss / 1e6:.2f}",
    )  # fmt: skip


def main() -> None:
    names = sys.argv[2:]
    with open(sys.argv[1] if len(sys.argv) > 1 else "/dev/stdout", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, arguments in CASES.items():
            if not names or any(part in name for part in names):
                writer.writerow((name, *measured(arguments)))
                out.flush()


if __name__ == "__main__":
    main()
