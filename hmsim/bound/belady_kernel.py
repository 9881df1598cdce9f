"""A schedule that keeps what is read again first, and fetches ahead where the link has time.

From one read of a block to its next is a *wait*; a block that spends it in HBM makes the next read a
hit. Blocks of a lane that are read at the same two steps are alike, so what a schedule is to be is
found from their numbers alone. Three tables hold them, one row a stretch in which waits begin, one
column for each number of stretches to the next read:

    count   all waits
    kept    those of them that blocks spend in HBM (`choose`)
    ahead   those at whose end a block is in HBM again, promoted in between (`spread`): where the list
            of their `Promotions` begins

A lane's first row is of blocks that are there before step 0, which wait for their first reads; the
row after it is that of its stretch 0. A birth counts as a read, in its stretch.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import lowest_bit, popcount
from hmsim.bound.changes_kernel import put, room
from hmsim.bound.paths.words import BORN, GROWN, Grid
from hmsim.bound.paths.words_kernel import Use
from hmsim.jit import inlined, kernel
from hmsim.workload.steps import I64

ONE = np.uint64(1)
NEAR = 64  # steps after one with time to spare, in which room is kept for what it could promote


class Line(NamedTuple):
    """Of steps [T], and of stretches as `Timeline` has them."""

    lane: I64
    stretch: I64  # that the step begins, of its lane
    offset: I64
    step: I64


class Promotions(NamedTuple):
    """Of blocks between two reads; lists, one a row and column of `ahead`, numbered from 1."""

    step: np.ndarray  # int32 [any]
    blocks: np.ndarray
    next: np.ndarray  # 0 after a list's last


@inlined
def row_of(lane, j, line):
    """The row of waits that begin at a lane's stretch `j`; -1 for what is there before."""
    return line.offset[lane] + lane + j + 1


@kernel
def _there_at_first(tile, grid):
    """Blocks of a tile that are not born later than step 0; places without a block as well."""
    later = np.uint64(0)
    for event in range(grid.event_offset[tile], grid.event_offset[tile + 1]):
        if grid.event_kind[event] == BORN:
            later |= ONE << np.uint64(grid.event_bit[event])
    return ~later


@kernel
def count_waits(first: int, last: int, lane: int, grid: Grid, line: Line, count: I64) -> None:
    """Add the waits of tiles `first` .. `last` - 1 of a lane to `count`."""
    row, stretches = row_of(lane, -1, line), line.offset[lane + 1] - line.offset[lane]
    furthest, bits, event_stretch = count.shape[1], grid.bits, grid.event_stretch
    for tile in range(first, last):
        base, event, end = grid.offset[tile], grid.event_offset[tile], grid.event_offset[tile + 1]
        for j in range(-1, stretches):
            left = bits[base + j] if j >= 0 else _there_at_first(tile, grid)
            while event < end and event_stretch[event] <= j:
                if grid.event_kind[event] == BORN:
                    left |= ONE << np.uint64(grid.event_bit[event])
                event += 1
            for d in range(min(furthest, stretches - 1 - j)):
                if left == 0:
                    break
                word = bits[base + j + 1 + d]
                count[row + 1 + j, d] += np.int64(popcount(left & word))
                left &= ~word


@kernel
def _let_go(now, most, bar, thrift, line, final, waits, kept):
    """Of the waits that count as ending last, and later than `bar`, at most so many are let go; how
    many."""
    worst, longest = bar, -1
    for d in range(len(final)):
        end = final[d]
        if end + thrift * d <= worst:
            continue
        while end > now:
            begun = line.stretch[end] - 1 - d
            if begun >= -1 and kept[row_of(line.lane[end], begun, line), d] > 0:
                break
            end -= 1
        final[d] = end
        if end > now and end + thrift * d > worst:
            worst, longest = end + thrift * d, d
    if longest < 0:
        return 0
    end = final[longest]
    row = row_of(line.lane[end], line.stretch[end] - 1 - longest, line)
    gone = min(most, np.int64(kept[row, longest]))
    kept[row, longest] -= gone
    waits[end] -= gone
    return gone


@kernel
def choose(line: Line, holds: I64, count: I64, thrift: int, waits: I64, kept: I64) -> None:
    """Fill `kept`, zero before: waits that end first go first, whatever else begins; and `waits` [T],
    of those, the ones that end at each step.

    That leaves the fewest misses where HBM `holds` [T] so many blocks: Belady's rule, with leave to
    pass a block by; what is let go before its wait ends had better never come, and never does. A wait
    counts as ending `thrift` steps later for each visit that it lasts longer.
    """
    furthest, lanes = count.shape[1], len(line.offset) - 1
    final = np.full(furthest, -1)  # of waits as long as that none ends later
    occupied = np.int64(0)
    waits[:] = 0
    for i in range(-lanes, len(line.lane)):
        lane, j, now = (-1 - i, -1, -1) if i < 0 else (line.lane[i], line.stretch[i], i)
        if i >= 0:
            occupied -= waits[i]
        most = holds[now + 1] if now + 1 < len(holds) else 0
        while occupied > most:
            occupied -= _let_go(now, occupied - most, -1, thrift, line, final, waits, kept)
        row, first = row_of(lane, j, line), line.offset[lane] + j + 1
        for d in range(min(furthest, line.offset[lane + 1] - first)):
            end, wanted, gone = line.step[first + d], int(count[row, d]), 1
            while occupied + wanted > most and gone > 0:
                over, bar = occupied + wanted - most, end + thrift * d
                gone = _let_go(now, over, bar, thrift, line, final, waits, kept)
                occupied -= gone
            taken = min(wanted, most - occupied)
            kept[row, d] = taken
            waits[end] += taken
            occupied += taken
            if taken > 0:
                final[d] = max(final[d], end)
            elif wanted > 0:
                break  # nor will those be that end later


@kernel
def leave_free(line: Line, capacity: int, kept: I64, free: I64) -> None:
    """Fill `free` [T]: blocks that HBM has room for beside those that are kept."""
    free[:] = 0
    for i in range(-(len(line.offset) - 1), len(line.lane)):
        lane, j, now = (-1 - i, -1, -1) if i < 0 else (line.lane[i], line.stretch[i], i)
        row, first = row_of(lane, j, line), line.offset[lane] + j + 1
        for d in range(min(kept.shape[1], line.offset[lane + 1] - first)):
            free[now + 1] -= kept[row, d]
            if line.step[first + d] + 1 < len(free):
                free[line.step[first + d] + 1] += kept[row, d]
    free[0] += capacity
    for t in range(1, len(free)):
        free[t] += free[t - 1]


@kernel
def spread(
    line: Line, group: I64, count: I64, kept: I64, slack: I64, wanted: I64, free: I64, ahead: I64,
    promotions: Promotions, promote: I64, gained: I64,
) -> int:  # fmt: skip
    """Fill `ahead`, `promote` [T], blocks promoted at steps of groups that have `slack`, and `gained`
    [T], the hits that steps get by it whose groups have `wanted` some: each from the latest such step
    where there is room until the read.

    `slack` and `wanted` [G] are in blocks, as is `free` [T] in HBM; what is used is taken away.
    Returns how many `promotions` there are: where they are more than fit, they lack some.
    """
    furthest, listed = count.shape[1], 0
    left = np.zeros(furthest, np.int64)
    ahead[:], promote[:], gained[:] = 0, 0, 0
    for t in range(len(line.lane)):
        own, lane, j = group[t], line.lane[t], line.stretch[t]
        if wanted[own] <= 0:
            continue
        row, place = row_of(lane, j, line), line.offset[lane] + j
        reach, most = min(furthest, j + 1), 0
        for d in range(reach):
            left[d] = count[row - 1 - d, d] - kept[row - 1 - d, d]
            most += left[d]
        d, room, u = 0, wanted[own], t - 1
        while u >= 0 and d < reach and room > 0:
            if d < j and u == line.step[place - 1 - d]:  # from here on, some have not begun to wait
                most -= left[d]
                d += 1
            room = min(room, most, free[u + 1])
            moved = min(room, slack[group[u]]) if group[u] != own else 0
            if moved > 0:
                slack[group[u]] -= moved
                wanted[own] -= moved
                most -= moved
                room -= moved
                promote[u] += moved
                gained[t] += moved
                for v in range(u + 1, t + 1):
                    free[v] -= moved
                k = d
                while moved > 0:
                    these = min(moved, left[k])
                    left[k] -= these
                    if these > 0 and listed < len(promotions.step):
                        promotions.step[listed] = u
                        promotions.blocks[listed] = these
                        promotions.next[listed] = ahead[row - 1 - k, k]
                        ahead[row - 1 - k, k] = listed + 1
                    listed += 1 if these > 0 else 0
                    moved -= these
                    k += 1
            u -= 1
    return listed


@kernel
def reserve(slack: I64, wanted: I64, group: I64, free: I64, share: float, reserved: I64) -> None:
    """Add to what is `reserved` [T] a share of what is not `free` for the `slack` that `spread` left,
    from its steps to where it would be `wanted`."""
    steps = len(group)
    for u in range(steps - 1):
        more = slack[group[u]]
        if more <= 0 or group[u + 1] == group[u]:
            continue
        t, met = u + 1, 0
        while t < min(steps, u + NEAR) and met < more:
            if free[t] < more:
                reserved[t] += np.int64(share * (more - free[t]))
            met += wanted[group[t]]
            t += 1


@kernel
def _some(these, most, first):
    """At most so many of the bits that are set, of those in `first` before others."""
    if np.int64(popcount(these)) <= most:
        return these
    taken, left = np.uint64(0), these & first
    for _ in range(most):
        if left == 0:
            left = these & ~taken
        taken |= left & (~left + ONE)
        left &= left - ONE
    return taken


@kernel
def _come(these, row, d, ahead, promotions, block, since, moves, told):
    """Of blocks in `these`, as many as are in `ahead` are promoted before they are read again, each
    after step `since`: which, and how many moves have been told."""
    some, left = np.uint64(0), these
    while ahead[row, d] > 0 and left != 0:
        k = ahead[row, d] - 1
        first = _some(left, promotions.blocks[k], left)
        left ^= first
        some |= first
        promotions.blocks[k] -= np.int64(popcount(first))
        if promotions.blocks[k] == 0:
            ahead[row, d] = promotions.next[k]
        if len(moves) > 0:
            told = put(promotions.step[k], first, 1, block, moves, told)
        while first != 0:
            since[lowest_bit(first)] = promotions.step[k]
            first &= first - ONE
    return some, told


@kernel
def settle(
    first: int, last: int, lane: int, grid: Grid, line: Line, kept: I64, ahead: I64,
    promotions: Promotions, use: Use, slots: int, moves: I64,
) -> tuple[int, int, int]:  # fmt: skip
    """Say which blocks of a lane wait in HBM: as many as are in `kept` and `ahead`, from which they
    are taken. Adds to `use` what they do but for promotions between reads.

    Where there is room for `moves`, they are told as well, as long as it lasts. Returns how many
    tiles are done, blocks there at step 0, and moves told.
    """
    stretches, first_row = line.offset[lane + 1] - line.offset[lane], row_of(lane, -1, line)
    furthest, bits, event_stretch = kept.shape[1], grid.bits, grid.event_stretch
    present, told, telling = 0, 0, len(moves) > 0
    block, since = np.empty((2, 64), np.int64)
    for tile in range(first, last):
        if telling and tile > first and told + room(stretches) > len(moves):
            return tile, int(present), told
        base, event, end = grid.offset[tile], grid.event_offset[tile], grid.event_offset[tile + 1]
        here = np.uint64(0)  # will be hits when they are read next
        for i in range(64):
            block[i], since[i] = lane * slots + grid.slot[tile, i], -1
        for j in range(-1, stretches):
            row, begun, born, word = first_row + 1 + j, event, np.uint64(0), np.uint64(0)
            if j >= 0:
                word = bits[base + j]
            while event < end and event_stretch[event] <= j:
                if grid.event_kind[event] == BORN:
                    born |= ONE << np.uint64(grid.event_bit[event])
                event += 1
            left = word | born if j >= 0 else _there_at_first(tile, grid)
            before, hits, stay = here, here & word, np.uint64(0)
            here ^= hits
            for k in range(begun, event):
                if since[grid.event_bit[k]] >= line.step[line.offset[lane] + j]:  # not there yet
                    before &= ~(ONE << np.uint64(grid.event_bit[k]))
            for d in range(min(furthest, stretches - 1 - j)):
                if left == 0:
                    break
                these = left & bits[base + j + 1 + d]
                left ^= these
                if kept[row, d] > 0:
                    some = _some(these, kept[row, d], hits)
                    kept[row, d] -= np.int64(popcount(some))
                    stay |= some
                    these ^= some
                if ahead[row, d] > 0:
                    some, told = _come(
                        these, row, d, ahead, promotions, block, since, moves, told
                    )  # fmt: skip
                    here |= some
            here |= stay
            if j < 0:
                present += int(popcount(stay))
                if telling:
                    told = put(-1, stay, 1, block, moves, told)
                continue
            step, arrived = line.step[line.offset[lane] + j], stay & born
            filled, leaving = stay & ~born & ~hits, hits & ~stay
            use.hit[step] += np.int64(popcount(hits | arrived & word))
            use.arrive[step] += np.int64(popcount(arrived))
            use.fill[step] += np.int64(popcount(filled))
            use.demote[step] += np.int64(popcount(leaving))
            if telling:
                told = put(step - 1, arrived, 1, block, moves, told)
                told = put(step, filled, 1, block, moves, told)
                told = put(step, leaving, 0, block, moves, told)
            for k in range(begun, event):
                there = (before | arrived) >> np.uint64(grid.event_bit[k]) & ONE
                if grid.event_kind[k] == GROWN and there != 0:
                    use.append[step] += grid.event_value[k]
    return last, int(present), told
