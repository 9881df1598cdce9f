"""Energy against what was published and measured: writes results/memory/energy.csv, prints tables.

    python scripts/validate_energy.py

The first table has every memory's coefficients. The second holds the burst engine's joules of streams,
at the bandwidth that was measured, against the memory rail of an H200 (nvidia-smi, CMU-SAFARI/HBM-Power
@318d3d1f): 96 channels of HBM3E, of which 8 are simulated, as all do the same.
"""

import csv
from pathlib import Path

import numpy as np

from hmsim.config.base import preset_names
from hmsim.config.memory import load_memory
from hmsim.memory.device import Extents, Memory, MemoryConfig
from hmsim.memory.energy import commands, energy

OUT = Path(__file__).parent.parent / "results" / "memory" / "energy.csv"
MEMORY, CHANNELS, SIMULATED, STRIPE = "hbm3e-6400", 96, 8, 2048
TOTAL, PIECE = 32 << 20, 1 << 16  # bytes that are moved; of a stream before the next stream's
WINDOW = 512  # bursts in flight in a channel
# What, GB/s, kind of data, watts. `standby` and `io` of the preset are inferred from these rows.
READINGS = (
    ("idle", 0.0, "random", 45.0),
    ("idle", 0.0, "static", 42.2),
    ("read of random data", 4510.6, "random", 255.2),
    ("read of zeros", 4519.9, "static", 226.7),
    ("triad of random data", 4132.7, "random", 222.5),
)


def streams(count: int, written: int) -> Extents:
    """So many streams in turn, the last `written` of which are written, as arrays lie in a memory."""
    pieces = np.arange(TOTAL // PIECE)
    stream, piece = pieces % count, pieces // count
    apart = TOTAL + 37 * SIMULATED * STRIPE  # no power of two, or all would be in the same banks
    write = (stream >= count - written).astype(np.int64)
    return Extents(stream * apart + piece * PIECE, np.full(len(pieces), PIECE), write)


def watts(what: str, rate: float, data: str) -> tuple[np.ndarray, float | None]:
    """Of the whole memory, [CASES], and the share of the bursts that found their row open."""
    spec = load_memory(MEMORY)
    config = MemoryConfig(
        spec, SIMULATED, interleave=STRIPE, read_queue=96, write_queue=512, refresh="per-bank"
    )
    if not rate:
        refreshes = round(2 * SIMULATED * 32 / (spec.refresh.nREFI * spec.tCK))  # in a second
        counts = {"activations": 0, "reads": 0, "writes": 0, "refreshes": refreshes}
        return CHANNELS / SIMULATED * energy(config, counts, 1.0, data).sum(axis=1), None
    extents = streams(3, 1) if what.startswith("triad") else streams(1, 0)
    memory = Memory(config, window=WINDOW, posted_writes=False)
    _, counts = memory.replay_apart(extents, 0, WINDOW, 0)
    seconds = TOTAL / (rate * 1e9 * SIMULATED / CHANNELS)
    joules = energy(config, counts, seconds, data)
    hits = counts["row_hits"] / (counts["reads"] + counts["writes"])
    return CHANNELS / SIMULATED / seconds * joules.sum(axis=1), hits


def main() -> None:
    print("memory        activation nJ  read pJ/bit  write pJ/bit  io pJ/bit  standby mW")
    for name in preset_names("memory"):
        spec = load_memory(name)
        bits = 8e-12 * spec.organization.burst_bytes
        kinds = [commands(spec, data) for data in ("static", "random")]

        def shown(values: np.ndarray, unit: float) -> str:
            nominal, low, high = (values / unit).tolist()
            return f"{nominal:.3g}" if low == high else f"{low:.3g}..{high:.3g}"

        cells = [
            shown(kinds[1].activation_J, 1e-9),
            *(
                " ".join(shown(getattr(each, key), bits) for each in kinds)
                for key in ("read_J", "write_J")
            ),
            shown(kinds[1].io_J, bits),
            shown(kinds[1].closed_W, 1e-3),
        ]
        print(f"{name:13} {'   '.join(cells)}")
    rows = []
    for what, rate, data, measured in READINGS:
        found, hits = watts(what, rate, data)
        nominal, low, high = found.tolist()
        rows.append([what, rate, data, measured, nominal, low, high, nominal / measured - 1, hits])
        print(
            f"{what:22} {rate:7.1f} GB/s  measured {measured:6.1f} W  simulated {nominal:6.1f} W "
            f"({low:.1f} to {high:.1f})  {100 * (nominal / measured - 1):+.1f} %"
        )
    head = [
        "what",
        "GBps",
        "data",
        "measured_W",
        "simulated_W",
        "low_W",
        "high_W",
        "error",
        "row_hits",
    ]
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([[f"{c:.6g}" if isinstance(c, float) else c for c in row] for row in rows])
    print(OUT)


if __name__ == "__main__":
    main()
