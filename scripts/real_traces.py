"""The committed traces of a real model in figures, beside the synthetic specs.

    python scripts/real_traces.py                # writes results/real/statistics.csv
    python scripts/real_traces.py pack TRACE.h5  # compresses a trace as hard as HDF5 can, in place

workloads/real/README.md says how the traces were made. A spec is measured at its own context, over
TOKENS tokens of LAYERS layers, none of them dense.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import h5py

from hmsim import files
from hmsim.config.base import read_toml
from hmsim.config.calibration import FitSpec
from hmsim.workload.calibrate import trial_of
from hmsim.workload.capture.session import sidecar_of
from hmsim.workload.dynamics import measure_dynamics
from hmsim.workload.open import load_spec, open_workload
from hmsim.workload.statistics import measure
from hmsim.workload.trace import TraceWorkload

ROOT = Path(__file__).parents[1]
TRACES = ROOT / "workloads/real"
RESULT = ROOT / "results/real/statistics.csv"
SPECS = ("quest-2048", "shadowkv-1.56", "nosa-4096", "paper-60-real")
TOKENS, LAYERS = 256, 4
LEFT_OUT = {"working_set", "reuse"}  # counts, not shares


def main() -> None:
    columns = {path.stem: of_trace(path) for path in sorted(TRACES.glob("*.h5"))}
    columns |= {name: of_spec(name) for name in SPECS}
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    with open(RESULT, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["statistic", *columns])
        for row in rows:
            table.writerow([row, *(shown(column.get(row)) for column in columns.values())])


def pack(path: Path) -> None:
    with files.writing(path) as beside, h5py.File(path) as old, h5py.File(beside, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name: str, data: Any) -> None:
            if isinstance(data, h5py.Dataset):
                new.create_dataset(
                    name, data=data[:], chunks=data.chunks, maxshape=data.maxshape,
                    compression="gzip", compression_opts=9, shuffle=data.shuffle,
                )  # fmt: skip

        old.visititems(copy)


def of_trace(path: Path) -> dict[str, Any]:
    said = json.loads(sidecar_of(path).read_text())
    by_layer = said["mass_by_layer"]
    mass = {f"mass.{name}": sum(values) / len(values) for name, values in by_layer.items()}
    mass |= {"mass.first_token.most of a layer": max(by_layer["first_token"])}
    return figures(TraceWorkload(path)) | mass


def of_spec(name: str) -> dict[str, Any]:
    path = ROOT / f"workloads/{name}.toml"
    spec = load_spec(read_toml(path), path.name)
    fit = FitSpec(parameters={"seed": (0, 1)}, layers=LAYERS, steps=TOKENS)
    return figures(open_workload(trial_of(spec, fit, path.name), path.parent))


def figures(workload: Any) -> dict[str, Any]:
    """Every statistic by a dotted name."""
    report = (
        measure(workload, lanes=workload.geometry.lanes).as_json()
        | measure_dynamics(workload).as_json()
    )
    flat: dict[str, Any] = {}
    for name, value in report.items():
        if isinstance(value, dict) and name not in LEFT_OUT:
            flat |= {f"{name}.{key}": entry for key, entry in value.items()}
        elif name == "reuse":
            total = sum(value.values())
            flat |= {f"reuse.{key}": entry / total for key, entry in value.items()}
        elif not isinstance(value, (list, dict)):
            flat[name] = value
    return flat


def shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    if sys.argv[1:2] == ["pack"]:
        for name in sys.argv[2:]:
            pack(Path(name))
    else:
        main()
