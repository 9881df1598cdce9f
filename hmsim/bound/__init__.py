"""The certified bound: how far from optimal any placement is, proven. See docs/placement.md."""

from hmsim.bound.over import Machine, bound_over, format_points
from hmsim.bound.quick import Sample, quick_bound, quick_prices, quick_sample
from hmsim.bound.results import BoundResult, EnergyBound, format_table
from hmsim.bound.solve import METHODS, bound, energy_bound

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
