"""Throughput of the scores process and the reference at scale.

    python scripts/workload_scale.py [CASE ...]

Rates are of two threads, after compiling, over one pass; a page score is one page of one layer and
sequence at one step, whether it had to be drawn anew or not. The last rate is what two idle cores
would make in the same processor time: the one to look at where others use the machine too. CASEs are
parts of names; all cases without.
"""

import resource
import sys
import time
from pathlib import Path
from typing import Any

from hmsim.config.base import read_toml
from hmsim.config.workload import WorkloadSpec
from hmsim.workload import open_workload
from hmsim.workload.open import load_spec

ROOT = Path(__file__).parents[1]
QUEST = ROOT / "workloads/quest-2048.toml"


def fitted(name: str) -> dict[str, Any]:
    """Every key that a spec fitted to a real trace sets, but for its budget."""
    path = ROOT / f"results/real/fit-{name}.toml"
    scores = load_spec(read_toml(path), str(path)).scores
    assert scores is not None
    return scores.model_dump(exclude_unset=True, exclude={"budget"})


CASES: dict[str, dict[str, Any]] = {
    "dense (everything drawn anew)": {"flicker_steps": 1, "slow_steps": 256},
    "dense, 8192 tokens selected": {"flicker_steps": 1, "slow_steps": 256, "budget": 8192},
    "as fitted, pages": fitted("persuasion-pages-1024"),
    "as fitted, Quest": fitted("persuasion-quest-1024"),
    "as fitted, tokens": fitted("persuasion-tokens-64"),
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
        f"{scores / seconds / 1e6:6.0f} M/s ({2 * scores / cpu / 1e6:6.0f} by CPU) "
        f"{read / seconds / 1e6:6.1f} M selected/s {memory:5.2f} GB",
        flush=True,
    )


def main() -> None:
    for _ in open_workload(spec(1, 4)).chunks():  # compile
        pass
    cases = {name: spec(4, 300, **scores) for name, scores in CASES.items()}
    cases["Quest, batch 16, 1,000 steps"] = spec(16, 1000)
    for name, given in cases.items():
        if any(part in name for part in sys.argv[1:] or [name]):
            report(name, given)


if __name__ == "__main__":
    main()
