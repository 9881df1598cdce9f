"""Whether policies do on a fitted spec as on the trace that it stands for: `scripts/real_gaps.py`.

For every results/real/fit-NAME.toml (made by `hmsim workload calibrate workloads/real/NAME.h5`) the
trace and the spec are run with 30 % of their KV in HBM, and the gaps to each one's certified bound
are written to results/real/gaps.csv. Several NAMEs may be given instead of all; the others' rows stay.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

import hmsim
from hmsim.config.base import read_toml
from hmsim.workload.steps import Workload
from hmsim.workload.trace import TraceWorkload

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results/real/gaps.csv"
POLICIES = ["static", "reactive", "lfu", "ema", "belady", "lookahead"]
HBM_SHARE = 0.3
BOUND_SECONDS = 60
RUN: dict[str, Any] = {
    "policies": {"names": POLICIES},
    "replay": {"fidelity": "analytic"},
}


def main() -> None:
    found = sorted(
        path.stem.removeprefix("fit-") for path in (ROOT / "results/real").glob("fit-*.toml")
    )
    for name in sys.argv[1:] or found:
        trace = ROOT / f"workloads/real/{name}.h5"
        system = system_of(TraceWorkload(trace))
        real = gaps({"trace": str(trace)}, system)
        spec = read_toml(ROOT / f"results/real/fit-{name}.toml")["workload"]
        made = gaps(spec, system)
        put(name, [[name, each, f"{real[each]:.4f}", f"{made[each]:.4f}"] for each in POLICIES])


def put(name: str, mine: list[list[str]]) -> None:
    """The rows of one trace into the file, in the place of those that were there."""
    with open(RESULT, newline="") as file:
        head, *rows = csv.reader(file)
    rows = [row for row in rows if row[0] != name]
    with open(RESULT, "w", newline="") as file:
        # By trace; a trace's rows are in the order of the policies already.
        csv.writer(file, lineterminator="\n").writerows(
            [head, *sorted([*rows, *mine], key=lambda row: row[0])]
        )


def system_of(trace: Workload) -> dict[str, Any]:
    """The paper's machine with so much HBM that it holds HBM_SHARE of a trace's KV at its end."""
    shape = trace.geometry
    blocks = prompt_blocks(trace) + -(-shape.steps // shape.lanes // shape.tokens_per_block)
    capacity = HBM_SHARE * shape.lanes * blocks * shape.block_bytes
    return {"preset": "gh200-paper", "hbm": {"capacity": capacity}}


def prompt_blocks(workload: Workload) -> int:
    """Of a layer."""
    return int(np.bitwise_count(workload.prompt[0]).sum())


def gaps(
    workload: dict[str, Any], system: dict[str, Any], seconds: int = BOUND_SECONDS
) -> dict[str, float]:
    """The policies' gaps to the certified bound, which is searched for so long."""
    given = RUN | {"workload": workload, "system": system, "bound": {"gap": 0.02, "time": seconds}}
    result = hmsim.run(given, progress=False)
    return {name: float(result.report()["policies"][name]["gap"]) for name in POLICIES}


if __name__ == "__main__":
    main()
