"""HiSparse's hot buffers, without foresight: a buffer of fixed size in HBM for each sequence and layer.

What a sequence reads from DRAM comes into its buffer of that layer, which has a place or else gives up
its own least recently used block; no request can push another's blocks out of HBM. The newest token
is always in: its block comes into HBM whether its buffer has a place or not, and the buffer gives one
up as soon as it has an idle block. Where HBM itself is full, the buffer gives up its least recently
used block the step before; only if that step used them all does the newborn go to DRAM. If HBM holds
less than all buffers, those that come first get it.

A step reads a set of blocks of all sequences: uses (reads and appends) are noted first, in ascending
order, then misses are promoted in ascending order, and a block that the step itself used is not
evicted for another: a miss whose buffer has no place stays in DRAM. HBM begins with the newest blocks
of the prompt, as many of each buffer as of the others.
Source: Z. Xie, H. Zhang, T. Huang, "HiSparse: Turbocharging Sparse Attention with Hierarchical Memory",
lmsys.org, 10 April 2026, and SGLang's guide to it; the block that is written counts as in HBM alone, as
the latency model has it.
"""

import numpy as np

from hmsim.bits import add, has, lowest_bit, numbers, pack, remove
from hmsim.errors import InputError
from hmsim.jit import kernel
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.policies.queues_kernel import (
    BUSY,
    DEAD,
    NOWHERE,
    enter,
    leave,
    queued,
    state_of,
)
from hmsim.placement.policies.uses_kernel import note_used

PLACES, BUFFERS, HEAD = range(3)  # places in own.ints, see `HiSparse`


@kernel
def _drop(own, held, older, newer, owner, block):
    """Take a block out of its buffer."""
    leave(older, newer, block)
    remove(held, block)
    own.ints[HEAD + owner[block]] -= 1


@kernel
def _evict(now, hbm, own, held, older, newer, owner, buffer):
    """Take the least recently used block out of a buffer, unless this step used it; -1: none."""
    queue = owner.size + buffer
    block = newer[queue]
    while block != queue:
        state = state_of(now, hbm, own.bits[hbm.resident.shape[0]], block)
        if state == BUSY:
            break
        _drop(own, held, older, newer, owner, block)
        if state != DEAD:
            return block
        block = newer[queue]
    return NOWHERE


@kernel
def _note_uses(now, hbm, own, held, older, newer, owner):
    """The lane's dead leave their buffers, and what the step uses becomes the most recent."""
    lanes, words = hbm.resident.shape
    used, here = own.bits[lanes], own.bits[now.lane]
    first = now.lane * words * 64
    one = np.uint64(1)
    note_used(now, used)
    for w in range(words):
        dead = here[w] & ~hbm.resident[now.lane, w]
        while dead != 0:
            block = first + w * 64 + lowest_bit(dead)
            dead &= dead - one
            _drop(own, held, older, newer, owner, block)
        busy = used[w] & hbm.resident[now.lane, w]
        while busy != 0:
            block = first + w * 64 + lowest_bit(busy)
            busy &= busy - one
            if newer[block] != NOWHERE:
                leave(older, newer, block)
            else:  # a newborn
                add(held, block)
                own.ints[HEAD + owner[block]] += 1
            enter(older, newer, owner.size + owner[block], block)


@kernel
def _shed(now, hbm, own, held, older, newer, owner, buffer, moves):
    """Demote what a buffer of the step's lane has too much, the least recently used first."""
    while own.ints[HEAD + buffer] > own.ints[PLACES]:
        victim = _evict(now, hbm, own, held, older, newer, owner, buffer)
        if victim == NOWHERE:
            return
        moves.demote[moves.count[1]] = victim
        moves.count[1] += 1


@kernel
def _press(now, hbm, own, held, older, newer, owner, whole, moves):
    """Turn whole requests, the last first, until one gives up blocks in this lane; how many."""
    before = moves.count[1]
    for s in range(whole.size - 1, -1, -1):
        buffer = now.lane * whole.size + s
        if whole[s] and own.ints[HEAD + buffer] > own.ints[PLACES]:
            whole[s] = 0
            _shed(now, hbm, own, held, older, newer, owner, buffer, moves)
            if moves.count[1] > before:
                break
    return moves.count[1] - before


@policy_step
def step(now, hbm, own, moves):
    """Note uses, promote misses buffer by buffer, make place for newborns."""
    lanes, words = hbm.resident.shape
    blocks = lanes * words * 64
    buffers = own.ints[BUFFERS]
    counts = own.ints[HEAD : HEAD + buffers]
    owner = own.ints[HEAD + buffers : HEAD + buffers + blocks]
    links = own.ints[HEAD + buffers + blocks :]
    older, newer = links[: blocks + buffers], links[blocks + buffers : 2 * (blocks + buffers)]
    whole = links[2 * (blocks + buffers) :]
    held = own.bits.reshape(-1)
    first, next_first = now.lane * words * 64, now.next_lane * words * 64
    one = np.uint64(1)
    _note_uses(now, hbm, own, held, older, newer, owner)
    for s in range(whole.size):
        if not whole[s]:  # a newborn may have been one too many
            buffer = now.lane * whole.size + s
            _shed(now, hbm, own, held, older, newer, owner, buffer, moves)
    free = hbm.capacity - hbm.used[0] + moves.count[1]
    for w in range(words):
        misses = now.bits[now.row, w] & ~hbm.resident[now.lane, w]
        while misses != 0:
            block = first + w * 64 + lowest_bit(misses)
            misses &= misses - one
            buffer = owner[block]
            request = buffer - now.lane * whole.size
            if free <= 0 and (whole[request] or counts[buffer] < own.ints[PLACES]):
                free += _press(now, hbm, own, held, older, newer, owner, whole, moves)
            if free > 0 and (whole[request] or counts[buffer] < own.ints[PLACES]):
                free -= 1
            else:
                victim = _evict(now, hbm, own, held, older, newer, owner, buffer)
                if victim == NOWHERE:
                    continue
                moves.demote[moves.count[1]] = victim
                moves.count[1] += 1
            enter(older, newer, blocks + buffer, block)
            add(held, block)
            counts[buffer] += 1
            moves.promote[moves.count[0]] = block
            moves.count[0] += 1
    for j in range(now.coming.size):
        slot = now.coming[j]
        if has(hbm.alive[now.next_lane], slot):  # no newborn
            continue
        if free <= 0:
            free += _press(now, hbm, own, held, older, newer, owner, whole, moves)
        if free > 0:
            free -= 1
            continue
        buffer = owner[next_first + slot]
        victim = _evict(now, hbm, own, held, older, newer, owner, buffer)
        if victim == NOWHERE:
            moves.place[j] = 0
        else:
            moves.demote[moves.count[1]] = victim
            moves.count[1] += 1


class HiSparse(Policy):
    """A hot buffer for each sequence and layer.

        own.bits    [lanes + 1, words]
          held      [lanes, words]     in a buffer
          used      [words]            used in this step
        own.ints    [2 + buffers + blocks + 2 * (blocks + buffers) + sequences]
          PLACES    1                  blocks that a buffer holds
          BUFFERS   1                  lanes * sequences
          counts    [buffers]          blocks in each
          owner     [blocks]           the buffer that a block belongs to
          older     [blocks + buffers] each buffer's blocks, as in `queues_kernel`
          newer     [blocks + buffers]
          whole     [sequences]        whether a request is not bound to its buffers: here none
        own.floats  not used

    Args:
        buffer: Tokens that a buffer holds, in whole blocks, one at least.
    """

    name = "hisparse"
    step = step

    def __init__(self, buffer: int = 4096):
        if not (isinstance(buffer, int) and 1 <= buffer <= 2**40):
            raise InputError(
                f"policy {self.name}: buffer: {buffer!r}: a whole number of tokens from 1 up"
            )
        self.buffer = buffer

    def prompt(self, workload, capacity, rates):
        """The newest blocks of each buffer, the newest of all buffers first."""
        there, owner, rank = self._newest(workload)
        keep = np.lexsort((owner, rank))[:capacity]
        keep = keep[rank[keep] < self._places(workload.geometry)]
        return resident_of(there[keep], workload.geometry)

    def own(self, geometry, capacity, rates, resident):
        """Of the prompt the newest blocks are the most recently used."""
        buffers = geometry.lanes * geometry.sequences
        there = numbers(resident)
        there = there[np.argsort(self._position[there], kind="stable")]
        owner = self._owner[there]
        links = queued(self._owner.size, buffers, there, owner)
        head = [self._places(geometry), buffers]
        counts, whole = np.bincount(owner, minlength=buffers), np.zeros(geometry.sequences)
        ints = np.concatenate([head, counts, self._owner, links, whole]).astype(np.int64)
        used = np.zeros((1, geometry.words), np.uint64)
        return Own(np.concatenate([resident, used]), ints, np.zeros(1))

    def _newest(self, workload):
        """The prompt's blocks, buffer by buffer; the buffer of each; and how many there are newer."""
        shape = workload.geometry
        _, sequence, self._position = workload.locate(np.arange(shape.lanes * shape.slots))
        lane = np.arange(sequence.size) // shape.slots
        # Slots that never hold a block belong to sequence -1.
        self._owner = lane * shape.sequences + np.maximum(sequence, 0)
        there = numbers(workload.prompt)
        there = there[np.lexsort((-self._position[there], self._owner[there]))]
        owner = self._owner[there]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        rank = np.arange(owner.size) - np.repeat(starts, np.diff(starts, append=owner.size))
        return there, owner, rank

    def _places(self, geometry):
        return max(1, self.buffer // geometry.tokens_per_block)


def resident_of(block, shape):
    """Some blocks, int64 [n], as bitsets [lanes, words]."""
    resident = np.zeros((shape.lanes, shape.slots), bool)
    resident.reshape(-1)[block] = True
    return pack(resident)
