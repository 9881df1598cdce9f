"""Results of every sort that figures and reports are drawn from, small."""

from pathlib import Path

import hmsim
from hmsim.config.sweep import load_sweep
from hmsim.memory.address_trace import replay_trace
from hmsim.sweep.coordinator import plan_of, sweep_into
from hmsim.sweep.folder import Folder
from tests.sweep.toy_sweep import TEXT, Here, write

CONFIG = {
    "title": "a small run",
    "system": {"preset": "gh200-paper", "hbm": {"capacity": "16.0005 GB"}},
    "workload": {"model": "llama-3.1-8b-paper", "tokens": [40, 55], "layers": 4, "drift": 0.5},
    "policies": {"names": ["unlimited", "static", "reactive"]},
    "replay": {"fidelity": "analytic"},
    "bound": {"method": "split"},
}


# Weights of 163 MB a step are 2.5 million bursts: where bursts are replayed, fewer of them.
LIGHT = {
    "layers": 4,
    "kv_bytes_per_token_layer": 16384,
    "weight_bytes_step": 1_000_000,
    "resident_bytes": 16e9,
}


def result(folder: Path, name: str = "run.h5", **changes: str) -> hmsim.Result:
    return hmsim.run(CONFIG, [f"{key}={value}" for key, value in changes.items()], folder / name)


def burst_result(folder: Path) -> hmsim.Result:
    """Every other group through the `burst` engine."""
    config = CONFIG | {
        "workload": CONFIG["workload"] | {"model": LIGHT},
        "replay": {"fidelity": "burst", "sample": 2},
    }
    return hmsim.run(config, [], folder / "burst.h5")


def sweep(folder: Path) -> Path:
    """A sweep's directory: sparsity (two values, one twice) by capacity (one of which fails)."""
    path = write(folder, TEXT)
    spec = load_sweep(path)
    with Folder(folder / "out", spec, resume=False) as out:
        sweep_into(out, plan_of(spec, str(path)), spec, Here, lambda _: None)
    return folder / "out"


def replay(load: float) -> dict:
    import numpy as np

    address = np.arange(400) * 64
    trace = (address, np.zeros(400, np.int64))
    return replay_trace(trace, "hbm3-6400", load=load).to_json()
