"""A latent importance score per block, and the blocks that it selects, step by step.

The score of block p when n tokens are past is a pure function of (seed, sequence, layer, head
group, p, n), so any step can be made alone. It is piecewise constant in n: a component with
period P redraws every block once in P steps, a different block of each group of P at every step.
A step therefore redraws the blocks that are due and keeps a histogram of scores (rounded to
`LEVELS` levels; among equals the newest block goes first), in which the selection's lowest level
moves a little. Only where that, or a block above it, has changed, the levels are scanned, two bytes
a block. Where many blocks are due, all levels are made anew, several at a time.
"""

from typing import NamedTuple

import numpy as np

from hmsim.bits import add_range, cardinality, mask, popcount
from hmsim.jit import kernel
from hmsim.random import GOLDEN, mix

LEVELS = 4096
SELECTED, STREAMING, DENSE = 0, 1, 2  # what a lane reads: chosen blocks, sink and window, all

_PAGE = np.uint64(0xD1342543DE82EF95)
_EPOCH = np.uint64(0xA0761D6478BD642F)
_ONE = np.uint64(1)
_IH_MEAN, _IH_SCALE = 131070.0, 1 / 37836.95  # of a sum of four uniform 16-bit numbers

_BAND = np.uint64(0x8CB92BA72F3D8DD7)  # these set keys apart
_BURST = np.uint64(0xABCC5167CCAD925F)
_BRIEF, _SLOW = 1, 2  # draw c of a part has the number 2 c + kind; 0 is the popularity
_PART = 1 << 40  # and this sets slow parts apart

# Columns of `Choice.state`: tokens past; one past the last block that can be chosen; the lowest
# level chosen from; the weight above it; the weight of all levels; the phase; the weight wanted;
# whether a block at or above the edge changed its level since the last choice.
_TIME, _END, _EDGE, _ABOVE, _TOTAL, _PHASE, _TARGET, _STALE = 0, 1, 2, 3, 4, 5, 6, 7
STATE_COLUMNS = 8


class Process(NamedTuple):
    """Constants of the process. Times in tokens; deviations in units of the score."""

    seed: int
    heads: int  # groups that choose for themselves
    popularity: float  # scale of the lasting part, exponentially distributed
    popularity_tail: float  # how much longer its upper tail is
    slow: np.ndarray  # F64[parts] deviations of the parts of the drift
    slow_steps: np.ndarray  # I64[parts] their periods, the longest first
    flicker: float  # deviation of the part that comes and goes
    flicker_steps: int
    flicker_tail: float  # how much longer its tails are
    phase_steps: int  # mean length of a phase, 0: none; a new phase redraws everything
    aged: bool  # whether a block's age counts
    burst: float  # deviation of the logarithm of the flicker's deviation from time to time
    burst_steps: int  # tokens for which it stays
    burst_shared: tuple[float, float]  # weights of what all layers draw for it, and a layer
    band_layers: int  # layers of a band
    # Weights of what all layers, a layer, a head group, a band of layers draw.
    shared: tuple[float, float, float, float]
    low: float  # score of level 0
    scale: float  # levels a unit of score
    sink: int  # blocks at the start that are always read
    reselect: int  # steps between selections
    keep_mass: float  # share of the mass that is selected; 0: quota blocks instead


class Choice(NamedTuple):
    """What carries over from step to step, for each lane and head group (the leading axes)."""

    # F64[.., blocks, 1 + slow parts] of the score: popularity, drift. A block's lie side by side, as
    # each redraw of one adds them up.
    parts: np.ndarray
    steady: np.ndarray  # F64[.., blocks] their sum
    brief: np.ndarray  # F64[.., blocks] flicker
    level: np.ndarray  # I16[.., blocks] -1 where a block cannot be chosen
    histogram: np.ndarray  # I32[.., seats, LEVELS] blocks by level
    state: np.ndarray  # I64[.., sequences, STATE_COLUMNS] -1 before the first step
    chosen: np.ndarray  # U64[.., words] bitset over blocks


@kernel
def fill(
    bits,
    reads,
    lanes,
    t0,
    plan,
    process,
    mode,
    window,
    seen,
    quota,
    weight,
    recency,
    flicker,
    choice,
):
    """Read sets of token steps t0 .. t0 + K - 1 in lanes `lanes[0] .. lanes[1] - 1`.

    bits U64[K, L, W] (zero before) and reads I64[K, L] are written, choice is updated. mode I64[L];
    window I64[L]: tokens at the end that are always read; seen I64[L]: tokens at the end that the
    layer sees at all, 0 for everything (of SELECTED always); quota I64[N + 1]: blocks read of so many;
    weight I64[LEVELS]: what a block of a level counts towards the selection; recency F64[N + 1]:
    score lost by a block of that age, counted in blocks; flicker F64[L]: its deviation.
    """
    size = plan.block_tokens
    due = np.empty((2 + choice.parts.shape[3]) * (choice.level.shape[2] + 1) + 64, np.int64)
    scratch = np.empty(choice.level.shape[2], np.float64)
    for lane in range(lanes[0], lanes[1]):
        for s in range(plan.start.size):
            first, last = max(t0, plan.start[s]), min(t0 + bits.shape[0], plan.stop[s])
            words = slice(plan.word[s], plan.word[s + 1])
            blocks = slice(plan.word[s] * 64, plan.word[s + 1] * 64)
            for head in range(process.heads if mode[lane] == SELECTED and first < last else 0):
                mine = Choice(
                    choice.parts[lane, head, blocks],
                    choice.steady[lane, head, blocks],
                    choice.brief[lane, head, blocks],
                    choice.level[lane, head, blocks],
                    choice.histogram[lane, head, plan.seat[s]],
                    choice.state[lane, head, s],
                    choice.chosen[lane, head, words],
                )
                for t in range(first, last):
                    past = plan.prompt[s] + t - plan.start[s]
                    _select(
                        process, lane, head, s, past - past % process.reselect, size,
                        window[lane], quota, weight, recency, flicker[lane], mine, due, scratch,
                    )  # fmt: skip
                    for r in range(plan.run_offset[s], plan.run_offset[s + 1]):
                        add_range(
                            bits[t - t0, lane], mine.chosen, plan.run_block[r],
                            min(plan.run_end[r], -(-past // size)), plan.run_shift[r],
                        )  # fmt: skip
            for t in range(first, last):
                row = bits[t - t0, lane]
                past = plan.prompt[s] + t - plan.start[s]
                count = -(-past // size)
                begin = _tail(past, seen[lane], size) if seen[lane] > 0 else 0
                if mode[lane] == DENSE:
                    _place_all(row, plan, s, begin, count)
                else:
                    tail = _tail(past, window[lane], size)
                    _place_all(row, plan, s, begin, min(process.sink, count))
                    _place_all(row, plan, s, max(begin, tail), count)
        for k in range(bits.shape[0]):
            reads[k, lane] = cardinality(bits[k, lane])


@kernel
def _select(
    process,
    lane,
    head,
    s,
    past,
    size,
    window,
    quota,
    weight,
    recency,
    flicker,
    choice,
    due,
    scratch,
):
    """Bring one head group's state to `past` tokens and its choice of blocks with it."""
    state = choice.state
    if state[_TIME] == past:
        return
    everyone = mix(np.uint64(process.seed) * GOLDEN + np.uint64(s))
    phase = _phase(process, everyone, past)
    everyone = mix(everyone + np.uint64(phase))
    layer = mix(everyone + np.uint64(lane + 1))
    band = mix((everyone ^ _BAND) + np.uint64(lane // process.band_layers))
    keys = (everyone, layer, mix(layer + np.uint64(head + 1)), band)
    blocks = -(-past // size)
    end = max(process.sink, _tail(past, window, size))
    if state[_TIME] < 0 or past < state[_TIME] or phase != state[_PHASE]:
        choice.level[:] = -1
        _enter(process, keys, flicker, process.sink, end, past, choice)
        _level_all(process, recency, end, blocks, weight, choice)
    else:
        count, many = 0, False
        for n in range(state[_TIME] + 1, past + 1):
            count = _redraw(process, keys, flicker, n, state[_END], choice, due, count, scratch)
            if 4 * count > state[_END]:  # it does not matter which
                count, many = 0, True
        _enter(process, keys, flicker, state[_END], end, past, choice)
        if many:
            _level_all(process, recency, end, blocks, weight, choice)
        else:
            if process.aged:
                count = _aged(process, state[_TIME], past, size, state[_END], due, count)
            for block in range(state[_END], end):
                due[count] = block
                count += 1
            _level_some(process, recency, due[:count], blocks, weight, choice)
    state[_TIME], state[_END], state[_PHASE] = past, end, phase
    if process.keep_mass > 0.0:
        target = np.int64(np.ceil(process.keep_mass * state[_TOTAL]))
    else:
        target = quota[blocks] - min(process.sink, blocks) - (blocks - end)
    _choose(min(target, state[_TOTAL]), weight, choice)


@kernel
def _enter(process, keys, flicker, first, end, n, choice):
    """Draw all parts of the score of blocks first .. end - 1, which can be chosen from now on."""
    shared = process.shared
    for block in range(first, end):
        choice.parts[block, 0] = _popularity(process, keys, block)
        for part in range(process.slow.size):
            kind = _SLOW + part * _PART
            number = 2 * _draw_number(process.slow_steps[part], keys[0], block, n) + kind
            choice.parts[block, part + 1] = _draw(
                process.slow[part], 0.0, shared, keys, block, number
            )
        _add_up(choice, block)
        number = 2 * _draw_number(process.flicker_steps, keys[0], block, n) + _BRIEF
        drawn = _last_draw(process.flicker_steps, keys[0], block, n)
        scale = _stretched(flicker * _burst(process, keys, drawn), process.flicker_tail)
        choice.brief[block] = _draw(scale, process.flicker_tail, shared, keys, block, number)


@kernel
def _add_up(choice, block):
    """The sum of the steady parts of a block's score."""
    total = choice.parts[block, 0]
    for part in range(1, choice.parts.shape[1]):
        total += choice.parts[block, part]
    choice.steady[block] = total


@kernel
def _redraw(process, keys, flicker, n, end, choice, due, count, scratch):
    """Redraw what is due when the number of past tokens becomes n; list it from due[count] on.

    Returns how many are listed; of a part that is redrawn at every token, blocks are counted, but
    not listed.
    """
    shared, sink = process.shared, process.sink
    for part in range(process.slow.size):
        period, deviation = process.slow_steps[part], process.slow[part]
        number = 2 * (n // period + 1) + _SLOW + part * _PART
        if deviation == 0.0:
            continue
        if period == 1:
            _draws(deviation, 0.0, shared, keys, sink, number, choice.steady[sink:end])
            for block in range(sink, end):
                choice.parts[block, part + 1] = choice.steady[block]
                _add_up(choice, block)
            count += end
            continue
        began, count = count, _list(period, keys[0], n, sink, end, due, count)
        drawn = scratch[: count - began]
        _draws_of(deviation, 0.0, shared, keys, due[began:count], number, drawn)
        for i in range(drawn.size):
            choice.parts[due[began + i], part + 1] = drawn[i]
            _add_up(choice, due[began + i])
    scale = _stretched(flicker * _burst(process, keys, n), process.flicker_tail)
    if scale == 0.0:
        return count
    period = process.flicker_steps
    number = 2 * (n // period + 1) + _BRIEF
    if period == 1:
        _draws(scale, process.flicker_tail, shared, keys, sink, number, choice.brief[sink:end])
        return count + end
    began, count = count, _list(period, keys[0], n, sink, end, due, count)
    drawn = scratch[: count - began]
    _draws_of(scale, process.flicker_tail, shared, keys, due[began:count], number, drawn)
    for i in range(drawn.size):
        choice.brief[due[began + i]] = drawn[i]
    return count


@kernel
def _list(period, key, n, sink, end, due, count):
    """List from due[count] on the blocks whose turn it is at n in their groups of `period`."""
    turn = n % period
    for group in range(sink // period, -(-end // period)):
        place = turn - _offset(period, key, group)
        block = group * period + place + (period & (place >> 63))
        if sink <= block < end:
            due[count] = block
            count += 1
    return count


@kernel
def _aged(process, before, past, size, end, due, count):
    """List the blocks whose age reached a power of two since `before` tokens."""
    for blocks in range(-(-before // size) + 1, -(-past // size) + 1):
        age = 2
        while age <= blocks - process.sink:
            if blocks - age < end:
                due[count] = blocks - age
                count += 1
            age *= 2
    return count


@kernel
def _level_some(process, recency, due, blocks, weight, choice):
    """Give the listed blocks the level of their score, and keep the counts right."""
    level, histogram, state = choice.level, choice.histogram, choice.state
    edge, above, total = state[_EDGE], state[_ABOVE], state[_TOTAL]
    stale = False
    for i in range(due.size):
        block = due[i]
        score = choice.steady[block] + choice.brief[block]
        score -= recency[blocks - block]
        new = min(max(np.int64((score - process.low) * process.scale), 0), LEVELS - 1)
        old = np.int64(level[block])
        if old == new:
            continue
        stale |= max(old, new) >= edge
        if old >= 0:
            histogram[old] -= 1
            total -= weight[old]
            if old > edge:
                above -= weight[old]
        histogram[new] += 1
        total += weight[new]
        if new > edge:
            above += weight[new]
        level[block] = new
    state[_ABOVE], state[_TOTAL], state[_STALE] = above, total, stale


@kernel
def _level_all(process, recency, end, blocks, weight, choice):
    """Give every block below `end` the level of its score, and count anew."""
    histogram, state = choice.histogram, choice.state
    steady, brief = choice.steady[process.sink : end], choice.brief[process.sink : end]
    level = choice.level[process.sink : end]
    youngest = blocks - end + 1
    lost = recency[youngest : youngest + level.size][::-1]
    low, scale = process.low, process.scale
    for i in range(level.size):
        score = steady[i] + brief[i] - lost[i]
        # Cut first, and to 32 bits: four at a time.
        level[i] = np.int32(min(max((score - low) * scale, 0.0), LEVELS - 1.0))
    histogram[:] = 0
    for i in range(level.size):
        histogram[level[i]] += 1
    edge = min(max(state[_EDGE], 0), LEVELS - 1)
    above = np.int64(0)
    for i in range(edge + 1, LEVELS):
        above += histogram[i] * weight[i]
    total = above
    for i in range(edge + 1):
        total += histogram[i] * weight[i]
    state[_EDGE], state[_ABOVE], state[_TOTAL], state[_STALE] = edge, above, total, 1


@kernel
def _offset(period, key, group):
    """How far a group's turns are shifted against those of others."""
    random = ((np.uint64(group) + key) * GOLDEN) >> np.uint64(32)
    return np.int64((random * np.uint64(period)) >> np.uint64(32))


@kernel
def _draw_number(period, key, block, n):
    """How often the block has been redrawn when n tokens are past."""
    if period == 1:
        return n + 1
    turn = (block + _offset(period, key, block // period)) % period
    return (n - turn) // period + 1


@kernel
def _last_draw(period, key, block, n):
    """The number of past tokens at which the block was redrawn last, n or before."""
    if period == 1:
        return n
    turn = (block + _offset(period, key, block // period)) % period
    return n - (n - turn) % period


@kernel
def _burst(process, keys, n):
    """What the flicker's deviation is multiplied with where it is drawn when n tokens are past."""
    if process.burst == 0.0:
        return 1.0
    total = 0.0
    for i in range(2):  # all layers', this layer's
        if process.burst_shared[i] > 0.0:
            random = _random(keys[i] ^ _BURST, n // process.burst_steps, 0)
            total += process.burst_shared[i] * _sum_of_four(random)
    return np.exp(process.burst * total)


@kernel
def _choose(target, weight, choice):
    """The blocks of the highest levels that together weigh `target`; the newest of the last level.

    Afterwards the levels above the edge weigh less than the target, and with the edge's no less.
    """
    level, histogram, state, chosen = choice.level, choice.histogram, choice.state, choice.chosen
    if not state[_STALE] and target == state[_TARGET]:
        return
    edge, above = state[_EDGE], state[_ABOVE]
    while edge < LEVELS - 1 and above >= target:
        edge += 1
        above -= histogram[edge] * weight[edge]
    while edge > 0 and above + histogram[edge] * weight[edge] < target:
        above += histogram[edge] * weight[edge]
        edge -= 1
    state[_EDGE], state[_ABOVE], state[_TARGET] = edge, above, target
    for w in range((state[_END] + 63) >> 6):
        word = np.uint64(0)
        for b in range(64):
            word |= np.uint64(level[w * 64 + b] > edge) << np.uint64(b)
        chosen[w] = word
    missing = -(-(target - above) // weight[edge]) if target > above else 0
    for back in range((state[_END] + 63) >> 6):
        if missing <= 0:
            break
        w = ((state[_END] + 63) >> 6) - 1 - back
        word = np.uint64(0)
        for b in range(64):
            word |= np.uint64(level[w * 64 + b] == edge) << np.uint64(b)
        here = popcount(word)
        for _ in range(here - missing):
            word &= word - _ONE
        chosen[w] |= word
        missing -= here


@kernel
def _popularity(process, keys, block):
    """The part of the score that lasts: exponentially distributed, of mean 0."""
    score = 0.0
    for i in range(4):
        if process.shared[i] > 0.0:
            uniform = (np.float64(_random(keys[i], block, 0) >> np.uint64(11)) + 0.5) / 2.0**53
            score -= process.shared[i] * (np.log(uniform) + 1.0)
    return process.popularity * (score + process.popularity_tail * (score * score - 1.0))


@kernel
def _draw(scale, tail, shared, keys, block, number):
    """Of mean 0: sums of four uniform numbers, which are nearly normal, with longer tails.

    The scale of a deviation is as `_stretched` says.
    """
    total = 0.0
    for i in range(4):
        if shared[i] > 0.0:
            total += shared[i] * _sum_of_four(_random(keys[i], block, number))
    return _tailed(scale, tail, total)


@kernel
def _draws(scale, tail, shared, keys, first, number, out):
    """`_draw` of blocks first, first + 1, ...: the same to the last bit, and faster."""
    out[:] = 0.0
    for i in range(4):
        if shared[i] > 0.0:
            key, weight = keys[i], shared[i]
            for j in range(out.size):
                out[j] += weight * _sum_of_four(_random(key, first + j, number))
    for j in range(out.size):
        out[j] = _tailed(scale, tail, out[j])


@kernel
def _draws_of(scale, tail, shared, keys, blocks, number, out):
    """As `_draws`, of any blocks. (Consecutive ones in an array would have to be listed first; one
    loop over either, `for j, block in enumerate(blocks)`, takes a third longer over arrays.)"""
    out[:] = 0.0
    for i in range(4):
        if shared[i] > 0.0:
            key, weight = keys[i], shared[i]
            for j in range(out.size):
                out[j] += weight * _sum_of_four(_random(key, blocks[j], number))
    for j in range(out.size):
        out[j] = _tailed(scale, tail, out[j])


@kernel
def _tailed(scale, tail, x):
    """A normal number with longer tails."""
    return scale * x * (1.0 + tail * x * x)


@kernel
def _stretched(deviation, tail):
    """The scale with which scale x (1 + tail x^2) has that deviation, where x is normal."""
    return deviation / np.sqrt(1.0 + 6.0 * tail + 15.0 * tail * tail)


@kernel
def _sum_of_four(x):
    low = np.uint64(0xFFFF)
    parts = (x & low) + ((x >> np.uint64(16)) & low)
    parts += ((x >> np.uint64(32)) & low) + (x >> np.uint64(48))
    return (np.float64(np.int64(parts)) - _IH_MEAN) * _IH_SCALE


@kernel
def _phase(process, key, n):
    """Which phase n is in: phase i begins somewhere in i * steps .. (i + 1) * steps - 1."""
    if process.phase_steps == 0:
        return 0
    i = n // process.phase_steps
    begin = np.int64(_random(key, i, 0) >> np.uint64(33)) % process.phase_steps
    return i + (n % process.phase_steps >= begin)


@kernel
def _tail(past, window, size):
    """First block of the local window."""
    return max(past - window, 0) // size if window > 0 else -(-past // size)


@kernel
def _place_all(row, plan, s, low, high):
    """Set all local blocks low .. high - 1 of sequence s in the lane's row."""
    for r in range(plan.run_offset[s], plan.run_offset[s + 1]):
        block, end = max(low, plan.run_block[r]), min(high, plan.run_end[r])
        for w in range(block >> 6, (end + 63) >> 6):
            row[w + plan.run_shift[r]] |= mask(w, block, end)


@kernel
def _random(key, block, number):
    return mix(key + np.uint64(block) * _PAGE + np.uint64(number) * _EPOCH)
