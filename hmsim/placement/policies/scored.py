"""`lfu` and `ema`: what was used most keeps its place, without foresight.

lfu  a block's score is the number of its uses (reads and appends) so far; with a `half_life`, a use
     counts half as much after so many visits of its lane, and scores are compared as those of ema
ema  an exponential moving average: at every visit of its lane, score := (1 - weight) * score, plus
     weight if the block is used; compared in whole factors of 1 - weight

A block read from DRAM is promoted as long as capacity is left, or for the resident of lowest score
if that is lower than its own. Blocks that their lane's last visit used are spared; among equals,
the lowest number (lane, then slot) goes first. Misses are taken in ascending order.
Sources: least frequently used is folklore, the comparison before admission TinyLFU's (G. Einziger,
R. Friedman, B. Manes, ACM Transactions on Storage 13(4), 2017).

A step costs time in proportion to the blocks whose use changes, not to all blocks. Instead of
decaying every score at every visit, we let the weight of new uses grow: with `growth` =
1 / (1 - weight), a use at visit v adds weight * growth ** v. Only the scores' order matters, and
that is the same. A score then stands still while its block is out of use, and a run of uses at
visits a .. b adds growth ** b - growth ** (a - 1) at once (lfu: b - (a - 1)).

Victims are found as CLOCK finds them: a hand sweeps over the blocks, 64 at a time, and takes those
of the lowest *level*, which is the scores within one factor of `growth`. It skips words whose
lowest score is known to lie above the level; when it has been round, it goes to the next level.
"""

import math

import numpy as np

from hmsim.bits import lowest_bit
from hmsim.errors import InputError
from hmsim.jit import kernel
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.placement.policies.uses_kernel import note_used

FAR = 1e100  # scores are brought near 1 again when uses weigh as much

LEVEL, HAND, EPOCH, SPAN, UNIT, VISITS = range(6)  # places in own.ints, see `Lfu`


@kernel
def _parts(hbm, own):
    """`score`, `least` and `least64` of own.floats, see `Lfu`."""
    blocks = hbm.resident.size * 64
    groups = (own.floats.size - 1 - blocks) // 65
    score, least = own.floats[1 : blocks + 1], own.floats[blocks + 1 :]
    return score, least[: groups * 64], least[groups * 64 :]


@kernel
def _edge(level, own):
    """The least score of a level; level 0 is of what was never used."""
    growth = own.floats[0]
    if level <= 0 or growth == 1.0:
        return np.float64(level)
    return growth ** (level - own.ints[UNIT] - own.ints[EPOCH])


@kernel
def _level(score, own):
    """The level that a score is in."""
    growth = own.floats[0]
    if score <= 0.0 or growth == 1.0:
        return np.int64(score)
    level = own.ints[UNIT] + own.ints[EPOCH]
    level += np.int64(np.floor(np.log(score) / np.log(growth)))
    while level > 1 and score < _edge(level, own):  # a logarithm is not exact
        level -= 1
    while score >= _edge(level + 1, own):
        level += 1
    return level


@kernel
def _count_uses(now, hbm, own, before):
    """Bring the scores up to date, and the hand back to what fell out of use below it.

    `before`: what uses in all of the lane's visits before this one would add up to.
    """
    lanes, words = hbm.resident.shape
    score, least, least64 = _parts(hbm, own)
    seen, used = own.bits, own.bits[lanes]
    lane = now.lane
    one = np.uint64(1)
    note_used(now, used)
    edge, limit = _edge(own.ints[LEVEL], own), _edge(own.ints[LEVEL] + 1, own)
    for w in range(words):
        word = lane * words + w
        begins = used[w] & ~seen[lane, w]
        while begins != 0:
            score[word * 64 + lowest_bit(begins)] -= before
            begins &= begins - one
        ends = seen[lane, w] & ~used[w]
        gone = ends & ~hbm.resident[lane, w]
        ends ^= gone
        while gone != 0:
            score[word * 64 + lowest_bit(gone)] += before
            gone &= gone - one
        found = least[word]
        while ends != 0:
            block = word * 64 + lowest_bit(ends)
            ends &= ends - one
            score[block] += before
            found = min(found, score[block])
        if found < least[word]:
            least[word] = found
            least64[word >> 6] = min(found, least64[word >> 6])
            if found < limit:
                own.ints[HAND] = min(own.ints[HAND], word)
            if found < edge:
                own.ints[LEVEL] = _level(found, own)
                edge, limit = _edge(own.ints[LEVEL], own), _edge(own.ints[LEVEL] + 1, own)
        seen[lane, w] = used[w]


@kernel
def _next_victims(hbm, own):
    """The next word of 64 blocks with idle residents of the lowest level: these, or 0.

    The hand moves behind the word, to the next level after the last. What is taken in this very
    step is below the level by then.
    """
    words = hbm.resident.shape[1]
    score, least, least64 = _parts(hbm, own)
    one = np.uint64(1)
    edge, limit = _edge(own.ints[LEVEL], own), _edge(own.ints[LEVEL] + 1, own)
    while True:
        if own.ints[HAND] == least.size:
            lowest = least64.min()
            if lowest == np.inf:
                return np.uint64(0)
            own.ints[LEVEL], own.ints[HAND] = _level(lowest, own), 0
            edge, limit = _edge(own.ints[LEVEL], own), _edge(own.ints[LEVEL] + 1, own)
        word = own.ints[HAND]
        if word & 63 == 0 and least64[word >> 6] >= limit:
            own.ints[HAND] += 64
            continue
        own.ints[HAND] += 1
        victims = np.uint64(0)
        if least[word] < limit:
            lane, w = word // words, word % words
            idle = hbm.resident[lane, w] & ~own.bits[lane, w]
            above = np.inf
            while idle != 0:
                bit = lowest_bit(idle)
                idle &= idle - one
                found = score[word * 64 + bit]
                # No branches: they would be guessed wrong too often.
                victims |= np.uint64((found >= edge) & (found < limit)) << np.uint64(bit)
                above = min(above, found if found >= limit else np.inf)
            least[word] = above
        if word & 63 == 63:
            least64[word >> 6] = least[word - 63 : word + 1].min()
        if victims != 0:
            return victims


@kernel
def _above(blocks, score, least):
    """Those of a word's blocks whose score is `least` or more."""
    kept = np.uint64(0)
    while blocks != 0:
        bit = lowest_bit(blocks)
        blocks &= blocks - np.uint64(1)
        kept |= np.uint64(score[bit] >= least) << np.uint64(bit)
    return kept


@policy_step
def step(now, hbm, own, moves):
    """Count uses, then promote misses; `Lfu` says how own is laid out."""
    words = hbm.resident.shape[1]
    growth = own.floats[0]
    score, least, least64 = _parts(hbm, own)
    lane, ints = now.lane, own.ints
    one = np.uint64(1)
    ints[VISITS + lane] += 1
    if growth != 1.0 and ints[VISITS + lane] - ints[EPOCH] > ints[SPAN]:
        ints[EPOCH] += ints[SPAN]
        for i in range(1, own.floats.size):
            own.floats[i] *= growth ** -ints[SPAN]
    visit = np.float64(ints[VISITS + lane] - ints[EPOCH])
    before, upto = visit - 1, visit
    if growth != 1.0:
        before, upto = growth**before, growth**upto
    _count_uses(now, hbm, own, before)

    free = hbm.capacity - hbm.used[0]
    victims = np.uint64(0)
    limit = 0.0
    for w in range(words):
        misses = now.bits[now.row, w] & ~hbm.resident[lane, w]
        if free <= 0:
            misses = _above(misses, score[(lane * words + w) * 64 :], limit - upto)
        while misses != 0:
            miss = (lane * words + w) * 64 + lowest_bit(misses)
            misses &= misses - one
            if free > 0:
                free -= 1
            else:
                if victims == 0:
                    victims = _next_victims(hbm, own)
                    if victims == 0:
                        return
                    limit = _edge(ints[LEVEL] + 1, own)
                if score[miss] + upto < limit:
                    continue
                moves.demote[moves.count[1]] = (ints[HAND] - 1) * 64 + lowest_bit(victims)
                moves.count[1] += 1
                victims &= victims - one
            moves.promote[moves.count[0]] = miss
            moves.count[0] += 1
    if victims != 0:  # the hand stays where some are left
        ints[HAND] -= 1
        least[ints[HAND]] = least64[ints[HAND] >> 6] = _edge(ints[LEVEL], own)


class Lfu(Policy):
    """Least frequently used.

        own.bits    [lanes + 1, words]
          seen      [lanes, words]   used at the lane's last visit
          used      [words]          used in this step
        own.ints    [5 + lanes]
          LEVEL     1                level that the hand is at
          HAND      1                word that the hand is at, counted over all lanes
          EPOCH     1                visit that scores are relative to
          SPAN      1                visits from one such to the next
          UNIT      1                level of score 1 at visit 0
          VISITS    [lanes]          visits of each lane
        own.floats  [1 + 64 W + 65 G], W = lanes * words, G = W / 64 rounded up
          growth    1
          score     [64 W]           by block
          least     [64 G]           least score that idle residents of a word may have
          least64   [G]              the least of 64 words in a row

    What is idle is in HBM and was not used at its lane's last visit. Words that are not there have
    an infinite `least`.

    Args:
        half_life: Visits of its lane (tokens) after which a use counts half; 0: it counts for ever.
    """

    name = "lfu"
    step = step

    def __init__(self, half_life: float = 0.0):
        if not (isinstance(half_life, int | float) and (half_life == 0 or 1 <= half_life <= 690)):
            raise InputError(
                f"policy {self.name}: half_life: {half_life!r}: 0 (none), or from 1 to 690"
            )
        self.weight = -math.expm1(-math.log(2) / half_life) if half_life else 0.0

    def own(self, geometry, capacity, rates, resident):
        """All scores are 0."""
        ints = np.zeros(VISITS + geometry.lanes, np.int64)
        if self.weight:
            decay = -math.log1p(-self.weight)
            ints[SPAN] = math.floor(math.log(FAR) / decay)
            ints[UNIT] = 1 + math.ceil(-math.log(self.weight) / decay)
        words = geometry.lanes * geometry.words
        groups = -(-words // 64)
        floats = np.zeros(1 + 64 * words + 65 * groups)
        floats[0] = 1 / (1 - self.weight)
        floats[1 + 65 * words : 1 + 64 * (words + groups)] = np.inf  # words that are not there
        return Own(np.zeros((geometry.lanes + 1, geometry.words), np.uint64), ints, floats)


class Ema(Lfu):
    """Exponential moving average of uses. Its memory is that of `Lfu`.

    Args:
        weight: Of a use against all before it, 0.001 to 0.999.
    """

    name = "ema"

    def __init__(self, weight: float = 0.1):
        if not (isinstance(weight, float) and 0.001 <= weight <= 0.999):
            raise InputError(f"policy {self.name}: weight: {weight!r}: from 0.001 to 0.999")
        self.weight = weight
