"""The founding paper's churn process, on bitsets over a sequence's blocks.

A step keeps most of its read set, so what a step costs is the blocks that change and a copy of the
set. Random numbers are a hash of (seed, lane, sequence, token, draw): no state is carried, and
lanes can be made in any order.
"""

import numpy as np

from hmsim.bits import add, add_range, assign, cardinality, has, lowest_bit, mask, popcount
from hmsim.jit import kernel
from hmsim.random import GOLDEN, mix, random_below, random_word

_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BITS = 10  # of the probability with which a dense draw keeps a block


@kernel
def fill(bits, reads, lanes, t0, schedule, state, size, quota, oldest, drift, seed):
    """Read sets of token steps t0 .. t0 + K - 1 in lanes `lanes[0] .. lanes[1] - 1`.

    bits U64[K, L, W] and reads I64[K, L]: written (bits must be zero before). state U64[L, words
    of all local bitsets] and size I64[L, S]: the read sets of the step before t0 and how many
    blocks they hold; updated. With N blocks in the context, the read set has quota[N] of them and
    new ones come from oldest[N] on.
    """
    scratch = np.empty(state.shape[1], np.uint64)
    for lane in range(lanes[0], lanes[1]):
        lane_key = mix(np.uint64(seed) * GOLDEN + np.uint64(lane))
        for k in range(bits.shape[0]):
            t = t0 + k
            row = bits[k, lane]
            for entry in range(schedule.active_offset[t], schedule.active_offset[t + 1]):
                s = schedule.active[entry]
                past = schedule.prompt[s] + t - schedule.start[s]
                blocks = -(-past // schedule.block_tokens)
                key = mix(mix(lane_key + np.uint64(s)) + np.uint64(past))
                chosen = state[lane, schedule.word[s] : schedule.word[s + 1]]
                base = scratch[: chosen.size]
                draw = np.int64(1)
                if quota[blocks] > size[lane, s]:
                    assign(base, chosen)
                    missing = quota[blocks] - size[lane, s]
                    _, draw = _add(chosen, base, oldest[blocks], blocks, missing, key, draw)
                    size[lane, s] = quota[blocks]
                if t > schedule.start[s]:
                    assign(base, chosen)
                    most = np.int64(np.floor(drift * size[lane, s]))
                    swap, draw = random_below(key, draw, most + 1), draw + 1
                    swap, draw = _add(chosen, base, oldest[blocks], blocks, swap, key, draw)
                    _drop_oldest(chosen, base, swap)
                for r in range(schedule.run_offset[s], schedule.run_offset[s + 1]):
                    add_range(
                        row, chosen, schedule.run_block[r],
                        min(schedule.run_end[r], blocks), schedule.run_shift[r],
                    )  # fmt: skip
            reads[k, lane] = cardinality(row)


@kernel
def _add(chosen, base, low, high, count, key, draw):
    """Add `count` blocks to `chosen`, uniformly among those of low .. high - 1 outside `base`.

    `chosen` equals `base` on entry. Returns how many were added (all that are free, if fewer) and
    the next draw.
    """
    width = high - low
    free = width
    for w in range(low >> 6, (high + 63) >> 6):
        free -= popcount(base[w] & mask(w, low, high))
    count = min(count, free)
    words = ((high + 63) >> 6) - (low >> 6)
    if count * width > 4 * words * (free - count + 1):
        done, draw = _add_dense(chosen, base, low, high, count, free, key, draw)
    else:
        done = np.int64(0)
    for i in range(done, count):
        if width > 32 * (free - i):
            block = _free_block(chosen, low, high, random_below(key, draw, free - i))
            draw += 1
        else:
            while True:
                block = low + random_below(key, draw, width)
                draw += 1
                if not has(chosen, block):
                    break
        add(chosen, block)
    return count, draw


@kernel
def _add_dense(chosen, base, low, high, count, free, key, draw):
    """Add nearly `count` of the `free` blocks by keeping each with a probability, 64 at a time.

    Any outcome of a given number is equally likely, so adding the rest one by one leaves every set
    of `count` blocks equally likely; an outcome above `count` is thrown away and drawn again.
    Returns how many were added and the next draw.
    """
    share = count / free
    margin = 2.0 * np.sqrt(share * (1.0 - share) / free)
    keep = np.int64(np.floor(max(share - margin, 0.0) * (1 << _BITS)))
    if keep == 0:
        return np.int64(0), draw
    lowest = 0  # digits of the probability below its last 1 change nothing
    while (keep >> lowest) & 1 == 0:
        lowest += 1
    while True:
        added = np.int64(0)
        for w in range(low >> 6, (high + 63) >> 6):
            kept = _ALL if keep >> _BITS else np.uint64(0)
            for digit in range(lowest, _BITS):
                random = random_word(key, draw)
                draw += 1
                kept = (kept | random) if (keep >> digit) & 1 else (kept & random)
            new = kept & mask(w, low, high) & ~base[w]
            chosen[w] = base[w] | new
            added += popcount(new)
        if added <= count:
            return added, draw


@kernel
def _drop_oldest(chosen, base, count):
    """Take the `count` lowest blocks of `base` out of `chosen`."""
    for w in range(base.size):
        if count == 0:
            return
        here = popcount(base[w])
        kept = np.uint64(0)
        if here > count:
            kept = base[w]
            for _ in range(count):
                kept &= kept - _ONE
            here = count
        chosen[w] &= ~(base[w] ^ kept)
        count -= here


@kernel
def _free_block(chosen, low, high, rank):
    """The block of the given rank among those of low .. high - 1 that are not in `chosen`."""
    for w in range(low >> 6, (high + 63) >> 6):
        free = ~chosen[w] & mask(w, low, high)
        here = popcount(free)
        if rank < here:
            for _ in range(rank):
                free &= free - _ONE
            return w * 64 + lowest_bit(free)
        rank -= here
    return np.int64(-1)
