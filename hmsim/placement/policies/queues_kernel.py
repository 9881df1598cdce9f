"""Queues of blocks, for the policies of the caching literature: `sieve`, `s3-fifo` and their kin.

A queue is a ring through two arrays, `older` and `newer`, int64 [blocks + queues], which all queues
of a policy share. A block is in one of them at most. Queue q is the node `blocks + q`: `newer` of it
is its oldest block, `older` of it its newest, and itself where the queue is empty.

Caches take one miss after another; a step reads a set of blocks. Uses are noted first, all at once,
and misses come in after them in ascending order. A block used in the step itself is never evicted
for another. A block that has died leaves its queue when an eviction comes upon it.
"""

import numpy as np

from hmsim.bits import has, numbers, popcount
from hmsim.jit import kernel

NOWHERE = -1  # `newer` of a block that is in no queue
IDLE, BUSY, DEAD = range(3)


def in_order(resident, slots):
    """Numbers of the blocks in HBM, `resident` [lanes, words], by slot, then lane: int64 [n]."""
    there = numbers(resident)
    return there[np.lexsort((there // slots, there % slots))]


def queued(blocks, queues, block, queue=0):
    """`older` and `newer` as one array, where some blocks stand in queues.

    Args:
        blocks: How many there are in all.
        queues: How many queues.
        block: Numbers of the blocks that stand in queues, int64 [n], the oldest first.
        queue: The queue of each, int64 [n], or of all.

    Returns:
        int64 [2 * (blocks + queues)].
    """
    every = np.arange(queues)
    which = np.concatenate([every, np.broadcast_to(queue, np.shape(block))])
    order = np.argsort(which, kind="stable")
    ring = np.concatenate([blocks + every, block]).astype(np.int64)[order]
    last = np.searchsorted(which[order], every, side="right") - 1
    older, newer = np.full((2, blocks + queues), NOWHERE, np.int64)
    newer[ring] = np.roll(ring, -1)
    newer[ring[last]] = blocks + every
    older[newer[ring]] = ring
    return np.concatenate([older, newer])


@kernel
def enter(older, newer, queue, block):
    """A block that is in no queue becomes the newest of this one."""
    newest = older[queue]
    older[block] = newest
    newer[block] = queue
    newer[newest] = block
    older[queue] = block


@kernel
def leave(older, newer, block):
    """Take a block out of its queue."""
    newer[older[block]] = newer[block]
    older[newer[block]] = older[block]
    newer[block] = NOWHERE


@kernel
def count_idle(now, hbm, used):
    """How many residents this step did not use."""
    idle = hbm.used[0]
    for w in range(used.size):
        idle -= popcount(used[w] & hbm.resident[now.lane, w])
    return idle


@kernel
def state_of(now, hbm, used, block):
    """Of a block in a queue of residents: used in this step, idle, or dead."""
    words = used.size
    lane, slot = block // (words * 64), block % (words * 64)
    if lane == now.lane and has(used, slot):
        return BUSY
    return IDLE if has(hbm.resident[lane], slot) else DEAD
