"""A workload's chunks cut into windows of whole tokens, each with a look at the steps that follow."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hmsim.workload.steps import Steps, Workload, group_starts


class Window(NamedTuple):
    """Steps to process, rows 0 .. rows - 1 of a table whose other rows lie ahead of them.

    One step ahead, at least, is there unless the workload ends.
    """

    steps: Steps
    rows: int

    @property
    def own(self) -> Steps:
        """The steps to process, without those ahead."""
        return self.steps.slice(0, self.rows)


def windows(workload: Workload, ahead_tokens: int, most_rows: float = np.inf) -> Iterator[Window]:
    """Windows over the whole workload, each with the next `ahead_tokens` (at least one) tokens.

    Chunks hold whole tokens, so windows do; of about `most_rows` rows at most.
    """
    ahead_tokens = max(1, ahead_tokens)
    held: list[Steps] = []
    for chunk in workload.chunks():
        held.append(chunk)
        while len(held) > 1 and held[-1].token[-1] - held[0].token[-1] >= ahead_tokens:
            yield from _pieces(_window(held, ahead_tokens), most_rows)
            held.pop(0)
    while held:
        yield from _pieces(_window(held, ahead_tokens), most_rows)
        held.pop(0)


def _window(held: list[Steps], ahead_tokens: int) -> Window:
    """The first of the chunks held, with what is in sight of the others."""
    own, *others = held
    last = own.token[-1] + ahead_tokens
    ahead = [other.slice(0, int(np.searchsorted(other.token, last, "right"))) for other in others]
    return Window(Steps.join([own, *ahead]), own.rows)


def _pieces(window: Window, most_rows: float) -> Iterator[Window]:
    """The window in pieces of whole tokens, all of which look as far ahead."""
    if window.rows <= most_rows:
        yield window
        return
    steps = window.steps
    ends = np.append(group_starts(steps.token[: window.rows], "token")[1:], window.rows)
    first = 0
    while first < window.rows:
        last = int(ends[max(int(np.searchsorted(ends, first + most_rows, side="right")) - 1, 0)])
        if last <= first:  # a token of more rows than that
            last = int(ends[np.searchsorted(ends, first, side="right")])
        yield Window(steps.slice(first, steps.rows), last - first)
        first = last
