"""The time of a barrier group from the bytes that it moves: the one formula of all variants.

A group lasts as long as its longest *term*: the HBM's, one of the terms of the memory beyond the
link (t_e of the founding paper), or the compute floor. Where copies are inclusive, a read of a
block in HBM may come from either side; the split that ends the group first is then taken.
"""

from typing import NamedTuple

import numpy as np

from hmsim.jit import inlined, kernel
from hmsim.workload.steps import F64

READ, APPEND, PROMOTE, DEMOTE = range(4)  # columns of `Latency.term`: Er, Ew, Mi, Mo
COPIES = 4  # numbers of Copies


class Copies(NamedTuple):
    """Which deeds move bytes through link and DRAM: 1 if they do, 0 where a copy waives it."""

    append: int  # an append to a block in HBM: written through to DRAM
    fill: int  # a promotion of a block that is being read: fetched apart from the read
    demote: int  # a demotion: read from HBM and written to DRAM
    either_side: int  # 1: a read of a block in HBM may be served by DRAM


class Latency(NamedTuple):
    """A variant of the latency model at given bandwidths."""

    hbm: float  # bytes per second
    copies: Copies
    term: F64  # [terms, 4] seconds a byte from DRAM: read, appended, promoted, demoted


class Bytes(NamedTuple):
    """What groups [G] move, in bytes, and their compute floors in seconds."""

    other: F64  # of HBM: everything but the reads of blocks
    reads: F64  # of blocks, from both sides
    hits: F64  # of those, of blocks in HBM
    appended: F64  # to DRAM
    fetched: F64  # from DRAM, by promotions
    demoted: F64  # to DRAM
    floor_s: F64


@inlined
def all_from_dram(k, reads, appended, fetched, demoted, latency):
    """Seconds of term `k` of the DRAM's with every read served there."""
    term = latency.term
    return term[k, 1] * appended + term[k, 2] * fetched + term[k, 3] * demoted + term[k, 0] * reads


@inlined
def served_by_hbm(other, reads, hits, appended, fetched, demoted, latency):
    """Bytes of the hits that HBM serves: all, or the best split's."""
    near = hits
    if latency.copies.either_side == 1:
        near = 0.0
        busy = other / latency.hbm
        for k in range(latency.term.shape[0]):
            if latency.term[k, 0] > 0.0:
                far = all_from_dram(k, reads, appended, fetched, demoted, latency)
                near = max(near, (far - busy) / (latency.term[k, 0] + 1.0 / latency.hbm))
        near = min(near, hits)
    return near


@inlined
def group_seconds(other, reads, hits, appended, fetched, demoted, floor_s, latency):
    """Seconds of one group; arguments as in `Bytes`."""
    near = served_by_hbm(other, reads, hits, appended, fetched, demoted, latency)
    longest = max(other / latency.hbm + near / latency.hbm, floor_s)
    for k in range(latency.term.shape[0]):
        far = all_from_dram(k, reads, appended, fetched, demoted, latency)
        longest = max(longest, far - latency.term[k, 0] * near)
    return longest


@kernel
def term_seconds(other, reads, hits, appended, fetched, demoted, floor_s, latency, seconds):
    """Fill `seconds` [terms + 2] of one group: HBM's term, the DRAM's, the floor."""
    terms = latency.term.shape[0]
    near = served_by_hbm(other, reads, hits, appended, fetched, demoted, latency)
    seconds[0] = other / latency.hbm + near / latency.hbm
    for k in range(terms):
        far = all_from_dram(k, reads, appended, fetched, demoted, latency)
        seconds[1 + k] = far - latency.term[k, 0] * near
    seconds[1 + terms] = floor_s


@kernel
def time_groups(moved: Bytes, latency: Latency, near: F64, seconds: F64) -> None:
    """Fill `near` [G], the bytes of hits that HBM serves, and `seconds` [G]."""
    other, reads, hits, appended = moved.other, moved.reads, moved.hits, moved.appended
    fetched, demoted, floor_s = moved.fetched, moved.demoted, moved.floor_s
    for g in range(len(seconds)):
        near[g] = served_by_hbm(
            other[g], reads[g], hits[g], appended[g], fetched[g], demoted[g], latency
        )
        seconds[g] = group_seconds(
            other[g], reads[g], hits[g], appended[g], fetched[g], demoted[g], floor_s[g], latency
        )


def packed(latency: Latency) -> F64:
    """As an array, for a policy's memory."""
    head = [latency.hbm, *map(float, latency.copies)]
    return np.concatenate([np.array(head), latency.term.ravel()])


@kernel
def unpacked(floats: F64) -> Latency:
    """The latency model that `packed` made an array."""
    copies = Copies(int(floats[1]), int(floats[2]), int(floats[3]), int(floats[4]))
    return Latency(floats[0], copies, floats[1 + COPIES :].reshape(-1, 4))
