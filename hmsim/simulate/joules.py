"""The joules of a byte that a system moves, and the watts that it always draws."""

import numpy as np

from hmsim.config.enumerations import CASES, CAUSES
from hmsim.config.system import SystemSpec
from hmsim.memory.device import MemoryConfig
from hmsim.memory.energy import ACTIVATION, LINK, commands, link_of_bytes, of_bytes
from hmsim.placement.joules import COLUMNS, SHAPE, Joules

STREAM = 1 << 22  # bytes of an extent of weights: long enough to open whole rows
# What each column of `COLUMNS` does: memory (0 HBM, 1 DRAM), and whether it writes.
_DEEDS = {
    "attention_hbm": (0, False), "attention_dram": (1, False), "weights_hbm": (0, False),
    "weights_dram": (1, False), "append_hbm": (0, True), "append_dram": (1, True),
    "promotion_hbm": (0, True), "promotion_dram": (1, False), "demotion_hbm": (0, False),
    "demotion_dram": (1, True),
}  # fmt: skip


def joules_of(system: SystemSpec, block_bytes: int, data: str) -> Joules | None:
    """A system's coefficients for blocks of that size; None where one of its memories has no
    currents.

    Blocks, and what is appended to them, open their rows anew each time; weights are read in long
    streams. Every byte of DRAM goes over the link. `data`: `random` or `static`.
    """
    sides = [MemoryConfig.of(side) for side in (system.hbm, system.dram)]
    if any(side.spec.energy is None for side in sides):
        return None
    per_byte = np.zeros((len(CASES), len(COLUMNS), 2, len(CAUSES)))
    power, activation_J = np.zeros(SHAPE), np.zeros(SHAPE[:2])
    link = link_of_bytes(system.link)
    blocks = [of_bytes(side, block_bytes, data) for side in sides]
    streams = [of_bytes(side, STREAM, data) for side in sides]
    for column, name in enumerate(COLUMNS):
        memory, writes = _DEEDS[name]
        found = (streams if name.startswith("weights") else blocks)[memory]
        per_byte[:, column, memory] = found.write if writes else found.read
        if memory == 1:
            per_byte[:, column, memory, LINK] = link[int(writes)]
    for memory, side in enumerate(sides):
        power[:, memory] = blocks[memory].power
        activation_J[:, memory] = commands(side.spec, data).activation_J
    assert not per_byte[:, :, 0, LINK].any()
    assert (per_byte[..., ACTIVATION] >= 0).all()
    return Joules(per_byte, power, activation_J)
