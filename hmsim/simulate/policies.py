"""Every policy that a run can name: the built-in ones, and `dual`, which is the bound's."""

from typing import Any

from hmsim.placement import policies

POLICIES = policies.BUILT_IN | {"dual": "hmsim.bound.policy:Dual"}


def make_policy(name: str, options: dict[str, Any] | None = None) -> Any:
    """The policy of that name, built with its options; InputError if there is none."""
    return policies.make(name, options, POLICIES)
