"""A workload's warm-up: its first tokens, which bring blocks to where a policy wants them.

A run simulates them and counts only what follows. That is a workload of its own: every block that
is alive when the warm-up ends belongs to its prompt. A bound of it may put those blocks anywhere at
no cost, so it holds wherever the warm-up has left them.
"""

from collections.abc import Iterator

import numpy as np

from hmsim.errors import InputError
from hmsim.workload.steps import I64, U64, Steps, Workload, group_starts
from hmsim.workload.view import View
from hmsim.workload.windows import Window


class Counted(View):
    """What is left of a workload once its warm-up is over, as a workload of its own.

    Args:
        workload: The whole workload.
        tokens: Token steps of warm-up.

    Attributes:
        warmup: How many steps that is. Those that follow are numbered from 0.

    Raises:
        InputError: The warm-up leaves no step.
    """

    def __init__(self, workload: Workload, tokens: int):
        self.warmup, alive = _after(workload, tokens) if tokens else (0, workload.prompt)
        super().__init__(workload, workload.geometry.steps - self.warmup, alive)

    def chunks(self) -> Iterator[Steps]:
        """The steps that count, in tables of whole tokens.

        Yields:
            The tables, in order.
        """
        for chunk in self._whole.chunks():
            last = chunk.first + chunk.rows
            if last > self.warmup:
                yield self.own(chunk.slice(max(0, self.warmup - chunk.first), chunk.rows))

    def own(self, steps: Steps) -> Steps:
        """Steps of the whole workload as steps of this one.

        Args:
            steps: None of them warm-up.

        Returns:
            The same steps, numbered from the warm-up's end. Blocks that die with the first of them
            never live in this workload.
        """
        if self.warmup == 0:
            return steps
        first = steps.first - self.warmup
        dead = int(steps.death_offset[1]) if first == 0 else 0
        return steps._replace(
            first=first,
            death_offset=np.maximum(steps.death_offset - dead, 0),
            death_block=steps.death_block[dead:],
        )


def apart(window: Window, warmup: int) -> Iterator[tuple[Window, bool]]:
    """A window as one that is warm-up and one that counts (True), as far as it has either."""
    before = min(max(0, warmup - window.steps.first), window.rows)
    if before:
        yield Window(window.steps, before), False
    if before < window.rows:
        yield Window(window.steps.slice(before, window.steps.rows), window.rows - before), True


def _after(workload: Workload, tokens: int) -> tuple[int, U64]:
    """Steps of the first `tokens` token steps, and the blocks alive as the next one begins."""
    alive = workload.prompt.copy()
    flat, slots, seen = alive.reshape(-1), workload.geometry.slots, 0
    for chunk in workload.chunks():
        starts = group_starts(chunk.token, "token")
        over = seen + len(starts) > tokens
        row = int(starts[tokens - seen]) if over else chunk.rows
        born = int(chunk.append_offset[row])
        block = chunk.append_block(slots)[:born]
        _set(flat, block[chunk.append_born[:born] == 1])
        dead = int(chunk.death_offset[row + 1 if over else row])
        _clear(flat, chunk.death_block[:dead])
        if over:
            return chunk.first + row, alive
        seen += len(starts)
    raise InputError(
        f"workload.warmup: {tokens:,} tokens leave none to count: the workload decodes {seen:,}"
    )


def _set(flat: U64, block: I64) -> None:
    np.bitwise_or.at(flat, block // 64, np.uint64(1) << (block % 64).astype(np.uint64))


def _clear(flat: U64, block: I64) -> None:
    np.bitwise_and.at(flat, block // 64, ~(np.uint64(1) << (block % 64).astype(np.uint64)))
