"""One memory channel, every burst scheduled: FR-FCFS over finite queues, bank by bank.

Event driven: the channel jumps from one tick at which a command can issue to the next. What can
issue is kept in four short lists with at most one entry per bank:

    ACTIVE  the request that opened a row and now waits for its column command
    HIT     the oldest queued request to the open row
    PRE     the oldest queued request to another row of an open bank
    ACT     the oldest queued request to a closed bank

An entry's command is ready at max(its bank's time, the time that its bank shares with others).
Constraints only ever push these times up, so the earliest ready time of a list, once found, is a
lower bound that stays valid until an entry is added; no list is looked at before its bound. What its
own bank keeps waiting is at a list's end, in the order in which that is over, so a look at a list
ends where it begins. The queue holds reads and writes apart and serves one kind at a time; HIT, PRE
and ACT hold the kind being served.

Records are described in burst_state. Ticks count from 1.
"""

from hmsim.elements import constants, records
from hmsim.jit import record_expanded, record_inlined, record_kernel
from hmsim.memory.burst_commands import (
    activate_second,
    ask_precharges,
    ask_refresh,
    bank_of,
    choose_kind,
    complete,
    keep,
    maintain,
    next_maintenance,
    oldest_ready,
    push,
    record,
    serve_column,
    serve_row,
)
from hmsim.memory.burst_state import (
    ACT,
    ACT2_DEADLINE,
    ACTIVATING,
    ACTIVE,
    AFTER,
    ALL_SLICES,
    ARRIVAL_LATENCY_SUM,
    ASKED,
    BANK_SIZE,
    BANK_SLICES,
    BINS,
    BOUND,
    BUS_FREE,
    BUS_SIZE,
    BUSES,
    CAS_RD,
    CHANNEL_SIZE,
    CHECK_HELD,
    CHECKED,
    CLOCK_READ,
    CLOCK_STOPS,
    CLOCK_WRITE,
    CLOCKED,
    CLOCKED_LIST,
    COLUMN_FREE,
    DONE,
    DONE_RING,
    ECC,
    ENTRY,
    FAR,
    FIRST_BANK,
    FIRST_BUS,
    FIRST_HIT,
    FORWARDED,
    HASHED,
    HEAD_WRITE,
    HISTOGRAM,
    HIT,
    KEEPS_KIND,
    KIND,
    LATENCY_SUM,
    LINE,
    MERGED,
    NEXT,
    NEXT_AGE,
    NEXT_CLOSE,
    NEXT_REFRESH,
    NOW,
    OPENER,
    PER_BANK,
    PRE,
    QUEUED_READS,
    READ_QUEUE,
    REF_AB,
    REFRESH,
    ROW_FREE,
    SLICE_AT,
    SLICES,
    SPLIT_BUS,
    STOP_DONE,
    STOP_KIND,
    STOP_QUEUED,
    STOP_TICK,
    TARGET_ROW,
    WAITED_FOR,
    WINDOW,
)
from hmsim.memory.mapping import turns

ECC_LINE = 1 << 50  # above all bits of an address map: marks a burst of ECC among those of its row

turn_of = record_inlined(turns)

# ---------------------------------------------------------------- time


@record_inlined
def _is_free(p, s, c):
    """Whether requests may start: maintenance that waits holds back the whole channel, but for
    per-bank refresh, which holds only its bank."""
    return s[c + ASKED] == 0 or p[REFRESH] == PER_BANK


@record_inlined
def _next_event(p, s, c):
    """The first tick after NOW at which something may happen."""
    rising = p[SPLIT_BUS]
    soonest = s[c + NOW] + 1
    if s[c + ACTIVATING] >= 0 or s[c + CLOCKED] >= 0:
        return soonest
    t = min(s[c + NEXT_REFRESH], s[c + NEXT_CLOSE])
    column = s[c + COLUMN_FREE]
    row = s[c + ROW_FREE]
    t = min(t, max(s[c + ACTIVE + BOUND], column) | rising)
    if _is_free(p, s, c):
        t = min(t, max(s[c + HIT + BOUND], column) | rising)
        t = min(t, max(s[c + PRE + BOUND], row))
        t = min(t, max(s[c + ACT + BOUND], row) | rising)
        if not s[c + KEEPS_KIND]:
            return soonest
    if s[c + ASKED] > 0:
        t = min(t, next_maintenance(p, s, c)[0])
    return max(t, soonest)


@record_expanded
def _choose_column(p, s, c, now):
    """HBM: the list and key of the column command to issue on this rising edge, or FAR."""
    free = s[c + COLUMN_FREE]
    if max(s[c + ACTIVE + BOUND], free) <= now:
        key = oldest_ready(s, c, ACTIVE, now)
        if key < FAR:
            return ACTIVE, key
    if not _is_free(p, s, c):
        return HIT, FAR
    choose_kind(p, s, c)
    if max(s[c + HIT + BOUND], free) > now:
        return HIT, FAR
    return HIT, oldest_ready(s, c, HIT, now)


@record_expanded
def _choose_row(p, s, c, now):
    """HBM: the list and key of the row command to issue; ACT needs a rising edge."""
    choose_kind(p, s, c)
    pre = FAR
    act = FAR
    free = s[c + ROW_FREE]
    if max(s[c + PRE + BOUND], free) <= now:
        pre = oldest_ready(s, c, PRE, now)
    if now & 1 and max(s[c + ACT + BOUND], free) <= now:
        act = oldest_ready(s, c, ACT, now)
    if pre < act:
        if act < FAR:
            keep(s, c, ACT, now)
        return PRE, pre
    if pre < FAR:
        keep(s, c, PRE, now)
    return ACT, act


@record_inlined
def _split_bus_tick(p, s, c, now):
    """HBM: a column command on a rising edge, and a row command."""
    if now & 1:
        k, key = _choose_column(p, s, c, now)
        if key < FAR:
            serve_column(p, s, c, k, bank_of(s, c, key), now)
    if s[c + ASKED] > 0:
        t, command = next_maintenance(p, s, c)
        if t <= now and (now & 1 or command < REF_AB):  # asked for on a falling edge, it waits
            maintain(p, s, c, command, now)
            return
    if _is_free(p, s, c):
        k, key = _choose_row(p, s, c, now)
        if key < FAR:
            serve_row(p, s, c, k, bank_of(s, c, key), now)


@record_expanded
def _choose_any(p, s, c, now):
    """LPDDR: the list and key of the command to issue, or FAR; no ACT-1 amid an activation."""
    if s[c + ACTIVE + BOUND] <= now:
        key = oldest_ready(s, c, ACTIVE, now)
        if key < FAR:
            return ACTIVE, key
    chosen = ACTIVE
    best = FAR
    if (s[c + ASKED] > 0 and next_maintenance(p, s, c)[0] <= now) or not _is_free(p, s, c):
        return chosen, best
    choose_kind(p, s, c)
    for k in range(HIT, ACT + 1 if s[c + ACTIVATING] < 0 else ACT, PRE - HIT):
        if s[c + k + BOUND] <= now:
            key = oldest_ready(s, c, k, now)
            if key < best:
                if best < FAR:
                    keep(s, c, chosen, now)
                chosen = k
                best = key
            elif key < FAR:
                keep(s, c, k, now)
    return chosen, best


@record_inlined
def _single_bus_tick(p, s, c, now):
    """LPDDR: one command, ACT in two parts, a CAS before RD or WR when WCK has stopped."""
    activating = s[c + ACTIVATING] >= 0
    clocked = s[c + CLOCKED] >= 0
    if clocked:
        k = s[c + CLOCKED_LIST]
        b = s[c + CLOCKED]
        if s[b + k + ENTRY + AFTER] < 0:  # its refresh has come due
            b = -1
        s[c + CLOCKED] = -1
    elif activating and s[c + ACT2_DEADLINE] <= now:
        activate_second(p, s, c, now)
        return
    else:
        k, key = _choose_any(p, s, c, now)
        b = bank_of(s, c, key) if key < FAR else -1
    if b < 0:
        t = FAR
        if s[c + ASKED] > 0:
            t, command = next_maintenance(p, s, c)
        if t <= now:
            maintain(p, s, c, command, now)
        elif activating:
            activate_second(p, s, c, now)
        return
    if k <= HIT:
        q = s[b + OPENER] if k == ACTIVE else s[b + FIRST_HIT]
        if not clocked and now >= s[c + CLOCK_STOPS]:
            if activating and s[c + ACT2_DEADLINE] <= now + 1:
                keep(s, c, k, now)
                activate_second(p, s, c, now)
                return
            command = CAS_RD + s[q + KIND]
            record(p, s, c, now, command, b, s[q + TARGET_ROW], s[q + LINE])
            s[c + CLOCKED] = b
            s[c + CLOCKED_LIST] = k
            return
        runs = p[CLOCK_WRITE] if s[q + KIND] else p[CLOCK_READ]
        s[c + CLOCK_STOPS] = max(s[c + CLOCK_STOPS], now + runs)
        serve_column(p, s, c, k, b, now)
    else:
        serve_row(p, s, c, k, b, now)


@record_expanded
def _tick(p, s, c, now):
    s[c + NOW] = now
    if now >= s[c + NEXT_REFRESH]:
        ask_refresh(p, s, c)
    if now >= s[c + NEXT_CLOSE]:
        ask_precharges(p, s, c, now)
    if p[SPLIT_BUS]:
        _split_bus_tick(p, s, c, now)
    else:
        _single_bus_tick(p, s, c, now)


@record_kernel
def _run(p, s, c):
    """Run channel c through tick STOP_TICK, and on until STOP_DONE requests are complete and fewer
    than STOP_QUEUED of a kind are queued."""
    while True:
        t = _next_event(p, s, c)
        if (
            t > s[c + STOP_TICK]
            and s[c + DONE] >= s[c + STOP_DONE]
            and s[c + QUEUED_READS + s[c + STOP_KIND]] < s[c + STOP_QUEUED]
        ):
            s[c + NOW] = max(s[c + NOW], s[c + STOP_TICK])
            return
        _tick(p, s, c, t)


@record_inlined
def _field(p, first, last, line):
    """The XOR of some slices of a burst's number."""
    value = 0
    for at in range(SLICE_AT + 3 * first, SLICE_AT + 3 * last, 3):
        value ^= ((line >> p[at]) & p[at + 1]) << p[at + 2]
    return value


@record_inlined
def _queued_write(s, b, line):
    """Bank b's queued write of a burst, or -1."""
    q = s[b + HEAD_WRITE]
    while q >= 0 and s[q + LINE] != line:
        q = s[q + NEXT]
    return q


@record_inlined
def _must_run(p, s, c, b, kind, line, t, window, delay):
    """Whether channel c must run on before it can accept a request at tick t, and that tick.

    Sets what `_run` stops at.
    """
    s[c + STOP_TICK] = 0
    s[c + STOP_DONE] = 0
    s[c + STOP_QUEUED] = FAR
    freed = s[c + NEXT_AGE] + s[c + FORWARDED] + s[c + MERGED] - window
    if s[c + DONE] <= freed:
        s[c + STOP_DONE] = freed + 1
        return True, t
    if freed >= 0:
        heard = s[s[c + DONE_RING] + (freed & (p[WINDOW] - 1))] + delay
        if heard > t:
            t = heard
            s[c + WAITED_FOR] = 2
    size = p[READ_QUEUE + kind]
    full = s[c + QUEUED_READS + kind] >= size and _queued_write(s, b, line) < 0
    if full:
        s[c + STOP_KIND] = kind
        s[c + STOP_QUEUED] = size
    if s[c + NOW] < t:
        s[c + STOP_TICK] = t
        return True, t
    if full:
        return True, t
    return False, s[c + NOW]


@record_inlined
def _accept(p, s, c, b, kind, line, t, intended):
    """Channel c takes a request at tick t."""
    if _queued_write(s, b, line) < 0:
        row = _field(p, p[BANK_SLICES], p[SLICES], line)
        push(p, s, c, kind, b, row, line, t, intended)
        s[c + WAITED_FOR] = 0
        return
    # The write queue has this very burst: a read takes it from there, a write joins it.
    s[c + FORWARDED + kind] += 1
    if kind == 0:
        s[c + LATENCY_SUM] += 1
        s[c + ARRIVAL_LATENCY_SUM] += t + 1 - intended
        s[s[c + HISTOGRAM] + min(1, p[BINS] - 1)] += 1
    complete(p, s, c, t + 1)


@record_expanded
def _check(p, s, c, line, kind, t, window, delay):
    """Accept what a data burst asks of in-band ECC; the tick of the last.

    The bursts of a group share one burst of ECC in the row of the first of them. The controller
    holds the latest that each bank gave: it is read once for a group, and for a write too, which
    changes a part of it; then it is written.
    """
    group = line // p[CHECKED]
    own = group * p[CHECKED]
    b = s[c + FIRST_BANK] + _field(p, 0, p[BANK_SLICES], own) * BANK_SIZE
    held = s[b + CHECK_HELD]
    if held >> 1 != group:
        held = 2 * group
    elif held & 1 or kind == 0:
        return t
    own |= ECC_LINE
    for each in range(int(held == s[b + CHECK_HELD]), 1 + kind):
        wait, at = _must_run(p, s, c, b, each, own, t, window, delay)
        while wait:
            _run(p, s, c)
            if s[c + STOP_QUEUED] < FAR and s[c + NOW] > s[c + STOP_TICK]:
                s[c + WAITED_FOR] = 1
            wait, at = _must_run(p, s, c, b, each, own, t, window, delay)
        _accept(p, s, c, b, each, own, at, at)
        s[c + ECC] += 1
        t = at
    s[b + CHECK_HELD] = held + kind
    return t


@record_inlined
def _channel(p, chunk, above, channels):
    """The channel of a chunk of round `above`."""
    c = chunk - above * channels
    if p[HASHED]:
        c += turn_of(above, channels)
        c -= channels if c >= channels else 0
    return c


@record_inlined
def _next_chunk(p, chunk, n, channels):
    """The first chunk from `chunk` on that is channel n's."""
    if not p[HASHED]:
        return chunk + (n - chunk) % channels
    above = chunk // channels
    found = above * channels + (n - turn_of(above, channels)) % channels
    if found < chunk:
        above += 1
        found = above * channels + (n - turn_of(above, channels)) % channels
    return found


@record_inlined
def _start_buses(p, s, first, last, start):
    """What the data buses of the channels in places `first` .. `last` - 1 did not do before `start`
    is no loss."""
    for m in range(first, last):
        bus = s[m * p[CHANNEL_SIZE] + FIRST_BUS]
        for each in range(bus, bus + p[BUSES] * BUS_SIZE, BUS_SIZE):
            s[each + BUS_FREE] = max(s[each + BUS_FREE], start)


@record_expanded
def _drain(p, s, c):
    """Run channel c until nothing is left to do but refresh."""
    s[c + STOP_TICK] = 0
    s[c + STOP_DONE] = s[c + NEXT_AGE] + s[c + FORWARDED] + s[c + MERGED]
    s[c + STOP_QUEUED] = FAR
    _run(p, s, c)


@record_kernel
def replay(
    parameters, state, channels, first, last, address, size, write, intended, start, taken, width,
    window, delay, stripe, burst, drain,
):  # fmt: skip
    """Requests, in order, from tick `start`, until all are complete (or, without `drain`, taken).

    Returns the tick at which the last one was accepted, and how many were at that tick: `start` and
    `taken` of a call that goes on with the same stream. `taken` is 0 where a stream begins.

    address, size, write: int64 [n], bytes; intended: int64 [n], earliest ticks, or [0] for none.
    Channels `first` .. `last` - 1 of so many `channels` run each on its own, accepting `width`
    bursts a tick; with first = -1 and last = 0 all run together, and a full queue holds back all
    that follows. The state may hold one channel only: then that one plays them all, in turn.
    A channel has at most `window` bursts in flight and hears of a completion `delay` ticks late.
    2^stripe bytes in a row belong to one channel, 2^burst bytes are one request. Where the address
    map places the channel itself, stripe = burst, and a channel looks for its bursts.
    """
    p = constants(parameters)
    s = records(state)
    t = start
    accepted = taken
    placed = p[ALL_SLICES] > p[SLICES]
    held = len(state) // p[CHANNEL_SIZE]
    for n in range(first, last):
        t = start
        accepted = taken
        place = n % held if n >= 0 else -1
        if taken == 0:
            _start_buses(p, s, max(place, 0), place + 1 if n >= 0 else held, start)
        for j in range(len(address)):
            low = address[j]
            high = low + size[j]
            chunk = low >> stripe
            if n >= 0 and channels > 1 and not placed:
                chunk = _next_chunk(p, chunk, n, channels)
            while chunk << stripe < high:
                if placed:
                    m = _field(p, p[SLICES], p[ALL_SLICES], chunk)
                    c = (place if n >= 0 else m) * p[CHANNEL_SIZE]
                    line = chunk
                    end = line + (n < 0 or m == n)
                else:
                    above = chunk // channels if channels > 1 else chunk
                    c = (place if n >= 0 else _channel(p, chunk, above, channels)) * p[CHANNEL_SIZE]
                    moved = (above - chunk) << stripe
                    line = (max(low, chunk << stripe) + moved) >> burst
                    end = (min(high, (chunk + 1) << stripe) + moved + (1 << burst) - 1) >> burst
                while line < end:
                    at = t + (accepted >= width)
                    if len(intended) > 0:
                        at = max(at, intended[j])
                    if p[CHECKED] > 0:
                        at = _check(p, s, c, line, write[j], at, window, delay)
                    b = s[c + FIRST_BANK] + _field(p, 0, p[BANK_SLICES], line) * BANK_SIZE
                    wait, at = _must_run(p, s, c, b, write[j], line, at, window, delay)
                    while wait:
                        _run(p, s, c)
                        if s[c + STOP_QUEUED] < FAR and s[c + NOW] > s[c + STOP_TICK]:
                            s[c + WAITED_FOR] = 1
                        wait, at = _must_run(p, s, c, b, write[j], line, at, window, delay)
                    wanted = intended[j] if len(intended) > 0 else at
                    _accept(p, s, c, b, write[j], line, at, wanted)
                    accepted = accepted + 1 if at == t else 1
                    t = at
                    line += 1
                chunk += channels if n >= 0 and not placed and not p[HASHED] else 1
                if n >= 0 and channels > 1 and p[HASHED]:
                    chunk = _next_chunk(p, chunk, n, channels)
        if drain:
            for m in range(max(place, 0), place + 1 if n >= 0 else held):
                _drain(p, s, m * p[CHANNEL_SIZE])
    return t, accepted
