"""The kernels of `hmsim.memory.sampling`: counting a step's bursts, and learning what they take.

What is known of a class of traffic is one row of a table of float64, a record whose fields are
named here; classes are found by their key, and the one not used for longest makes room for a new
one. A *record of sums* holds 1, n, t, n n, n t, t t over observations (n bursts, t ticks), faded.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from hmsim.bits import assign
from hmsim.jit import record_expanded, record_inlined, record_kernel
from hmsim.memory import burst_state as state
from hmsim.memory.burst_kernel import turn_of
from hmsim.memory.burst_state import (
    DONE,
    ECC,
    FORWARDED,
    LAST_DONE,
    LOST_REFRESH,
    MERGED,
    NOW,
    READS,
    REFRESHES,
    WRITES,
)

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# Chosen by trial on the shipped memories; tests/memory/test_sampling.py holds `run` within 2 % of
# `burst` with them. All trade time for accuracy.
EXACT = 1 << 13  # steps of fewer bursts than this are simulated whole
ROUND = 1 << 12  # bursts of a round: about a refresh interval
LEAST_PART = 1 << 10  # of a round; where channels have less, several make one
CHANNELS = 8  # channels sampled for a class, two rounds each in turn
TARGET = 0.005  # standard error of a step's time, relative
BUDGET = 1 << 17, 1 << 18  # bursts simulated for a small step and for any, at most
# Traffic, in bursts, after which a class that is known gets another round, or short step; it grows
# as SELDOM of all that the class has seen, and so classes known for long are looked at less often.
SELDOM = 1 / 16
CHECK = 1 << 25, 1 << 29  # least and most between rounds
GLANCE = 1 << 26  # most between short steps
FORGET = 1 / 256  # share of its weight that each observation loses with every later round
LEAST = 7.5  # observations (their weights' sum) below which no error can be told
LEAST_PAIRS = 2.5  # of rounds, likewise
ENOUGH = 128.0  # with so many more add little: FORGET lets none have more than 256
SIGNIFICANT = 4.0  # ratio of variances between and within channels (F) that means something
CONTRADICTION = 5.0  # standard deviations off at which a short step makes its class start anew
CLASSES = 256  # remembered, the latest used
PARTS = 16  # of a round at most
GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly
GRID = 17, 41  # points of the integral in `_expected_maximum`, least and most
A_DEVIATION = 2  # points for a standard deviation, between these: a smooth sum needs no more
TAIL = 8.5  # standard deviations beyond which nothing lies, to double precision
SMALLEST = 1e-280  # probability that is as good as none, also where its 96th root is taken
POINTS = 128  # of the table of the normal distribution, in each of them

_z = np.arange(-TAIL, TAIL + 1 / POINTS, 1 / POINTS)
BELOW = np.stack(  # what of a standard normal variable lies below each point, and its density there
    [[0.5 * math.erfc(-z / math.sqrt(2)) for z in _z], np.exp(-_z * _z / 2) / math.sqrt(2 * math.pi)],
    axis=1,
)  # fmt: skip

STATISTICS = len(state.STATISTICS)
SUMS = 6  # fields of a record of sums, and where each is in it
ONE, N, T, NN, NT, TT = range(SUMS)
# What is known of a class: where in its row.
FLOW = 0  # records of sums of rounds, one of each sampled channel
STEPS = FLOW + CHANNELS * SUMS  # record of sums of short steps
COUNTS = STEPS + SUMS  # statistics of the rounds, faded
WAYS = COUNTS + STATISTICS  # by how much sampled channels' paces differ from the mean, beyond noise
(
    FLOW_SEEN,  # sums over all sampled channels
    FLOW_BURSTS,
    FLOW_TICKS,
    NOISE,  # variance of a channel's time, per burst, wherever in the step
    FREEDOM,  # degrees of freedom of that
    TWIN_BURSTS,  # of the first round of a pair whose second one is to come, else 0
    TWIN_TICKS,
    PAIRS,  # of rounds at one place, on two channels: how many, faded
    PAIR_SQUARES,  # and their sum of squares, each an estimate of the noise at one place
    SPREAD,  # variance of the pace from channel to channel
    WAYS_COUNT,
    ROUNDS,
    SINCE,  # bursts of all steps since the last round
    SINCE_SHORT,  # and since the last short step
    SEEN,  # and since the class began
    KNOWN_SIZE,
) = range(WAYS + CHANNELS, WAYS + CHANNELS + 16)
# A sampler's memo.
TURN, CLOCK, LATEST, MEMO_SIZE = range(4)
NO_KEY = -1
UNKNOWN = -1  # ticks, where samples miss the traffic
UNPLACED = -2  # ticks, where a sample has to be played and no extents are given

REPLAY = types.UniTuple(types.int64, 2)(
    *[types.Array(types.int64, 1, "C")] * 2, *[types.int64] * 3,
    *[types.Array(types.int64, 1, "C")] * 4, *[types.int64] * 7, types.boolean,
)  # fmt: skip
"""The signature of `hmsim.memory.burst_kernel.replay`."""


class Learner(NamedTuple):
    """A sampler: the channels it plays on, and what it knows."""

    parameters: I64  # of the burst kernel
    flow: I64  # state of the channel that never drains
    short: I64  # state of the channel that plays short steps
    known: F64  # [CLASSES + 1, KNOWN_SIZE]
    key: I64  # [CLASSES + 1] of the class in each row, or NO_KEY
    used: I64  # [CLASSES + 1] when it was last put there
    memo: I64  # [MEMO_SIZE]
    seen: I64  # [STATISTICS .. DONE] what a play counted
    total: I64  # the same of a round
    bursts: I64  # [channels] of the step
    rises: I64  # [channels] work space of `count`
    work: F64  # [4, max(channels, GRID[1])] work space
    channels: int
    stripe: int  # 2^stripe bytes in a row belong to one channel
    burst: int  # 2^burst bytes are one request
    row_set: int  # bursts that all rows hold at a time
    short_bursts: int  # of a short step
    all_bank: int  # 1 where refreshes are all-bank ones
    scopes: int
    buses: int
    refi: int
    rfc: int
    burst_ticks: int  # of data, on its bus
    hashed: int  # 1 where a hash turns each round of chunks over the channels


class Asked(NamedTuple):
    """A step's extents, and how they are issued."""

    address: I64
    size: I64
    write: I64
    position: I64  # [n + 1] bytes before each extent, and in all
    window: int  # bursts in flight in each channel, at most
    delay: int  # ticks by which a channel hears late of a completion


@record_inlined
def _channel(chunk, hashed, channels):
    """The channel of a chunk."""
    above = chunk // channels
    c = chunk - above * channels
    if hashed:
        c += turn_of(above, channels)
        c -= channels if c >= channels else 0
    return c


@record_inlined
def _rise(rises, c, chunks, channels, times):
    """`times` chunks more for each of so many channels from c on, and past the last one from 0 on;
    the channel after these."""
    rises[c] += times
    c += chunks
    if c >= channels:
        c -= channels
        rises[0] += times
    rises[c] -= times
    return c


@record_inlined
def add_extent(low, high, c, times, stripe, burst, bursts, rises):
    """Count the bursts of as many extents like the one from byte `low` to `high` where no hash turns
    rounds; c: the channel that it begins in."""
    channels = len(bursts)
    first = low >> stripe
    last = (high - 1) >> stripe
    if last - first < 2:  # no branch for either: which it is, processors guess wrong
        upto = (high - 1 >> burst) + 1
        over = max(upto - (last << (stripe - burst)), 0) * (last - first)
        bursts[c] += (upto - over - (low >> burst)) * times
        c = c + 1 if c < channels - 1 else 0
        bursts[c] += over * times
        return
    # Whole chunks all the way, less what the first and the last one lack.
    bursts[c] -= ((low >> burst) - (first << (stripe - burst))) * times
    chunks = last - first + 1
    if chunks >= channels:
        rounds = chunks // channels
        rises[0] += rounds * times
        chunks -= rounds * channels
    if chunks > 0:
        c = _rise(rises, c, chunks, channels, times)
    c = c - 1 if c > 0 else channels - 1
    bursts[c] -= (((last + 1) << (stripe - burst)) - ((high - 1) >> burst) - 1) * times


@record_inlined
def sum_rises(stripe, burst, bursts, rises):
    """Add the bursts of whole chunks; the rises are zero after."""
    whole = 0
    for c in range(len(bursts)):
        whole += rises[c]
        bursts[c] += whole << (stripe - burst)
        rises[c] = 0


@record_kernel
def count(address, size, write, stripe, burst, hashed, position, bursts, rises, extra):
    """Count a step's bursts by channel; 2^stripe bytes in a row belong to one channel.

    hashed: 1 where a hash turns each round of such chunks over the channels.

    position: bytes before each extent and in all, [n + 1]. bursts, rises: [channels], the latter
    work space, all zero between calls. extra: bursts that are writes, runs of bytes in a row, and the
    channels that these touch, one by one.
    """
    channels = len(bursts)
    for c in range(channels):
        bursts[c] = 0
    total = 0
    written = 0
    runs = 0
    visits = 0
    end = -1
    began = 0
    touched = 0
    odd = (1 << burst) - 1
    for j in range(len(address)):
        low = address[j]
        high = low + size[j]
        position[j] = total
        total += size[j]
        if high == low:
            continue
        first = low >> stripe
        last = (high - 1) >> stripe
        if low == end:
            visits -= touched
        else:
            runs += 1
            began = first
        touched = min(last - began + 1, channels)
        visits += touched
        end = high
        lines = (high + odd >> burst) - (low >> burst)
        written += lines * write[j]
        c = _channel(first, hashed, channels)
        if not hashed or first == last:
            add_extent(low, high, c, 1, stripe, burst, bursts, rises)
            continue
        bursts[c] -= (low >> burst) - (first << (stripe - burst))
        chunks = last - first + 1
        head = min(chunks, channels - first % channels)
        _rise(rises, c, head, channels, 1)
        rounds = (chunks - head) // channels
        rises[0] += rounds
        tail = chunks - head - rounds * channels
        if tail > 0:
            _rise(rises, _channel(last - tail + 1, 1, channels), tail, channels, 1)
        c = _channel(last, 1, channels)
        bursts[c] -= ((last + 1) << (stripe - burst)) - ((high - 1) >> burst) - 1
    position[len(address)] = total
    sum_rises(stripe, burst, bursts, rises)
    extra[0] = written
    extra[1] = runs
    extra[2] = visits


# ---------------------------------------------------------------- sums


@record_inlined
def add_up(numbers):
    """The sum of whole numbers."""
    total = 0
    for each in numbers:
        total += each
    return total


@record_kernel
def _pairwise(values, n):
    """The sum of up to CHANNELS values as NumPy forms it."""
    if n == CHANNELS:
        return ((values[0] + values[1]) + (values[2] + values[3])) + (
            (values[4] + values[5]) + (values[6] + values[7])
        )
    total = 0.0
    for i in range(n):
        total += values[i]
    return total


@record_kernel
def _add(known, at, records, group, bursts, ticks):
    """Fade the records of sums at `at`, and add an observation to that of a group."""
    for i in range(at, at + records * SUMS):
        known[i] *= 1 - FORGET
    k = at + group * SUMS
    known[k + ONE] += 1
    known[k + N] += bursts
    known[k + T] += ticks
    known[k + NN] += bursts * bursts
    known[k + NT] += bursts * ticks
    known[k + TT] += ticks * ticks


@record_kernel
def _squares(known, k, pace):
    """Sum of (ticks - pace * bursts) squared, of the record at k."""
    return known[k + TT] - 2 * pace * known[k + NT] + pace * pace * known[k + NN]


@record_kernel
def _forget(known):
    for i in range(KNOWN_SIZE):
        known[i] = 0.0
    known[WAYS_COUNT] = 1


@record_kernel
def _pace(known):
    return known[FLOW_TICKS] / known[FLOW_BURSTS]


@record_expanded
def _add_round(learner, known, bursts, ticks, channel):
    """Learn from a round of one of the sampled channels; `learner.total` counted it."""
    for i in range(STATISTICS):
        known[COUNTS + i] = known[COUNTS + i] * (1 - FORGET) + learner.total[i]
    _add(known, FLOW, CHANNELS, channel, float(bursts), ticks)
    for field in range(3):
        total = 0.0
        for group in range(CHANNELS):
            total += known[FLOW + group * SUMS + field]
        known[FLOW_SEEN + field] = total
    _set_variances(known, learner.work)
    spread, pace, ways = known[SPREAD], _pace(known), 0
    if spread != 0:
        for k in range(FLOW, FLOW + CHANNELS * SUMS, SUMS):
            if known[k + ONE] > 0:
                off = known[k + T] / known[k + N] - pace
                known[WAYS + ways] = off * spread / (spread + known[NOISE] / known[k + N])
                ways += 1
    else:
        known[WAYS] = 0.0
        ways = 1
    known[WAYS_COUNT] = ways


@record_expanded
def _set_variances(known, work):
    """Of a channel's time, per burst; and of the pace from channel to channel."""
    within, between, even = work[0], work[1], work[2]
    groups = 0
    pace, total = _pace(known), known[FLOW_BURSTS]
    for group in range(CHANNELS):
        k = FLOW + group * SUMS
        within[group] = _squares(known, k, known[k + T] / max(known[k + N], 1.0))
        if known[k + ONE] > 0:
            bursts = known[k + N]
            off = known[k + T] / bursts - pace
            between[groups] = bursts * (off * off)
            even[groups] = bursts * bursts
            groups += 1
    squares = max(0.0, _pairwise(within, CHANNELS))
    freedom = max(known[FLOW_SEEN] - groups, 0.5)
    noise = squares / total * known[FLOW_SEEN] / freedom
    known[NOISE], known[FREEDOM] = noise, freedom
    known[SPREAD] = 0.0
    found = _pairwise(between, groups)
    if found >= SIGNIFICANT * (groups - 1) * noise:
        weight = total - _pairwise(even, groups) / total
        known[SPREAD] = (found - (groups - 1) * noise) / max(weight, 1.0)


@record_kernel
def _add_to_pair(known, bursts, ticks):
    """Learn from a second round at one place how much channels differ there."""
    twin = known[TWIN_BURSTS]
    if twin > 0 and int(known[ROUNDS]) % 2 == 1:
        off = ticks / bursts - known[TWIN_TICKS] / twin
        known[PAIRS] = known[PAIRS] * (1 - FORGET) + 1
        known[PAIR_SQUARES] *= 1 - FORGET
        known[PAIR_SQUARES] += off * off / (1 / bursts + 1 / twin)


@record_kernel
def _own_noise(known):
    """Variance of a channel's time, per burst, among channels that are at the same place of a step:
    what is slow for all of them makes none the slowest."""
    if known[PAIRS] < LEAST_PAIRS:
        return known[NOISE]
    return max(0.0, known[PAIR_SQUARES] / known[PAIRS] - known[SPREAD] * ROUND)


@record_kernel
def _step_noise(known):
    """Variance of a short step's time."""
    seen, pace = known[STEPS + ONE], _pace(known)
    off = (known[STEPS + T] - pace * known[STEPS + N]) / seen
    mean = max(0.0, max(0.0, _squares(known, STEPS, pace)) / seen - off * off)
    return mean * seen / (seen - 1)


@record_expanded
def _doubt(freedom):
    """How many times as large a variance may be as it was found to be, at nine in ten, of so many
    degrees of freedom (E. B. Wilson, M. M. Hilferty, The Distribution of Chi-Square, PNAS 1931)."""
    spread = 2 / (9 * freedom)
    return 1 / (1 - spread - 1.2816 * math.sqrt(spread)) ** 3


@record_kernel
def _error(known, bursts, shares):
    """Standard error of the time of so many bursts, relative; infinite if not known.
    shares: work space."""
    if min(known[FLOW_SEEN], known[STEPS + ONE]) < LEAST:
        return np.inf
    short = known[STEPS + N] / known[STEPS + ONE]
    ticks = known[STEPS + T] / known[STEPS + ONE]
    for group in range(CHANNELS):
        share = known[FLOW + group * SUMS + N] / known[FLOW_BURSTS]
        shares[group] = share * share
    # Pairs of rounds share a place: it tells half as much as two would.
    noise = max(2 * known[NOISE] - _own_noise(known), known[NOISE]) * _doubt(known[FREEDOM])
    variance = noise / known[FLOW_BURSTS] + known[SPREAD] * _pairwise(shares, CHANNELS)
    beyond = bursts - short
    variance = beyond * beyond * variance + _step_noise(known) / known[STEPS + ONE]
    return math.sqrt(variance) / (ticks + _pace(known) * beyond)


@record_kernel
def _is_known(learner, known, bursts):
    """Whether the time of a step of so many bursts is known as well as it can be, and by a round
    not long ago."""
    if known[SINCE] >= min(max(SELDOM * known[SEEN], CHECK[0]), CHECK[1]):
        return False
    if min(known[FLOW_SEEN], known[STEPS + ONE]) >= ENOUGH:
        return True
    return _error(known, bursts, learner.work[0]) < TARGET


@record_expanded
def _contradicts(known, bursts, ticks):
    """Whether a short step is beyond what noise explains."""
    if min(known[FLOW_SEEN], known[STEPS + ONE]) < LEAST:
        return False
    short = known[STEPS + N] / known[STEPS + ONE]
    usual = known[STEPS + T] / known[STEPS + ONE]
    off = abs(ticks - usual - _pace(known) * (bursts - short))
    return off > CONTRADICTION * math.sqrt(_step_noise(known)) + 0.1 * usual


# ---------------------------------------------------------------- playing


@record_expanded
def _spread(learner):
    """Evenly spread over 0 to 1 from call to call."""
    learner.memo[TURN] += 1
    return learner.memo[TURN] * GOLDEN % 1


@record_kernel
def last_upto(position, value):
    """The last place in `position`, ascending, that holds at most `value`; -1 where none does."""
    low, high = 0, len(position)
    while low < high:
        middle = (low + high) >> 1
        if position[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - 1


@record_kernel
def _play_part(replay, learner, asked, row, channel, start, drain, begin, length):
    """The extents that begin in `length` bytes from `begin` on, through the channel in `row`;
    those that are not much smaller than that are cut where it begins and ends (while it plays)."""
    address, size, position = asked.address, asked.size, asked.position
    first = last_upto(position, begin)
    last = min(last_upto(position, begin + length - 1), len(size) - 1)
    late = begin - position[first]
    if late != 0 and size[first] <= length // 4:
        first, late = first + 1, 0
    over = 0
    if size[last] > length // 4:
        over = max(0, position[last + 1] - (begin + length))
    address[first] += late
    size[first] -= late
    size[last] -= over
    replay(
        learner.parameters, row, learner.channels, channel, channel + 1,
        address[first : last + 1], size[first : last + 1], asked.write[first : last + 1],
        position[:0], start, 0, 1, asked.window, asked.delay, learner.stripe, learner.burst, drain,
    )  # fmt: skip
    size[last] += over
    size[first] += late
    address[first] -= late


@record_kernel
def _chosen(learner, turn):
    """The channel whose turn it is; each as often as it has bursts."""
    wanted = turn % CHANNELS * GOLDEN % 1 * add_up(learner.bursts)
    channel = 0
    upto = learner.bursts[0]
    while upto <= wanted:
        channel += 1
        upto += learner.bursts[channel]
    return channel


@record_kernel
def _play_around(replay, learner, asked, row, channel, begin, length):
    """As `_play_part`, where a step's end is followed by its beginning, and nothing drains."""
    total = asked.position[len(asked.position) - 1]
    begin += total if begin < 0 else 0
    here = min(length, total - begin)
    _play_part(replay, learner, asked, row, channel, 0, False, begin, here)
    if length > here:
        _play_part(replay, learner, asked, row, channel, 0, False, 0, length - here)


@record_kernel
def _play(replay, learner, asked, row, bursts, channel, place, start, drain):
    """Put so many bursts in a row of one of the step's channels through the one in `row`; if it is
    not to drain, after some more that open the rows. place: 0 to 1, where in the step they begin.
    `learner.seen`: its first fields, less what they were before the bursts."""
    total = asked.position[len(asked.position) - 1]
    bytes_per_burst = total / learner.bursts[channel]
    length = int(bursts * bytes_per_burst)
    first = int(place * (total - length if drain else total))
    if length < total and not drain:
        before = min(total - length, int(learner.row_set * bytes_per_burst))
        if before > 0:
            _play_around(replay, learner, asked, row, channel, first - before, before)
    assign(learner.seen, row)
    if length >= total:
        replay(
            learner.parameters, row, learner.channels, channel, channel + 1, asked.address,
            asked.size, asked.write, asked.position[:0], start, 0, 1, asked.window, asked.delay,
            learner.stripe, learner.burst, drain,
        )  # fmt: skip
    elif drain:
        _play_part(replay, learner, asked, row, channel, start, True, first, length)
    else:
        _play_around(replay, learner, asked, row, channel, first, length)
    for i in range(DONE + 1):
        learner.seen[i] = row[i] - learner.seen[i]


@record_kernel
def _refresh_ticks(learner, known):
    """What one all-bank refresh costs, by the time that data buses lost to so many."""
    met = known[COUNTS + REFRESHES] / learner.scopes
    if met < 4:
        return float(learner.rfc)
    return known[COUNTS + LOST_REFRESH] / learner.buses / met


@record_kernel
def _evened(learner, known, ticks, refreshes):
    """Ticks had a sample met its fair share of all-bank refreshes, no more or less."""
    if not learner.all_bank:
        return ticks
    met = refreshes / learner.scopes
    return ticks + _refresh_ticks(learner, known) * (ticks / learner.refi - met)


@record_kernel
def _round(replay, learner, asked, known):
    """Feed the channel that never drains; the bursts that it played.

    Rounds come in pairs, at one place of the step and on two channels; the next pair begins with the
    second of them."""
    total = learner.total
    for i in range(len(total)):
        total[i] = 0
    rounds = int(known[ROUNDS])
    turn = (rounds + 1) // 2
    is_part = learner.bursts[_chosen(learner, turn)] > ROUND
    for part in range(PARTS):
        wanted = ROUND - total[DONE]
        channel, place = _chosen(learner, turn + part), (rounds // 2 + 0.5 + part) * GOLDEN % 1
        _play(replay, learner, asked, learner.flow, wanted, channel, place, 0, False)
        for i in range(DONE + 1):
            total[i] += learner.seen[i]
        if total[DONE] > ROUND - LEAST_PART:
            break
    bursts = total[DONE] - total[ECC]
    if total[DONE] != 0:
        ticks = _evened(learner, known, float(total[NOW]), total[REFRESHES])
        _add_round(learner, known, bursts, ticks, turn % CHANNELS)
        if is_part:
            _add_to_pair(known, float(bursts), ticks)
        known[TWIN_TICKS] = ticks
    known[TWIN_BURSTS] = bursts if is_part else 0
    known[ROUNDS] += 1
    known[SINCE] = 0
    return ROUND + learner.row_set


@record_kernel
def _short_step(replay, learner, asked, known):
    """Play a short step from first to last; its bursts. What is known is forgotten if this
    contradicts it."""
    row = learner.short
    began = max(row[LAST_DONE], row[NOW]) + 1
    channel = _chosen(learner, learner.memo[TURN])
    _play(
        replay, learner, asked, row, learner.short_bursts, channel, _spread(learner), began, True
    )  # fmt: skip
    bursts = learner.seen[DONE] - learner.seen[ECC]
    if bursts > 0:
        ticks = _evened(learner, known, float(row[LAST_DONE] - began), learner.seen[REFRESHES])
        if _contradicts(known, bursts, ticks):
            _forget(known)
        _add(known, STEPS, 1, 0, float(bursts), ticks)
    known[SINCE_SHORT] = 0
    return max(bursts, 1)


# ---------------------------------------------------------------- a step's time


@record_expanded
def _below(x):
    """The standard normal distribution function, within 1e-11: from the nearest point of a table, and
    three derivatives there."""
    if x >= TAIL:
        return 1.0
    if x <= -TAIL:
        return 0.0
    point = int((x + TAIL) * POINTS + 0.5)
    at = point / POINTS - TAIL
    off = x - at
    return BELOW[point, 0] + BELOW[point, 1] * off * (1 - off / 2 * (at - off / 3 * (at * at - 1)))


@record_expanded
def _expected_maximum(work, variables, ways, together):
    """Expected largest of variables that are normal about any of several means alike: the integral of
    1 - P(all are below). Of these so many always move together, and the others apart.

    The rows of `work` are `usual` and `beyond`, whose sum usual + way * beyond is a mean for each
    of the ways, and the deviations, which are not kept.
    """
    usual, beyond, deviation, below = work[0], work[1], work[2], work[3]
    high = -np.inf
    spread = False
    for c in range(variables):
        spread |= deviation[c] != 0
        for way in ways:
            high = max(high, usual[c] + way * beyond[c])
    if not spread and len(ways) == 1:
        return high
    least, narrowest, low, high = 1e-6 * high, np.inf, -np.inf, -np.inf
    for c in range(variables):
        wide = max(deviation[c], least)
        narrowest = min(narrowest, wide)
        lowest = np.inf
        for way in ways:
            mean = usual[c] + way * beyond[c]
            lowest = min(lowest, mean - 5 * wide)
            high = max(high, mean + 5 * wide)
        low = max(low, lowest)
        deviation[c] = 1 / wide
    share = 1 / len(ways)
    points = int(min(max(A_DEVIATION * (high - low) / narrowest + 1, GRID[0]), GRID[1]))
    step = (high - low) / (points - 1)
    for point in range(points):
        at = high if point == points - 1 else point * step + low
        product, each, least = 1.0, 1.0, 1.0
        for c in range(variables):
            if c == 0 or usual[c] != usual[c - 1]:  # else it is as its neighbour
                total = 0.0
                for way in ways:
                    total += _below((at - (usual[c] + way * beyond[c])) * deviation[c])
                each = total * share
                least = min(least, each)
            product *= each
            if product < SMALLEST:
                break
        below[point] = product if together == 1 else min(least, product ** (1 / together))
    for i in range(points - 1):
        below[i] += below[i + 1]
        if i >= CHANNELS:
            below[i % CHANNELS] += below[i]
    return high - _pairwise(below, CHANNELS) * step / 2


@record_kernel
def _done(known):
    """Bursts that the counts are of: those that moved data, and those the write queue took, but
    not those of ECC, which come beside a step's own."""
    return (
        known[COUNTS + READS] + known[COUNTS + WRITES] + known[COUNTS + FORWARDED]
        + known[COUNTS + MERGED] - known[COUNTS + ECC]
    )  # fmt: skip


@record_kernel
def _time(learner, known, runs, visits, start):
    """Expected ticks until the slowest channel is done."""
    pace = _pace(known)
    short = known[STEPS + N] / known[STEPS + ONE]
    ticks = known[STEPS + T] / known[STEPS + ONE]
    noise, own_noise = _step_noise(known), _own_noise(known)
    # Channels under one extent see the same rows come and go; but where channels differ for good, each
    # goes its own way.
    ways = known[WAYS : WAYS + int(known[WAYS_COUNT])]
    together, own = min(visits / runs, learner.channels), 1.0
    if len(ways) > 1:
        together, own = 1.0, 1 - together / learner.channels
    usual, beyond, deviation = learner.work[0], learner.work[1], learner.work[2]
    most = 0
    for c in range(learner.channels):
        bursts = learner.bursts[c]
        most = max(most, bursts)
        usual[c] = ticks + pace * (bursts - short)
        beyond[c] = max(bursts - short, 0.0)
        deviation[c] = math.sqrt(own * (own_noise * beyond[c] + noise))
    time = _expected_maximum(learner.work, learner.channels, ways, together)
    if learner.all_bank:  # they all refresh at the same ticks
        cost, refi = _refresh_ticks(learner, known), learner.refi
        time *= 1 - cost / refi
        phase = start % refi
        while phase + time >= refi:
            phase -= refi
            time += cost
    moved = (known[COUNTS + READS] + known[COUNTS + WRITES]) / _done(known)
    pins = most * moved * learner.burst_ticks / learner.buses
    return int(max(np.rint(time), pins))


@record_expanded
def _row_of(learner, key):
    """The row that knows a class of this key, a new one if need be. It is not in use meanwhile."""
    free = 0
    for row in range(CLASSES + 1):
        if learner.key[row] == key:
            learner.key[row] = NO_KEY
            return row
        if learner.key[row] == NO_KEY:
            free = row
    _forget(learner.known[free])
    return free


@record_expanded
def _put(learner, row, key):
    """The row is in use; the one that was put there first makes room if there are too many."""
    learner.memo[CLOCK] += 1
    learner.key[row] = key
    learner.used[row] = learner.memo[CLOCK]
    oldest = row
    for other in range(CLASSES + 1):
        if learner.key[other] == NO_KEY:
            return
        if learner.used[other] < learner.used[oldest]:
            oldest = other
    learner.key[oldest] = NO_KEY


_one, _table = typeof(np.zeros(1, np.int64)), typeof(np.zeros((1, 1)))
LEARNER = types.NamedTuple(
    [_one] * 3 + [_table] + [_one] * 7 + [_table] + [types.int64] * 12, Learner
)
ASKED = types.NamedTuple([_one] * 4 + [types.int64] * 2, Asked)
LEARN = types.int64(types.FunctionType(REPLAY), LEARNER, ASKED, *[types.int64] * 4, _one)


@record_kernel
def learn(replay, learner, asked, written, runs, visits, start, counts):
    """Ticks of a step that starts at tick `start`, or UNKNOWN where samples miss the traffic.

    `learner.bursts` holds its bursts by channel. counts: [STATISTICS], what its class has shown,
    scaled to the step. Without extents: UNPLACED, and nothing changes, unless its class is known and
    it is no time to look at it again.
    """
    total = add_up(learner.bursts)
    mean = total / learner.channels
    key = int(np.rint(32 * written / total))
    key = (key << 12) + int(np.rint(8 * np.log2(total / visits))) + (1 << 11)
    key = (key << 12) + int(np.rint(2 * np.log2(min(max(mean, 1.0), learner.short_bursts * 1.0))))
    row = _row_of(learner, key)
    known = learner.known[row]
    spent = 0
    budget = min(max(BUDGET[0], total // 4), BUDGET[1])
    looked_at = known[SINCE_SHORT] < min(SELDOM * known[SEEN], GLANCE)
    if len(asked.address) == 0 and not (looked_at and _is_known(learner, known, mean)):
        if known[SEEN] > 0:  # else the class is new, and its row is as free as it was
            learner.key[row] = key
        return UNPLACED
    while spent < budget and not (looked_at and _is_known(learner, known, mean)):
        looked_at = False
        spent += _short_step(replay, learner, asked, known)
        if _is_known(learner, known, mean):
            break
        if key != learner.memo[LATEST]:  # what the last class left in the queues goes first
            learner.memo[LATEST] = key
            channel, place = _chosen(learner, 0), _spread(learner)
            _play(replay, learner, asked, learner.flow, LEAST_PART, channel, place, 0, False)
        spent += _round(replay, learner, asked, known)
    if _error(known, mean, learner.work[0]) == np.inf:
        return UNKNOWN
    known[SINCE] += total
    known[SINCE_SHORT] += total
    known[SEEN] += total
    _put(learner, row, key)
    scale = total / _done(known)
    for i in range(STATISTICS):
        counts[i] = int(known[COUNTS + i] * scale)
    return _time(learner, known, runs, visits, start)
