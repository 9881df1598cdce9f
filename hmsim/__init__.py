"""hmsim: a memory-hierarchy microsimulator for sparse-attention LLM decoding."""

from hmsim import lazy

__version__ = "0.1.0"

__all__ = [
    "Memory",
    "MemoryConfig",
    "Policy",
    "Result",
    "Superchip",
    "bound",
    "open_sweep",
    "open_workload",
    "plot",
    "policy_step",
    "replay_trace",
    "run",
    "run_sweep",
    "steps",
]

# Where they stand. `bound` and `plot` are rooms: `hmsim.bound.bound(...)`, `hmsim.plot.gap(...)`.
_HOMES = {
    "Memory": "hmsim.memory.device",
    "MemoryConfig": "hmsim.memory.device",
    "Policy": "hmsim.placement.policies.api",
    "Result": "hmsim.api",
    "Superchip": "hmsim.memory.superchip",
    "bound": "hmsim.bound",
    "open_sweep": "hmsim.api",
    "open_workload": "hmsim.workload.open",
    "plot": "hmsim.plot",
    "policy_step": "hmsim.placement.step",
    "replay_trace": "hmsim.memory.address_trace",
    "run": "hmsim.api",
    "run_sweep": "hmsim.api",
    "steps": "hmsim.workload.iterate",
}

__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
