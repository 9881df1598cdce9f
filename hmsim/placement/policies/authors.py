"""`authors-*`: the strategies of the founding authors' simulator, exactly by its rules.

They are not plug-in policies: HBM holds copies of tokens, one slot is always lost, a page may come
in before all of its tokens exist, and time follows a rule of their own. `time_rule` is `overlap`
(made the figures of arXiv 2508.13231) or `serial` (a later revision of their simulator).
"""

from typing import ClassVar

import numpy as np

from hmsim.errors import InputError
from hmsim.placement.policies import authors_kernel as kernel
from hmsim.placement.policies.api import oldest_first
from hmsim.workload.steps import I64, U64, Geometry, Workload


class Authors:
    """One strategy; subclasses say which."""

    name: ClassVar[str]
    rule: ClassVar[int] = kernel.STATIC
    unlimited: ClassVar[bool] = False
    ahead_tokens = 0
    share = 1.0

    def __init__(self, time_rule: str = "overlap"):
        if time_rule not in ("overlap", "serial"):
            raise InputError(f"policy {self.name}: time_rule: {time_rule!r}: overlap or serial")
        self.time_rule = time_rule

    def check(self, geometry: Geometry) -> None:
        """These rules know one sequence and blocks of one token."""
        if geometry.sequences != 1 or geometry.tokens_per_block != 1:
            raise InputError(
                f"policy {self.name}: needs a workload of one sequence and one token a block, "
                f"this one has {geometry.sequences} and {geometry.tokens_per_block}"
            )
        if geometry.lanes != geometry.layers:
            raise InputError(f"policy {self.name}: needs one step for every token and layer")

    def begin(self, workload: Workload, limit: int) -> tuple[U64, I64]:
        """Residents [layers, words] before step 0, and their number [1]: the oldest tokens."""
        resident = oldest_first(workload.prompt, limit - 1)
        return resident, _count(resident)


class AuthorsUnlimited(Authors):
    name = "authors-unlimited"
    unlimited = True


class AuthorsStatic(Authors):
    name = "authors-static"


class _FirstReads(Authors):
    """Starts, free of charge and with foresight, from the tokens that are read first."""

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


def _count(resident: U64) -> I64:
    return np.array([np.bitwise_count(resident).sum()], dtype=np.int64)


def _prompt_tokens(workload: Workload) -> int:
    return int(np.bitwise_count(workload.prompt[0]).sum())
