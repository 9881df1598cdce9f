"""A workload made on the fly: a schedule of sequences and a process that selects their blocks."""

from collections.abc import Callable, Iterator

import numpy as np

from hmsim.config.model import LlmModel
from hmsim.workload.batch import Schedule
from hmsim.workload.selection import Selection
from hmsim.workload.steps import CHUNK_BYTES, I64, U64, Geometry, Steps


class Generated:
    """A `Workload` whose lanes are the model's layers; steps are (token, layer), token outer."""

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
        self.geometry = Geometry(
            steps=schedule.steps * lanes,
            lanes=lanes,
            slots=schedule.slots,
            block_bytes=schedule.block_tokens * model.kv_bytes,
            tokens_per_block=schedule.block_tokens,
            layers=lanes,
            sequences=schedule.start.size,
            resident_bytes=model.resident,
        )
        # HBM reads of a layer step: the weights, and the index of everything that is past.
        batch = np.diff(schedule.active_offset)
        sizes, row = np.unique(batch, return_inverse=True)
        weights = np.array([model.weights_step(int(size)) for size in sizes])
        past = np.repeat(np.arange(schedule.steps), batch)
        past += (schedule.prompt - schedule.start)[schedule.active]
        total = np.add.reduceat(past, schedule.active_offset[:-1])
        self._hbm_bytes = weights[row] + index_bytes * total

    @property
    def prompt(self) -> U64:
        return np.tile(self.schedule.alive, (self.geometry.lanes, 1))

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        layer, slot = np.divmod(block, self.geometry.slots)
        sequence, position = self.schedule.owners()
        return layer, sequence[slot], position[slot]

    def chunks(self) -> Iterator[Steps]:
        shape = self.geometry
        selection = self.select()
        tokens = max(1, CHUNK_BYTES // (shape.lanes * shape.words * 8))
        for first in range(0, self.schedule.steps, tokens):
            count = min(tokens, self.schedule.steps - first)
            bits = np.zeros((count, shape.lanes, shape.words), np.uint64)
            reads = np.empty((count, shape.lanes), np.int64)
            selection.fill(bits, reads, first)
            yield self._chunk(first, bits, reads)

    def _chunk(self, first: int, bits: U64, reads: I64) -> Steps:
        """Token steps from `first` on with everything that the schedule knows of them."""
        plan, lanes, count = self.schedule, self.geometry.lanes, len(bits)
        steps = np.arange(first, first + count)
        append_offset, entry = _tile(plan.append_offset, first, count, lanes)
        death_offset, dead = self._deaths(first, count)
        return Steps(
            first=first * lanes,
            lane=np.tile(np.arange(lanes), count),
            token=np.repeat(plan.first_token + steps, lanes),
            bits=bits.reshape(count * lanes, -1),
            reads=reads.reshape(-1),
            append_offset=append_offset,
            append_slot=plan.append_slot[entry],
            append_bytes=plan.append_tokens[entry] * self.model.kv_bytes,
            append_born=plan.append_born[entry],
            death_offset=death_offset,
            death_block=dead,
            hbm_bytes=np.repeat(self._hbm_bytes[steps], lanes),
            compute_s=np.zeros(count * lanes),
        )

    def _deaths(self, first: int, count: int) -> tuple[I64, I64]:
        """Offsets by step and block numbers: a block dies in all layers at the token's first."""
        plan, shape = self.schedule, self.geometry
        offset = np.zeros(count * shape.lanes + 1, np.int64)
        blocks = []
        for k in range(count):
            slots = plan.death_slot[plan.death_offset[first + k] : plan.death_offset[first + k + 1]]
            blocks.append((np.arange(shape.lanes)[:, None] * shape.slots + slots).reshape(-1))
            offset[k * shape.lanes + 1] = blocks[-1].size
        return np.cumsum(offset), np.concatenate(blocks)


def _tile(offset: I64, first: int, count: int, lanes: int) -> tuple[I64, I64]:
    """CSR rows `first` .. `first + count - 1`, each repeated for all lanes: offsets, entries."""
    lengths = np.repeat(np.diff(offset[first : first + count + 1]), lanes)
    tiled = np.zeros(count * lanes + 1, np.int64)
    np.cumsum(lengths, out=tiled[1:])
    begin = np.repeat(offset[first : first + count], lanes)
    return tiled, np.repeat(begin - tiled[:-1], lengths) + np.arange(tiled[-1])
