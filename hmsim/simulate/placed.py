"""Where blocks lie, for exports to other tools: in which tier and at which place of a memory."""

from collections.abc import Callable, Iterator

import numpy as np

from hmsim.config.memory import PROTOCOLS
from hmsim.config.system import MemorySide, SystemSpec
from hmsim.memory.device import MemoryConfig
from hmsim.memory.mapping import decode, turns
from hmsim.placement.driver import capacity_blocks
from hmsim.placement.latency import analytic_rates
from hmsim.simulate.extents import AddressMap, blocks_of
from hmsim.simulate.policies import make_policy
from hmsim.workload.export import DRAM, HBM, Selected
from hmsim.workload.steps import I64, Workload
from hmsim.workload.windows import windows


class PolicyAddresses:
    """Tier and byte address of blocks as they lie when a step reads them, under a policy.

    Asked for the exported steps of `selected`, in order; the policy runs along.
    """

    def __init__(self, name: str, workload: Workload, system: SystemSpec, selected: Selected):
        policy = make_policy(name, allow=[name])  # the caller names it
        self._workload, self._ahead = workload, policy.ahead_tokens
        self._selected = selected
        capacity = system.hbm.capacity
        self._run = policy.start(workload, capacity, analytic_rates(system), "text")
        self._map = AddressMap(workload.geometry, capacity_blocks(workload, capacity))
        self._residents = self._steps()
        self._known = (-1, np.zeros(0, np.int64))

    def __call__(self, step: int, block: I64) -> tuple[I64, I64]:
        while self._known[0] < step:
            self._known = next(self._residents)
        here = self._known[1]
        inside = np.isin(block, here)
        tier = np.where(inside, HBM, DRAM)
        return tier, np.where(inside, self._map.in_hbm(here, block), self._map.in_dram(block))

    def _steps(self) -> Iterator[tuple[int, I64]]:
        """Every exported step with the blocks in HBM as it begins."""
        shape, selected = self._workload.geometry, self._selected
        rows = max(1, 2**24 // (shape.lanes * shape.words))
        for window in windows(self._workload, self._ahead, rows):
            step = window.steps.first + np.arange(window.rows)
            wanted = (step >= selected.first) & ((step - selected.first) % selected.every == 0)
            if selected.last is not None:
                wanted &= step < selected.last
            number = np.where(wanted, np.cumsum(wanted) - 1, -1)
            _, samples = self._run.advance(window, number)
            for at, sample in zip(step[wanted], samples, strict=True):
                yield int(at), blocks_of(sample.before)


def levels(side: MemorySide) -> Callable[[I64], list[I64]]:
    """From byte address to channel, pseudo channel and stack ID (or rank), bank group, bank, row
    and column in bursts, by the memory's interleave and address map."""
    organization = side.spec.organization
    config = MemoryConfig.of(side)
    mapping, stripe = config.check(), config.stripe

    def place(address: I64) -> list[I64]:
        chunk, rest = np.divmod(address, stripe)
        chunk, channel = np.divmod(chunk, config.channels)
        if config.hashed:
            channel = (channel + turns(chunk, config.channels)) % config.channels
        flat, row, column = decode(mapping, (chunk * stripe + rest) // organization.burst_bytes)
        flat, bank = np.divmod(flat, organization.banks)
        flat, group = np.divmod(flat, organization.bank_groups)
        pseudo, rank = np.divmod(flat, organization.ranks)
        above = [pseudo, rank][-len(PROTOCOLS[side.spec.protocol].levels) :]
        return [channel, *above, group, bank, row, column]

    return place
