"""The memory models against others: `python scripts/validate_memory.py [-o DIR]`.

Against Ramulator 2.1 (tests/references/dram_reference.csv): every row with its errors, worst first,
and a parity plot. Against published measurements of machines: docs/silicon.md with its figure (see
silicon.py, which makes that alone). And latency against load for every memory preset. Writes CSV and
PNG files to results/memory.
"""

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hmsim.config.base import preset_names
from hmsim.config.memory import load_memory
from hmsim.memory.address_trace import replay_trace
from hmsim.memory.device import Extents, Memory, MemoryConfig

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests/references/dram_reference.csv"
PRESET = {"HBM3": "hbm3-6400", "HBM4": "hbm4-8000", "LPDDR5": "lpddr5-6400"}
REFRESH = {"AllBank": "all-bank", "NoRefresh": "none", "PerBank": "per-bank-blocking"}
Row = dict[str, Any]


def stream(kind: str, n: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Addresses and writes of a named stream, by the reference's own rules (seed 1)."""
    rng = np.random.default_rng(1)
    if kind in ("seq", "seqwr"):
        return np.arange(n) * 32, np.full(n, int(kind == "seqwr"))
    match = re.fullmatch(r"(rand|page)(\d+)k?(?:w(\d+))?(?:x(\d+))?", kind)
    assert match is not None, kind
    size = int(match[2]) * (1024 if match[1] == "page" else 1)
    lines, together = size // 32, int(match[4] or 1)
    groups = -(-n // lines)
    groups = -(-groups // together) * together
    start = rng.integers(0, (channels << 30) // size, groups)
    writes = rng.random(groups) < int(match[3] or 0) / 100 if match[3] else np.zeros(groups, bool)

    def spread(first: np.ndarray) -> np.ndarray:
        """Pages line by line, `together` of them interleaved."""
        return first.reshape(-1, together, lines).transpose(0, 2, 1).ravel()[:n]

    address = (start[:, None] * lines + np.arange(lines)) * 32
    return spread(address), spread(np.repeat(writes[:, None], lines, 1)).astype(np.int64)


def against_ramulator(path: Path) -> list[Row]:
    """Errors in per cent of every row of the reference, worst bandwidth first."""
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            n, channels = int(row["requests"]), int(row["channels"])
            policy = row["row_policy"].removeprefix("Closed")
            result = replay_trace(
                stream(row["kind"], n, channels),
                PRESET[row["std"]],
                channels=channels,
                mapping=row["mapper"],
                queue=int(row["read_queue"]),
                row_policy="open" if policy == "Open" else f"closed:{policy}",
                refresh=REFRESH[row["refresh"]],
                load=float(row["load"]) if row["load"] else None,
                poisson=row["poisson"] == "True",
                scheduler=row["sched"],
            )
            latency = float(row["lat_ctrl_mean_ns"])
            rows.append(
                {
                    **{key: row[key] for key in ("suite", "std", "kind", "mapper", "sched")},
                    **{key: row[key] for key in ("row_policy", "refresh", "read_queue", "load")},
                    "reference_GBps": float(row["GBps"]),
                    "hmsim_GBps": round(result.bandwidth_GBps, 4),
                    "bandwidth_error_%": 100 * (result.bandwidth_GBps / float(row["GBps"]) - 1),
                    "latency_error_%": 100 * (result.mean_read_latency_ns / latency - 1)
                    if latency
                    else 0.0,
                }
            )
    key = "bandwidth_error_%"
    return sorted(rows, key=lambda row: -max(abs(row[key]), abs(row["latency_error_%"])))


VARIED: dict[str, list[Any]] = {
    "memory": preset_names("memory"),
    "page_bytes": [256, 512, 1024, 4096, 16384, 65536],
    "in_a_row": [False, False, False, True],
    "written": [0.0, 0.05, 0.3, 1.0],
    "refresh": ["all-bank", "per-bank", "none"],
    "mapping": [None, "RoBaRaCoCh", "MOP4CLXOR"],
    "interleave": [256, 512, 1024, 2048],
    "channels": [5, 8, 12, 24],
    "queue": [16, 32, 64],
    "step_MB": [16, 32, 64],
}


def against_burst(first: int, last: int, in_turn: bool) -> Iterator[Row]:
    """`run` against `burst` over three steps, the first and all, on random configurations of VARIED,
    one for each seed from `first` up to `last`; errors in per cent of the time.

    in_turn: a step is what a policy's is. A third of it is weights, read in extents of 1 MiB; then
    all that is read, and then all that is written. Else one is as likely as the other throughout.
    """
    for seed in range(first, last):
        rng = np.random.default_rng(seed)
        row = {name: some[rng.integers(len(some))] for name, some in VARIED.items()}
        config = MemoryConfig(
            load_memory(row["memory"]), row["channels"], row["mapping"], row["interleave"],
            read_queue=row["queue"], refresh=row["refresh"],
        )  # fmt: skip
        window, size = 512, row["page_bytes"]
        memories = [Memory(config, window=window, posted_writes=False) for _ in range(2)]
        n = (row["step_MB"] << 20) // size
        ticks = np.zeros((2, 3), np.int64)
        for step in range(3):
            place = rng.integers(0, memories[0].capacity // size, n)
            if row["in_a_row"]:
                place = rng.integers(0, 1000) + np.arange(n)
            write = (rng.random(n) < row["written"]).astype(np.int64)
            weights = np.arange(row["step_MB"] // 3 if in_turn else 0) << 20
            first_block = (len(weights) << 20) // size
            written = write[first_block:]
            extents = Extents(
                np.append(weights, place[: n - first_block] * size),
                np.append(np.full(len(weights), 1 << 20), np.full(len(written), size)),
                np.append(np.zeros_like(weights), np.sort(written) if in_turn else written),
            )
            for k, memory in enumerate(memories):
                start = int(ticks[k].sum())
                ticks[k, step] = memory.replay_apart(extents, start, window, 0, bool(k))[0]
        burst, run = ticks
        yield {
            **row,
            "in_turn": in_turn,
            "first_step_error_%": round(100 * (run[0] / burst[0] - 1), 3),
            "error_%": round(100 * (run.sum() / burst.sum() - 1), 3),
        }


def latency_curves() -> Iterator[Row]:
    """Mean and 99th percentile read latency by load, Poisson arrivals, for every preset."""
    for name in preset_names("memory"):
        for kind in ("rand256", "page4k"):
            for load in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9):
                result = replay_trace(
                    stream(kind, 40_000, 1), name, load=load, poisson=True,
                    wrap=True,  # some channels hold less than the stream spans
                )  # fmt: skip
                yield {
                    "memory": name,
                    "kind": kind,
                    "load": load,
                    "bandwidth_GBps": round(result.bandwidth_GBps, 3),
                    "mean_latency_ns": round(result.mean_arrival_latency_ns, 2),
                    "p99_read_latency_ns": round(result.p99_read_latency_ns, 2),
                }


def concurrency_curves() -> Iterator[Row]:
    """Closed loop: bandwidth and latency by bursts in flight per channel, for every preset."""
    for name in preset_names("memory"):
        for flight in (1, 2, 4, 8, 16, 32, 64):
            memory = Memory(MemoryConfig(load_memory(name)), window=flight, posted_writes=False)
            address, write = stream("rand256", 20_000, 1)
            extents = Extents(address % memory.capacity, np.full(len(address), 32), write)
            ticks, counts = memory.replay_apart(extents, 0, flight, 0)
            yield {
                "memory": name,
                "bursts_in_flight": flight,
                "bandwidth_GBps": round(32 * len(address) / (ticks * memory.tick_s) / 1e9, 3),
                "mean_latency_ns": round(
                    counts["latency_ticks"] / counts["reads"] * memory.tick_s * 1e9, 2
                ),
            }


def write_csv(path: Path, rows: list[Row]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def draw(folder: Path, parity: list[Row], curves: list[Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if parity:
        figure, axes = pyplot.subplots(figsize=(4.5, 4.2), layout="constrained")
        for standard, marker in (("HBM3", "o"), ("LPDDR5", "s")):
            chosen = [row for row in parity if row["std"] == standard]
            axes.plot(
                [row["reference_GBps"] for row in chosen],
                [row["hmsim_GBps"] for row in chosen],
                marker,
                label=standard,
                alpha=0.6,
            )
        axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8)
        axes.set(xlabel="Ramulator 2.1 (GB/s)", ylabel="hmsim burst (GB/s)")
        axes.legend()
        figure.savefig(folder / "parity.png", dpi=150)
    figure, axes = pyplot.subplots(figsize=(6, 4.2), layout="constrained")
    for n, name in enumerate(preset_names("memory")):
        chosen = [row for row in curves if row["memory"] == name and row["kind"] == "page4k"]
        axes.plot(
            [100 * row["load"] for row in chosen],
            [row["mean_latency_ns"] for row in chosen],
            marker="osv^Dx*"[n % 7],
            label=name,
        )
    axes.set(xlabel="load (% of peak)", ylabel="mean latency (ns)", yscale="log")
    axes.legend()
    figure.savefig(folder / "latency-load.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "results/memory")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    parity = against_ramulator(REFERENCE)
    write_csv(options.output / "ramulator.csv", parity)
    for key in ("bandwidth_error_%", "latency_error_%"):
        errors = [abs(row[key]) for row in parity]
        print(f"{key}: mean {np.mean(errors):.5f}, worst {max(errors):.5f}, {len(errors)} rows")
    fidelity = [*against_burst(0, 150, False), *against_burst(150, 250, True)]
    fidelity.sort(key=lambda row: -abs(row["error_%"]))
    write_csv(options.output / "run-fidelity.csv", fidelity)
    for text, low, high, in_turn in (
        ("below 1 KiB", 0, 1024, False), ("1 KiB and more", 1024, 1 << 30, False),
        ("of steps whose reads, writes and weights come in turn", 0, 1 << 30, True),
    ):  # fmt: skip
        chosen = [
            row for row in fidelity
            if low <= row["page_bytes"] < high and row["in_turn"] == in_turn
        ]  # fmt: skip
        for key in ("first_step_error_%", "error_%"):
            errors = np.array([row[key] for row in chosen])
            print(
                f"run against burst, pages {text}, {key}: mean {np.abs(errors).mean():.2f}, bias"
                f" {errors.mean():+.2f}, worst {np.abs(errors).max():.2f}, beyond 2 %:"
                f" {(np.abs(errors) > 2).sum()} of {len(errors)}"
            )
    import silicon  # beside this script

    machines = silicon.write()
    print(f"against {len(machines)} measurements of machines: {silicon.summary(machines)}")
    curves = list(latency_curves())
    write_csv(options.output / "latency-load.csv", curves)
    write_csv(options.output / "concurrency.csv", list(concurrency_curves()))
    draw(options.output, parity, curves)


if __name__ == "__main__":
    main()
