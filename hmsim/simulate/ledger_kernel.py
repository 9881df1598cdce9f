"""The kernel that counts what attention reads, without making pieces of it.

From one visit of a lane to the next most of its reads stay as they are. So each lane has an account
of what its reads come to in a memory, and only those that came or went are counted. Where frames are
scattered, reads that follow each other at once in a memory are few: which block's next frame lies
near is known beforehand.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.bits import assign, cardinality, popcount
from hmsim.jit import kernel, record_inlined, record_kernel
from hmsim.simulate.extents_kernel import Layout, held_before, put
from hmsim.simulate.tally_kernel import RUNS, TOUCHED, Tally, add_blocks, touched
from hmsim.workload.steps import I64, U64

NEAR = 2  # words: reads further apart are looked at one by one
VISITS, START = range(2)  # of a lane's reads: channels that they touch, one by one; its first rank
# Of reads that follow each other at once: the latest one's rank, where its run begins, how many there
# are, and channels that they touch, more than by themselves.
LATEST, BEGIN, JOINS, MORE, RUN_SIZE = range(5)
_ONE = np.uint64(1)


class Ledger(NamedTuple):
    """The accounts of one memory's lanes.

    A block's *rank* tells its frame: its place among those that are in HBM, or, in DRAM, its number.
    """

    frame: I64  # [blocks] by rank
    remainder: NDArray[
        np.uint16
    ]  # [blocks] of the frame, see `Tally`: more of these fit in a cache
    early: I64  # ranks before whose next frame is one near them, ascending
    read: U64  # [lanes, words] reads that are accounted for
    inside: U64  # [lanes, words] slots that had a rank then
    sums: I64  # [lanes, 2]
    bursts: I64  # [lanes, channels]
    rises: I64  # [lanes, channels] see `add_extent`
    chosen: U64  # [words] work space: reads now
    run: I64  # [RUN_SIZE] work space
    changes: I64  # [slots] work space


class Ledgers(NamedTuple):
    """Of both memories; and of a lane in DRAM, where every slot has a rank, what is inside."""

    hbm: Ledger
    dram: Ledger
    every: U64  # [words]


def ledgers_of(
    layout: Layout, early: tuple[I64, I64], tallies: tuple[Tally, Tally], channels: tuple[int, int],
    lanes: int, words: int,
) -> Ledgers:  # fmt: skip
    """Of HBM and DRAM, nothing is accounted for."""

    def ledger(frame: I64, early: I64, tally: Tally, channels: int) -> Ledger:
        period = max(len(tally.channel), 1)
        remainder = (frame % period if words else frame[:0]).astype(np.uint16)
        read, inside = np.zeros((2, lanes, words), np.uint64)
        bursts, rises = np.zeros((2, lanes, channels), np.int64)
        sums, chosen = np.zeros((lanes, 2), np.int64), np.zeros(words, np.uint64)
        run, changes = np.zeros(RUN_SIZE, np.int64), np.zeros(64 * words, np.int64)
        return Ledger(
            frame, remainder, early, read, inside, sums, bursts, rises, chosen, run, changes
        )

    return Ledgers(
        ledger(layout.hbm_frame, early[0], tallies[0], channels[0]),
        ledger(layout.dram_frame, early[1], tallies[1], channels[1]),
        ~np.zeros(words, np.uint64),
    )


@kernel
def early_ranks(frame):
    """Ranks before one of the next few that has the frame after theirs, ascending."""
    latest = np.full(frame.max() + 2, -1)  # of the ranks so far, by frame
    found = np.empty(len(frame), np.int64)
    n = len(found)
    for rank in range(len(frame) - 1, -1, -1):
        other = latest[frame[rank] + 1]
        if other >= 0 and other - rank < 64 * (NEAR + 1):
            n -= 1
            found[n] = rank
        latest[frame[rank]] = rank
    return found[n:].copy()


@record_kernel
def _join(ledger, layout, learner, rank, other):
    """Note that the block of rank `other`, the next that is read, follows that of `rank` at once."""
    run, size, low = ledger.run, layout.size, layout.base + ledger.frame[rank] * layout.size
    end = low + 2 * size
    if run[LATEST] == rank:  # a run of more than two
        run[MORE] -= touched(run[BEGIN], low + size, learner)
    else:
        run[BEGIN] = low
        run[MORE] -= touched(low, low + size, learner)
    run[LATEST] = other
    run[MORE] += touched(run[BEGIN], end, learner) - touched(low + size, end, learner)
    run[JOINS] += 1


@record_inlined
def _rank(start, inside, bit):
    """Of the slot of this bit, in a word whose first rank is `start`."""
    return start + popcount(inside & (bit - _ONE))


@record_inlined
def _last_rank(start, inside, word):
    """The rank of the highest bit of a word that is not 0."""
    for shift in range(6):
        word |= word >> np.uint64(1 << shift)
    return start + popcount(inside & (word >> _ONE))


@record_kernel
def _list_changes(ledger, lane):
    """Bring the lane's reads to those chosen now; how many came or went: `ledger.changes` has ranks
    doubled, and 1 more where a read came."""
    read, inside, chosen = ledger.read[lane], ledger.inside[lane], ledger.chosen
    changes, start = ledger.changes, ledger.sums[lane, START]
    n = np.int64(0)
    for w in range(len(chosen)):
        now, here = chosen[w], inside[w]
        left = now ^ read[w]
        read[w] = now
        while left != 0:
            bit = left & (~left + _ONE)
            left ^= bit
            changes[n] = 2 * _rank(start, here, bit) + np.int64(now & bit != 0)
            n += 1
        start += popcount(here)
    return n


@record_kernel
def _update(ledger, layout, tally, learner, lane):
    """Bring the lane's account to what is chosen now."""
    bursts, rises, doubled = ledger.bursts[lane], ledger.rises[lane], len(tally.blocks)
    n, visits = _list_changes(ledger, lane), 0
    apart = 2 * n < doubled  # fewer than remainders: each is added by itself
    for i in range(n):
        change = ledger.changes[i]
        times = 2 * (change & 1) - 1
        item = 2 * np.int64(ledger.remainder[change >> 1])
        if apart:
            visits += add_blocks(layout, tally, learner, item, times, bursts, rises)
        else:
            tally.blocks[item] += times
    for remainder in range(0, 0 if apart else doubled, 2):
        times = tally.blocks[remainder]
        if times != 0:
            tally.blocks[remainder] = 0
            visits += add_blocks(layout, tally, learner, remainder, times, bursts, rises)
    ledger.sums[lane, VISITS] += visits


@record_kernel
def _first_early(early, rank):
    """The first in `early` that is not below the rank."""
    low, high = 0, len(early)
    while low < high:
        middle = (low + high) >> 1
        if early[middle] < rank:
            low = middle + 1
        else:
            high = middle
    return low


@record_kernel
def _find_runs(ledger, layout, learner, lane):
    """Join reads that follow each other at once; the ranks of the first and of the last read."""
    inside, chosen, frame, early = ledger.inside[lane], ledger.chosen, ledger.frame, ledger.early
    start = ledger.sums[lane, START]
    e = _first_early(early, start)
    first = latest = -1  # the latest word with a read in it
    began = start  # its first rank
    for w in range(len(chosen)):
        now, here = chosen[w], inside[w]
        end = start + popcount(here)
        if now != 0:
            if first < 0:
                first = _rank(start, here, now & (~now + _ONE))
            elif w - latest > NEAR:
                rank = _last_rank(began, inside[latest], chosen[latest])
                other = _rank(start, here, now & (~now + _ONE))
                if frame[other] == frame[rank] + 1:
                    _join(ledger, layout, learner, rank, other)
            latest, began = w, start
        while e < len(early) and early[e] < end:
            rank = early[e]
            e += 1
            left = here
            for _ in range(rank - start):
                left &= left - _ONE
            bit = left & (~left + _ONE)
            if now & bit == 0:
                continue
            left, at, v = now & ~(bit | (bit - _ONE)), start, w
            while left == 0 and v < w + NEAR and v + 1 < len(chosen):
                at += popcount(inside[v])
                v += 1
                left = chosen[v]
            if left != 0:
                other = _rank(at, inside[v], left & (~left + _ONE))
                if frame[other] == frame[rank] + 1:
                    _join(ledger, layout, learner, rank, other)
        start = end
    return first, _last_rank(began, inside[latest], chosen[latest])


@record_kernel
def _count(ledger, layout, tally, part, lane, inside, start, pieces):
    """Add what is chosen of the lane to the part's bursts, and a piece that stands for it."""
    learner, run, sums, known = part.learner, ledger.run, ledger.sums[lane], ledger.inside[lane]
    differs = np.uint64(sums[START] != start)
    for w in range(len(inside)):
        differs |= known[w] ^ inside[w]
    bursts, rises = ledger.bursts[lane], ledger.rises[lane]
    if differs != 0:  # blocks lie elsewhere
        assign(known, inside)
        for w in range(len(inside)):
            ledger.read[lane, w] = 0
        for c in range(learner.channels):
            bursts[c] = rises[c] = 0
        sums[START], sums[VISITS] = start, 0
    _update(ledger, layout, tally, learner, lane)
    blocks = cardinality(ledger.chosen)
    if blocks == 0:
        return
    run[LATEST], run[JOINS], run[MORE] = -1, 0, 0
    first, last = _find_runs(ledger, layout, learner, lane)
    whole = 0
    for c in range(learner.channels):
        whole += rises[c]
        learner.bursts[c] += bursts[c] + (whole << (learner.stripe - learner.burst))
    part.extra[RUNS] += blocks - run[JOINS]
    part.extra[TOUCHED] += sums[VISITS] + run[MORE]
    low, end = ledger.frame[first] * layout.size, (ledger.frame[last] + 1) * layout.size
    put(pieces, layout.base + low, layout.base + end, -blocks)


@record_kernel
def count_reads(layout, read, placed, lane, blocks, ledgers, tallies, chip, hbm, dram):
    """Count what attention reads where that is all hits from HBM and all others from DRAM; whether it
    is. blocks: so many from HBM, at most."""
    here = placed.lanes[placed.before[lane]]
    hits = np.int64(0)
    for w in range(len(read)):
        both = read[w] & here[w]
        hits += popcount(both)
        ledgers.hbm.chosen[w] = both
        ledgers.dram.chosen[w] = read[w] ^ both
    if hits > blocks:
        return False
    start, first = held_before(placed, placed.before, lane), lane * len(read) * 64
    _count(ledgers.hbm, layout, tallies.hbm, chip.hbm, lane, here, start, hbm)
    _count(ledgers.dram, layout, tallies.dram, chip.dram, lane, ledgers.every, first, dram)
    return True
