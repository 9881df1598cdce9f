"""What the bytes of a placement take in joules: linear in bytes and seconds, as its time is not.

Coefficients are plain numbers here; `hmsim.simulate.joules` makes them of a system's memories.
"""

from typing import NamedTuple

import numpy as np

from hmsim.config.enumerations import CASES, CAUSES
from hmsim.placement.latency import F64, Traffic

COLUMNS = Traffic._fields[1:]  # bytes by memory and cause
SHAPE = (len(CASES), 2, len(CAUSES))  # of an energy: by case, memory (HBM, DRAM) and cause


class Joules(NamedTuple):
    """A system's coefficients. The link's are in DRAM's row.

    Attributes:
        per_byte: Joules a byte of each column of `COLUMNS`, float64 [CASES, COLUMNS, 2, CAUSES].
        power: Watts at all times, float64 [CASES, 2, CAUSES].
        activation_J: Joules of an activation, float64 [CASES, 2].
    """

    per_byte: F64
    power: F64
    activation_J: F64

    def of_steps(self, traffic: Traffic) -> F64:
        """Nominal joules of each step.

        Args:
            traffic: What the steps move, and their times.

        Returns:
            Float64 [steps, 2, CAUSES].
        """
        moved = np.stack([getattr(traffic, name) for name in COLUMNS], axis=1)
        moving = np.tensordot(moved, self.per_byte[0], axes=1)
        return moving + traffic.time_s[:, None, None] * self.power[0]

    def total(self, traffic: Traffic) -> F64:
        """Joules of all steps together.

        Args:
            traffic: What the steps move, and their times.

        Returns:
            Float64 [CASES, 2, CAUSES].
        """
        moved = np.array([getattr(traffic, name).sum() for name in COLUMNS])
        moving = np.einsum("i,cimk->cmk", moved, self.per_byte)
        return moving + traffic.time_s.sum() * self.power
