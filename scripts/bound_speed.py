"""Reads a second that the certifying pass takes: `python scripts/bound_speed.py [TOKENS]`.

On the founding paper's workloads, on one core (processor time), the making of the reads apart.
"""

import sys
import time
from pathlib import Path

from hmsim.bound import quick_prices
from hmsim.bound.certificate import Certificate
from hmsim.config.run import load_run
from hmsim.placement.latency import analytic_rates
from hmsim.workload import open_workload

WORKLOADS = Path(__file__).parent.parent / "workloads"


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for name in ("paper-60", "paper-60-high"):
        last = 31346 + tokens
        spec = load_run(WORKLOADS / f"{name}.toml", [f"workload.tokens=[31346, {last}]"])
        workload = open_workload(spec.workload)
        rates, capacity = analytic_rates(spec.system), spec.system.hbm.capacity
        setting, dual, _ = quick_prices(workload, rates, capacity)
        reads, taken = 0, 0.0
        certificate = Certificate(setting, workload.geometry, dual)
        for k, chunk in enumerate(workload.chunks()):
            began = time.process_time()
            certificate.feed(chunk)
            if k > 0:  # the first one also builds tables and compiles
                taken += time.process_time() - began
                reads += int(chunk.reads.sum())
        print(f"{name}: {reads:,} reads, {reads / taken / 1e6:.0f} million a second")


if __name__ == "__main__":
    main()
