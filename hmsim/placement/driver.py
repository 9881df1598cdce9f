"""A policy on its way through a workload: the state it needs, and the traffic of what it counted.

A policy's `start` makes its run. A run takes windows one after another (`advance`), each giving the
counts of its steps; `traffic` turns counts into bytes and seconds. `PolicyRun` is the run of every
policy with a step function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from hmsim.config.enumerations import PROMPTS
from hmsim.errors import InputError
from hmsim.placement import driver_kernel as kernel
from hmsim.placement.latency import COUNTS, Groups, Rates, Traffic, variant_traffic
from hmsim.placement.snapshots_kernel import Capture
from hmsim.placement.step import Moves, Own
from hmsim.workload.steps import I64, U64, Geometry, Steps, Workload
from hmsim.workload.windows import Window

EMPTY = "empty"  # in place of an order of the prompt's blocks: none of them is in HBM


class Sample(NamedTuple):
    """Where blocks were as a sampled step began and, its moves done, ended: [lanes, words]."""

    before: U64
    after: U64


@dataclass(frozen=True)
class Samples:
    """The placements of sampled steps, one `Sample` each; valid until the run advances again.

    Attributes:
        lanes: Bitsets of lanes, uint64 [n, words].
        before: int64 [samples, lanes], which of them are the lanes' as steps begin.
        after: The same, as steps end.
    """

    lanes: U64
    before: I64
    after: I64

    def __len__(self) -> int:
        return len(self.before)

    def __getitem__(self, k: int) -> Sample:
        if not 0 <= k < len(self):
            raise IndexError(k)
        return Sample(self.lanes[self.before[k]], self.lanes[self.after[k]])


class Run(Protocol):
    """One policy's progress; windows must come in order."""

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, Samples]:
        """Counts [rows, len(COUNTS)] of the window's own steps, and its sampled rows' placements.

        `wanted[k]` numbers the sampled rows of this window from 0, -1 elsewhere; None: no samples.
        """
        ...

    def traffic(self, counts: I64, groups: Groups) -> Traffic: ...


def capacity_blocks(workload: Workload, capacity: float) -> int:
    """Whole blocks that HBM holds beside the weights; InputError if the weights do not fit."""
    geometry = workload.geometry
    kv_bytes = capacity - geometry.resident_bytes
    if kv_bytes < 0:
        raise InputError(
            f"system.hbm.capacity: {capacity:.0f} bytes is below the {geometry.resident_bytes:.0f} "
            "bytes of weights that stay in HBM"
        )
    every = geometry.lanes * geometry.slots
    return every if np.isinf(kv_bytes) else min(every, int(kv_bytes // geometry.block_bytes))


class Stepping(Protocol):
    """What a policy with a step function answers (see `hmsim.placement.policies.api.Policy`)."""

    name: str
    variant: str
    barrier: str
    order: str

    @property
    def step(self) -> Callable: ...

    def prompt(self, workload: Workload, capacity: int, rates: Rates) -> U64: ...

    def own(self, geometry: Geometry, capacity: int, rates: Rates, resident: U64) -> Own: ...


class PolicyRun:
    """A policy with a step function, driven and checked step by step.

    `capacity`: all of HBM, bytes, resident weights included. `variant` and `barrier`: the run's
    latency model, and `prompt`: which of its blocks come first, or EMPTY; the policy is told of them
    before anything else is asked of it.
    """

    def __init__(
        self, policy: Stepping, workload: Workload, capacity: float, rates: Rates, variant: str,
        barrier: str, prompt: str = "oldest",
    ):  # fmt: skip
        geometry = workload.geometry
        most = capacity_blocks(workload, capacity)
        self._policy, self._variant, self._rates = policy, variant, rates
        self._block_bytes = geometry.block_bytes
        alive = workload.prompt.copy()
        if prompt not in (*PROMPTS, EMPTY):
            raise InputError(f"prompt: {prompt!r} is not one of {', '.join(PROMPTS)}")
        policy.variant, policy.barrier = variant, barrier
        policy.order = PROMPTS[0] if prompt == EMPTY else prompt
        resident = _asked(policy, "prompt", workload, most, rates)
        _check_array(f"policy {policy.name}: prompt", resident, alive)
        used = int(np.bitwise_count(resident).sum())
        if used > most or (resident & ~alive).any():
            raise InputError(
                f"policy {policy.name}: places {used} prompt blocks in HBM, which holds {most}, "
                "or blocks that are not in the prompt"
            )
        if prompt == EMPTY:
            resident, used = np.zeros_like(resident), 0
        self._own = _asked(policy, "own", geometry, most, rates, resident)
        if not isinstance(self._own, Own):
            raise InputError(f"policy {policy.name}: own: {type(self._own).__name__}, not an Own")
        for name, like in zip(Own._fields, (alive, _INTS, _FLOATS), strict=True):
            found = getattr(self._own, name)
            _check_array(f"policy {policy.name}: own: {name}", found, like, any_size=True)
        resident = resident.copy()  # the policy may have kept its own
        self._state = kernel.State(
            resident,
            alive,
            np.zeros_like(alive),
            np.array([used]),
            most,
            np.zeros(3, np.int64),
        )
        blocks = geometry.lanes * geometry.slots
        self._snapshots = Snapshots()
        self._moves = Moves(
            np.zeros(blocks, np.int64),
            np.zeros(blocks, np.int64),
            np.ones(geometry.slots, np.int64),
            np.zeros(2, np.int64),
        )

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, Samples]:
        if window.steps.first == 0:
            self._place_first(window.steps)
            kernel.give_birth(window.steps, 0, self._state, self._moves.place)
        counts = np.zeros((window.rows, len(COUNTS)), np.int64)
        wanted = sampled_rows(window, wanted)
        capture = self._snapshots.of(wanted, self._state.resident)
        kernel.advance(
            self._policy.step, window, self._state, kernel.seen_of(window.steps, self._state),
            self._own, self._moves, capture, counts,
        )  # fmt: skip
        if self._state.error[0] != kernel.OK:
            raise InputError(f"policy {self._policy.name}: {kernel.error_text(self._state)}")
        return counts, samples_of(capture)

    def _place_first(self, steps: Steps) -> None:
        """Say in `Moves.place` where blocks go that are born at step 0: here to HBM."""
        self._moves.place[:] = 1

    def traffic(self, counts: I64, groups: Groups) -> Traffic:
        return variant_traffic(counts, groups, self._block_bytes, self._rates, self._variant)


_INTS, _FLOATS = np.zeros(1, np.int64), np.zeros(1)


def _asked(policy: Any, name: str, *arguments: Any) -> Any:
    """What a policy's method answers; InputError, where a user's own raises anything else."""
    try:
        return getattr(policy, name)(*arguments)
    except InputError:
        raise
    except Exception as error:
        if type(policy).__module__.partition(".")[0] == "hmsim":
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"policy {policy.name}: {name}: {text:.200}") from None


def _check_array(where: str, found: Any, like: np.ndarray, any_size: bool = False) -> None:
    """InputError unless a policy's array is of the type and shape that kernels take."""
    good = isinstance(found, np.ndarray) and found.dtype == like.dtype and found.ndim == like.ndim
    good = good and found.flags.c_contiguous and found.flags.writeable
    if not good or not (any_size or found.shape == like.shape):
        shape = "" if any_size else f" of shape {like.shape}"
        raise InputError(
            f"{where}: must be a writable, C-contiguous {like.ndim}-dimensional array of "
            f"{like.dtype}{shape}"
        )


def sampled_rows(window: Window, wanted: I64 | None) -> I64:
    """`wanted` as `Run.advance` takes it, written out."""
    return np.full(window.rows, -1) if wanted is None else wanted


class Snapshots:
    """Room for the placements of sampled rows, used again from window to window."""

    def __init__(self) -> None:
        self._lanes = np.zeros((0, 0), np.uint64)

    def of(self, wanted: I64, like: U64) -> Capture:
        """What takes placements like this, uint64 [lanes, words], before and after each of the
        sampled rows."""
        samples = int(wanted.max(initial=-1)) + 1
        lanes, words = like.shape
        room = 2 * samples * lanes  # should all change: what is not used costs nothing
        if len(self._lanes) < room:
            self._lanes = np.empty((room, words), np.uint64)
        before, after = np.empty((2, samples, lanes), np.int64)
        return Capture(
            wanted, self._lanes, np.zeros(1, np.int64), np.full(lanes, -1), np.zeros(lanes, np.int64),
            before, after,
        )  # fmt: skip


def samples_of(capture: Capture) -> Samples:
    """The placements that were kept."""
    return Samples(capture.lanes[: capture.kept[0]], capture.before, capture.after)
