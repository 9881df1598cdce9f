"""The certified prices against the LP's optimum: `python scripts/bound_tightness.py [OUT.csv]`.

Small workloads of every kind at 5 % and 30 % capacity, on a GH200 and behind a slow, lopsided
link, in every variant and at both barriers. Times are of the processor. About five minutes.
"""

import csv
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from hmsim.bound.ascent import ascend, coarse_start
from hmsim.bound.exact.lp import solve_lp
from hmsim.bound.exact.problem import Problem, collect
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Lagrangian, Setting
from hmsim.config.base import load
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.config.workload import WorkloadSpec
from hmsim.placement.latency import Rates
from hmsim.workload import open_workload

MODEL = {  # the founding paper's, with weights as much smaller as the context is
    "layers": 2,
    "kv_bytes_per_token_layer": 16384,
    "weight_bytes_step": 11e6,
    "resident_bytes": 1,
}
BASE: dict[str, Any] = {"model": MODEL, "block_tokens": 16, "tokens": (2400, 2415)}
SPECS: dict[str, dict[str, Any]] = {
    "calm churn": {"kind": "churn", "drift": 0.1},
    "wild churn": {"kind": "churn", "drift": 0.9},
    "window": {"kind": "streaming", "streaming": {"sink": 16, "window": 256}},
    "phases": {"kind": "scores", "scores": {"keep": 0.3, "slow": 1.0, "phase_steps": 5}},
}
RATES = {"gh200": Rates(4.9e12, 450e9, 450e9, 500e9), "slow link": Rates(3.3e12, 60e9, 20e9, 200e9)}
COLUMNS = ("workload", "capacity", "rates", "variant", "barrier", "cells", "lp_s", "dual_share",
           "lp_cpu_s", "dual_cpu_s")  # fmt: skip
PASSES = 1000


def timed(work: Callable) -> tuple:
    """The result of `work()` and its seconds of processor time."""
    began = time.process_time()
    return work(), time.process_time() - began


def compare(problem: Problem, lagrangian: Lagrangian):
    """LP optimum, the dual's share of it, and seconds of both."""
    optimum, lp_cpu = timed(lambda: solve_lp(problem, lagrangian).bound_s)
    found, dual_cpu = timed(lambda: ascend(lagrangian, coarse_start(lagrangian).dual, PASSES).value)
    return f"{optimum:.6g}", f"{found / optimum:.6f}", f"{lp_cpu:.2f}", f"{dual_cpu:.2f}"


def rows() -> Iterator[tuple]:
    """One row of COLUMNS a case."""
    for name, share in itertools.product(SPECS, (0.05, 0.3)):
        workload = open_workload(load(WorkloadSpec, BASE | SPECS[name], name))
        geometry = workload.geometry
        everything = collect(workload, float("inf"))
        capacity = geometry.resident_bytes + share * everything.blocks * geometry.block_bytes
        problem = collect(workload, capacity)
        timeline, grid = gather(workload, 1)
        for system, variant, barrier in itertools.product(RATES, VARIANTS, BARRIERS):
            rates, size = RATES[system], geometry.block_bytes
            setting = Setting(timeline, rates, variant, barrier, size, problem.capacity)
            lagrangian = Lagrangian(setting, grid)
            numbers = compare(problem, lagrangian)
            yield name, share, system, variant, barrier, problem.pairs, *numbers


def main() -> None:
    with open(sys.argv[1] if len(sys.argv) > 1 else "/dev/stdout", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows():
            writer.writerow(row)
            out.flush()


if __name__ == "__main__":
    main()
