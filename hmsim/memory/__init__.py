"""Memory models: DRAM channels burst by burst, whole memories, a superchip; no KV caches."""

from hmsim import lazy

__all__ = [
    "Extents",
    "Memory",
    "MemoryConfig",
    "StepTiming",
    "Superchip",
    "load_memory",
    "load_system",
    "replay_trace",
]

_HOMES = {
    "Extents": "hmsim.memory.device",
    "Memory": "hmsim.memory.device",
    "MemoryConfig": "hmsim.memory.device",
    "StepTiming": "hmsim.memory.superchip",
    "Superchip": "hmsim.memory.superchip",
    "load_memory": "hmsim.config.memory",
    "load_system": "hmsim.config.system",
    "replay_trace": "hmsim.memory.address_trace",
}

__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
