"""Every calibrated spec against its targets: `python scripts/workload_specs.py`.

The spec is measured at the size of the calibrator's trials: its context, few steps and layers.
"""

from pathlib import Path

from hmsim.config.base import load, read_toml
from hmsim.config.calibration import CalibrationSpec
from hmsim.workload.calibrate import achieved, trial_of
from hmsim.workload.open import load_spec

WORKLOADS = Path(__file__).parents[1] / "workloads"


def main() -> None:
    print(f"{'spec':<22} {'statistic':<18} {'target':>18} {'achieved':>9}")
    for path in sorted((WORKLOADS / "targets").glob("*.toml")):
        wanted = load(CalibrationSpec, read_toml(path), path.name)
        spec = load_spec(read_toml(WORKLOADS / path.name), path.name)
        found = achieved(trial_of(spec, wanted.fit, path.name), wanted.targets, WORKLOADS)
        for name, target in wanted.targets.items():
            shown = (
                f"{target[0]:g} .. {target[1]:g}" if isinstance(target, tuple) else f"{target:g}"
            )
            print(f"{path.stem:<22} {name:<18} {shown:>18} {found[name]:>9.4f}")


if __name__ == "__main__":
    main()
