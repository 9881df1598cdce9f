"""The policy plug-in interface: a class that says what it is, and a compiled step function.

A policy is a `Policy` subclass with a `step` function marked `@policy_step`; `hmsim.placement.step`
says what such a function sees and may answer. What the rest of hmsim must know of a policy, the
policy says in attributes of its own (see `BasePolicy`); nothing goes by its name or class.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from hmsim.bits import pack, unpack
from hmsim.placement.driver import PolicyRun, Run
from hmsim.placement.latency import Rates
from hmsim.placement.step import Hbm, Moves, Now, Own, policy_step
from hmsim.workload.steps import U64, Geometry, Workload

__all__ = [
    "BasePolicy", "BoundKind", "Hbm", "Moves", "Now", "Own", "Policy", "oldest_first", "policy_step",
]  # fmt: skip

BoundKind = Literal["variant", "own", "pooled"]


class BasePolicy:
    """Whatever a run can name: it says what it is, and makes its own run.

    name          as the command takes it; the run sets it
    ahead_tokens  how many tokens ahead it looks; 0: none
    foresight     whether it knows of reads to come in any other way as well
    is_schedule   whether it says where each block lives and keeps to HBM's capacity; a policy that
                  does not is a floor, which no figure takes for the fastest policy
    bound_kind    what its time is held against: "variant", the certified bound of the run's latency
                  model; "own", its own time, as it is a bound itself; "pooled", the bound that
                  holds where weights, too, may be read from either memory
    """

    name: str
    ahead_tokens: int = 0
    foresight: ClassVar[bool] = False
    is_schedule: ClassVar[bool] = True
    bound_kind: ClassVar[BoundKind] = "variant"

    def start(
        self,
        workload: Workload,
        capacity: float,
        rates: Rates,
        variant: str,
        barrier: str = "layer",
    ) -> Run:
        """A fresh run of this policy. `capacity`: all of HBM, bytes, resident weights included.

        `variant` and `barrier` are the run's latency model; a policy need not reckon with it.
        """
        raise NotImplementedError


class Policy(BasePolicy):
    """A placement rule. Override `step`, and `prompt`, `own` or `ahead_tokens` where needed."""

    step: ClassVar[Callable]
    # The latency model of the run, which sets both before it calls `prompt`.
    variant: str = "text"
    barrier: str = "layer"

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
    ) -> Run:
        return PolicyRun(self, workload, capacity, rates, variant, barrier)

    def prompt(self, workload: Workload, capacity: int, rates: Rates) -> U64:
        """Prompt blocks in HBM before step 0, [lanes, words]: the oldest, until HBM is full."""
        return oldest_first(workload.prompt, capacity)

    def own(self, geometry: Geometry, capacity: int, rates: Rates, resident: U64) -> Own:
        """The policy's memory before step 0, where `resident` [lanes, words] is in HBM."""
        return Own(np.zeros((1, geometry.words), np.uint64), np.zeros(1, np.int64), np.zeros(1))


def oldest_first(blocks: U64, room: int) -> U64:
    """The first `room` of the blocks [lanes, words], by slot, then lane."""
    flat = unpack(blocks).T.ravel()
    keep = flat & (np.cumsum(flat) <= room)
    return pack(keep.reshape(-1, blocks.shape[0]).T)
