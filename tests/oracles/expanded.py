"""The extents that a step moves, by set operations of NumPy over numbers of blocks."""

import numpy as np

from hmsim.bits import numbers
from hmsim.memory.device import Extents
from hmsim.placement.driver import Sample
from hmsim.placement.latency import Traffic
from hmsim.simulate.extents import Placed
from hmsim.simulate.extents_kernel import WEIGHT_EXTENT
from hmsim.workload.steps import I64, Geometry, Steps


class AddressMap:
    """Where weights and blocks lie.

    Weights fill the bottom of HBM (and of DRAM, for the share that `unlimited` reads there). Above
    them the blocks that are in HBM take the frames of an allocator that has long been in use: a
    fixed random permutation. Blocks in DRAM have a home for life, scattered alike.
    """

    def __init__(self, geometry: Geometry, hbm_frames: int):
        rng = np.random.default_rng(0)
        blocks = geometry.lanes * geometry.slots
        self.geometry = geometry
        # `unlimited` has more residents than frames: they share them.
        self._hbm_frame = rng.permutation(blocks) % max(hbm_frames, 1)
        self._dram_frame = rng.permutation(blocks)
        self._base = _round_up(int(geometry.resident_bytes), WEIGHT_EXTENT)

    def step(self, steps: Steps, row: int, sample: Sample, traffic: Traffic) -> Placed:
        """The extents that row `row` of the steps and of their traffic moves.

        The row after it has to be there too, unless it is the workload's last.
        """
        size = self.geometry.block_bytes
        slots = self.geometry.slots
        lane = int(steps.lane[row])
        read = blocks_of(steps.bits[row : row + 1]) + lane * slots
        here = blocks_of(sample.before)
        stays = np.isin(read, here, assume_unique=True)
        hits, misses = read[stays], read[~stays]
        # Copies may be read from either side: as many from HBM as the traffic says, spread evenly.
        from_hbm = min(len(hits), round(float(traffic.attention_hbm[row]) / size))
        chosen = np.zeros(len(hits), bool)
        chosen[np.arange(from_hbm) * len(hits) // max(from_hbm, 1)] = True
        hbm_reads, dram_reads = hits[chosen], np.concatenate([misses, hits[~chosen]])

        appends = slice(steps.append_offset[row], steps.append_offset[row + 1])
        appended = steps.append_slot[appends] + lane * slots
        length = steps.append_bytes[appends]
        after = blocks_of(sample.after)
        new_here = np.isin(appended, here) & (traffic.append_hbm[row] > 0)
        # The authors' strategies place a newborn within its step.
        late = np.isin(appended, after) & ~new_here
        late &= traffic.append_hbm[row] > length[new_here].sum()
        to_dram = np.full(len(appended), bool(traffic.append_dram[row] > 0))
        if traffic.append_dram[row] < length.sum():
            to_dram &= ~new_here

        promoted = np.setdiff1d(after, here, assume_unique=True)
        promoted = np.setdiff1d(promoted, appended[late], assume_unique=True)
        demoted = np.setdiff1d(here, after, assume_unique=True)
        demoted = np.setdiff1d(demoted, _dying(steps, row), assume_unique=True)
        fetched = promoted
        if round(float(traffic.promotion_dram[row]) / size) < len(promoted):  # filled on read
            fetched = np.setdiff1d(promoted, read, assume_unique=True)
        if traffic.demotion_dram[row] == 0:  # DRAM has its copy already
            demoted = demoted[:0]
        return Placed(
            _extents(
                _weights(traffic.weights_hbm[row], lane),
                (self.in_hbm(here, hbm_reads), size, 0),
                (self.in_hbm(here, appended[new_here]), length[new_here], 1),
                (self.in_hbm(after, appended[late]), length[late], 1),
                (self.in_hbm(after, promoted), size, 1),
                (self.in_hbm(here, demoted), size, 0),
            ),
            _extents(
                _weights(traffic.weights_dram[row], lane),
                (self.in_dram(dram_reads), size, 0),
                (self.in_dram(appended[to_dram]), length[to_dram], 1),
                (self.in_dram(fetched), size, 0),
                (self.in_dram(demoted), size, 1),
            ),
        )

    def in_hbm(self, residents: I64, blocks: I64) -> I64:
        """Byte addresses of blocks that are among the residents (ascending)."""
        rank = np.minimum(np.searchsorted(residents, blocks), len(self._hbm_frame) - 1)
        return self._base + self._hbm_frame[rank] * self.geometry.block_bytes

    def in_dram(self, blocks: I64) -> I64:
        """Byte addresses of the blocks' homes in DRAM."""
        return self._base + self._dram_frame[blocks] * self.geometry.block_bytes


def blocks_of(bits: np.ndarray) -> I64:
    """Numbers of the bits set in [lanes, words], ascending."""
    return numbers(bits)


def _dying(steps: Steps, row: int) -> I64:
    if row + 1 >= steps.rows:
        return np.zeros(0, np.int64)
    return np.sort(steps.death_block[steps.death_offset[row + 1] : steps.death_offset[row + 2]])


def _weights(total: float, layer: int) -> tuple[I64, I64, int]:
    """The layer's weights, as a sequence of extents."""
    size = round(float(total))
    offset = np.arange(0, size, WEIGHT_EXTENT)
    start = layer * _round_up(size, WEIGHT_EXTENT)
    return start + offset, np.minimum(WEIGHT_EXTENT, size - offset), 0


def _extents(*parts: tuple[I64, I64 | int, int]) -> Extents:
    address = np.concatenate([part[0] for part in parts]).astype(np.int64)
    size = np.concatenate([np.broadcast_to(part[1], len(part[0])) for part in parts])
    write = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
    return Extents(address, size.astype(np.int64), write.astype(np.int64))


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
