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
    from hmsim.simulate.replay_kernel import Replayed, Tallies


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
    def _tallies(self) -> "Tallies":
        from hmsim.simulate.replay_kernel import Tallies
        from hmsim.simulate.tally_kernel import tally_of

        layout, chip = self._addresses.layout, self._chip.kernel
        frames = len(layout.dram_frame)
        return Tallies(
            tally_of(chip.hbm.learner, layout.base, layout.size, frames),
            tally_of(chip.dram.learner, layout.base, layout.size, frames),
        )

    @cached_property
    def _early(self) -> tuple[I64, I64]:
        from hmsim.simulate.ledger_kernel import early_ranks

        if self._like is not None:  # has the same frames
            return self._like._early
        layout = self._addresses.layout
        return early_ranks(layout.hbm_frame), early_ranks(layout.dram_frame)

    @cached_property
    def _ledgers(self) -> "Ledgers":
        from hmsim.simulate.ledger_kernel import ledgers_of

        parts, shape = self._chip.kernel[:2], self._addresses.geometry
        able = all(part.sampled for part in parts) and all(
            len(each.blocks) for each in self._tallies
        )
        lanes, words = (shape.lanes, shape.words) if able else (0, 0)
        channels = parts[0].learner.channels, parts[1].learner.channels
        return ledgers_of(
            self._addresses.layout, self._early, self._tallies, channels, lanes, words
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
            self._addresses.layout, self._tallies, self._ledgers, steps, sampled, out,
        )  # fmt: skip
        return out
