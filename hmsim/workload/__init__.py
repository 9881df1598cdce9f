"""Workloads: what decoding reads, step by step, from a spec, real requests or a trace file."""

from hmsim.workload.open import open_workload

# The function; what a workload is to the rest of hmsim stands in the module of the same name,
# which is imported by `from hmsim.workload.stream import ...`.
from hmsim.workload.steps import stream

__all__ = ["open_workload", "stream"]
