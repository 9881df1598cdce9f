"""The policy plug-in interface: a class that says what it is, and a compiled step function.

A policy is a `Policy` subclass with a `step` function marked `@policy_step`; `hmsim.placement.step`
says what such a function sees and may answer. What the rest of hmsim must know of a policy, the
policy says in attributes of its own (see `BasePolicy`); nothing goes by its name or class.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from hmsim.placement.driver import PolicyRun, Run
from hmsim.placement.latency import Rates
from hmsim.placement.policies.prompt import oldest_first, ordered_prompt
from hmsim.placement.step import Hbm, Moves, Now, Own, policy_step
from hmsim.progress import nothing
from hmsim.workload.steps import U64, Geometry, Workload

__all__ = [
    "BasePolicy", "BoundKind", "Hbm", "Moves", "Now", "Own", "Policy", "oldest_first", "policy_step",
]  # fmt: skip

BoundKind = Literal["variant", "own", "pooled"]


class BasePolicy:
    """Whatever a run can name: it says what it is, and makes its own run.

    Attributes:
        name: As the command takes it; the run sets it.
        tell: Takes a line of text now and then, where `start` takes long; the run sets it.
        ahead_tokens: How many tokens ahead it looks; 0: none.
        foresight: Whether it knows of reads to come in any other way as well.
        is_schedule: Whether it says where each block lives and keeps to HBM's capacity. A policy
            that does not is a floor, which no figure takes for the fastest policy.
        bound_kind: What its time is held against: `variant`, the certified bound of the run's
            latency model; `own`, its own time, as it is a bound itself; `pooled`, the bound that
            holds where weights, too, may be read from either memory.
        moved_options: Options that it had once, and the key that says it now.
    """

    name: str
    tell: Callable[[str], None] = staticmethod(nothing)
    ahead_tokens: int = 0
    foresight: ClassVar[bool] = False
    is_schedule: ClassVar[bool] = True
    bound_kind: ClassVar[BoundKind] = "variant"
    moved_options: ClassVar[dict[str, str]] = {}

    def start(
        self,
        workload: Workload,
        capacity: float,
        rates: Rates,
        variant: str,
        barrier: str = "layer",
        prompt: str = "oldest",
    ) -> Run:
        """A fresh run of this policy.

        Args:
            workload: What is read at which step.
            capacity: All of HBM in bytes, resident weights included.
            rates: Bandwidths in bytes per second.
            variant: The run's latency model; a policy need not reckon with it.
            barrier: Where memories wait for each other: `layer` or `token`.
            prompt: Which blocks of the prompt fill HBM before step 0: the `oldest`, the most
                `recent`, or, `scored`, those that the first token reads; `empty`: none. Of a policy
                whose own rule says it, only `empty` changes anything.

        Returns:
            The run, which takes the workload's steps in order.

        Raises:
            InputError: The weights alone are more than HBM holds, or an option does not fit the
                workload.
        """
        raise NotImplementedError


class Policy(BasePolicy):
    """A placement rule. Override `step`, and `prompt`, `own` or `ahead_tokens` where needed.

    `step(now, hbm, own, moves)` is compiled by `policy_step` and takes no `self`: it is a function
    of what it is given. A policy's parameters are those of its `__init__`, and stand under
    `[policies.options.NAME]`. docs/policies.md walks through an example.

    Attributes:
        step: The step function.
        variant: The latency model of the run, which sets it before it calls `prompt`.
        barrier: Where memories wait for each other; likewise.
        order: Which blocks of the prompt come first: `oldest`, `recent` or `scored`; likewise.
    """

    step: Callable
    # Of the run, which sets all three before it calls `prompt`.
    variant: str = "text"
    barrier: str = "layer"
    order: str = "oldest"

    def __init_subclass__(cls) -> None:
        if "step" in vars(cls):  # `step` takes no self
            cls.step = staticmethod(vars(cls)["step"])

    def start(
        self,
        workload: Workload,
        capacity: float,
        rates: Rates,
        variant: str,
        barrier: str = "layer",
        prompt: str = "oldest",
    ) -> Run:
        """A fresh run of this policy; see `BasePolicy.start`."""
        return PolicyRun(self, workload, capacity, rates, variant, barrier, prompt)

    def prompt(self, workload: Workload, capacity: int, rates: Rates) -> U64:
        """Which blocks are in HBM before step 0: here the first ones of the prompt in the run's
        `order`, until HBM is full.

        Args:
            workload: The workload, whose `prompt` holds the blocks that exist.
            capacity: Blocks that HBM holds beside the weights.
            rates: Bandwidths in bytes per second.

        Returns:
            Bitsets, uint64 [lanes, words]; at most `capacity` blocks, all of the prompt.
        """
        return ordered_prompt(workload, capacity, self.order)

    def own(self, geometry: Geometry, capacity: int, rates: Rates, resident: U64) -> Own:
        """The policy's memory before step 0, which its step function is given at each step.

        Args:
            geometry: Sizes of the workload.
            capacity: Blocks that HBM holds beside the weights.
            rates: Bandwidths in bytes per second.
            resident: Bitsets of the blocks in HBM, uint64 [lanes, words].

        Returns:
            Arrays of any size, kept from step to step.
        """
        return Own(np.zeros((1, geometry.words), np.uint64), np.zeros(1, np.int64), np.zeros(1))
