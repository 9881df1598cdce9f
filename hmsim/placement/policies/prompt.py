"""Which blocks of the prompt are in HBM before step 0: orders in which they fill it.

oldest   by slot, then lane: as they were written, until HBM is full
recent   the newest of every sequence and layer first
scored   what the first token reads first, and of the rest the newest: serving systems know what the
         prompt's last tokens attended to. A workload has no prefill, so the first token stands for them
"""

import numpy as np

from hmsim.bits import numbers, pack, unpack
from hmsim.workload.steps import I64, U64, Workload


def oldest_first(blocks: U64, most: int) -> U64:
    """The oldest of some blocks, by slot, then lane.

    Args:
        blocks: Bitsets, uint64 [lanes, words].
        most: How many to take, at most.

    Returns:
        Bitsets, uint64 [lanes, words].
    """
    flat = unpack(blocks).T.ravel()
    keep = flat & (np.cumsum(flat) <= most)
    return pack(keep.reshape(-1, blocks.shape[0]).T)


def ordered_prompt(workload: Workload, most: int, order: str) -> U64:
    """The first blocks of a workload's prompt.

    Args:
        workload: The workload, whose `prompt` holds the blocks that exist.
        most: How many to take, at most.
        order: `oldest`, `recent` or `scored`.

    Returns:
        Bitsets, uint64 [lanes, words].
    """
    if order == "oldest":
        return oldest_first(workload.prompt, most)
    shape, there = workload.geometry, numbers(workload.prompt)
    _, sequence, position = workload.locate(there)
    owner = there // shape.slots * (shape.sequences + 1) + sequence + 1  # -1: of no known sequence
    newest = np.full(shape.lanes * (shape.sequences + 1), -1)
    np.maximum.at(newest, owner, position)
    keys = [there, newest[owner] - position]
    if order == "scored":
        keys.append(~np.isin(there, _first_reads(workload)))
    flags = np.zeros((shape.lanes, shape.slots), bool)
    flags.reshape(-1)[there[np.lexsort(keys)[:most]]] = True
    return pack(flags)


def _first_reads(workload: Workload) -> I64:
    """Blocks that the first token reads."""
    read = np.zeros_like(workload.prompt)
    for steps in workload.chunks():
        for row in np.flatnonzero(steps.token == steps.token[0]):
            read[steps.lane[row]] |= steps.bits[row]
        break  # tables hold whole tokens
    return numbers(read)
