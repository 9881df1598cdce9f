"""The figure of docs/placement.md: `python scripts/bound_figure.py docs/placement.svg`.

One small instance of the wild churn from both sides: the certified bound rises pass by pass to the
LP's optimum, while annealing brings a schedule down to it.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from hmsim.bound import bound
from hmsim.bound.exact.anneal import Schedule
from hmsim.bound.exact.problem import collect
from hmsim.bound.paths.words import gather
from hmsim.bound.prices import Setting
from hmsim.config.base import load
from hmsim.config.workload import WorkloadSpec
from hmsim.placement.latency import Rates
from hmsim.workload import open_workload

MODEL = {  # the founding paper's, with weights as much smaller as the context is
    "layers": 2,
    "kv_bytes_per_token_layer": 16384,
    "weight_bytes_step": 11e6,
    "resident_bytes": 1,
}
SPEC = {"model": MODEL, "block_tokens": 16, "tokens": (2400, 2499), "drift": 0.9}
RATES = Rates(4.9e12, 450e9, 450e9, 500e9)
SHARE = 0.3  # of the blocks fits in HBM
ROUNDS, MOVES = 40, 100_000


def main() -> None:
    workload = open_workload(load(WorkloadSpec, SPEC, "bound_figure"))
    geometry = workload.geometry
    blocks = collect(workload, float("inf")).blocks
    capacity = geometry.resident_bytes + SHARE * blocks * geometry.block_bytes
    optimum = bound(workload, RATES, capacity, method="lp")
    dual = bound(workload, RATES, capacity, method="dual", gap=0.0)

    problem = collect(workload, capacity)
    timeline, _ = gather(workload, 1)
    setting = Setting(timeline, RATES, "text", "layer", geometry.block_bytes, problem.capacity)
    schedule = Schedule(problem, setting)
    times = [schedule.cost]
    warm = 0.1 * schedule.cost / problem.steps
    for k in range(ROUNDS):
        schedule.anneal(MOVES, warm * 0.8**k, warm * 0.8 ** (k + 1), seed=k)
        times.append(schedule.cost)

    plt.rcParams["svg.hashsalt"] = "hmsim"
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.6, 2.6), sharey=True, layout="constrained"
    )
    left.plot([1e3 * value for value in dual.convergence], color="#0072b2", marker="o", ms=2)
    left.set(
        xlabel="passes over the blocks", ylabel="time, ms", title="certified bound", xscale="log"
    )
    right.plot(
        [k * MOVES / 1e6 for k in range(ROUNDS + 1)], [1e3 * t for t in times], color="#d55e00"
    )
    right.set(xlabel="million moves", title="annealed schedule")
    for axes in (left, right):
        axes.axhline(1e3 * optimum.bound_s, color="black", lw=0.8, ls="--", label="LP optimum")
        axes.legend(frameon=False)
    figure.savefig(Path(sys.argv[1]), metadata={"Date": None})


if __name__ == "__main__":
    main()
