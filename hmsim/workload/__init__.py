"""Workloads: what decoding reads, step by step, from a spec, real requests or a trace file."""

from hmsim.workload.open import open_workload

__all__ = ["open_workload"]
