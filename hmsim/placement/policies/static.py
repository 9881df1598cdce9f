"""`static` and `interleaved`: blocks stay where they were born.

static       new blocks fill HBM until it is full, later ones go to DRAM
interleaved  of the blocks in order of birth, the `share` goes to HBM, evenly spread, as long as
             capacity is left: by default, as the bandwidths are to each other

Sources: arXiv 2508.13231, the baseline of its evaluation; and the weighted interleaving of Linux's
memory policies (MPOL_WEIGHTED_INTERLEAVE), with weights by bandwidth.
"""

import numpy as np

from hmsim.bits import has, pack, unpack
from hmsim.errors import InputError
from hmsim.placement.policies.api import Own, Policy, oldest_first, policy_step


@policy_step
def step(now, hbm, own, moves):
    """No moves; newborns go to HBM as long as capacity is left, as is the default."""


@policy_step
def interleaved_step(now, hbm, own, moves):
    """No moves. own.ints: [blocks born so far]; own.floats: [share]."""
    share = own.floats[0]
    for j in range(now.coming.size):
        if has(hbm.alive[now.next_lane], now.coming[j]):  # an append to a block that there is
            continue
        born = own.ints[0]
        moves.place[j] = np.int64(np.floor((born + 1) * share) > np.floor(born * share))
        own.ints[0] += 1


class Static(Policy):
    """First come, first served."""

    name = "static"
    step = step


class Interleaved(Policy):
    """By the ratio of the bandwidths, or `share`."""

    name = "interleaved"
    step = interleaved_step

    def __init__(self, share: float | None = None):
        if share is not None and not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InputError(f"policy {self.name}: share: {share!r}: from 0 to 1")
        self._share = share
        self._prompt_blocks = 0

    def prompt(self, workload, capacity, rates):
        """Every so many of the prompt's blocks, by slot, then lane."""
        share = self._share_at(rates)
        flags = unpack(workload.prompt).T
        order = np.cumsum(flags).reshape(flags.shape)  # number of blocks up to each, itself too
        self._prompt_blocks = int(order[-1, -1])
        chosen = flags & (np.floor(order * share) > np.floor((order - 1) * share))
        return oldest_first(pack(chosen.T), capacity)

    def own(self, geometry, capacity, rates, resident):
        born = np.array([self._prompt_blocks])
        return Own(np.zeros((1, 1), np.uint64), born, np.array([self._share_at(rates)]))

    def _share_at(self, rates):
        return rates.split if self._share is None else float(self._share)
