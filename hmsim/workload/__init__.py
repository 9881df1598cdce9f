"""Workloads: what decoding reads, step by step, from a spec, real requests or a trace file."""

from hmsim import lazy

__all__ = [
    "Counted",
    "Geometry",
    "Step",
    "Steps",
    "Workload",
    "WorkloadSpec",
    "measure",
    "measure_dynamics",
    "open_workload",
]

_HOMES = {
    "Counted": "hmsim.workload.warmup",
    "Geometry": "hmsim.workload.steps",
    "Step": "hmsim.workload.iterate",
    "Steps": "hmsim.workload.steps",
    "Workload": "hmsim.workload.steps",
    "WorkloadSpec": "hmsim.config.workload",
    "measure": "hmsim.workload.statistics",
    "measure_dynamics": "hmsim.workload.dynamics",
    "open_workload": "hmsim.workload.open",
}

__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
