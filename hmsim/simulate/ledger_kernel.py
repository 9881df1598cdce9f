"""The kernel that counts what attention reads, without making pieces of it.

From one visit of a lane to the next most of its reads stay as they are. So each lane has an account
of what its reads come to in a memory, and only those that came or went are counted. Where frames are
scattered, reads that follow each other at once in a memory are few: which block's next frame lies
near is known beforehand.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.bits import cardinality, popcount
from hmsim.jit import record_inlined, record_kernel
from hmsim.memory.sampling_kernel import last_upto
from hmsim.memory.superchip_kernel import Part
from hmsim.simulate.extents_kernel import held_before, put
from hmsim.simulate.tally_kernel import RUNS, TOUCHED, Tally, add_blocks, touched
from hmsim.workload.steps import I64, U64

NEAR = 2  # words: reads further apart are looked at one by one
MOST_ALIKE = 8  # ranks of one frame: where more share it, all ranks are looked at
# Of a lane: its first rank, channels that its reads touch, one by one, and by channel their bursts.
START, VISITS, BURSTS = range(3)
# Of reads that follow each other at once: the latest one's rank, where its run begins, how many there
# are, and channels that they touch, more than by themselves.
LATEST, BEGIN, JOINS, MORE, RUN_SIZE = range(5)
_ONE = np.uint64(1)
U16 = NDArray[np.uint16]


class Ledger(NamedTuple):
    """The accounts of one memory's lanes.

    A block's *rank* tells its frame: its place among those that are in HBM, or, in DRAM, its number.
    """

    frame: I64  # [blocks] by rank
    remainder: U16  # [blocks] of the frame, see `Tally`: more of these fit in a cache
    early: I64  # ranks before whose next frame is one near them, ascending
    read: U64  # [lanes, words] reads that are accounted for
    inside: U64  # [lanes, words] slots that had a rank then
    chosen: U64  # [words] work space: reads now
    account: I64  # [lanes, BURSTS + 2 * channels] after bursts, rises: see `add_extent`
    work: I64  # [RUN_SIZE + slots] work space: of a run, and what came or went
    step: I64  # [channels] bursts of the step, to which the account is added; the learner's
    extra: I64  # [3] and what is counted beside
    tally: Tally
    channels: int
    stripe: int
    burst: int


class Ledgers(NamedTuple):
    """Of both memories; and of a lane in DRAM, where every slot has a rank, what is inside."""

    hbm: Ledger
    dram: Ledger
    every: U64  # [words]


def ledger_of(frame: I64, early: I64, tally: Tally, part: Part, lanes: int, words: int) -> Ledger:
    """Nothing is accounted for."""
    learner = part.learner
    remainder = (frame % len(tally.channel) if words else frame[:0]).astype(np.uint16)
    read, inside = np.zeros((2, lanes, words), np.uint64)
    account = np.zeros((lanes, BURSTS + 2 * learner.channels), np.int64)
    chosen, work = np.zeros(words, np.uint64), np.zeros(RUN_SIZE + 64 * words, np.int64)
    return Ledger(
        frame, remainder, early, read, inside, chosen, account, work, learner.bursts, part.extra,
        tally, learner.channels, learner.stripe, learner.burst,
    )  # fmt: skip


def early_ranks(frame: I64) -> I64:
    """Ranks before one of the next few that has the frame after theirs, ascending."""
    rank = np.arange(len(frame))
    found = np.zeros(len(frame), bool)
    left = rank  # of those that share a frame, one after another
    for _ in range(MOST_ALIKE):
        other = np.full(len(frame) + 1, -1)
        other[frame[left]] = left
        further = other[frame + 1] - rank
        found |= (further > 0) & (further < 64 * (NEAR + 1))
        left = left[other[frame[left]] != left]
        if not len(left):
            return np.flatnonzero(found)
    return rank  # any of them may be


@record_kernel
def _join(ledger, layout, rank, other):
    """Note that the block of rank `other`, the next that is read, follows that of `rank` at once."""
    run, size, low = ledger.work, layout.size, layout.base + ledger.frame[rank] * layout.size
    end = low + 2 * size
    if run[LATEST] == rank:  # a run of more than two
        run[MORE] -= touched(run[BEGIN], low + size, ledger)
    else:
        run[BEGIN] = low
        run[MORE] -= touched(low, low + size, ledger)
    run[LATEST] = other
    run[MORE] += touched(run[BEGIN], end, ledger) - touched(low + size, end, ledger)
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
def _update(ledger, layout, read, inside, account):
    """Bring a lane's reads to those chosen now, and its account with them."""
    chosen, blocks, work = ledger.chosen, ledger.tally.blocks, ledger.work
    start, n = account[START], RUN_SIZE
    for w in range(len(chosen)):  # `work`: ranks doubled, and 1 more where a read came
        now, here = chosen[w], inside[w]
        left = now ^ read[w]
        read[w] = now
        while left != 0:
            bit = left & (~left + _ONE)
            left ^= bit
            work[n] = 2 * _rank(start, here, bit) + np.int64(now & bit != 0)
            n += 1
        start += popcount(here)
    n -= RUN_SIZE
    apart = 2 * n < len(blocks)  # fewer than remainders: each is added by itself
    for i in range(0 if apart else n):
        change = work[RUN_SIZE + i]
        blocks[2 * np.int64(ledger.remainder[change >> 1])] += 2 * (change & 1) - 1
    bursts = account[BURSTS : BURSTS + ledger.channels]
    rises = account[BURSTS + ledger.channels :]
    for i in range(n if apart else len(blocks) >> 1):
        if apart:
            change = work[RUN_SIZE + i]
            item, times = 2 * np.int64(ledger.remainder[change >> 1]), 2 * (change & 1) - 1
        else:
            item, times = np.int64(2 * i), blocks[2 * i]
            blocks[2 * i] = 0
        if times != 0:
            touches = add_blocks(layout, ledger.tally, ledger, item, times, bursts, rises)
            account[VISITS] += touches


@record_kernel
def _find_runs(ledger, layout, inside, start):
    """Join reads that follow each other at once; the ranks of the first and of the last read."""
    chosen, frame, early = ledger.chosen, ledger.frame, ledger.early
    e = last_upto(early, start - 1) + 1
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
                    _join(ledger, layout, rank, other)
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
                    _join(ledger, layout, rank, other)
        start = end
    return first, _last_rank(began, inside[latest], chosen[latest])


@record_kernel
def _count(ledger, layout, lane, inside, start, pieces):
    """Add what is chosen of the lane to the step's bursts, and a piece that stands for it."""
    run, read, known, account = (
        ledger.work, ledger.read[lane], ledger.inside[lane], ledger.account[lane],
    )  # fmt: skip
    differs = np.uint64(account[START] != start)
    for w in range(len(inside)):
        differs |= known[w] ^ inside[w]
    if differs != 0:  # blocks lie elsewhere
        for w in range(len(inside)):
            known[w] = inside[w]
            read[w] = 0
        for i in range(len(account)):
            account[i] = 0
        account[START] = start
    _update(ledger, layout, read, inside, account)
    blocks = cardinality(read)
    if blocks > 0:
        run[LATEST], run[JOINS], run[MORE] = -1, 0, 0
        first, last = _find_runs(ledger, layout, inside, start)
        whole, channels = 0, ledger.channels
        for c in range(channels):
            whole += account[BURSTS + channels + c]
            ledger.step[c] += account[BURSTS + c] + (whole << (ledger.stripe - ledger.burst))
        ledger.extra[RUNS] += blocks - run[JOINS]
        ledger.extra[TOUCHED] += account[VISITS] + run[MORE]
        low, end = ledger.frame[first] * layout.size, (ledger.frame[last] + 1) * layout.size
        put(pieces, layout.base + low, layout.base + end, -blocks)


@record_kernel
def count_reads(layout, read, placed, lane, blocks, ledgers, hbm, dram):
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
    _count(ledgers.hbm, layout, lane, here, start, hbm)
    _count(ledgers.dram, layout, lane, ledgers.every, first, dram)
    return True
