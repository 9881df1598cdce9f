"""LIRS, without foresight: what comes back soon keeps HBM, by the distance between its last two uses.

Most of HBM is for *hot* blocks (the source: of low inter-reference recency, LIR), a small rest for a
queue of *cold* ones (HIR), from whose old end blocks are evicted. A stack holds blocks in the order of
their last use, those of DRAM too, down to the least recently used hot block: what lies below is taken
out. A cold block, in HBM or not, that is used while it is in the stack has come back sooner than some
hot block: it becomes hot, and the lowest hot block cold, as the newest of the queue. A cold block that
is used and not in the stack enters it and is the newest of the queue. As long as the hot blocks have
room, what comes in is hot. If the queue has nothing to give, the lowest hot block is evicted.

A cache takes one miss after another, a step reads a set of blocks: its uses (reads and appends) are
noted first, in ascending order, then all misses are promoted in ascending order; blocks of the queue
that the step itself used are passed over. Newborns go to HBM as long as capacity is left. HBM begins
with the oldest blocks of the prompt as if they had come in one by one, by slot, then lane. What has
died counts until it is the lowest of the stack, or an eviction comes upon it. The stack remembers
without limit, as a block's number has its place there anyway.
Source: S. Jiang, X. Zhang, "LIRS: an efficient low inter-reference recency set replacement policy to
improve buffer cache performance", SIGMETRICS 2002.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import add, has, lowest_bit, pack, remove
from hmsim.errors import InputError
from hmsim.jit import kernel
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.policies.queues_kernel import (
    BUSY,
    DEAD,
    NOWHERE,
    count_idle,
    enter,
    in_order,
    leave,
    queued,
    state_of,
)
from hmsim.placement.policies.uses_kernel import note_used, promote_misses
from hmsim.workload.steps import I64, U64

LIMIT, HOTS, NEXT, HEAD = range(4)  # places in own.ints, see `Lirs`


class Parts(NamedTuple):
    """Views of own, see `Lirs`; the stack's and the queue's rings are as in `queues_kernel`."""

    ints: I64
    hot: U64
    used: U64
    above: I64  # of the stack: `newer`
    below: I64  # `older`
    newer: I64  # of the queue
    older: I64
    end: int  # the node of either ring


@kernel
def _parts(hbm, own):
    lanes, words = hbm.resident.shape
    nodes = lanes * words * 64 + 1
    links = own.ints[HEAD:]
    return Parts(
        own.ints, own.bits[:lanes].reshape(-1), own.bits[lanes], links[nodes : 2 * nodes],
        links[:nodes], links[3 * nodes :], links[2 * nodes : 3 * nodes], nodes - 1,
    )  # fmt: skip


@kernel
def _queue_up(p, block):
    """A cold block becomes the newest of the queue."""
    enter(p.older, p.newer, p.end, block)
    if p.ints[NEXT] == p.end:
        p.ints[NEXT] = block


@kernel
def _climb(p, block):
    """A block goes to the top of the stack."""
    if p.above[block] != NOWHERE:
        leave(p.below, p.above, block)
    enter(p.below, p.above, p.end, block)


@kernel
def _prune(now, hbm, p):
    """Take out what lies below the lowest living hot block, which is the answer; or `end`."""
    block = p.above[p.end]
    while block != p.end:
        if has(p.hot, block):
            if state_of(now, hbm, p.used, block) != DEAD:
                break
            remove(p.hot, block)
            p.ints[HOTS] -= 1
        leave(p.below, p.above, block)
        block = p.above[p.end]
    return block


@kernel
def _settle(now, hbm, p):
    """Prune the stack, and let the lowest hot blocks get cold that are too many."""
    lowest = _prune(now, hbm, p)
    while p.ints[HOTS] > p.ints[LIMIT]:
        leave(p.below, p.above, lowest)
        remove(p.hot, lowest)
        p.ints[HOTS] -= 1
        _queue_up(p, lowest)
        lowest = _prune(now, hbm, p)


@kernel
def _come_in(now, hbm, p, block):
    """Hot if the stack remembers it or hot blocks have room, else cold."""
    hot = p.above[block] != NOWHERE or p.ints[HOTS] < p.ints[LIMIT]
    _climb(p, block)
    if hot:
        add(p.hot, block)
        p.ints[HOTS] += 1
    else:
        _queue_up(p, block)
    _settle(now, hbm, p)


@kernel
def _use(now, hbm, p, block):
    """Note the use of a block in HBM."""
    if has(p.hot, block):
        _climb(p, block)
        _settle(now, hbm, p)
    else:
        if p.newer[block] != NOWHERE:  # no newborn
            leave(p.older, p.newer, block)
            if p.above[block] == NOWHERE:
                _climb(p, block)
                _queue_up(p, block)
                _settle(now, hbm, p)
                return
        _come_in(now, hbm, p, block)


@kernel
def _evict(now, hbm, p):
    """The block that goes; there is one. What the queue has before NEXT is in use."""
    block = p.ints[NEXT]
    while block != p.end:
        following = p.newer[block]
        state = state_of(now, hbm, p.used, block)
        if state != BUSY:
            leave(p.older, p.newer, block)
            if state != DEAD:
                p.ints[NEXT] = following
                return block
        block = following
    p.ints[NEXT] = p.end
    lowest = _prune(now, hbm, p)
    leave(p.below, p.above, lowest)
    remove(p.hot, lowest)
    p.ints[HOTS] -= 1
    return lowest


@policy_step
def step(now, hbm, own, moves):
    """Note uses, then promote all misses; `Lirs` says how own is laid out."""
    words = hbm.resident.shape[1]
    p = _parts(hbm, own)
    first = now.lane * words * 64
    one = np.uint64(1)
    note_used(now, p.used)
    for w in range(words):
        busy = p.used[w] & hbm.resident[now.lane, w]
        while busy != 0:
            _use(now, hbm, p, first + w * 64 + lowest_bit(busy))
            busy &= busy - one
    p.ints[NEXT] = p.newer[p.end]
    free = hbm.capacity - hbm.used[0]
    promote_misses(now, hbm, moves, free + count_idle(now, hbm, p.used))
    for k in range(moves.count[0]):
        block = moves.promote[k]
        if k >= free:
            moves.demote[moves.count[1]] = _evict(now, hbm, p)
            moves.count[1] += 1
        _come_in(now, hbm, p, block)


class Lirs(Policy):
    """Low inter-reference recency set.

        own.bits    [lanes + 1, words]
          hot       [lanes, words]   hot blocks
          used      [words]          used in this step
        own.ints    [3 + 4 * (blocks + 1)]
          LIMIT     1                most hot blocks
          HOTS      1                hot blocks
          NEXT      1                block of the queue that an eviction looks at next
          below     [blocks + 1]     the stack, as a queue of `queues_kernel`: the newest on top
          above     [blocks + 1]
          older     [blocks + 1]     the queue of cold blocks, likewise
          newer     [blocks + 1]
        own.floats  not used

    Args:
        cold: Share of HBM that is for cold blocks, 0 to 1; one block at least.
    """

    name = "lirs"
    step = step

    def __init__(self, cold: float = 0.01):
        if not (isinstance(cold, int | float) and 0 <= cold <= 1):
            raise InputError(f"policy {self.name}: cold: {cold!r}: from 0 to 1")
        self.cold = cold

    def own(self, geometry, capacity, rates, resident):
        """As if the prompt's blocks had come in one by one, by slot, then lane."""
        blocks = geometry.lanes * geometry.slots
        limit = max(0, capacity - max(1, int(self.cold * capacity)))
        there = in_order(resident, geometry.slots)
        hot = np.zeros(blocks, bool)
        hot[there[:limit]] = True
        head = [limit, min(limit, len(there)), 0]
        stack, queue = queued(blocks, 1, there), queued(blocks, 1, there[limit:])
        ints = np.concatenate([head, stack, queue]).astype(np.int64)
        bits = pack(np.concatenate([hot, np.zeros(geometry.slots, bool)]))
        return Own(bits.reshape(geometry.lanes + 1, geometry.words), ints, np.zeros(1))
