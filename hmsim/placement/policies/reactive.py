"""Least recently used, without foresight: `reactive`, and two that hold back.

reactive  a block read from DRAM is promoted; HBM full, the least recently used one goes
balanced  the same until HBM holds the best share of what the step reads: more is slower
slack     the same as long as the moves of the step do not make it longer (`stretch`: by at most
          that share), by the latency model of the run and a barrier a step

True LRU over all lanes, in the order of last use (a read or an append). Misses are promoted in
ascending order. Newborns go to HBM while there is room, as with `static`. A block used in the step
itself is never evicted for another.
Source: arXiv 2508.13231 section 4 (its authors' simulator flushes a whole layer instead: see
`authors-reactive`) and, for the best share, its `unlimited`.

The order costs by what changes: a block enters the list when its lane is visited again and does not
read it, and leaves the list when it is read again. Blocks used at their lane's last visit are in no
list: they are younger than all that are, and the lane visited longest ago holds the oldest of them.
"""

import numpy as np
from numba import njit

from hmsim.bits import lowest_bit, popcount
from hmsim.errors import InputError
from hmsim.placement.policies import links
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.traffic import INCLUSIVE, dram_arms

# Own.bits: `seen` [lanes, words], used at the lane's last visit; and a row of scratch.
# Own.ints: last visit [lanes], then one list as in `links`, the oldest block first.
# Own.floats of balanced: best split, block bytes.
SPLIT, SIZE = 0, 1
# Own.floats of slack: stretch, inclusive copies?, block bytes, HBM rate, arms [.., 4] of the DRAM.
STRETCH, COPIES, BLOCK, HBM, ARMS = range(5)


@njit(cache=True, nogil=True)
def _list(hbm, own):
    """`ends`, `before` and `after` of the list."""
    lanes, words = hbm.resident.shape
    blocks = lanes * words * 64
    ends = own.ints[lanes : lanes + 2]
    before = own.ints[lanes + 2 : lanes + 2 + blocks]
    return ends, before, own.ints[lanes + 2 + blocks :]


@njit(cache=True, nogil=True)
def _use(now, hbm, own):
    """Bring the order of last use up to this step."""
    lanes = hbm.resident.shape[0]
    ends, before, after = _list(hbm, own)
    links.record_use(now, hbm.resident, own.bits, own.bits[lanes], ends, before, after, 0)
    own.ints[now.lane] = now.step


@njit(cache=True, nogil=True)
def _promote(now, hbm, own, moves, most):
    """Promote misses, in ascending order, as long as there is room or a victim; `most` of them."""
    lanes, words = hbm.resident.shape
    seen, visit = own.bits, own.ints
    ends, before, after = _list(hbm, own)
    lane = now.lane
    one = np.uint64(1)
    room = hbm.capacity - hbm.used[0]
    victim_lane, victim_word, victims = -1, 0, np.uint64(0)
    oldest_visit = -1
    for w in range(words):
        misses = now.bits[now.row, w] & ~hbm.resident[lane, w]
        while misses != 0:
            if moves.count[0] == most:
                return
            miss = (lane * words + w) * 64 + lowest_bit(misses)
            misses &= misses - one
            victim = ends[0]
            while victim >= 0:  # drop those that died in the list
                alive = hbm.resident[victim // (words * 64), victim // 64 % words]
                if (alive >> np.uint64(victim & 63)) & one:
                    break
                links.remove(ends, before, after, 0, victim)
                victim = ends[0]
            if room > 0:
                room -= 1
            elif victim >= 0:
                links.remove(ends, before, after, 0, victim)
                moves.demote[moves.count[1]] = victim
                moves.count[1] += 1
            else:
                while victims == 0:
                    if victim_lane < 0 or victim_word == words:
                        # The next lane by age of its last visit, this one excepted.
                        youngest_visit = now.step
                        victim_lane = -1
                        for other in range(lanes):
                            if oldest_visit < visit[other] < youngest_visit:
                                youngest_visit = visit[other]
                                victim_lane = other
                        if victim_lane < 0:
                            return
                        oldest_visit = youngest_visit
                        victim_word = 0
                    victims = (
                        hbm.resident[victim_lane, victim_word] & seen[victim_lane, victim_word]
                    )
                    victim_word += 1
                moves.demote[moves.count[1]] = (
                    victim_lane * words + victim_word - 1
                ) * 64 + lowest_bit(victims)
                moves.count[1] += 1
                victims &= victims - one
            moves.promote[moves.count[0]] = miss
            moves.count[0] += 1


@njit(cache=True, nogil=True)
def _demand(now, hbm):
    """Blocks that the step reads, and how many of them are in HBM."""
    reads, hits = 0, 0
    for w in range(hbm.resident.shape[1]):
        reads += popcount(now.bits[now.row, w])
        hits += popcount(now.bits[now.row, w] & hbm.resident[now.lane, w])
    return reads, hits


@njit(cache=True, nogil=True)
def _seconds(now, own, fixed, appended, reads, hits, promoted, demoted):
    """Time of the step with so many moves. `fixed`: other bytes of HBM; `appended`: of DRAM."""
    floats = own.floats
    size, rate = floats[BLOCK], floats[HBM]
    inclusive = floats[COPIES] == 1.0
    fetched = 0.0 if inclusive else size * promoted  # inclusive copies fill on read
    leaving = 0.0 if inclusive else size * demoted
    fixed += size * promoted + leaving
    from_hbm = size * hits
    if inclusive:  # a read that hits may come from either side
        balance = 0.0
        for arm in range(ARMS, floats.size, 4):
            if floats[arm] > 0:
                everything = size * reads * floats[arm] + appended * floats[arm + 1]
                balance = max(balance, (everything - fixed / rate) / (floats[arm] + 1 / rate))
        from_hbm = min(balance, from_hbm)
    slowest = max((fixed + from_hbm) / rate, now.compute_s)
    for arm in range(ARMS, floats.size, 4):
        slowest = max(
            slowest,
            (size * reads - from_hbm) * floats[arm] + appended * floats[arm + 1]
            + fetched * floats[arm + 2] + leaving * floats[arm + 3],
        )  # fmt: skip
    return slowest


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
    room = max(0, hbm.capacity - hbm.used[0])
    fixed, appended = now.hbm_bytes, 0.0
    inclusive = own.floats[COPIES] == 1.0
    for i in range(now.appended.size):
        slot = now.appended[i]
        here = (hbm.resident[now.lane, slot >> 6] >> np.uint64(slot & 63)) & np.uint64(1)
        if here:
            fixed += now.appended_bytes[i]
        if inclusive or not here:
            appended += now.appended_bytes[i]
    limit = _seconds(now, own, fixed, appended, reads, hits, 0, 0) * (1 + own.floats[STRETCH])
    most, too_many = 0, reads - hits + 1
    while too_many - most > 1:  # the time grows with the moves
        middle = (most + too_many) // 2
        demoted = max(0, middle - room)
        if _seconds(now, own, fixed, appended, reads, hits, middle, demoted) <= limit:
            most = middle
        else:
            too_many = middle
    _promote(now, hbm, own, moves, most)


class Reactive(Policy):
    """Least recently used."""

    name = "reactive"
    step = step

    def own(self, geometry, capacity, rates, resident):
        """The order of last use: the prompt's residents, oldest tokens first."""
        lanes, blocks = geometry.lanes, geometry.lanes * geometry.slots
        ints = np.concatenate([np.full(lanes, -1, np.int64), links.empty(1, blocks)])
        ends, before, after = np.split(ints[lanes:], [2, 2 + blocks])
        for block in links.oldest_first(resident):
            links.append(ends, before, after, 0, block)
        return Own(np.zeros((lanes + 1, geometry.words), np.uint64), ints, np.zeros(1))


class Balanced(Reactive):
    """Least recently used, up to the best split."""

    name = "balanced"
    step = balanced_step

    def own(self, geometry, capacity, rates, resident):
        own = super().own(geometry, capacity, rates, resident)
        return own._replace(floats=np.array([rates.split, float(geometry.block_bytes)]))


class Slack(Reactive):
    """Least recently used, in the time that a step leaves."""

    name = "slack"
    step = slack_step

    def __init__(self, stretch: float = 0.0):
        if not (isinstance(stretch, int | float) and 0 <= stretch <= 1e6):
            raise InputError(f"policy {self.name}: stretch: {stretch!r}: from 0 up")
        self._stretch = float(stretch)

    def own(self, geometry, capacity, rates, resident):
        own = super().own(geometry, capacity, rates, resident)
        inclusive = float(self.variant in INCLUSIVE)
        setting = [self._stretch, inclusive, float(geometry.block_bytes), rates.hbm]
        arms = dram_arms(self.variant, rates).ravel()
        return own._replace(floats=np.concatenate([np.array(setting), arms]))
