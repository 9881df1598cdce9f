"""The certified bound: how far from optimal any placement is, proven. See docs/placement.md."""

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
    "Sample",
    "bound",
    "energy_bound",
    "format_table",
    "quick_bound",
    "quick_prices",
    "quick_sample",
]
