"""What a stream of read sets looks like: overlap, coverage, popularity, hit rates of buffers."""

import numpy as np

from hmsim.bits import lowest_bit, popcount
from hmsim.jit import kernel
from hmsim.workload.fenwick_kernel import change, up_to

_ONE = np.uint64(1)


@kernel
def slide(bits, lane, token, reads, stride, past, filled, latest, curve, own, near):
    """Compare every step's read set with those before it.

    bits U64[K, W]. Carried over: past U64[L, P, W], a ring of each lane's last P read sets;
    filled I64[L], how many a lane has had; latest I64[L], the token of the last. Added to:
    curve I64[P, 4], where row w has, of every `stride`-th step of a lane, the reads that were read
    in the last w + 1 steps, all reads, the blocks read in this step or the last w + 1, and steps;
    own I64[L, 2], reads also in the lane's last step, and all reads; near I64[L, 2], the same with
    the lane before at the same token.
    """
    depth = past.shape[1]
    for k in range(bits.shape[0]):
        here = lane[k]
        if filled[here] > 0:
            own[here, 0] += _common(bits[k], past[here, (filled[here] - 1) % depth])
            own[here, 1] += reads[k]
        if here > 0 and filled[here - 1] > 0 and latest[here - 1] == token[k]:
            near[here, 0] += _common(bits[k], past[here - 1, (filled[here - 1] - 1) % depth])
            near[here, 1] += reads[k]
        if filled[here] % stride == 0:
            known = min(filled[here], depth)
            for w in range(bits.shape[1]):
                union = np.uint64(0)
                for back in range(known):
                    union |= past[here, (filled[here] - 1 - back) % depth, w]
                    curve[back, 0] += popcount(union & bits[k, w])
                    curve[back, 2] += popcount(union | bits[k, w])
            for back in range(known):
                curve[back, 1] += reads[k]
                curve[back, 3] += 1
        past[here, filled[here] % depth] = bits[k]
        filled[here] += 1
        latest[here] = token[k]


@kernel
def _common(a, b):
    total = np.int64(0)
    for w in range(a.size):
        total += popcount(a[w] & b[w])
    return total


@kernel
def stack_distances(offset, block, blocks, histogram):
    """LRU stack distance of every read: how many other blocks were touched since its last one.

    Step k reads block[offset[k] : offset[k + 1]], numbers in 0 .. blocks - 1; within a step the
    later entries count as more recent, and a step's own reads do not push each other back.
    histogram I64[blocks + 1]: entry d counts reads at distance d, the last entry first reads. A
    buffer of B blocks under LRU, updated after each step, hits the reads at distances below B.
    O(log blocks) a read: the last access of each block is marked in a Fenwick tree over time,
    whose dead times are squeezed out when it is full.
    """
    span = 4 * blocks + 1024
    tree = np.zeros(span + 1, np.int64)
    at = np.full(blocks, -1, np.int64)  # time of the last access
    owner = np.full(span, -1, np.int64)  # block whose last access this time is
    seen, now = 0, 0
    for k in range(offset.size - 1):
        known = seen
        for i in range(offset[k], offset[k + 1]):
            b = block[i]
            if at[b] < 0:
                histogram[blocks] += 1
                seen += 1
            else:
                histogram[known - up_to(tree, at[b])] += 1
        for i in range(offset[k], offset[k + 1]):
            b = block[i]
            if now == span:
                now = _squeeze(tree, at, owner)
            if at[b] >= 0:
                change(tree, at[b], -1)
                owner[at[b]] = -1
            at[b] = now
            owner[now] = b
            change(tree, now, 1)
            now += 1


@kernel
def _squeeze(tree, at, owner):
    """Renumber the times that still matter from 0 on; returns the next free one."""
    live = 0
    for time in range(owner.size):
        b = owner[time]
        if b >= 0:
            owner[time] = -1
            owner[live] = b
            at[b] = live
            live += 1
    tree[:] = 0
    for time in range(live):
        change(tree, time, 1)
    return live


@kernel
def belady_hits(offset, block, blocks, sizes, hits):
    """Hits of buffers that always let go of the block needed last.

    Steps and blocks as in `stack_distances`; hits[j] of the buffer of sizes[j] blocks is added to.
    A block that is itself needed last is not kept, so no buffer updated after each step can hit
    more often. The blocks kept are a set of their next accesses, counted back from the end so that
    the block needed last is the lowest member.
    """
    n = block.size
    following = np.empty(n, np.int64)
    next_of = np.full(blocks, n, np.int64)
    for i in range(n - 1, -1, -1):
        following[i] = next_of[block[i]]
        next_of[block[i]] = i
    level = np.zeros(12, np.int64)  # where each level of the set's tree of words begins
    depth, width = 0, n
    while True:
        width = (width + 63) >> 6
        level[depth + 1] = level[depth] + width
        depth += 1
        if width <= 1:
            break
    for j in range(sizes.size):
        tree = np.zeros(level[depth], np.uint64)
        held = 0
        for k in range(offset.size - 1):
            for i in range(offset[k], offset[k + 1]):
                me = n - 1 - i
                if (tree[me >> 6] >> np.uint64(me & 63)) & _ONE:
                    hits[j] += 1
                    _remove(tree, level, depth, me)
                    held -= 1
            for i in range(offset[k], offset[k + 1]):
                if following[i] < n:
                    _insert(tree, level, depth, n - 1 - following[i])
                    held += 1
                if held > sizes[j]:
                    _remove(tree, level, depth, _lowest(tree, level, depth))
                    held -= 1


@kernel
def _insert(tree, level, depth, x):
    for d in range(depth):
        tree[level[d] + (x >> 6)] |= _ONE << np.uint64(x & 63)
        x >>= 6


@kernel
def _remove(tree, level, depth, x):
    for d in range(depth):
        tree[level[d] + (x >> 6)] &= ~(_ONE << np.uint64(x & 63))
        if tree[level[d] + (x >> 6)]:
            return
        x >>= 6


@kernel
def _lowest(tree, level, depth):
    x = 0
    for d in range(depth - 1, -1, -1):
        x = x * 64 + lowest_bit(tree[level[d] + x])
    return x
