"""Sizes and rates of the exporters, each file read back: `python scripts/workload_exports.py`.

A step of the founding paper's workload at 3,000 tokens, under the default placement.
"""

import tempfile
import time
from pathlib import Path

from hmsim.config.run import load_run
from hmsim.exchange.memory_formats import FORMATS
from hmsim.exchange.memory_traces import READERS, read_addresses
from hmsim.workload import open_workload
from hmsim.workload.export import Selected, export

PAPER = Path(__file__).parents[1] / "workloads/paper-60.toml"


def main() -> None:
    spec = load_run(PAPER).workload
    workload = open_workload(spec.model_copy(update={"tokens": (3000, 3000), "layers": 1}))
    hbm = Selected(hbm_bytes=1 << 30)
    print(f"{'format':<10} {'requests':>12} {'MB':>8} {'M/s':>6}  read back")
    with tempfile.TemporaryDirectory() as folder:
        for form in READERS:
            path = Path(folder, form + FORMATS[form].suffix)
            began = time.perf_counter()
            count = export(workload, form, path, hbm)
            rate = count / (time.perf_counter() - began) / 1e6
            back = list(read_addresses(path, form))
            moved = sum(access.size or 32 for access in back) / 1e9
            print(
                f"{form:<10} {count:>12,} {path.stat().st_size / 1e6:>8.1f} {rate:>6.2f}  "
                f"{len(back):,} accesses, {moved:.3f} GB"
            )


if __name__ == "__main__":
    main()
