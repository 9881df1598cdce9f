"""SIEVE, without foresight: first in, first out, but what was used since the hand last passed stays.

Blocks stand in the order in which they came into HBM. A hand goes from the oldest to the newest, and
then begins again: it clears the mark of a block that was used since it came in or since the hand was
there, and the first one without a mark is evicted. What stays keeps its place in the order.

A cache takes one miss after another, a step reads a set of blocks: uses are marked first, all misses
are then promoted in ascending order, without a mark, and the hand passes over blocks that the step
itself used. Newborns go to HBM as long as capacity is left, without a mark; HBM begins with the
oldest blocks of the prompt, by slot, then lane.
Source: Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi, "SIEVE is Simpler than LRU", NSDI 2024.
"""

import numpy as np

from hmsim.bits import has, remove
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

HAND, HEAD = 0, 1  # places in own.ints, see `Sieve`


@kernel
def _evict(now, hbm, own, older, newer):
    """Move the hand to the next block to go, which there is, and past it; take it out."""
    lanes, words = hbm.resident.shape
    marked, used = own.bits[:lanes].reshape(-1), own.bits[lanes]
    block = own.ints[HAND]
    while True:
        if block == lanes * words * 64:  # behind the newest
            block = newer[block]
        following = newer[block]
        state = state_of(now, hbm, used, block)
        if state == DEAD:
            leave(older, newer, block)
        elif state != BUSY:
            if not has(marked, block):
                break
            remove(marked, block)
        block = following
    leave(older, newer, block)
    own.ints[HAND] = following
    return block


@policy_step
def step(now, hbm, own, moves):
    """Mark uses, then promote all misses; `Sieve` says how own is laid out."""
    lanes, words = hbm.resident.shape
    nodes = lanes * words * 64 + 1
    queue = nodes - 1
    older, newer = own.ints[HEAD : HEAD + nodes], own.ints[HEAD + nodes :]
    marked, used = own.bits[now.lane], own.bits[lanes]
    first = now.lane * words * 64
    np.uint64(1)
    note_used(now, used)
    for w in range(words):
        marked[w] |= used[w] & hbm.resident[now.lane, w]
    for slot in now.appended:
        if has(hbm.resident[now.lane], slot) and newer[first + slot] == NOWHERE:  # a newborn
            enter(older, newer, queue, first + slot)
            remove(marked, slot)
    free = hbm.capacity - hbm.used[0]
    promote_misses(now, hbm, moves, free + count_idle(now, hbm, used))
    for k in range(moves.count[0]):
        block = moves.promote[k]
        if k >= free:
            moves.demote[moves.count[1]] = _evict(now, hbm, own, older, newer)
            moves.count[1] += 1
        enter(older, newer, queue, block)  # what is in DRAM has no mark


class Sieve(Policy):
    """SIEVE.

    own.bits    [lanes + 1, words]
      marked    [lanes, words]   used since it came in, or since the hand passed
      used      [words]          used in this step
    own.ints    [1 + 2 * (blocks + 1)]
      HAND      1                the block that the hand comes to next
      older     [blocks + 1]     the queue, as in `queues_kernel`
      newer     [blocks + 1]
    own.floats  not used
    """

    name = "sieve"
    step = step

    def own(self, geometry, capacity, rates, resident):
        """The prompt's blocks queue up by slot, then lane; none is marked."""
        blocks = geometry.lanes * geometry.slots
        there = in_order(resident, geometry.slots)
        ints = np.concatenate([[blocks], queued(blocks, 1, there)])
        return Own(np.zeros((geometry.lanes + 1, geometry.words), np.uint64), ints, np.zeros(1))
