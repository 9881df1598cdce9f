"""Throughput, cost as the work grows, and peak memory: `python scripts/bench.py [ROOM ...]`.

Rooms: workload, policies, memory, replay, run, job, sweep. Kernels are compiled before they are timed;
figures are medians of three, but for `replay`, `run` and `job`. Prints a table for each room; `--json
FILE` writes all.
"""

import argparse
import gzip
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
from hmsim.config.system import load_system
from hmsim.config.workload import WorkloadSpec
from hmsim.memory.address_trace import replay_trace
from hmsim.memory.device import Extents, MemoryConfig
from hmsim.memory.superchip import Superchip
from hmsim.placement import policies
from hmsim.placement.latency import analytic_rates
from hmsim.workload import open_workload
from hmsim.workload.windows import windows

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
        reads = sum(int(window.own.reads.sum()) for window in seen)
        for name in policies.BUILT_IN:
            policy = policies.make(name)
            if policy.ahead_tokens > 1:
                continue

            def play(policy: Any = policy, seen: Any = seen, source: Any = source) -> None:
                rates = analytic_rates(spec.system)
                run = policy.start(source, spec.system.hbm.capacity, rates, "text")
                for window in seen:
                    run.advance(window)

            seconds = median_seconds(play)
            yield {
                "drift": drift,
                "policy": name,
                "M reads/s": reads / seconds / 1e6,
                "k steps/s": steps / seconds / 1e3,
            }


BLOCKS = 656, 4096, 16384, 65536  # bytes


def run() -> Iterator[Row]:
    """`hmsim run` with every step replayed, on one core: a step's cost, whole processes apart.

    Half of the prompt lies in HBM and half in DRAM; 40 % of it is read at each step.
    What a step costs is the difference of two runs, of which one decodes three times as much: what
    is done once (start-up, classes of traffic that are learned, the bound's search) is not in it.
    """
    cases = [(size, "static", "run", 31299) for size in BLOCKS]
    cases += [(16384, policy, "run", 31299) for policy in ("unlimited", "reactive")]
    cases += [(16384, "static", "run", 31299 // part) for part in (4, 2)]
    cases += [(16384, "static", "burst", 3912), (16384, "static", "analytic", 31299)]
    _replayed(656, "static", "run", 3912, 2)  # compiles
    for size, policy, fidelity, prompt in cases:
        tokens = 2 if fidelity == "burst" else 240  # fewer take less than starts differ by
        less, more = (
            _replayed(size, policy, fidelity, prompt, count) for count in (tokens, 3 * tokens)
        )
        amount, seconds, steps = (b - a for a, b in zip(less[:3], more[:3], strict=True))
        yield {
            "block bytes": size,
            "policy": policy,
            "fidelity": fidelity,
            "blocks a step": more[0] / more[2] / size,
            "us a step": seconds / steps * 1e6,
            "ns a block": seconds / amount * size * 1e9,
            "GB/s a core": amount / seconds / 1e9,
            "peak MB": more[3],
        }


def _replayed(
    size: int, policy: str, fidelity: str, prompt: int, tokens: int
) -> tuple[float, float, int, float]:
    """Demand bytes, CPU seconds, steps and peak megabytes of a run."""
    resident = 16 << 30
    model = (
        f"{{ layers = 32, kv_bytes_per_token_layer = {size}, weight_bytes_step = 1e6, "
        f"resident_bytes = {resident} }}"
    )
    changes = {
        "system.hbm.capacity": resident + prompt * 32 * size // 2,
        "workload.model": model,
        "workload.tokens": [prompt, prompt + tokens],
        "replay.sample": 1,
        "replay.fidelity": fidelity,
    }
    call = [sys.executable, "-m", "hmsim", "run", str(PAPER), "--policy", policy, "--json"]
    for key, value in changes.items():
        call += ["--set", f"{key}={value}"]
    with tempfile.TemporaryDirectory() as folder:
        said, seconds, peak = _used([*call, "-o", f"{folder}/r.h5"])
    report = json.loads(said)
    amount = report["policies"][policy]
    demand = amount["aggregate_bandwidth_GBps"] * 1e9 * amount["time_s"]
    return demand, seconds, (tokens + 1) * 32, peak


def _used(call: list[str]) -> tuple[str, float, float]:
    """What a command prints, its CPU seconds and its peak megabytes."""
    code = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], check=True); "
    code += "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    code += "print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *call], check=True, capture_output=True, text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    )  # fmt: skip
    seconds, peak = map(float, done.stderr.splitlines()[-1].split())
    return done.stdout, seconds, peak * 1024 / 1e6


LINES = 20_000_000  # of a trace


def replay() -> Iterator[Row]:
    """`hmsim replay` of 20 million lines on 16 channels, from file to figures, start-up included."""
    call = [sys.executable, "-m", "hmsim", "replay", "--memory", "hbm3-6400", "--channels", "16"]
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        path, packed = Path(folder) / "a.trace", Path(folder) / "a.trace.gz"
        path.write_bytes(_lines(np.arange(1000)))
        for _ in range(2):  # compiles, and leaves machine code that is called without Numba
            _used([*call, str(path)])
        yield _file_to_figures("none", path, "burst", call, 1000)
        for pattern in ("sequential", "random"):
            with path.open("wb") as file, gzip.open(packed, "wb", compresslevel=6) as small:
                for first in range(0, LINES, 1 << 20):
                    number = np.arange(first, min(first + (1 << 20), LINES))
                    if pattern == "random":
                        number = rng.integers(0, 1 << 25, len(number))
                    text = _lines(number)
                    file.write(text)
                    small.write(text)
            for each in (path, packed):
                for fidelity in ("burst", "run"):
                    yield _file_to_figures(pattern, each, fidelity, call, LINES)


def _lines(number: np.ndarray) -> bytes:
    """Loads of so many bursts of a memory, as text."""
    digits = (number[:, None] * 32 >> np.arange(28, -1, -4)) & 15
    text = np.frombuffer(b"0123456789abcdef", np.uint8)[digits]
    begin, end = (np.frombuffer(each, np.uint8) for each in (b"LD 0x", b"\n"))
    rows = (np.broadcast_to(each, (len(text), len(each))) for each in (begin, end))
    return np.hstack([next(rows), text, next(rows)]).tobytes()


def _file_to_figures(pattern: str, path: Path, fidelity: str, call: list[str], lines: int) -> Row:
    _, seconds, peak = _used([*call, str(path), "--fidelity", fidelity])
    return {
        "pattern": pattern,
        "file": path.suffix,
        "fidelity": fidelity,
        "lines": lines,
        "CPU s": seconds,
        "M lines/s": lines / seconds / 1e6,
        "peak MB": peak,
    }


def job() -> Iterator[Row]:
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


SWEEP = """
[base]
system = "gh200-96gb"
workload = { model = "llama-3.1-8b", layers = 8, block_tokens = 16, tokens = [1600, 1724] }
replay = { fidelity = "analytic" }
[axes.capacity]
key = "system.hbm.capacity"
range = { from = "16.065 GB", to = "16.09 GB", count = 10 }
[axes.link]
key = ["system.link.read_bandwidth", "system.link.write_bandwidth"]
log = { from = "100 GB/s", to = "900 GB/s", count = 10 }
[axes.sparsity]
key = "workload.sparsity"
range = { from = 0.3, to = 0.9, count = 10 }
"""


def sweep() -> Iterator[Row]:
    """1,000 points of 10^5 blocks and steps each, default settings, start-up included."""
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sweep.toml"
            path.write_text(SWEEP)
            call = [sys.executable, "-m", "hmsim", "sweep", str(path), "-o", f"{folder}/out",
                    "--jobs", str(jobs)]  # fmt: skip
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            subprocess.run(call, check=True, capture_output=True)
            wall = time.perf_counter() - began
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            yield {"jobs": jobs, "wall s": wall, "CPU s": cpu, "points/s": 1000 / wall}


def memory() -> Iterator[Row]:
    """Burst and run fidelity, one process; CPU time where there is one thread, else wall time."""
    rng = np.random.default_rng(0)
    n = 1 << 20
    for name in ("hbm3-6400", "lpddr5-6400"):
        patterns = {
            "sequential": np.arange(n) * 32,
            "pages of 4 KiB": _page_bursts(rng, 4096, n),
            "random 32 B": rng.integers(0, 1 << 25, n) * 32,
        }
        for pattern, address in patterns.items():

            def replay(fidelity: str, a: Any = address, m: str = name) -> tuple[float, float]:
                began = time.process_time()
                found = replay_trace((a, np.zeros(len(a), np.int64)), m, fidelity=fidelity)
                return found.seconds, time.process_time() - began

            seconds = {}
            for fidelity in ("burst", "run"):
                seconds[fidelity] = replay(fidelity)[0]
                wall = statistics.median(replay(fidelity)[1] for _ in range(3))
                off = 100 * (seconds[fidelity] / seconds["burst"] - 1)
                yield _speed(name, pattern, fidelity, 1, 32 * n, wall, wall, off)
    yield from _superchip(rng)


def _superchip(rng: np.random.Generator) -> Iterator[Row]:
    """Steps of 288 MiB on a whole GH200, no two alike: the first one, and the median of the rest."""
    system = load_system("gh200-96gb")
    total = 256 << 20
    for size in (4096, 16384, 65536):
        for writes in (0.0, 0.3):

            def extents(amount: int, size: int = size, writes: float = writes) -> Extents:
                n = amount // size
                address = rng.integers(0, (64 << 30) // size, n) * size
                return Extents(address, np.full(n, size), (rng.random(n) < writes).astype(np.int64))

            steps = [(extents(total), extents(total // 8)) for _ in range(9)]
            pattern = f"pages of {size >> 10} KiB" + (", 30 % written" if writes else "")
            reference = 0.0
            for fidelity, threads, some in (("burst", 1, 3), ("burst", 2, 3), ("run", 1, 9)):
                chip = Superchip(
                    MemoryConfig.of(system.hbm), system.link, MemoryConfig.of(system.dram),
                    system.outstanding, fidelity, threads,
                )  # fmt: skip
                clock = time.process_time if threads == 1 else time.perf_counter
                walls, simulated = [], []
                for step in steps[:some]:
                    began = clock()
                    simulated.append(chip.step(*step).seconds)
                    walls.append(clock() - began)
                reference = reference or sum(simulated[:3])
                off = 100 * (sum(simulated[:3]) / reference - 1)
                wall = statistics.median(walls[1:])
                amount = total * 9 // 8
                yield _speed("gh200-96gb", pattern, fidelity, threads, amount, wall, walls[0], off)


def _speed(
    name: str, pattern: str, fidelity: str, threads: int, amount: int, wall: float, first: float,
    off: float,
) -> Row:  # fmt: skip
    return {
        "memory": name,
        "pattern": pattern,
        "fidelity": fidelity,
        "threads": threads,
        "M bursts/s": amount / 32 / wall / 1e6,
        "simulated GB/s": amount / wall / 1e9,
        "first ms": first * 1e3,
        "off burst %": off,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def _page_bursts(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """Addresses of n bursts: random pages, each in order."""
    pages = rng.integers(0, (1 << 30) // size, n * 32 // size)
    return (pages[:, None] * size + np.arange(0, size, 32)).ravel()


ROOMS: dict[str, Callable[[], Iterator[Row]]] = {
    "workload": workload,
    "policies": placement,
    "memory": memory,
    "replay": replay,
    "run": run,
    "job": job,
    "sweep": sweep,
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
