"""How often a sample's 95 % interval holds what a full replay takes.

    python scripts/sample_coverage.py [SPEC.toml] [--seeds 200] [--set key=value]...

Replays every group of a run once, then samples of it by as many seeds; prints, for every policy,
the share of intervals that hold, their half width and the groups that it took.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmsim.config.run import RunSpec, load_run, resolve
from hmsim.simulate.run import execute

# Steps of some 50 blocks, which load few channels and are simulated whole.
SMALL: dict[str, Any] = {
    "system": {"preset": "gh200-paper", "hbm": {"capacity": 2_400_000, "channels": 4},
               "dram": {"channels": 4}},
    "workload": {
        "model": {"layers": 8, "kv_bytes_per_token_layer": 1024, "weight_bytes_step": 40e3,
                  "resident_bytes": 1.4e6},
        "block_tokens": 1,
        "tokens": [240, 495],
        "sparsity": 0.8,
        "drift": 0.3,
        "seed": 2,
    },
    "policies": {"names": ["static", "reactive"]},
    "replay": {"error": 0.02},
    "bound": {"method": "split"},
}  # fmt: skip


class Coverage(NamedTuple):
    """Of a policy: the share of intervals that hold; medians of their half widths, relative to the
    time, and of the steps replayed; the mean error, relative."""

    share: float
    half: float
    steps: float
    error: float


def replayed(spec: RunSpec, **replay: Any) -> dict[str, tuple[float, float, int]]:
    """Each policy's time by the memories, the half of its interval, and the steps it took."""
    spec = spec.model_copy(update={"replay": spec.replay.model_copy(update=replay)})
    found = {}
    for outcome in execute(spec, None).outcomes:
        assert outcome.replay is not None
        found[outcome.name] = *outcome.replay, outcome.sampled_steps
    return found


def covered(spec: RunSpec, seeds: int) -> dict[str, Coverage]:
    """What samples by so many seeds make of each policy's full replay."""
    whole = replayed(spec, sample=1)
    found = [replayed(spec, seed=seed) for seed in range(seeds)]
    coverage = {}
    for name, (truth, *_) in whole.items():
        time_s, half, steps = np.array([each[name] for each in found]).T
        off = time_s - truth
        coverage[name] = Coverage(
            float(np.mean(np.abs(off) <= half)), float(np.median(half / time_s)),
            float(np.median(steps)), float(np.mean(off) / truth),
        )  # fmt: skip
    return coverage


def small() -> RunSpec:
    """A run whose full replay takes a second or two."""
    return resolve(SMALL, [], "small")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", nargs="?", type=Path, help="a run's TOML file; a small one else")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    spec = load_run(options.spec, options.set) if options.spec else resolve(SMALL, options.set, "")
    print(f"{'policy':20s} {'holds':>7s} {'± %':>7s} {'steps':>7s} {'error %':>8s}")
    for name, each in covered(spec, options.seeds).items():
        print(
            f"{name:20s} {each.share:7.1%} {100 * each.half:7.3f} {each.steps:7.0f} "
            f"{100 * each.error:8.4f}"
        )


if __name__ == "__main__":
    main()
