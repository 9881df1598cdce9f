"""Least recently used, without foresight: `reactive`, and two that hold back.

reactive  a block read from DRAM is promoted; HBM full, the least recently used one goes
balanced  the same until HBM holds the best share of what the step reads: more is slower
slack     the same as long as the moves of the step do not make it longer (`stretch`: by at most
          that share), by the latency model of the run and a barrier a step

True LRU over all lanes, in the order of last use (a read or an append). Misses are promoted in
ascending order. Newborns go to HBM as long as capacity is left, as with `static`. A block used in
the step itself is never evicted for another.
Source: arXiv 2508.13231 section 4 (its authors' simulator flushes a whole layer instead: see
`authors-reactive`) and, for the best share, its `unlimited`.

Last uses are kept in *batches*: the blocks that a step used and none since. A block's step is
written down when its lane's next visit does not use it; until then the lane's bitset tells. Victims
come from the oldest batch that is left, which is put together when its turn comes: once a step, on
average. Blocks of the prompt that were never used go before all batches.
"""

import numpy as np

from hmsim.bits import add, has, lowest_bit, popcount
from hmsim.errors import InputError
from hmsim.jit import kernel
from hmsim.placement.latency import latency_of
from hmsim.placement.latency_kernel import group_seconds, packed, unpacked
from hmsim.placement.policies.api import Own, Policy, policy_step

PLACE, STEP, HEAD = range(3)  # places in own.ints, see `Reactive`; HEAD is where `visit` begins
SPLIT, SIZE = 0, 1  # in own.floats, see `Balanced`
STRETCH, BLOCK, MODEL = range(3)  # in own.floats, see `Slack`


@kernel
def _parts(hbm, own):
    """`visit`, `lane_of` and `last` of own.ints, see `Reactive`."""
    lanes, words = hbm.resident.shape
    last = own.ints.size - lanes * words * 64
    return own.ints[HEAD : HEAD + lanes], own.ints[HEAD + lanes : last], own.ints[last:]


@kernel
def _use(now, hbm, own):
    """Write down what this step uses, and when what it does not use any more was used last."""
    lanes, words = hbm.resident.shape
    visit, lane_of, last = _parts(hbm, own)
    seen, used, batch = own.bits, own.bits[lanes], own.bits[lanes + 1]
    lane = now.lane
    one = np.uint64(1)
    used[:] = now.bits[now.row]
    for slot in now.appended:
        add(used, slot)
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
def _demand(now, hbm):
    """Blocks that the step reads, and how many of them are in HBM."""
    reads, hits = 0, 0
    for w in range(hbm.resident.shape[1]):
        reads += popcount(now.bits[now.row, w])
        hits += popcount(now.bits[now.row, w] & hbm.resident[now.lane, w])
    return reads, hits


@kernel
def _evict(now, hbm, own, moves, most):
    """Demote the least recently used, `most` of them or as many as this step did not use."""
    lanes, words = hbm.resident.shape
    _, lane_of, last = _parts(hbm, own)
    batch, ints = own.bits[lanes + 1], own.ints
    one = np.uint64(1)
    count = 0
    while count < most and ints[PLACE] < lanes * words * 64:
        # Of the prompt and never used: by slot, then lane.
        slot, lane = ints[PLACE] // lanes, ints[PLACE] % lanes
        ints[PLACE] += 1
        idle = hbm.resident[lane, slot >> 6] & ~own.bits[lane, slot >> 6]
        block = lane * words * 64 + slot
        if (idle >> np.uint64(slot & 63)) & one and last[block] < 0:
            moves.demote[count] = block
            count += 1
    while count < most:
        if ints[STEP] >= 0:
            lane = lane_of[ints[STEP]]
            for w in range(words):
                left = batch[w] & hbm.resident[lane, w]  # some may have died
                while left != 0 and count < most:
                    moves.demote[count] = (lane * words + w) * 64 + lowest_bit(left)
                    left &= left - one
                    count += 1
                batch[w] = left
                if count == most:
                    break
        if count < most and not _next_batch(now, hbm, own):
            break
    moves.count[1] = count


@kernel
def _promote(now, hbm, own, moves, most):
    """Promote misses, in ascending order, as long as there is capacity or a victim; `most` of them."""
    words = hbm.resident.shape[1]
    one = np.uint64(1)
    reads, hits = _demand(now, hbm)
    free = hbm.capacity - hbm.used[0]
    _evict(now, hbm, own, moves, min(most, reads - hits) - free)
    most = min(most, free + moves.count[1])
    count = 0
    for w in range(words):
        misses = now.bits[now.row, w] & ~hbm.resident[now.lane, w]
        while misses != 0:
            if count == most:
                break
            moves.promote[count] = (now.lane * words + w) * 64 + lowest_bit(misses)
            misses &= misses - one
            count += 1
    moves.count[0] = count


@kernel
def _seconds(now, size, latency, fixed, appended, reads, hits, promoted, demoted):
    """Time of the step with so many moves. `fixed`: other bytes of HBM; `appended`: of DRAM."""
    copies = latency.copies
    into, out = size * promoted, copies.demote * size * demoted
    fetched = copies.fill * into  # what is promoted is being read
    return group_seconds(
        fixed + into + out, size * reads, size * hits, appended, fetched, out, now.compute_s,
        latency,
    )  # fmt: skip


@policy_step
def step(now, hbm, own, moves):
    """Promote all that was read from DRAM."""
    _use(now, hbm, own)
    _promote(now, hbm, own, moves, hbm.capacity)


@policy_step
def balanced_step(now, hbm, own, moves):
    """Promote until HBM's share of the step's reads is the best one."""
    _use(now, hbm, own)
    reads, hits = _demand(now, hbm)
    split, size = own.floats[SPLIT], own.floats[SIZE]
    best = (split * (now.hbm_bytes + size * reads) - now.hbm_bytes) / size
    _promote(now, hbm, own, moves, max(0, np.int64(np.ceil(best)) - hits))


@policy_step
def slack_step(now, hbm, own, moves):
    """Promote as much as fits into the time that the step takes anyway."""
    _use(now, hbm, own)
    reads, hits = _demand(now, hbm)
    free = max(0, hbm.capacity - hbm.used[0])
    fixed, appended = now.hbm_bytes, 0.0
    size, latency = own.floats[BLOCK], unpacked(own.floats[MODEL:])
    for i in range(now.appended.size):
        here = has(hbm.resident[now.lane], now.appended[i])
        if here:
            fixed += now.appended_bytes[i]
        if not here or latency.copies.append == 1:
            appended += now.appended_bytes[i]
    limit = _seconds(now, size, latency, fixed, appended, reads, hits, 0, 0)
    limit *= 1 + own.floats[STRETCH]
    limit *= 1 + 1e-12  # a tie fits, however its sum was rounded
    most, too_many = 0, reads - hits + 1
    while too_many - most > 1:  # the time grows with the moves
        middle = (most + too_many) // 2
        demoted = max(0, middle - free)
        taken = _seconds(now, size, latency, fixed, appended, reads, hits, middle, demoted)
        if taken <= limit:
            most = middle
        else:
            too_many = middle
    _promote(now, hbm, own, moves, most)


class Reactive(Policy):
    """Least recently used.

    own.bits    [lanes + 2, words]
      seen      [lanes, words]   used at the lane's last visit
      used      [words]          used in this step
      batch     [words]          what is left of the batch that victims come from
    own.ints    [2 + lanes + steps + blocks]
      PLACE     1                how far the never used blocks of the prompt have been gone through
      STEP      1                step of the batch, -1 before the first
      visit     [lanes]          step of each lane's last visit, or -1
      lane_of   [steps]          lane of each step so far
      last      [blocks]         step of each block's last use, where it is written down; or -1
    own.floats  not used
    """

    name = "reactive"
    step = step

    def own(self, geometry, capacity, rates, resident):
        """No block is used yet."""
        lanes = geometry.lanes
        ints = np.full(HEAD + lanes + geometry.steps + lanes * geometry.slots, -1, np.int64)
        ints[PLACE] = 0
        return Own(np.zeros((lanes + 2, geometry.words), np.uint64), ints, np.zeros(1))


class Balanced(Reactive):
    """Least recently used, up to the best split.

    Its memory is that of `Reactive`, and

        own.floats  [2]
          SPLIT     1                best share of a step's bytes to read from HBM
          SIZE      1                bytes of a block
    """

    name = "balanced"
    step = balanced_step

    def own(self, geometry, capacity, rates, resident):
        own = super().own(geometry, capacity, rates, resident)
        return own._replace(floats=np.array([rates.split, float(geometry.block_bytes)]))


class Slack(Reactive):
    """Least recently used, in the time that a step leaves.

    Its memory is that of `Reactive`, and

        own.floats  [2 + n]
          STRETCH   1                share by which moves may make a step longer
          BLOCK     1                bytes of a block
          MODEL     [n]              the latency model, as `latency_kernel.packed` leaves it

    Args:
        stretch: Share by which moves may make a step longer, from 0 up.
    """

    name = "slack"
    step = slack_step

    def __init__(self, stretch: float = 0.0):
        if not (isinstance(stretch, int | float) and 0 <= stretch <= 1e6):
            raise InputError(f"policy {self.name}: stretch: {stretch!r}: from 0 up")
        self._stretch = float(stretch)

    def own(self, geometry, capacity, rates, resident):
        own = super().own(geometry, capacity, rates, resident)
        head = np.array([self._stretch, float(geometry.block_bytes)])
        model = packed(latency_of(self.variant, rates))
        return own._replace(floats=np.concatenate([head, model]))
