"""A workload's first steps, as a workload of their own."""

from collections.abc import Iterator

from hmsim.workload.steps import I64, U64, Geometry, Steps, Workload, group_starts


class First:
    """The first tokens of a workload, in about so many steps.

    Args:
        workload: The whole workload.
        steps: How many steps; whole tokens are taken, one at least, so it may be more.
    """

    def __init__(self, workload: Workload, steps: int):
        self._whole = workload
        self.title, self.toml, self.seed = workload.title, workload.toml, workload.seed
        taken = 0
        for chunk in workload.chunks():
            ends = [*group_starts(chunk.token, "token")[1:].tolist(), chunk.rows]
            taken = next((chunk.first + end for end in ends if chunk.first + end >= steps), 0)
            if taken:
                break
        self._steps = taken or workload.geometry.steps

    @property
    def geometry(self) -> Geometry:
        """That of the whole workload, with fewer steps."""
        return self._whole.geometry._replace(steps=self._steps)

    @property
    def prompt(self) -> U64:
        """The blocks alive before step 0: bitsets, uint64 [lanes, words]."""
        return self._whole.prompt

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        """Where blocks belong, as in the whole workload.

        Args:
            block: Global block numbers, int64 [n].

        Returns:
            Layer, sequence, and position in the sequence of each block, all int64 [n].
        """
        return self._whole.locate(block)

    def chunks(self) -> Iterator[Steps]:
        """The steps, in tables of whole tokens.

        Yields:
            The tables, in order.
        """
        for chunk in self._whole.chunks():
            yield chunk.slice(0, min(chunk.rows, self._steps - chunk.first))
            if chunk.first + chunk.rows >= self._steps:
                return
