"""S3-FIFO, without foresight: three first-in-first-out queues; what is used once only goes soon.

What is read from DRAM comes into the `small` queue of HBM, or into its `main` queue where the third,
`ghost`, remembers it: that of the numbers of blocks that left the small queue for DRAM. A block
counts its uses since it came in, up to 3. As long as the small queue holds its share of HBM, a block
is evicted from it, the oldest first: what was used twice or more goes on into the main queue instead,
its count at 0. Else a block of the main queue is evicted, the oldest first: what was used goes round
instead, its count less one. A queue in which nothing may be evicted leaves it to the other. The ghost
queue has as many numbers as the main queue has blocks.

A cache takes one miss after another, a step reads a set of blocks: uses are counted first, all misses
are then promoted in ascending order, and the queues' ends are sought past the blocks that the step
itself used. Newborns go to HBM as long as capacity is left, into the small queue, and there the
prompt's blocks begin, by slot, then lane.
Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vinayak, "FIFO queues are all you need for cache
eviction", SOSP 2023.
"""

import numpy as np

from hmsim.bits import add, has, remove
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

SHARE, SMALLS, GHOSTS, NEXT_SMALL, NEXT_MAIN, HEAD = range(6)  # places in own.ints, see `S3Fifo`
SMALL, MAIN, GHOST, QUEUES = range(4)


@kernel
def _enter_main(own, older, newer, blocks, block):
    """As the newest, its count at 0."""
    enter(older, newer, blocks + MAIN, block)
    if own.ints[NEXT_MAIN] == blocks + MAIN:
        own.ints[NEXT_MAIN] = block


@kernel
def _enter_ghost(hbm, own, older, newer, ghost, blocks, block):
    """Remember a block; the oldest is forgotten for it, where there are too many."""
    enter(older, newer, blocks + GHOST, block)
    add(ghost, block)
    own.ints[GHOSTS] += 1
    if own.ints[GHOSTS] > hbm.capacity - own.ints[SHARE]:
        oldest = newer[blocks + GHOST]
        leave(older, newer, oldest)
        remove(ghost, oldest)
        own.ints[GHOSTS] -= 1


@kernel
def _evict_small(now, hbm, own, older, newer, blocks):
    """The block of the small queue that goes, or -1. What is before NEXT_SMALL is in use."""
    lanes = hbm.resident.shape[0]
    flat = own.bits.reshape(-1)
    size = blocks // 64
    low, high, ghost = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size]
    used = own.bits[3 * lanes]
    block = own.ints[NEXT_SMALL]
    found = NOWHERE
    while found == NOWHERE and block != blocks + SMALL:
        following = newer[block]
        state = state_of(now, hbm, used, block)
        if state != BUSY:
            leave(older, newer, block)
            own.ints[SMALLS] -= 1
            if state != DEAD and has(high, block):
                remove(low, block)
                remove(high, block)
                _enter_main(own, older, newer, blocks, block)
            elif state != DEAD:
                _enter_ghost(hbm, own, older, newer, ghost, blocks, block)
                found = block
        block = following
    own.ints[NEXT_SMALL] = block
    return found


@kernel
def _evict_main(now, hbm, own, older, newer, blocks):
    """The block of the main queue that goes, or -1. What is before NEXT_MAIN is in use."""
    lanes = hbm.resident.shape[0]
    flat = own.bits.reshape(-1)
    size = blocks // 64
    low, high = flat[:size], flat[size : 2 * size]
    used = own.bits[3 * lanes]
    while own.ints[NEXT_MAIN] != blocks + MAIN:
        block = own.ints[NEXT_MAIN]
        own.ints[NEXT_MAIN] = newer[block]
        state = state_of(now, hbm, used, block)
        if state == BUSY:
            continue
        leave(older, newer, block)
        if state == DEAD:
            continue
        if has(low, block):
            remove(low, block)
        elif has(high, block):
            remove(high, block)
            add(low, block)
        else:
            return block
        _enter_main(own, older, newer, blocks, block)
    return NOWHERE


@kernel
def _evict(now, hbm, own, older, newer, blocks):
    """The block that goes; there is one."""
    found = NOWHERE
    if own.ints[SMALLS] >= own.ints[SHARE]:
        found = _evict_small(now, hbm, own, older, newer, blocks)
    if found == NOWHERE:
        found = _evict_main(now, hbm, own, older, newer, blocks)
    if found == NOWHERE:
        found = _evict_small(now, hbm, own, older, newer, blocks)
    if found == NOWHERE:  # what the small queue had has gone on
        found = _evict_main(now, hbm, own, older, newer, blocks)
    return found


@kernel
def _come_in(own, older, newer, flat, blocks, block):
    """Into the small queue, or the main one where the block is remembered; its count at 0."""
    size = blocks // 64
    low, high, ghost = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size]
    remove(low, block)
    remove(high, block)
    if has(ghost, block):
        leave(older, newer, block)
        remove(ghost, block)
        own.ints[GHOSTS] -= 1
        enter(older, newer, blocks + MAIN, block)
    else:
        enter(older, newer, blocks + SMALL, block)
        own.ints[SMALLS] += 1


@policy_step
def step(now, hbm, own, moves):
    """Count uses, then promote all misses; `S3Fifo` says how own is laid out."""
    lanes, words = hbm.resident.shape
    blocks = lanes * words * 64
    nodes = blocks + QUEUES
    older, newer = own.ints[HEAD : HEAD + nodes], own.ints[HEAD + nodes :]
    low, high, used = own.bits[now.lane], own.bits[lanes + now.lane], own.bits[3 * lanes]
    flat = own.bits.reshape(-1)
    first = now.lane * words * 64
    np.uint64(1)
    note_used(now, used)
    for w in range(words):
        hits = used[w] & hbm.resident[now.lane, w] & ~(low[w] & high[w])
        high[w] ^= hits & low[w]
        low[w] ^= hits
    for slot in now.appended:
        if has(hbm.resident[now.lane], slot) and newer[first + slot] == NOWHERE:  # a newborn
            _come_in(own, older, newer, flat, blocks, first + slot)
    own.ints[NEXT_SMALL], own.ints[NEXT_MAIN] = newer[blocks + SMALL], newer[blocks + MAIN]
    free = hbm.capacity - hbm.used[0]
    promote_misses(now, hbm, moves, free + count_idle(now, hbm, used))
    for k in range(moves.count[0]):
        block = moves.promote[k]
        if k >= free:
            moves.demote[moves.count[1]] = _evict(now, hbm, own, older, newer, blocks)
            moves.count[1] += 1
        _come_in(own, older, newer, flat, blocks, block)


class S3Fifo(Policy):
    """S3-FIFO.

        own.bits      [3 * lanes + 1, words]
          low, high   [lanes, words] each   the two digits of a resident's count of uses
          ghost       [lanes, words]        in the ghost queue
          used        [words]               used in this step
        own.ints      [5 + 2 * (blocks + 3)]
          SHARE       1                     blocks of the small queue from which on it gives
          SMALLS      1                     blocks in the small queue
          GHOSTS      1                     blocks in the ghost queue
          NEXT_SMALL  1                     block of the small queue that is looked at next
          NEXT_MAIN   1                     the same of the main queue
          older       [blocks + 3]          the queues, as in `queues_kernel`
          newer       [blocks + 3]
        own.floats    not used

    Args:
        small: Share of HBM that the small queue has, 0 to 1.
    """

    name = "s3-fifo"
    step = step

    def __init__(self, small: float = 0.1):
        if not (isinstance(small, int | float) and 0 <= small <= 1):
            raise InputError(f"policy {self.name}: small: {small!r}: from 0 to 1")
        self.small = small

    def own(self, geometry, capacity, rates, resident):
        """The prompt's blocks are in the small queue, by slot, then lane; no use is counted."""
        blocks = geometry.lanes * geometry.slots
        there = in_order(resident, geometry.slots)
        head = [int(self.small * capacity), len(there), 0, 0, 0]
        ints = np.concatenate([head, queued(blocks, QUEUES, there)]).astype(np.int64)
        bits = np.zeros((3 * geometry.lanes + 1, geometry.words), np.uint64)
        return Own(bits, ints, np.zeros(1))
