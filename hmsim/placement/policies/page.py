"""`page`: pages of 16 tokens move whole, with perfect foresight of the next token step.

A *page* here is the founding paper's: 16 neighbouring slots where blocks hold one token, and else a
block by itself. At every step, of the step's lane: a page is worth the number of its blocks that
the lane's next visit reads. The worthiest pages that are not all in HBM come in (then the lowest),
as long as capacity is left, or for the pages worth least (then the lowest), as long as those are
worth less.
Source: arXiv 2508.13231 section 4. There, a page is also read whole; here, reads are the workload's
(give it blocks of 16 tokens for that).
"""

import numpy as np

from hmsim.bits import lowest_bit, popcount
from hmsim.jit import kernel
from hmsim.placement.policies.api import Own, Policy, policy_step

PAGE_TOKENS = 16


@kernel
def _pages(word, span):
    """The first slot of every page that has a bit in `word`."""
    if span == 1:
        return word
    for shift in (8, 4, 2, 1):
        word |= word >> np.uint64(shift)
    return word & np.uint64(0x0001000100010001)


@kernel
def _rank(entries, count, descending, span, start, ranked):
    """Counting sort of `slot * (span + 1) + worth` by worth; stable."""
    start[:] = 0
    for i in range(count):
        start[entries[i] % (span + 1)] += 1
    behind = 0
    for i in range(span + 1):
        worth = span - i if descending else i
        here = start[worth]
        start[worth] = behind
        behind += here
    for i in range(count):
        worth = entries[i] % (span + 1)
        ranked[start[worth]] = entries[i]
        start[worth] += 1


@policy_step
def step(now, hbm, own, moves):
    """Rank pages that are wanted and pages that may go, then swap; `Page` says how own is laid out."""
    words = hbm.resident.shape[1]
    lane, span = now.lane, own.ints[0]
    resident, alive = hbm.resident[lane], hbm.alive[lane]
    start = own.ints[1 : span + 2]
    entries, wanted, victims = own.ints[span + 2 :].reshape(3, 64 * words)
    one = np.uint64(1)
    page = np.uint64((1 << span) - 1)

    coming = now.row + 1
    while coming < now.rows and now.lanes_of[coming] != lane:
        coming += 1
    if coming == now.rows:
        return
    read = now.bits[coming]

    for side in range(2):
        count = 0
        for w in range(words):
            held, reads = resident[w], read[w] & alive[w]
            if side == 0:
                pages = _pages(reads, span) & _pages(alive[w] & ~held, span)
            else:
                pages = _pages(held, span) & _pages(~reads, span)
            while pages != 0:
                bit = lowest_bit(pages)
                pages &= pages - one
                worth = popcount((reads >> np.uint64(bit)) & page)
                entries[count] = (w * 64 + bit) * (span + 1) + worth
                count += 1
        if side == 0:
            wanted_count = count
            _rank(entries, count, True, span, start, wanted)
        else:
            victim_count = count
            _rank(entries, count, False, span, start, victims)

    free = hbm.capacity - hbm.used[0]
    base = lane * words * 64
    taken = 0  # victims so far
    dearest = -1  # worth of the last of them
    for i in range(wanted_count):
        slot, worth = wanted[i] // (span + 1), wanted[i] % (span + 1)
        if worth <= dearest:
            return
        w, bit = slot >> 6, np.uint64(slot & 63)
        missing = (alive[w] & ~resident[w]) & (page << bit)
        upto = taken
        freed = free
        while freed < popcount(missing) and upto < victim_count:
            if victims[upto] % (span + 1) >= worth:
                break
            gone = victims[upto] // (span + 1)
            freed += popcount((resident[gone >> 6] >> np.uint64(gone & 63)) & page)
            upto += 1
        if freed < popcount(missing):
            return
        for j in range(taken, upto):
            gone = victims[j] // (span + 1)
            dearest = victims[j] % (span + 1)
            going = resident[gone >> 6] & (page << np.uint64(gone & 63))
            while going != 0:
                moves.demote[moves.count[1]] = base + (gone >> 6) * 64 + lowest_bit(going)
                moves.count[1] += 1
                going &= going - one
        taken = upto
        free = freed - popcount(missing)
        while missing != 0:
            moves.promote[moves.count[0]] = base + w * 64 + lowest_bit(missing)
            moves.count[0] += 1
            missing &= missing - one


class Page(Policy):
    """Whole pages, the next token known.

    own.bits    not used
    own.ints    [1 + (span + 1) + 3 slots]
      span      1                slots of a page
      start     [span + 1]       scratch of the counting sort
      entries   [slots]          pages to be sorted, as slot * (span + 1) + worth
      wanted    [slots]          pages to bring in, the worthiest first
      victims   [slots]          pages in HBM, those worth least first
    own.floats  not used
    """

    name = "page"
    step = step
    ahead_tokens = 1

    def own(self, geometry, capacity, rates, resident):
        span = PAGE_TOKENS if geometry.tokens_per_block == 1 else 1
        ints = np.zeros(span + 2 + 3 * geometry.slots, np.int64)
        ints[0] = span
        return Own(np.zeros((1, 1), np.uint64), ints, np.zeros(1))
