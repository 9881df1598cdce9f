"""The certified bound: how far from optimal any placement is, proven. See docs/placement.md."""

from hmsim.bound.over import Machine, bound_over, format_points
from hmsim.bound.solve import (
    METHODS,
    BoundResult,
    EnergyBound,
    Sample,
    bound,
    energy_bound,
    format_table,
    quick_bound,
    quick_prices,
    quick_sample,
)

__all__ = [
    "METHODS",
    "BoundResult",
    "EnergyBound",
    "Machine",
    "Sample",
    "bound",
    "bound_over",
    "energy_bound",
    "format_points",
    "format_table",
    "quick_bound",
    "quick_prices",
    "quick_sample",
]
