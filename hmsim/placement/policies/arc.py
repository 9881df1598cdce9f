"""ARC, without foresight: adaptive replacement between what was used once and what was used again.

HBM is two queues: `recent` blocks were used once since they came in, `frequent` ones again, each the
least recently used first. Two more, the `ghosts`, hold the numbers of blocks that left each for DRAM.
What comes in goes to `recent`, or, where a ghost queue remembers it, to `frequent`; and then the
`target`, how many blocks `recent` should have, has been wrong. It grows if the block had left `recent`
and shrinks if it had left `frequent`: by 1, or by how many times as long the other ghost queue is, in
whole numbers. `recent` gives a block if it has more than the target (or just as many, where the block
that comes in had left `frequent`), else `frequent` does; a queue that has nothing to give leaves it to
the other. `recent` and its ghosts are no more than HBM holds, all four queues no more than twice that:
the oldest ghosts are forgotten.

A cache takes one miss after another, a step reads a set of blocks: its uses (reads and appends) are
noted first, in ascending order, then all misses are promoted in ascending order; what the step itself
used is the most recent of its queue, and not evicted for another. Newborns go to HBM as long as
capacity is left, into `recent`, and there the prompt's blocks begin, by slot, then lane.
Source: N. Megiddo, D. S. Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003.
"""

import numpy as np

from hmsim.bits import add, has, lowest_bit, remove
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

RECENT, FREQUENT, RECENT_GHOST, FREQUENT_GHOST, QUEUES = range(5)
TARGET, HEAD = QUEUES, QUEUES + 1  # places in own.ints, see `Arc`; the sizes of queues come first


@kernel
def _put(own, bits, older, newer, blocks, queue, block):
    """Make a block that is in no queue the newest of one."""
    enter(older, newer, blocks + queue, block)
    own.ints[queue] += 1
    frequent, ghost = bits[0], bits[1]
    remove(frequent, block)
    remove(ghost, block)
    if queue in (FREQUENT, FREQUENT_GHOST):
        add(frequent, block)
    if queue >= RECENT_GHOST:
        add(ghost, block)


@kernel
def _take(own, bits, older, newer, block):
    """Take a block out of its queue, and say which one that was."""
    queue = RECENT
    if has(bits[0], block):
        queue += FREQUENT
    if has(bits[1], block):
        queue += RECENT_GHOST
        remove(bits[1], block)
    leave(older, newer, block)
    own.ints[queue] -= 1
    return queue


@kernel
def _give(now, hbm, own, bits, older, newer, blocks, queue):
    """The least recently used block of `recent` or `frequent` becomes a ghost; -1: there is none."""
    used = own.bits[2 * hbm.resident.shape[0]]
    block = newer[blocks + queue]
    while block != blocks + queue:
        state = state_of(now, hbm, used, block)
        if state == BUSY:
            break
        _take(own, bits, older, newer, block)
        if state != DEAD:
            _put(own, bits, older, newer, blocks, queue + RECENT_GHOST, block)
            return block
        block = newer[blocks + queue]
    return NOWHERE


@kernel
def _come_in(hbm, own, bits, older, newer, blocks, block):
    """Into `recent`; the oldest ghosts that are too many are forgotten."""
    sizes = own.ints
    _put(own, bits, older, newer, blocks, RECENT, block)
    while sizes[RECENT_GHOST] > 0 and sizes[RECENT] + sizes[RECENT_GHOST] > hbm.capacity:
        _take(own, bits, older, newer, newer[blocks + RECENT_GHOST])
    while sizes[FREQUENT_GHOST] > 0 and sizes[:QUEUES].sum() > 2 * hbm.capacity:
        _take(own, bits, older, newer, newer[blocks + FREQUENT_GHOST])


@policy_step
def step(now, hbm, own, moves):
    """Note uses, then promote all misses; `Arc` says how own is laid out."""
    lanes, words = hbm.resident.shape
    blocks = lanes * words * 64
    nodes = blocks + QUEUES
    sizes, older, newer = own.ints, own.ints[HEAD : HEAD + nodes], own.ints[HEAD + nodes :]
    bits, used = own.bits[: 2 * lanes].reshape(2, lanes * words), own.bits[2 * lanes]
    first = now.lane * words * 64
    one = np.uint64(1)
    note_used(now, used)
    for w in range(words):
        busy = used[w] & hbm.resident[now.lane, w]
        while busy != 0:
            block = first + w * 64 + lowest_bit(busy)
            busy &= busy - one
            if newer[block] == NOWHERE:  # a newborn
                _come_in(hbm, own, bits, older, newer, blocks, block)
            else:
                _take(own, bits, older, newer, block)
                _put(own, bits, older, newer, blocks, FREQUENT, block)
    free = hbm.capacity - hbm.used[0]
    promote_misses(now, hbm, moves, free + count_idle(now, hbm, used))
    for k in range(moves.count[0]):
        block = moves.promote[k]
        known = has(bits[1], block)
        left_frequent = known and has(bits[0], block)
        if known:
            ours, others = sizes[RECENT_GHOST], sizes[FREQUENT_GHOST]
            if left_frequent:
                sizes[TARGET] = max(0, sizes[TARGET] - max(1, ours // others))
            else:
                sizes[TARGET] = min(hbm.capacity, sizes[TARGET] + max(1, others // ours))
        if k >= free:
            queue = FREQUENT
            over = sizes[RECENT] - sizes[TARGET]
            if over > 0 or (over == 0 and left_frequent):
                queue = RECENT
            victim = _give(now, hbm, own, bits, older, newer, blocks, queue)
            if victim == NOWHERE:
                other = RECENT + FREQUENT - queue
                victim = _give(now, hbm, own, bits, older, newer, blocks, other)
            moves.demote[moves.count[1]] = victim
            moves.count[1] += 1
        if known:
            _take(own, bits, older, newer, block)
            _put(own, bits, older, newer, blocks, FREQUENT, block)
        else:
            _come_in(hbm, own, bits, older, newer, blocks, block)


class Arc(Policy):
    """Adaptive replacement.

    own.bits      [2 * lanes + 1, words]
      frequent    [lanes, words]   in `frequent` or its ghosts
      ghost       [lanes, words]   in either ghost queue
      used        [words]          used in this step
    own.ints      [5 + 2 * (blocks + 4)]
      sizes       [4]              of the queues
      TARGET      1                blocks that `recent` should have
      older       [blocks + 4]     the queues, as in `queues_kernel`
      newer       [blocks + 4]
    own.floats    not used
    """

    name = "arc"
    step = step

    def own(self, geometry, capacity, rates, resident):
        """The prompt's blocks are recent, by slot, then lane."""
        there = in_order(resident, geometry.slots)
        head = np.zeros(HEAD, np.int64)
        head[RECENT] = len(there)
        links = queued(geometry.lanes * geometry.slots, QUEUES, there)
        bits = np.zeros((2 * geometry.lanes + 1, geometry.words), np.uint64)
        return Own(bits, np.concatenate([head, links]), np.zeros(1))
