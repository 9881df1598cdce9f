"""A stream of chunks cut into windows of whole tokens, with a look at the steps that follow."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hmsim.workload.steps import F64, I64, U64, Chunk, Workload, group_starts


class Window(NamedTuple):
    """Rows 0 .. rows - 1 are steps to process; the rest, up to the arrays' ends, lie ahead.

    Arrays as in `Chunk`. One step ahead, at least, is there unless the workload ends.
    """

    first: int
    rows: int
    lane: I64
    token: I64
    reads: I64
    bits: U64
    append_offset: I64
    append_slot: I64
    append_bytes: I64
    append_born: I64
    death_offset: I64
    death_block: I64
    hbm_bytes: F64
    compute_s: F64


class Demand(NamedTuple):
    """The per-step numbers of a window's own rows that no kernel needs."""

    token: I64
    lane: I64
    hbm_bytes: F64
    compute_s: F64


def windows(
    workload: Workload, ahead_tokens: int, most_rows: float = np.inf
) -> Iterator[tuple[Window, Demand]]:
    """Windows over the whole workload, each with the next `ahead_tokens` (at least one) tokens.

    Chunks hold whole tokens, so windows do; of about `most_rows` rows at most.
    """
    ahead_tokens = max(1, ahead_tokens)
    held: list[Chunk] = []
    for chunk in workload.chunks():
        held.append(chunk)
        while len(held) > 1 and held[-1].token[-1] - held[0].token[-1] >= ahead_tokens:
            yield from _split(*_window(held, ahead_tokens), most_rows)
            held.pop(0)
    while held:
        yield from _split(*_window(held, ahead_tokens), most_rows)
        held.pop(0)


def _split(window: Window, demand: Demand, most_rows: float) -> Iterator[tuple[Window, Demand]]:
    """The window in pieces of whole tokens, all of which look as far ahead."""
    if window.rows <= most_rows:
        yield window, demand
        return
    ends = np.append(group_starts(demand.token, "token")[1:], window.rows)
    first = 0
    while first < window.rows:
        last = int(ends[max(int(np.searchsorted(ends, first + most_rows, side="right")) - 1, 0)])
        if last <= first:  # a token of more rows than that
            last = int(ends[np.searchsorted(ends, first, side="right")])
        yield (
            window._replace(
                first=window.first + first,
                rows=last - first,
                lane=window.lane[first:],
                token=window.token[first:],
                reads=window.reads[first:],
                bits=window.bits[first:],
                append_offset=window.append_offset[first:],
                death_offset=window.death_offset[first:],
            ),
            Demand(
                demand.token[first:last],
                demand.lane[first:last],
                demand.hbm_bytes[first:last],
                demand.compute_s[first:last],
            ),
        )
        first = last


def _window(held: list[Chunk], ahead_tokens: int) -> tuple[Window, Demand]:
    own = held[0]
    last = own.token[-1] + ahead_tokens
    parts = [own]
    for chunk in held[1:]:
        rows = int(np.searchsorted(chunk.token, last, side="right"))
        if rows:
            parts.append(_head(chunk, rows))
    window = Window(
        own.first,
        len(own.lane),
        _join([part.lane for part in parts]),
        _join([part.token for part in parts]),
        _join([part.reads for part in parts]),
        _join([part.bits for part in parts]),
        _offsets([part.append_offset for part in parts]),
        _join([part.append_slot for part in parts]),
        _join([part.append_bytes for part in parts]),
        _join([part.append_born for part in parts]),
        _offsets([part.death_offset for part in parts]),
        _join([part.death_block for part in parts]),
        _join([part.hbm_bytes for part in parts]),
        _join([part.compute_s for part in parts]),
    )
    return window, Demand(own.token, own.lane, own.hbm_bytes, own.compute_s)


def _head(chunk: Chunk, rows: int) -> Chunk:
    appends, deaths = chunk.append_offset[rows], chunk.death_offset[rows]
    return Chunk(
        chunk.first, chunk.lane[:rows], chunk.token[:rows], chunk.bits[:rows], chunk.reads[:rows],
        chunk.append_offset[: rows + 1], chunk.append_slot[:appends], chunk.append_bytes[:appends],
        chunk.append_born[:appends], chunk.death_offset[: rows + 1], chunk.death_block[:deaths],
        chunk.hbm_bytes[:rows], chunk.compute_s[:rows],
    )  # fmt: skip


def _join(parts: list) -> np.ndarray:
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)


def _offsets(parts: list[I64]) -> I64:
    joined = [parts[0]]
    for part in parts[1:]:
        joined.append(part[1:] - part[0] + joined[-1][-1])
    return np.concatenate(joined)
