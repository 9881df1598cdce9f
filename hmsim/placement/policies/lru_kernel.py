"""Least recently used blocks: who they are, and how they make place. For `reactive` and its kin.

True LRU over all lanes, in the order of last use (a read or an append). Misses are promoted in
ascending order. A block used in the step itself is never evicted for another.

Last uses are kept in *batches*: the blocks that a step used and none since. A block's step is
written down when its lane's next visit does not use it; until then the lane's bitset tells. Victims
come from the oldest batch that is left, which is put together when its turn comes: once a step, on
average. Blocks of the prompt that were never used go before all batches.
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.jit import kernel
from hmsim.placement.policies.uses_kernel import demand, note_used, promote_misses

PLACE, STEP, HEAD = range(3)  # places in own.ints, see `Reactive`; HEAD is where `visit` begins


@kernel
def _parts(hbm, own):
    """`visit`, `lane_of` and `last` of own.ints, see `Reactive`."""
    lanes, words = hbm.resident.shape
    last = own.ints.size - lanes * words * 64
    return own.ints[HEAD : HEAD + lanes], own.ints[HEAD + lanes : last], own.ints[last:]


@kernel
def use(now, hbm, own):
    """Write down what this step uses, and when what it does not use any more was used last."""
    lanes, words = hbm.resident.shape
    visit, lane_of, last = _parts(hbm, own)
    seen, used, batch = own.bits, own.bits[lanes], own.bits[lanes + 1]
    lane = now.lane
    one = np.uint64(1)
    note_used(now, used)
    for w in range(words):
        leaving = seen[lane, w] & ~used[w] & hbm.resident[lane, w]
        while leaving != 0:
            last[(lane * words + w) * 64 + lowest_bit(leaving)] = visit[lane]
            leaving &= leaving - one
        seen[lane, w] = used[w]
    if own.ints[STEP] >= 0 and lane_of[own.ints[STEP]] == lane:
        for w in range(words):
            batch[w] &= ~used[w]
    lane_of[now.step] = lane
    visit[lane] = now.step


@kernel
def _next_batch(now, hbm, own):
    """Put the next younger batch together; False if that is this step's."""
    lanes, words = hbm.resident.shape
    visit, lane_of, last = _parts(hbm, own)
    batch = own.bits[lanes + 1]
    if own.ints[STEP] + 1 >= now.step:
        return False
    own.ints[STEP] += 1
    step = own.ints[STEP]
    lane = lane_of[step]
    one = np.uint64(1)
    for w in range(words):
        if visit[lane] == step:
            batch[w] = own.bits[lane, w] & hbm.resident[lane, w]
            continue
        batch[w] = 0
        idle = hbm.resident[lane, w] & ~own.bits[lane, w]
        while idle != 0:
            bit = lowest_bit(idle)
            idle &= idle - one
            if last[(lane * words + w) * 64 + bit] == step:
                batch[w] |= one << np.uint64(bit)
    return True


@kernel
def evict(now, hbm, own, needed, moves, most):
    """Demote the least recently used, `most` of them or as many as this step did not use.

    `needed` [lanes, words] (or [0, words]: none): blocks to be spared, each of which will be used
    at one of its lane's visits to come; but then what this step used makes place too, at last.
    """
    lanes, words = hbm.resident.shape
    spare = needed.shape[0] > 0
    _, lane_of, last = _parts(hbm, own)
    batch, ints = own.bits[lanes + 1], own.ints
    one = np.uint64(1)
    count = 0
    while count < most and ints[PLACE] < lanes * words * 64:
        # Of the prompt and never used: by slot, then lane.
        slot, lane = ints[PLACE] // lanes, ints[PLACE] % lanes
        ints[PLACE] += 1
        idle = hbm.resident[lane, slot >> 6] & ~own.bits[lane, slot >> 6]
        if spare:
            idle &= ~needed[lane, slot >> 6]
        block = lane * words * 64 + slot
        if (idle >> np.uint64(slot & 63)) & one and last[block] < 0:
            moves.demote[count] = block
            count += 1
    while count < most:
        if ints[STEP] >= 0:
            lane = lane_of[ints[STEP]]
            for w in range(words):
                left = batch[w] & hbm.resident[lane, w]  # some may have died
                if spare:  # what is needed will be in the batch of its next use
                    left &= ~needed[lane, w]
                while left != 0 and count < most:
                    moves.demote[count] = (lane * words + w) * 64 + lowest_bit(left)
                    left &= left - one
                    count += 1
                batch[w] = left
                if count == most:
                    break
        if count < most and not _next_batch(now, hbm, own):
            break
    if spare:
        for w in range(words):
            left = own.bits[now.lane, w] & hbm.resident[now.lane, w] & ~needed[now.lane, w]
            while left != 0 and count < most:
                moves.demote[count] = (now.lane * words + w) * 64 + lowest_bit(left)
                left &= left - one
                count += 1
    moves.count[1] = count


@kernel
def promote(now, hbm, own, moves, most):
    """Promote misses, in ascending order, as long as there is capacity or a victim; `most` of them."""
    reads, hits = demand(now, hbm)
    free = hbm.capacity - hbm.used[0]
    evict(now, hbm, own, own.bits[:0], moves, min(most, reads - hits) - free)
    promote_misses(now, hbm, moves, min(most, free + moves.count[1]))
