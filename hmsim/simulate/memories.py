"""A policy's steps through the memory kernels: where its blocks lie, and the superchip they load."""

from hmsim.config.system import SystemSpec
from hmsim.memory.device import MemoryConfig
from hmsim.memory.superchip import StepTiming, Superchip
from hmsim.memory.warm import WarmUp
from hmsim.placement.driver import Sample, capacity_blocks
from hmsim.placement.latency import Traffic
from hmsim.simulate.extents import AddressMap, joined
from hmsim.workload.steps import Steps, Workload


class Memories:
    """HBM, link and DRAM under one policy; open rows carry over from group to group.

    `outstanding`: bytes that the GPU keeps in flight; `fidelity`: burst or run; `warm_up`: compiles
    the memory kernels meanwhile.
    """

    def __init__(
        self, system: SystemSpec, outstanding: float, fidelity: str, workload: Workload,
        warm_up: WarmUp,
    ):  # fmt: skip
        self._warm_up = warm_up
        self._chip = Superchip(
            MemoryConfig.of(system.hbm), system.link, MemoryConfig.of(system.dram),
            outstanding, fidelity, threads=1,
        )  # fmt: skip
        self._addresses = AddressMap(
            workload.geometry, capacity_blocks(workload, system.hbm.capacity)
        )

    def group(
        self, steps: Steps, rows: range, samples: list[Sample], traffic: Traffic
    ) -> StepTiming:
        """What one barrier group takes: rows of the steps, and a sample for each of them."""
        self._warm_up.wait()
        placed = [
            self._addresses.step(steps, k, sample, traffic)
            for k, sample in zip(rows, samples, strict=True)
        ]
        return self._chip.step(
            joined([each.hbm for each in placed]), joined([each.dram for each in placed])
        )
