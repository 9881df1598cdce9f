"""A hot buffer for each sequence: no request can push the blocks of another out of HBM.

    hmsim run FILE.toml --policy reactive --policy hot_buffer:HotBuffer

with this file in the current folder. In each layer, a sequence has at most `blocks` blocks in HBM.
What it reads from DRAM takes a free place of its buffer, or else that of its oldest block which the
step did not read. docs/policies.md explains the code piece by piece.
"""

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.jit import kernel
from hmsim.placement.policies.api import Own, Policy, policy_step

ONE = np.uint64(1)


@kernel
def count_residents(words, sequence, used):
    """`used[q]`: how many of a lane's blocks in HBM (bitset `words`) are of sequence q."""
    used[:] = 0
    for word in range(words.size):
        left = words[word]
        while left != 0:
            used[sequence[word * 64 + lowest_bit(left)]] += 1
            left &= left - ONE


@kernel
def oldest_idle(resident, read, sequence, wanted, start):
    """The lowest slot from `start` on in HBM, of sequence `wanted`, and not read; -1 for none."""
    for slot in range(start, sequence.size):
        mine = sequence[slot] == wanted
        idle = resident[slot // 64] & ~read[slot // 64]
        if mine and (idle >> np.uint64(slot % 64)) & ONE:
            return slot
    return -1


@policy_step
def step(now, hbm, own, moves):
    """Own.ints: places of a buffer, sequences, then the arrays that `own` below joins."""
    places, sequences = own.ints[0], own.ints[1]
    words = hbm.resident.shape[1]
    slots = words * 64
    used, cursor = own.ints[2 : 2 + sequences], own.ints[2 + sequences : 2 + 2 * sequences]
    sequence_of = own.ints[2 + 2 * sequences :]  # [lanes * slots]

    first = now.lane * slots
    resident, read = hbm.resident[now.lane], now.bits[now.row]
    sequence = sequence_of[first : first + slots]
    count_residents(resident, sequence, used)
    cursor[:] = 0
    free = hbm.capacity - hbm.used[0]
    for word in range(words):
        misses = read[word] & ~resident[word]
        while misses != 0:
            slot = word * 64 + lowest_bit(misses)
            misses &= misses - ONE
            mine = sequence[slot]
            if used[mine] < places and free > 0:
                used[mine] += 1
                free -= 1
            else:
                victim = oldest_idle(resident, read, sequence, mine, cursor[mine])
                if victim < 0:
                    cursor[mine] = slots
                    continue
                cursor[mine] = victim + 1
                moves.demote[moves.count[1]] = first + victim
                moves.count[1] += 1
            moves.promote[moves.count[0]] = first + slot
            moves.count[0] += 1

    # Blocks that the next step may give birth to: into HBM as long as their buffer has a place.
    sequence = sequence_of[now.next_lane * slots : (now.next_lane + 1) * slots]
    if now.next_lane != now.lane:
        count_residents(hbm.resident[now.next_lane], sequence, used)
    for j in range(now.coming.size):
        mine = sequence[now.coming[j]]
        moves.place[j] = used[mine] < places
        used[mine] += 1


class HotBuffer(Policy):
    """Its options come from the run's [policies.options]."""

    name = "hot-buffer"
    step = step

    def __init__(self, blocks: int = 128):
        self.blocks = blocks

    def prompt(self, workload, capacity, rates):
        """The newest prompt blocks of each sequence and layer, as many as its buffer takes."""
        shape = workload.geometry
        every = np.arange(shape.lanes * shape.slots)
        # Slot to sequence and position in it. Of slots that never hold a block both are -1.
        _, sequence, position = workload.locate(every)  # the first is the layer
        self.sequence = np.where(sequence < 0, 0, sequence)

        alive = np.unpackbits(workload.prompt.view(np.uint8), bitorder="little").astype(bool)
        order = np.lexsort((-position, self.sequence, every // shape.slots))
        order = order[alive[order]]  # by lane and sequence, the newest first
        owner = every[order] // shape.slots * shape.sequences + self.sequence[order]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        rank = np.arange(owner.size) - np.repeat(starts, np.diff(starts, append=owner.size))
        chosen = order[rank < self.blocks][:capacity]

        resident = np.zeros(every.size, bool)
        resident[chosen] = True
        packed = np.packbits(resident, bitorder="little")
        return packed.view(np.uint64).reshape(shape.lanes, shape.words)

    def own(self, geometry, capacity, rates, resident):
        """What `step` keeps: places, sequences, scratch of two numbers each, slot to sequence."""
        head = [self.blocks, geometry.sequences]
        scratch = np.zeros(2 * geometry.sequences, np.int64)
        ints = np.concatenate([head, scratch, self.sequence]).astype(np.int64)
        return Own(np.zeros((1, 1), np.uint64), ints, np.zeros(1))
