"""`authors-*`: the strategies of the founding authors' simulator, exactly by its rules.

They are not plug-in policies: HBM holds copies of tokens, one slot is always lost, a page may come
in before all of its tokens exist, and time follows a rule of their own. `time_rule` is `overlap`
(made the figures of arXiv 2508.13231) or `serial` (a later revision of their simulator).
"""

from typing import ClassVar

import numpy as np

from hmsim.errors import InputError
from hmsim.placement.driver import (
    Run,
    Samples,
    Snapshots,
    capacity_blocks,
    sampled_rows,
    samples_of,
)
from hmsim.placement.latency import COUNTS, READS, Groups, Rates, Traffic, authors_traffic
from hmsim.placement.policies import authors_kernel as kernel
from hmsim.placement.policies.api import BasePolicy, oldest_first
from hmsim.workload.steps import I64, U64, Geometry, Steps, Workload
from hmsim.workload.windows import Window


class Authors(BasePolicy):
    """One strategy; subclasses say which. Weights may be read from either memory."""

    bound_kind = "pooled"
    rule: ClassVar[int] = kernel.STATIC
    unlimited: ClassVar[bool] = False
    share = 1.0

    def __init__(self, time_rule: str = "overlap"):
        if time_rule not in ("overlap", "serial"):
            raise InputError(f"policy {self.name}: time_rule: {time_rule!r}: overlap or serial")
        self.time_rule = time_rule

    def start(
        self,
        workload: Workload,
        capacity: float,
        rates: Rates,
        variant: str,
        barrier: str = "layer",
        prompt: str = "oldest",
    ) -> Run:
        capacity_blocks(workload, capacity)  # the weights must fit
        return _AuthorsRun(self, workload, capacity, rates)

    def check(self, geometry: Geometry) -> None:
        """These rules know one sequence and blocks of one token."""
        if geometry.sequences != 1 or geometry.tokens_per_block != 1:
            raise InputError(
                f"policy {self.name}: needs a workload of one sequence and one token a block, "
                f"this one has {geometry.sequences} and {geometry.tokens_per_block}"
            )
        if geometry.lanes != geometry.layers:
            raise InputError(f"policy {self.name}: needs one step for every token and layer")

    def check_steps(self, steps: Steps, lanes: int) -> None:
        """Nor do they know of a step that appends no new token, or of tokens that are dropped."""
        right = steps.lane == (steps.first + np.arange(steps.rows)) % lanes
        right &= (np.diff(steps.append_offset) == 1) & (np.diff(steps.death_offset) == 0)
        if right.all():
            right = steps.append_born == 1  # a row each
        if not right.all():
            raise InputError(
                f"policy {self.name}: needs a workload whose every step appends one new token to the "
                f"next layer, and drops none; step {steps.first + int(np.argmin(right))} is not so"
            )

    def begin(self, workload: Workload, limit: int) -> tuple[U64, I64]:
        """Residents [layers, words] before step 0, and their number [1]: the oldest tokens."""
        resident = oldest_first(workload.prompt, limit - 1)
        return resident, _count(resident)


class AuthorsUnlimited(Authors):
    name = "authors-unlimited"
    is_schedule = False
    unlimited = True


class AuthorsStatic(Authors):
    name = "authors-static"


class _FirstReads(Authors):
    """Starts, free of charge and with foresight, from the tokens that are read first."""

    foresight = True

    def begin(self, workload: Workload, limit: int) -> tuple[U64, I64]:
        resident = np.zeros_like(workload.prompt)
        cur = np.zeros(1, np.int64)
        prompt_tokens = _prompt_tokens(workload)
        for chunk in workload.chunks():
            if kernel.first_reads(chunk.bits, chunk.lane, prompt_tokens, resident, cur, limit):
                break
        return resident, cur


class AuthorsInitOnly(_FirstReads):
    name = "authors-initonly"


class AuthorsReactive(_FirstReads):
    name = "authors-reactive"
    rule = kernel.REACTIVE


class AuthorsPage(Authors):
    name = "authors-page"
    rule = kernel.PAGE
    ahead_tokens = 1

    def begin(self, workload: Workload, limit: int) -> tuple[U64, I64]:
        resident = np.zeros_like(workload.prompt)
        cur = np.zeros(1, np.int64)
        kernel.page_prefix(resident, _prompt_tokens(workload), cur, limit)
        return resident, cur


class AuthorsLookahead1(_FirstReads):
    name = "authors-lookahead1"
    rule = kernel.LOOKAHEAD1
    ahead_tokens = 1


class AuthorsSa(_FirstReads):
    """Their annealed heuristic at one point: `window` tokens of foresight, top `share` moved."""

    name = "authors-sa"
    rule = kernel.SA

    def __init__(self, window: int = 1, share: float = 1.0, time_rule: str = "overlap"):
        super().__init__(time_rule)
        if not (isinstance(window, int) and window >= 1):
            raise InputError(f"policy {self.name}: window: {window!r}: a whole number from 1 up")
        if not 0 <= share <= 1:
            raise InputError(f"policy {self.name}: share: {share!r}: from 0 to 1")
        self.ahead_tokens, self.share = window, share


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
        self._snapshots = Snapshots()

    def advance(self, window: Window, wanted: I64 | None = None) -> tuple[I64, Samples]:
        counts = np.zeros((window.rows, len(COUNTS)), np.int64)
        wanted = sampled_rows(window, wanted)
        capture = self._snapshots.of(wanted, self._resident)
        policy = self._policy
        policy.check_steps(window.steps, len(self._resident))
        status = kernel.advance(
            policy.rule, window, self._size, self._resident, self._cur,
            self._limit, policy.ahead_tokens, policy.share, self._rates.split, self._scratch,
            self._score, capture, counts,
        )  # fmt: skip
        if status == kernel.NEVER_ENDS:
            raise InputError(
                f"policy {policy.name}: at this capacity ({self._limit} entries) a layer is flushed "
                "while it holds nothing, for ever; give HBM more capacity"
            )
        return counts, samples_of(capture)

    def traffic(self, counts: I64, groups: Groups) -> Traffic:
        share = None
        if self._policy.unlimited:
            share = self._capacity / (groups.hbm_bytes + counts[:, READS] * float(self._size))
        return authors_traffic(
            counts, groups, self._size, self._rates, rule=self._policy.time_rule, share=share
        )


def _count(resident: U64) -> I64:
    return np.array([np.bitwise_count(resident).sum()], dtype=np.int64)


def _prompt_tokens(workload: Workload) -> int:
    return int(np.bitwise_count(workload.prompt[0]).sum())
