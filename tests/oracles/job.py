"""A workload as plain Python: one `Step` after another, blocks as numbers, read sets as sets."""

from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """One step. A block's number is `lane * slots + slot`."""

    token: int
    lane: int
    read: set[int]
    appends: list[tuple[int, int, bool]]  # block, bytes, is it born here? Ascending.
    dying: set[int]  # blocks that exist no more from this step on
    hbm_bytes: float
    compute_s: float


class Job(NamedTuple):
    """All steps of a workload, and what it is made of."""

    steps: list[Step]
    prompt: list[int]  # blocks there before step 0, oldest first: by slot, then lane
    sequence: dict[int, int]  # of every block
    lanes: int
    slots: int
    layers: int
    sequences: int
    block_bytes: int
    tokens_per_block: int
    resident_bytes: float

    def groups(self, barrier: str) -> list[range]:
        """The steps between two barriers."""
        if barrier == "layer":
            return [range(t, t + 1) for t in range(len(self.steps))]
        token = [step.token for step in self.steps]
        starts = [t for t in range(len(token)) if t == 0 or token[t] != token[t - 1]]
        return [range(a, b) for a, b in zip(starts, [*starts[1:], len(self.steps)], strict=True)]

    def after(self, tokens: int) -> "Job":
        """What is left after so many token steps, as a job of its own."""
        if tokens == 0:
            return self
        first, alive = self.groups("token")[tokens].start, set(self.prompt)
        for step in self.steps[:first]:
            alive = (alive - step.dying) | {block for block, _, born in step.appends if born}
        alive -= self.steps[first].dying
        prompt = sorted(alive, key=lambda block: (block % self.slots, block // self.slots))
        return self._replace(steps=self.steps[first:], prompt=prompt)

    @property
    def decoded(self) -> int:
        """Tokens: in each token step the sequences that append, one where none does."""
        total = 0
        for group in self.groups("token"):
            appended = self.steps[group[0]].appends
            total += max(1, len({self.sequence[block] for block, _, _ in appended}))
        return total

    def capacity_blocks(self, capacity: float) -> int:
        """Whole blocks that HBM holds beside the weights."""
        fit = (capacity - self.resident_bytes) // self.block_bytes
        return int(min(fit, self.lanes * self.slots))


def job_of(workload) -> Job:
    """What a workload of hmsim yields."""
    shape, steps = workload.geometry, []
    slots = shape.slots
    prompt = [
        lane * slots + slot
        for slot in range(slots)
        for lane in range(shape.lanes)
        if int(workload.prompt[lane, slot // 64]) >> slot % 64 & 1
    ]
    for chunk in workload.chunks():
        grown, gone = chunk.append_offset.tolist(), chunk.death_offset.tolist()
        for k, lane in enumerate(chunk.lane.tolist()):
            flags = np.unpackbits(chunk.bits[k].view(np.uint8), bitorder="little")
            read = {lane * slots + slot for slot in np.flatnonzero(flags).tolist()}
            appends = [
                (lane * slots + int(chunk.append_slot[i]), int(chunk.append_bytes[i]),
                 bool(chunk.append_born[i]))
                for i in range(grown[k], grown[k + 1])
            ]  # fmt: skip
            step = Step(
                int(chunk.token[k]), lane, read, appends,
                set(chunk.death_block[gone[k] : gone[k + 1]].tolist()),
                float(chunk.hbm_bytes[k]), float(chunk.compute_s[k]),
            )  # fmt: skip
            steps.append(step)
    known = np.array(sorted({*prompt, *(b for step in steps for b, _, _ in step.appends)}), int)
    sequence = workload.locate(known)[1].tolist() if len(known) else []
    return Job(
        steps, prompt, dict(zip(known.tolist(), sequence, strict=True)), shape.lanes, slots,
        shape.layers, shape.sequences, shape.block_bytes, shape.tokens_per_block,
        shape.resident_bytes,
    )  # fmt: skip
