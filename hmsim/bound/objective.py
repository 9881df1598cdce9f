"""What a schedule is to have little of: its time, or the joules that its bytes and its time take.

Energy is linear in bytes, and the background's in time, so both are one form: `power` times the
groups' seconds, and a price of each byte that is moved. The time itself is a power of 1 and no prices.
"""

from typing import NamedTuple

from hmsim.placement.joules import COLUMNS, Joules
from hmsim.placement.latency import Traffic


class Objective(NamedTuple):
    """What a second and a byte of each kind cost, in seconds or joules; bytes as in `Traffic`."""

    power: float
    attention_hbm: float = 0.0
    attention_dram: float = 0.0
    weights_hbm: float = 0.0
    weights_dram: float = 0.0
    append_hbm: float = 0.0
    append_dram: float = 0.0
    promotion_hbm: float = 0.0
    promotion_dram: float = 0.0
    demotion_hbm: float = 0.0
    demotion_dram: float = 0.0

    def of(self, traffic: Traffic) -> float:
        """What all steps of some traffic cost."""
        moved = sum(getattr(self, name) * getattr(traffic, name).sum() for name in COLUMNS)
        return float(self.power * traffic.time_s.sum() + moved)


TIME = Objective(1.0)


def energy(joules: Joules) -> Objective:
    """Joules at the nominal coefficients."""
    by_column = joules.per_byte[0].sum(axis=(1, 2)).tolist()
    return Objective(float(joules.power[0].sum()), *by_column)
