"""A workload's first steps, as a workload of their own."""

from collections.abc import Iterator

from hmsim.workload.steps import Steps, Workload, group_starts
from hmsim.workload.view import View


class First(View):
    """The first tokens of a workload, in about so many steps.

    Args:
        workload: The whole workload.
        steps: How many steps; whole tokens are taken, one at least, so it may be more.
    """

    def __init__(self, workload: Workload, steps: int):
        taken = 0
        for chunk in workload.chunks():
            ends = [*group_starts(chunk.token, "token")[1:].tolist(), chunk.rows]
            taken = next((chunk.first + end for end in ends if chunk.first + end >= steps), 0)
            if taken:
                break
        super().__init__(workload, taken or workload.geometry.steps, workload.prompt)

    def chunks(self) -> Iterator[Steps]:
        """The steps, in tables of whole tokens.

        Yields:
            The tables, in order.
        """
        for chunk in self._whole.chunks():
            yield chunk.slice(0, min(chunk.rows, self._steps - chunk.first))
            if chunk.first + chunk.rows >= self._steps:
                return
