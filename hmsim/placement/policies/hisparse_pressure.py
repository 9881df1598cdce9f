"""Whole requests in HBM until capacity presses; from then on `hisparse`'s buffers for one after another.

A *whole* request keeps all that it has in HBM, and what it reads from DRAM comes in as long as HBM has
a place. Where a read or a newborn, of whatever request, needs a place and HBM has none, the last whole
request is turned: from then on it has a buffer in each layer, as in `hisparse`, and what its buffers
have too much is demoted, the least recently used first: of the step's layer at once, of each other
one when the layer is visited next. If that frees nothing, the whole request before it follows. One that
has no more in that layer than a buffer holds is left alone; one that was turned stays so.

HBM begins with the blocks of as many whole requests, the first ones, as leave place for the buffers
of all others, and with the newest blocks of these.
Source: "[RFC]: add Hybrid HiSparse", github.com/vllm-project/vllm-ascend, issue 16227, 10 September
2026: KV stays on the accelerator while capacity suffices, and offloading begins under pressure. Which
request yields it leaves open; the last is the one that vLLM preempts first.
"""

import numpy as np

from hmsim.placement.policies.hisparse import HiSparse, resident_of


class HiSparsePressure(HiSparse):
    """`hisparse`, but for whole requests; `own` is as there, and `whole` says which they are.

    Args:
        buffer: Tokens that a buffer holds, in whole blocks, one at least.
    """

    name = "hisparse-pressure"

    def prompt(self, workload, capacity, rates):
        """All blocks of the first requests, and the newest ones of the others' buffers."""
        shape, places = workload.geometry, self._places(workload.geometry)
        there, owner, rank = self._newest(workload)
        request = owner % shape.sequences
        all_of = np.bincount(request, minlength=shape.sequences)
        buffers_of = np.bincount(request[rank < places], minlength=shape.sequences)
        needed = buffers_of.sum() + np.append(0, np.cumsum(all_of - buffers_of))
        self._whole = np.arange(shape.sequences) < np.sum(needed <= capacity) - 1
        if needed[0] > capacity:
            return super().prompt(workload, capacity, rates)
        return resident_of(there[self._whole[request] | (rank < places)], shape)

    def own(self, geometry, capacity, rates, resident):
        """As of `hisparse`; the first requests are whole."""
        own = super().own(geometry, capacity, rates, resident)
        own.ints[own.ints.size - geometry.sequences :] = self._whole
        return own
