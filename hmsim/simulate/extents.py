"""The extents that a step moves, at the addresses where they lie, for the memory kernels."""

from typing import NamedTuple

import numpy as np

from hmsim.bits import numbers
from hmsim.memory.device import Extents
from hmsim.placement.driver import Sample
from hmsim.placement.latency import Traffic
from hmsim.simulate import extents_kernel as kernel
from hmsim.workload.steps import F64, I64, Geometry, Steps


class Placed(NamedTuple):
    """One step's extents for each memory; demand reads come before appends, moves last."""

    hbm: Extents
    dram: Extents


class AddressMap:
    """Where weights and blocks lie.

    Weights fill the bottom of HBM (and of DRAM, for the share that `unlimited` reads there). Above
    them the blocks that are in HBM take the frames of an allocator that has long been in use: a
    fixed random permutation. Blocks in DRAM have a home for life, scattered alike.

    `like`: a map of the same geometry and frames, whose arrays serve this one too.
    """

    def __init__(self, geometry: Geometry, hbm_frames: int, like: "AddressMap | None" = None):
        rng = np.random.default_rng(0)
        blocks = geometry.lanes * geometry.slots
        self.geometry = geometry
        if like is not None:
            hbm_frame, dram_frame = like.layout.hbm_frame, like.layout.dram_frame
        else:
            # `unlimited` has more residents than frames: they share them.
            hbm_frame = rng.permutation(blocks) % max(hbm_frames, 1)
            dram_frame = rng.permutation(blocks)
        self.layout: kernel.Layout = kernel.Layout(
            hbm_frame=hbm_frame,
            dram_frame=dram_frame,
            marks=np.zeros(blocks // 64, np.uint64),
            moved=np.zeros(geometry.lanes, np.int64),
            base=_round_up(int(geometry.resident_bytes), kernel.WEIGHT_EXTENT),
            size=geometry.block_bytes,
        )

    def step(self, steps: Steps, row: int, sample: Sample, traffic: Traffic) -> Placed:
        """The extents that row `row` of the steps and of their traffic moves.

        The row after it has to be there too, unless it is the workload's last.
        """
        moved = moved_bytes(traffic)[row]
        lanes = np.concatenate([sample.before, sample.after])
        rows = np.arange(len(lanes)).reshape(2, -1)
        placed = kernel.Placement(lanes, np.full(len(lanes), -1), *rows)
        items, others = kernel.most_pieces(self.layout, steps, row, placed, moved)
        pieces = [kernel.Pieces.empty(items, others) for _ in range(2)]
        kernel.place_weights(moved, steps.lane[row], *pieces)
        kernel.place(self.layout, steps, row, placed, moved, *pieces, False)
        found = []
        for each in pieces:
            made = Extents(*np.zeros((3, each.filled[kernel.ITEMS]), np.int64))
            kernel.expand(self.layout, each, made, np.zeros(len(made.size) + 1, np.int64))
            found.append(made)
        return Placed(*found)

    def in_hbm(self, residents: I64, blocks: I64) -> I64:
        """Byte addresses of blocks that are among the residents (ascending)."""
        rank = np.minimum(np.searchsorted(residents, blocks), len(self.layout.hbm_frame) - 1)
        return self.layout.base + self.layout.hbm_frame[rank] * self.layout.size

    def in_dram(self, blocks: I64) -> I64:
        """Byte addresses of the blocks' homes in DRAM."""
        return self.layout.base + self.layout.dram_frame[blocks] * self.layout.size


def blocks_of(bits: np.ndarray) -> I64:
    """Numbers of the bits set in [lanes, words], ascending."""
    return numbers(bits)


def moved_bytes(traffic: Traffic) -> F64:
    """What of the traffic the extents depend on: float64 [rows, MOVED], see extents_kernel."""
    columns = (
        traffic.attention_hbm, traffic.weights_hbm, traffic.weights_dram, traffic.append_hbm,
        traffic.append_dram, traffic.promotion_dram, traffic.demotion_dram,
    )  # fmt: skip
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float64)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
