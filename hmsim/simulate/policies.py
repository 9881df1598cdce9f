"""Every policy that a run can name: the built-in ones, and `dual`, which is the bound's; and what
of a run can be seen to be wrong before it starts."""

from typing import Any

from hmsim.config.run import PoliciesSpec
from hmsim.config.system import SystemSpec
from hmsim.errors import InputError
from hmsim.memory.device import MemoryConfig
from hmsim.placement import policies
from hmsim.placement.policies.plugin import Allow, check_allowed

POLICIES = policies.BUILT_IN | {"dual": "hmsim.bound.policy:Dual"}


def make_policy(name: str, options: dict[str, Any] | None = None, allow: Allow = False) -> Any:
    """The policy of that name, built with its options; InputError if there is none.

    `allow`: which policies of users' own may be imported.
    """
    return policies.make(name, options, POLICIES, allow)


def check_memories(system: SystemSpec) -> None:
    """InputError for a memory that cannot be as the system says, whether it is simulated or not."""
    if system.unified:
        raise InputError("system: GPU and CPU have one memory: there is nothing to place")
    for name, side in (("hbm", system.hbm), ("dram", system.dram)):
        MemoryConfig.of(side).check(f"system.{name}.")


def check_policies(spec: PoliciesSpec, allow: Allow = False) -> None:
    """InputError for a policy that does not exist or may not be imported, and for its options."""
    for name in spec.names:
        options = spec.options.get(name, {})
        real = policies.resolved(name, options, POLICIES)
        if real not in POLICIES:
            check_allowed(real, allow)
        else:
            make_policy(name, options)
