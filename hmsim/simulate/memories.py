"""A policy's steps through the memory kernels: where its blocks lie, and the superchip they load."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hmsim.config.system import SystemSpec
from hmsim.memory import burst_kernel
from hmsim.memory.device import MemoryConfig
from hmsim.memory.sampling import learn_kernel
from hmsim.memory.superchip import Superchip
from hmsim.memory.superchip_kernel import Served
from hmsim.memory.warm import WarmUp
from hmsim.placement.driver import Samples, capacity_blocks
from hmsim.placement.latency import Traffic
from hmsim.simulate.extents import AddressMap, moved_bytes
from hmsim.workload.steps import I64, Steps, Workload

if TYPE_CHECKING:
    from hmsim.simulate.ledger_kernel import Ledgers
    from hmsim.simulate.replay_kernel import Replayed


class Memories:
    """HBM, link and DRAM under one policy; open rows carry over from group to group.

    `outstanding`: bytes that the GPU keeps in flight; `fidelity`: burst or run; `warm_up`: compiles
    the memory kernels meanwhile; `like`: another policy's in the same run, if there is one.
    """

    def __init__(
        self, system: SystemSpec, outstanding: float, fidelity: str, workload: Workload,
        warm_up: WarmUp, like: "Memories | None" = None,
    ):  # fmt: skip
        self._warm_up, self._like = warm_up, like
        self._chip = Superchip(
            MemoryConfig.of(system.hbm), system.link, MemoryConfig.of(system.dram),
            outstanding, fidelity, threads=1,
        )  # fmt: skip
        self._served = Served.empty()
        self._addresses: AddressMap = AddressMap(
            workload.geometry, capacity_blocks(workload, system.hbm.capacity),
            None if like is None else like._addresses,
        )  # fmt: skip

    @cached_property
    def _early(self) -> tuple[I64, I64]:
        from hmsim.simulate.ledger_kernel import early_ranks

        if self._like is not None:  # has the same frames
            return self._like._early
        layout = self._addresses.layout
        return early_ranks(layout.hbm_frame), early_ranks(layout.dram_frame)

    @cached_property
    def _ledgers(self) -> "Ledgers":
        from hmsim.simulate.ledger_kernel import Ledgers, ledger_of
        from hmsim.simulate.tally_kernel import tally_of

        hbm, dram = self._chip.kernel.hbm, self._chip.kernel.dram
        layout, shape = self._addresses.layout, self._addresses.geometry
        tallies = [
            tally_of(part.learner, layout.base, layout.size, len(layout.dram_frame))
            for part in (hbm, dram)
        ]
        lanes = words = 0
        early = layout.moved[:0], layout.moved[:0]
        if hbm.sampled and dram.sampled and all(len(tally.blocks) for tally in tallies):
            lanes, words, early = shape.lanes, shape.words, self._early
        return Ledgers(
            ledger_of(layout.hbm_frame, early[0], tallies[0], hbm, lanes, words),
            ledger_of(layout.dram_frame, early[1], tallies[1], dram, lanes, words),
            ~np.zeros(words, np.uint64),
        )

    def groups(
        self, steps: Steps, first: I64, last: I64, wanted: I64, samples: Samples, traffic: Traffic
    ) -> "Replayed":
        """What barrier groups take, one after another.

        steps: a window's, with those ahead. first, last: int64 [groups], rows of each group.
        wanted: int64 [rows], which of the samples is that of a row.
        """
        self._warm_up.wait()
        from hmsim.simulate.replay_kernel import Replayed, Sampled, replay_groups  # compiles it

        out = Replayed.empty(len(first))
        sampled = Sampled(
            first, last, wanted, samples.lanes, np.full(len(samples.lanes), -1), samples.before,
            samples.after, moved_bytes(traffic),
        )  # fmt: skip
        replay_groups(
            burst_kernel.replay, learn_kernel(), self._chip.kernel, self._served,
            self._addresses.layout, self._ledgers, steps, sampled, out,
        )  # fmt: skip
        return out
