"""Throughput, cost as the work grows, and peak memory: `python scripts/bench.py [ROOM ...]`.

Rooms: workload, policies, memory, run. Kernels are compiled before they are timed; figures are
medians of three. Prints a table for each room; `--json FILE` writes all figures.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hmsim.config.run import load_run
from hmsim.config.workload import WorkloadSpec
from hmsim.placement import policies, runs
from hmsim.placement.window import windows
from hmsim.replay.engine import analytic_rates
from hmsim.workload import open_workload

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "workloads/paper-60.toml"
Row = dict[str, Any]


def median_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Median wall time of `work`, after one untimed call."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def paper_tokens(tokens: int, drift: float) -> WorkloadSpec:
    """The paper's workload, cut to so many decoded tokens."""
    return load_run(PAPER).workload.model_copy(
        update={"tokens": (31299, 31298 + tokens), "drift": drift}
    )


def workload() -> Iterator[Row]:
    """Generation: selected blocks a second, both threads, by length and by turnover."""
    for drift in (0.1, 0.9):
        for tokens in (50, 100, 200, 400):
            source = open_workload(paper_tokens(tokens, drift))
            reads = sum(int(chunk.reads.sum()) for chunk in source.chunks())
            seconds = median_seconds(lambda s=source: [None for _ in s.chunks()])
            yield {"drift": drift, "tokens": tokens, "M reads/s": reads / seconds / 1e6}


def placement() -> Iterator[Row]:
    """One policy on one core, the workload already generated."""
    spec = load_run(PAPER)
    for drift in (0.1, 0.9):
        source = open_workload(paper_tokens(160, drift))
        seen = list(windows(source, 1))
        steps = source.geometry.steps
        reads = sum(int(window.reads[: window.rows].sum()) for window, _ in seen)
        for name in policies.BUILT_IN:
            policy = policies.make(name)
            if policy.ahead_tokens > 1 or not hasattr(policy, "name"):
                continue

            def play(policy: Any = policy, seen: Any = seen, source: Any = source) -> None:
                run = runs.start(
                    policy, source, spec.system.hbm.capacity, analytic_rates(spec.system), "text"
                )
                for window, demand in seen:
                    run.advance(window, demand, np.full(window.rows, -1))

            seconds = median_seconds(play)
            yield {
                "drift": drift,
                "policy": name,
                "M reads/s": reads / seconds / 1e6,
                "k steps/s": steps / seconds / 1e3,
            }


def run() -> Iterator[Row]:
    """The main job as a whole process, warm and with an empty cache of compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("cold", "warm"):
            call = [sys.executable, "-m", "hmsim", "run", str(PAPER), "-o", f"{folder}/r.h5",
                    "--plot", f"{folder}/r.png", "--json"]  # fmt: skip
            began = time.perf_counter()
            done = subprocess.run(
                call, check=True, capture_output=True, text=True,
                env={**os.environ, "NUMBA_CACHE_DIR": f"{folder}/cache"},
            )  # fmt: skip
            wall = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            report = json.loads(done.stdout)
            yield {
                "cache": cache,
                "wall s": wall,
                "peak GB": peak * 1024 / 1e9,
                "static s": report["policies"]["static"]["time_s"],
            }


ROOMS: dict[str, Callable[[], Iterator[Row]]] = {
    "workload": workload,
    "policies": placement,
    "run": run,
}


def show(rows: list[Row]) -> None:
    """The rows as a table."""

    def text(value: Any) -> str:
        return f"{value:,.4g}" if isinstance(value, float) else str(value)

    names = list(rows[0])
    width = {name: max(len(name), *(len(text(row[name])) for row in rows)) for name in names}
    print("  ".join(f"{name:>{width[name]}}" for name in names))
    for row in rows:
        print("  ".join(f"{text(row[name]):>{width[name]}}" for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    unknown = set(options.rooms) - set(ROOMS)
    if unknown:
        parser.error(f"no such room: {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    figures = {}
    for name in options.rooms or ROOMS:
        print(f"\n{name}: {ROOMS[name].__doc__.splitlines()[0]}")
        figures[name] = list(ROOMS[name]())
        show(figures[name])
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
