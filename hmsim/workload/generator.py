"""A workload made on the fly: a schedule of sequences and a process that selects their blocks."""

from collections.abc import Callable, Iterator

import numpy as np

from hmsim.bits import pack, unpack
from hmsim.config.model import LlmModel
from hmsim.errors import InputError
from hmsim.workload.batch import Schedule
from hmsim.workload.selection import Selection
from hmsim.workload.steps import CHUNK_BYTES, I64, U64, Geometry, Steps


class Generated:
    """A `Workload` whose lanes are the model's layers; steps are (token, layer), token outer.

    Where layers keep different amounts of KV, a block is the largest size that fits into all of
    them a whole number of times: what the schedule calls a block is then so many of them, side by
    side in the lane of its layer.
    """

    def __init__(
        self,
        schedule: Schedule,
        select: Callable[[], Selection],
        model: LlmModel,
        lanes: int,
        title: str,
        toml: str,
        seed: int,
        index_bytes: float = 0.0,
    ) -> None:
        self.schedule, self.select, self.model = schedule, select, model
        self.title, self.toml, self.seed = title, toml, seed
        layers = [model.layer(lane) for lane in range(lanes)]
        self._unit = model.kv_unit(lanes)  # bytes of a block's token
        if self._unit == 0:
            raise InputError(f"model {model.title}: no layer keeps KV, so there is none to place")
        # Blocks of a scheduled one, by lane.
        self._share = np.array([layer.kv_bytes // self._unit for layer in layers])
        state = np.array([layer.state_bytes for layer in layers])
        self.geometry = Geometry(
            steps=schedule.steps * lanes,
            lanes=lanes,
            slots=schedule.slots * int(self._share.max()),
            block_bytes=schedule.block_tokens * self._unit,
            tokens_per_block=schedule.block_tokens,
            layers=lanes,
            sequences=schedule.start.size,
            resident_bytes=model.resident + schedule.seats * float(state.sum()),
        )
        # HBM traffic of a layer step: the weights, the index of everything that is past, and the
        # state of every sequence, which is read and written back.
        batch = np.diff(schedule.active_offset)
        sizes, self._row = np.unique(batch, return_inverse=True)
        self._weights = np.array(
            [[model.weights_step(size, lane) for lane in range(lanes)] for size in sizes.tolist()]
        )
        self._weights += 2 * state * sizes[:, None]
        past = np.repeat(np.arange(schedule.steps), batch)
        past += (schedule.prompt - schedule.start)[schedule.active]
        total = np.add.reduceat(past, schedule.active_offset[:-1])
        self._index = index_bytes * total
        self._indexed = self._share > 0

    @property
    def prompt(self) -> U64:
        return self._blocks(np.tile(self.schedule.alive, (1, self.geometry.lanes, 1)))[0]

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        layer, slot = np.divmod(block, self.geometry.slots)
        sequence, position = self.schedule.owners()
        slot = slot // np.maximum(self._share, 1)[layer]
        none = slot >= self.schedule.slots
        slot = np.where(none, 0, slot)
        return layer, np.where(none, -1, sequence[slot]), np.where(none, -1, position[slot])

    def chunks(self) -> Iterator[Steps]:
        shape, words = self.geometry, self.schedule.slots // 64
        selection = self.select()
        tokens = max(1, CHUNK_BYTES // (shape.lanes * shape.words * 8))
        for first in range(0, self.schedule.steps, tokens):
            count = min(tokens, self.schedule.steps - first)
            bits = np.zeros((count, shape.lanes, words), np.uint64)
            reads = np.empty((count, shape.lanes), np.int64)
            selection.fill(bits, reads, first)
            yield self._chunk(first, self._blocks(bits), reads * self._share)

    def _blocks(self, bits: U64) -> U64:
        """Bitsets [K, lanes, words] over blocks, of those over the schedule's."""
        if (self._share == 1).all():
            return bits
        words = bits.shape[2]
        found = np.zeros((*bits.shape[:2], self.geometry.words), np.uint64)
        for lane, share in enumerate(self._share.tolist()):
            found[:, lane, : words * share] = pack(unpack(bits[:, lane]).repeat(share, axis=1))
        return found

    def _chunk(self, first: int, bits: U64, reads: I64) -> Steps:
        """Token steps from `first` on with everything that the schedule knows of them."""
        plan, lanes, count = self.schedule, self.geometry.lanes, len(bits)
        steps = np.arange(first, first + count)
        lane = np.tile(np.arange(lanes), count)
        append_offset, entry = _tile(plan.append_offset, first, count, lanes)
        append_offset, append_slot, which = self._split(
            append_offset, plan.append_slot[entry], lane
        )
        entry = entry[which]
        death_offset, dead = self._deaths(first, count)
        index = self._index[steps][:, None] * self._indexed
        return Steps(
            first=first * lanes,
            lane=lane,
            token=np.repeat(plan.first_token + steps, lanes),
            bits=bits.reshape(count * lanes, -1),
            reads=reads.reshape(-1),
            append_offset=append_offset,
            append_slot=append_slot,
            append_bytes=plan.append_tokens[entry] * self._unit,
            append_born=plan.append_born[entry],
            death_offset=death_offset,
            death_block=dead,
            hbm_bytes=(self._weights[self._row[steps]] + index).reshape(-1),
            compute_s=np.zeros(count * lanes),
        )

    def _split(self, offset: I64, slot: I64, lane: I64) -> tuple[I64, I64, I64]:
        """CSR rows of the schedule's slots, a row's lane in `lane`, as rows of the geometry's.

        Returns offsets, slots, and the entry that each comes from.
        """
        share = np.repeat(self._share[lane], np.diff(offset))  # of each entry
        ends = np.append(0, np.cumsum(share))
        which = np.repeat(np.arange(slot.size), share)
        return ends[offset], slot[which] * share[which] + np.arange(ends[-1]) - ends[which], which

    def _deaths(self, first: int, count: int) -> tuple[I64, I64]:
        """Offsets by step and block numbers: a block dies in all layers at the token's first."""
        plan, shape = self.schedule, self.geometry
        offset = np.zeros(count * shape.lanes + 1, np.int64)
        blocks = []
        every = np.arange(shape.lanes)
        for k in range(count):
            slots = plan.death_slot[plan.death_offset[first + k] : plan.death_offset[first + k + 1]]
            rows = np.arange(shape.lanes + 1) * slots.size
            rows, slot, _ = self._split(rows, np.tile(slots, shape.lanes), every)
            blocks.append(np.repeat(every, np.diff(rows)) * shape.slots + slot)
            offset[k * shape.lanes + 1] = blocks[-1].size
        return np.cumsum(offset), np.concatenate(blocks)


def _tile(offset: I64, first: int, count: int, lanes: int) -> tuple[I64, I64]:
    """CSR rows `first` .. `first + count - 1`, each repeated for all lanes: offsets, entries."""
    lengths = np.repeat(np.diff(offset[first : first + count + 1]), lanes)
    tiled = np.zeros(count * lanes + 1, np.int64)
    np.cumsum(lengths, out=tiled[1:])
    begin = np.repeat(offset[first : first + count], lanes)
    return tiled, np.repeat(begin - tiled[:-1], lengths) + np.arange(tiled[-1])
