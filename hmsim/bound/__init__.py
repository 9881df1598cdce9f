"""The certified bound: how far from optimal any placement is, proven. See docs/placement.md."""

from hmsim.bound.solve import METHODS, BoundResult, bound, format_table, quick_bound, quick_prices

__all__ = ["METHODS", "BoundResult", "bound", "format_table", "quick_bound", "quick_prices"]
