"""A part of a workload's steps as a workload of its own: what `First` and `Counted` share."""

from hmsim.workload.steps import I64, U64, Geometry, Workload


class View:
    """Some consecutive steps of a workload; which ones, `chunks` of each kind says.

    Args:
        whole: The whole workload.
        steps: How many of its steps these are.
        prompt: The blocks alive before the first of them, uint64 [lanes, words].
    """

    def __init__(self, whole: Workload, steps: int, prompt: U64):
        self._whole, self._steps, self._prompt = whole, steps, prompt
        self.title, self.toml, self.seed = whole.title, whole.toml, whole.seed

    @property
    def geometry(self) -> Geometry:
        """That of the whole workload, with fewer steps."""
        return self._whole.geometry._replace(steps=self._steps)

    @property
    def prompt(self) -> U64:
        """The blocks alive before step 0: bitsets, uint64 [lanes, words]."""
        return self._prompt

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        """Where blocks belong, as in the whole workload.

        Args:
            block: Global block numbers, int64 [n].

        Returns:
            Layer, sequence, and position in the sequence of each block, all int64 [n].
        """
        return self._whole.locate(block)
