"""Throughput of the scores process and the reference at scale: `python scripts/workload_scale.py`.

Rates are of two threads, after compiling, over one pass; a page score is one page of one layer and
sequence at one step, whether it had to be drawn anew or not.
"""

import resource
import time
from pathlib import Path
from typing import Any

from hmsim.config.base import read_toml
from hmsim.config.workload import WorkloadSpec
from hmsim.workload import open_workload
from hmsim.workload.open import load_spec

QUEST = Path(__file__).parents[1] / "workloads/quest-2048.toml"
CASES: dict[str, dict[str, Any]] = {
    "dense (everything drawn anew)": {"flicker_steps": 1, "slow_steps": 256},
    "dense, 8192 tokens selected": {"flicker_steps": 1, "slow_steps": 256, "budget": 8192},
    "dense, as fitted to real traces": {
        "flicker_steps": 1,
        "slow_steps": 5000,
        "layer_correlation": 0.5,
        "band_correlation": 0.5,
        "slow_parts": 5,
        "flicker_tail": 0.1,
        "popularity_tail": 0.8,
        "burst": 0.7,
        "burst_steps": 2,
        "burst_common": 0.5,
        "layer_spread": 0.4,
        "popularity": 0.5,
        "ages": [-5.0, -4.5, -4.0, -3.0, -1.0, -0.5, 0.0],
    },
    "low turnover": {"flicker": 0.0, "slow_steps": 256},
    "very low turnover": {"flicker": 0.0, "slow_steps": 4096},
}


def spec(copies: int, steps: int, **scores: Any) -> WorkloadSpec:
    given = load_spec(read_toml(QUEST), str(QUEST))
    assert given.scores is not None
    return given.model_copy(
        update={
            "copies": copies,
            "tokens": (131072, 131071 + steps),
            "scores": given.scores.model_copy(update={"dense_layers": 0} | scores),
        }
    )


def report(name: str, given: WorkloadSpec) -> None:
    workload = open_workload(given)
    shape = workload.geometry
    began, cpu, read = time.perf_counter(), time.process_time(), 0
    for chunk in workload.chunks():
        read += int(chunk.reads.sum())
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    scores = shape.steps * shape.slots
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{name:<30} {scores / 1e9:5.2f} G page-steps {seconds:6.2f} s ({cpu:6.2f} s CPU) "
        f"{scores / seconds / 1e6:6.0f} M/s {read / seconds / 1e6:6.1f} M selected/s "
        f"{memory:5.2f} GB",
        flush=True,
    )


def main() -> None:
    for _ in open_workload(spec(1, 4)).chunks():  # compile
        pass
    for name, scores in CASES.items():
        report(name, spec(4, 300, **scores))
    report("Quest, batch 16, 1,000 steps", spec(16, 1000))


if __name__ == "__main__":
    main()
