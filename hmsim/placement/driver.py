"""A policy on its way through a workload: the state it needs, and the traffic of what it counted.

`start` makes the run of any policy. A run takes windows one after another (`advance`), each giving
the counts of its steps; `traffic` turns counts into bytes and seconds.
"""

from typing import NamedTuple, Protocol

import numpy as np

from hmsim.errors import InputError
from hmsim.placement import driver_kernel as kernel
from hmsim.placement.latency import (
    COUNTS,
    READS,
    Groups,
    Rates,
    Traffic,
    authors_traffic,
    unlimited_traffic,
    variant_traffic,
)
from hmsim.placement.policies import authors_kernel
from hmsim.placement.policies.api import Moves, Policy
from hmsim.placement.policies.authors import Authors
from hmsim.placement.policies.unlimited import Unlimited
from hmsim.workload.steps import I64, U64, Workload
from hmsim.workload.windows import Window


class Sample(NamedTuple):
    """Where blocks were as a sampled step began and, its moves done, ended: [lanes, words]."""

    before: U64
    after: U64


class Run(Protocol):
    """One policy's progress; windows must come in order."""

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, list[Sample]]:
        """Counts [rows, len(COUNTS)] of the window's own steps, and its sampled rows' placements.

        `wanted[k]` numbers the sampled rows of this window from 0, -1 elsewhere; None: no samples.
        """
        ...

    def traffic(self, counts: I64, groups: Groups) -> Traffic: ...


def capacity_blocks(workload: Workload, capacity: float) -> int:
    """Whole blocks that HBM holds beside the weights; InputError if the weights do not fit."""
    geometry = workload.geometry
    room = capacity - geometry.resident_bytes
    if room < 0:
        raise InputError(
            f"system.hbm.capacity: {capacity:.0f} bytes is below the {geometry.resident_bytes:.0f} "
            "bytes of weights that stay in HBM"
        )
    every = geometry.lanes * geometry.slots
    return every if np.isinf(room) else min(every, int(room // geometry.block_bytes))


def start(
    policy: Policy | Authors | Unlimited,
    workload: Workload,
    capacity: float,
    rates: Rates,
    variant: str,
) -> Run:
    """A fresh run of `policy`. `capacity`: all of HBM, bytes, resident weights included."""
    blocks = capacity_blocks(workload, capacity)
    if isinstance(policy, Unlimited):
        return _UnlimitedRun(workload, rates)
    if isinstance(policy, Authors):
        return _AuthorsRun(policy, workload, capacity, rates)
    return _PolicyRun(policy, workload, blocks, rates, variant)


class _PolicyRun:
    """A plug-in policy, driven and checked step by step."""

    def __init__(
        self, policy: Policy, workload: Workload, capacity: int, rates: Rates, variant: str
    ):
        geometry = workload.geometry
        self._policy, self._variant, self._rates = policy, variant, rates
        self._block_bytes = geometry.block_bytes
        alive = workload.prompt.copy()
        policy.variant = variant
        resident = policy.prompt(workload, capacity, rates)
        used = int(np.bitwise_count(resident).sum())
        if used > capacity or (resident & ~alive).any():
            raise InputError(
                f"policy {policy.name}: places {used} prompt blocks in HBM, which holds {capacity}, "
                "or blocks that are not in the prompt"
            )
        self._own = policy.own(geometry, capacity, rates, resident)
        self._state = kernel.State(
            resident, alive, np.zeros_like(alive), np.array([used]), capacity, np.zeros(3, np.int64)
        )
        blocks = geometry.lanes * geometry.slots
        self._moves = Moves(
            np.zeros(blocks, np.int64),
            np.zeros(blocks, np.int64),
            np.ones(geometry.slots, np.int64),
            np.zeros(2, np.int64),
        )

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, list[Sample]]:
        if window.steps.first == 0:
            self._moves.place[:] = 1
            kernel.give_birth(window.steps, 0, self._state, self._moves.place)
        counts = np.zeros((window.rows, len(COUNTS)), np.int64)
        wanted = _wanted(window, wanted)
        capture = kernel.Capture(wanted, *_snapshots(wanted, self._state.resident))
        kernel.advance(
            self._policy.step, window, self._state, self._own, self._moves, capture, counts
        )
        if self._state.error[0] != kernel.OK:
            raise InputError(f"policy {self._policy.name}: {kernel.error_text(self._state)}")
        return counts, [Sample(*pair) for pair in zip(capture.before, capture.after, strict=True)]

    def traffic(self, counts: I64, groups: Groups) -> Traffic:
        return variant_traffic(counts, groups, self._block_bytes, self._rates, self._variant)


class _UnlimitedRun:
    """The closed form of no capacity limit. As a placement: every block is in HBM."""

    def __init__(self, workload: Workload, rates: Rates):
        self._workload, self._rates = workload, rates

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, list[Sample]]:
        counts = np.zeros((window.rows, len(COUNTS)), np.int64)
        counts[:, READS] = window.own.reads
        geometry = self._workload.geometry
        everything = np.full((geometry.lanes, geometry.words), ~np.uint64(0))
        samples = 1 + int(_wanted(window, wanted).max(initial=-1))
        return counts, [Sample(everything, everything)] * samples

    def traffic(self, counts: I64, groups: Groups) -> Traffic:
        return unlimited_traffic(counts, groups, self._workload.geometry.block_bytes, self._rates)


class _AuthorsRun:
    """A strategy of the founding authors' simulator, with its own state, rules and times."""

    def __init__(self, policy: Authors, workload: Workload, capacity: float, rates: Rates):
        geometry = workload.geometry
        policy.check(geometry)
        self._policy, self._rates, self._size = policy, rates, geometry.block_bytes
        self._capacity = capacity
        self._limit = int(min((capacity - geometry.resident_bytes) // self._size, 2**60))
        self._resident, self._cur = policy.begin(workload, self._limit)
        self._scratch = np.zeros((2, geometry.words), np.uint64)
        self._score = np.zeros(geometry.slots)

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, list[Sample]]:
        counts = np.zeros((window.rows, len(COUNTS)), np.int64)
        wanted = _wanted(window, wanted)
        before, after = _snapshots(wanted, self._resident)
        policy = self._policy
        status = authors_kernel.advance(
            policy.rule, window, self._size, self._resident, self._cur,
            self._limit, policy.ahead_tokens, policy.share, self._rates.split, self._scratch,
            self._score, wanted, before, after, counts,
        )  # fmt: skip
        if status == authors_kernel.NEVER_ENDS:
            raise InputError(
                f"policy {policy.name}: at this capacity ({self._limit} entries) a layer is flushed "
                "while it holds nothing, for ever; give HBM more capacity"
            )
        return counts, [Sample(*pair) for pair in zip(before, after, strict=True)]

    def traffic(self, counts: I64, groups: Groups) -> Traffic:
        share = None
        if self._policy.unlimited:
            share = self._capacity / (groups.hbm_bytes + counts[:, READS] * float(self._size))
        return authors_traffic(
            counts, groups, self._size, self._rates, rule=self._policy.time_rule, share=share
        )


def _wanted(window: Window, wanted: I64 | None) -> I64:
    return np.full(window.rows, -1) if wanted is None else wanted


def _snapshots(wanted: I64, like: U64) -> tuple[U64, U64]:
    samples = int(wanted.max(initial=-1)) + 1
    return np.zeros((samples, *like.shape), np.uint64), np.zeros((samples, *like.shape), np.uint64)
