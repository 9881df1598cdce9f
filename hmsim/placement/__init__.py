"""Placement: latency models, the driver that carries out policies' moves, and the policies."""

from hmsim import lazy

__all__ = [
    "BUILT_IN",
    "Groups",
    "Own",
    "Policy",
    "Rates",
    "Traffic",
    "analytic_rates",
    "make",
    "pin_rates",
    "policy_step",
]

_HOMES = {
    "BUILT_IN": "hmsim.placement.policies",
    "Groups": "hmsim.placement.latency",
    "Own": "hmsim.placement.step",
    "Policy": "hmsim.placement.policies.api",
    "Rates": "hmsim.placement.latency",
    "Traffic": "hmsim.placement.latency",
    "analytic_rates": "hmsim.placement.latency",
    "make": "hmsim.placement.policies",
    "pin_rates": "hmsim.placement.latency",
    "policy_step": "hmsim.placement.step",
}

__getattr__, __dir__ = lazy.exports(__name__, _HOMES)
