"""What a channel does when it takes a request or issues a command: queues, lists and bank state.

See burst_kernel for when it does so, and burst_state for the records.
"""

from hmsim.elements import put_off
from hmsim.jit import record_expanded, record_inlined, record_kernel
from hmsim.memory.burst_state import (
    ACCESSES,
    ACT,
    ACT2,
    ACT2_DEADLINE,
    ACT2_LIMIT,
    ACT_BANK,
    ACT_BUS,
    ACT_WAITED,
    ACTIVATING,
    ACTIVATIONS,
    ACTIVE,
    AFTER,
    AGE,
    AGE_BITS,
    ALL_BANK,
    ARRIVAL_LATENCY_SUM,
    ARRIVED,
    ASKED,
    ASKED_FIRST,
    ASKED_RING,
    BANK,
    BANK_GAP_AT,
    BANK_SIZE,
    BANKS,
    BEFORE,
    BINS,
    BLOCKED_FROM,
    BLOCKED_TO,
    BOUND,
    BURST,
    BUS,
    BUS_FREE,
    BUS_KIND,
    BUSES,
    CLOSE_AFTER,
    CLOSING,
    COLUMN_BUS,
    COLUMN_FREE,
    COUNTED,
    DONE,
    DONE_RING,
    DRAIN_ABOVE,
    DRAIN_BELOW,
    ENTRY,
    FAR,
    FAW_AT,
    FIRST_BANK,
    FIRST_HIT,
    FIRST_OTHER,
    FORWARDED,
    FREE,
    GAP_AT,
    GAP_SIZE,
    GROUP_FAW,
    GROUP_GAPS,
    GROUP_TIMES,
    HEAD_READ,
    HEAD_WRITE,
    HELD,
    HISTOGRAM,
    HIT,
    INTENDED,
    KEEPS_KIND,
    KEY,
    KEY_BITS,
    KIND,
    LAST_DONE,
    LATE,
    LATENCY_SUM,
    LATEST,
    LINE,
    LOG,
    LOG_FIELDS,
    LOG_ROOM,
    LOGGED,
    LOST_COMMAND_BUS,
    LOST_NO_REQUEST,
    LOST_REFRESH,
    LOST_ROW,
    LOST_SPACING,
    LOST_TURNAROUND,
    MERGED,
    NEXT,
    NEXT_AGE,
    NEXT_CLOSE,
    NEXT_REFRESH,
    NOW,
    NUMBER,
    OPENER,
    PER_BANK,
    PRE,
    PRE_AB,
    PRE_PB,
    PREVIOUS,
    QUEUED_READS,
    QUEUED_WRITES,
    RD,
    RDA,
    READ_LATENCY,
    READS,
    READY,
    RECENT,
    REF_AB,
    REF_PB,
    REFI,
    REFI_BANK,
    REFRESH,
    REFRESH_CURSOR,
    REFRESH_FROM,
    REFRESH_TO,
    REFRESHES,
    RING,
    ROW,
    ROW_BUS,
    ROW_CONFLICTS,
    ROW_FREE,
    ROW_HIT_FIRST,
    ROW_HITS,
    ROW_MISSES,
    SCOPE,
    SCOPE_GAP_AT,
    SCOPES,
    SERVING,
    SHARED,
    SHARES,
    SPLIT_BUS,
    STOP_TICK,
    T_ACT,
    T_PRE,
    T_PRE_AB,
    T_RD,
    T_REF_AB,
    T_REF_PB,
    TAIL_READ,
    TARGET_ROW,
    TIED,
    WAITED,
    WAITED_FOR,
    WIDTH,
    WINDOW,
)

# ---------------------------------------------------------------- lists


@record_inlined
def _put(s, c, k, b, follower, age):
    """Bank b is in list k: `follower` is to be issued, for a request so old.

    A list has what its bank keeps waiting at its end, by the tick until which it does; before that,
    in any order, what waits for other banks at most, or for nothing.
    """
    e = b + k + ENTRY
    ready = s[b + follower]
    shared = s[b + SHARES + follower]
    if s[e + AFTER] < 0 or s[e + READY] != ready:
        _drop(s, k, b)
        before = c + k
        if ready > s[c + NOW]:
            before = s[c + k + BEFORE]
            while s[before + READY] > ready and before != c + k:
                before = s[before + BEFORE]
        after = s[before + AFTER]
        s[before + AFTER] = e
        s[after + BEFORE] = e
        s[e + BEFORE] = before
        s[e + AFTER] = after
        s[e + READY] = ready
    s[e + SHARED] = shared
    s[e + KEY] = (age << KEY_BITS) + s[b + NUMBER]
    s[c + k + BOUND] = min(s[c + k + BOUND], max(ready, s[shared]))


@record_inlined
def _drop(s, k, b):
    """Bank b is not in list k."""
    e = b + k + ENTRY
    after = s[e + AFTER]
    if after >= 0:
        before = s[e + BEFORE]
        s[before + AFTER] = after
        s[after + BEFORE] = before
        s[e + AFTER] = -1


@record_inlined
def oldest_ready(s, c, k, now):
    """The key of the oldest entry of list k that can issue now, or FAR; the list's bound becomes that
    of all its other entries."""
    e = s[c + k + AFTER]
    first = LATE + FAR  # the two least: keys of what is ready, then ticks of what is not
    second = LATE + FAR
    while s[e + READY] <= now:
        t = s[s[e + SHARED]]
        late = (now - t) >> 63  # -1 or 0: a branch would be guessed wrong as often as not
        value = max(s[e + KEY], (LATE + t) & late)
        second = min(second, max(first, value))
        first = min(first, value)
        e = s[e + AFTER]
    other = second if first < FAR else first
    s[c + k + BOUND] = min(s[e + READY], now + 1 if other < FAR else other - LATE)
    return first if first < FAR else FAR


@record_inlined
def bank_of(s, c, key):
    """The bank of an entry of a list, by its key."""
    return s[c + FIRST_BANK] + (key & ((1 << KEY_BITS) - 1)) * BANK_SIZE


@record_inlined
def keep(s, c, k, now):
    """List k has an entry that could issue but must wait."""
    s[c + k + BOUND] = min(s[c + k + BOUND], now + 1)


@record_inlined
def _list_hit(s, c, b):
    """Bank b is in list HIT if a request is for its row, and its refresh isn't due."""
    hit = s[b + FIRST_HIT]
    if hit >= 0 and not s[b + HELD]:
        _put(s, c, HIT, b, T_RD + s[c + SERVING], s[hit + AGE])
    else:
        _drop(s, HIT, b)


@record_inlined
def _list_other(p, s, c, b):
    """Bank b, which is open, is in list PRE if a request is for another row."""
    hit = s[b + FIRST_HIT]
    other = s[b + FIRST_OTHER]
    # Of requests that arrived at the same tick, none is the older.
    protected = hit >= 0 and p[ROW_HIT_FIRST] and s[hit + ARRIVED] <= s[other + ARRIVED]
    if other >= 0 and s[b + OPENER] < 0 and not protected and not s[b + HELD]:
        _put(s, c, PRE, b, T_PRE, s[other + AGE])
    else:
        _drop(s, PRE, b)


@record_kernel
def _list_bank(p, s, c, b):
    """Put bank b in the lists where its queued requests of the served kind belong."""
    if s[c + ACTIVATING] == b:
        return
    _list_hit(s, c, b)
    if s[b + ROW] >= 0:
        _drop(s, ACT, b)
        _list_other(p, s, c, b)
        return
    _drop(s, PRE, b)
    other = s[b + FIRST_OTHER]
    if other >= 0 and not s[b + HELD]:
        _put(s, c, ACT, b, T_ACT, s[other + AGE])
    else:
        _drop(s, ACT, b)


# ---------------------------------------------------------------- queue


@record_kernel
def _search_bank(s, c, b):
    """Find bank b's oldest hit and oldest other request of the served kind."""
    row = s[b + ROW]
    hit = -1
    other = -1
    q = s[b + HEAD_READ + s[c + SERVING]]
    while q >= 0 and (other < 0 or (hit < 0 and row >= 0)):
        if s[q + TARGET_ROW] == row:
            if hit < 0:
                hit = q
        elif other < 0:
            other = q
        q = s[q + NEXT]
    s[b + FIRST_HIT] = hit
    s[b + FIRST_OTHER] = other


@record_expanded
def push(p, s, c, kind, b, row, line, arrived, intended):
    """Queue a request; the caller has seen to the banks."""
    q = s[c + FREE]
    s[c + FREE] = s[q + NEXT]
    s[q + BANK] = b
    s[q + TARGET_ROW] = row
    s[q + LINE] = line
    s[q + ARRIVED] = arrived
    s[q + INTENDED] = intended
    s[q + KIND] = kind
    s[q + AGE] = s[c + NEXT_AGE]
    s[q + COUNTED] = 0
    s[q + WAITED] = s[c + WAITED_FOR]
    s[c + TIED] |= arrived == s[c + LATEST]
    s[c + LATEST] = arrived
    s[c + NEXT_AGE] += 1
    s[c + QUEUED_READS + kind] += 1
    _see_to_kind(p, s, c)
    tail = s[b + TAIL_READ + kind]
    s[q + NEXT] = -1
    s[q + PREVIOUS] = tail
    s[b + TAIL_READ + kind] = q
    if tail < 0:
        s[b + HEAD_READ + kind] = q
    else:
        s[tail + NEXT] = q
    if kind == s[c + SERVING]:
        first = FIRST_HIT if row == s[b + ROW] else FIRST_OTHER
        if s[b + first] < 0:
            s[b + first] = q
            _list_bank(p, s, c, b)


@record_inlined
def _unlink(p, s, c, b, q):
    """Take queue entry q out of its bank's queue."""
    kind = s[q + KIND]
    after = s[q + NEXT]
    before = s[q + PREVIOUS]
    if before < 0:
        s[b + HEAD_READ + kind] = after
    else:
        s[before + NEXT] = after
    if after < 0:
        s[b + TAIL_READ + kind] = before
    else:
        s[after + PREVIOUS] = before
    s[c + QUEUED_READS + kind] -= 1
    _see_to_kind(p, s, c)


@record_inlined
def _see_to_kind(p, s, c):
    """Reads first; writes once their queue is nearly full, until it is nearly empty."""
    reads = s[c + QUEUED_READS]
    writes = s[c + QUEUED_WRITES]
    if s[c + SERVING]:
        s[c + KEEPS_KIND] = writes >= p[DRAIN_BELOW] or reads == 0
    else:
        s[c + KEEPS_KIND] = writes <= p[DRAIN_ABOVE] and reads > 0


@record_inlined
def choose_kind(p, s, c):
    if not s[c + KEEPS_KIND]:
        _switch_kind(p, s, c)


@record_kernel
def _switch_kind(p, s, c):
    s[c + SERVING] = 1 - s[c + SERVING]
    _see_to_kind(p, s, c)
    first = s[c + FIRST_BANK]
    for b in range(first, first + p[BANKS] * BANK_SIZE, BANK_SIZE):
        if s[b + HEAD_READ] >= 0 or s[b + HEAD_WRITE] >= 0:
            _search_bank(s, c, b)
            _list_bank(p, s, c, b)


# ---------------------------------------------------------------- commands


@record_inlined
def _delay_columns(p, s, command, b, now):
    """Every RD and WR that must wait for this command, does."""
    width = p[WIDTH]
    times = s[b + GROUP_TIMES]
    gaps = p[GAP_AT] + command * p[GAP_SIZE] + s[b + GROUP_GAPS]
    for j in range(0, width, 8):
        put_off(s, times + j, p, gaps + j, now)
        put_off(s, times + width + j, p, gaps + width + j, now)


@record_inlined
def _delay_activations(p, s, command, b, now):
    """Every ACT that must wait for this command, or for it and three ACTs before it, does."""
    times = s[b + GROUP_TIMES] + 2 * p[WIDTH]
    gaps = p[GAP_AT] + command * p[GAP_SIZE] + s[b + GROUP_GAPS] + 2 * p[WIDTH]
    windows = p[FAW_AT] + s[b + GROUP_FAW]
    fourth = s[s[b + SCOPE] + RECENT]
    for j in range(0, p[WIDTH], 8):
        put_off(s, times + j, p, gaps + j, now)
        put_off(s, times + j, p, windows + j, fourth)


@record_inlined
def _delay_others(p, s, command, b, now):
    """Every other command that must wait for this one, does; and of its bank, each."""
    put_off(s, s[b + SCOPE], p, SCOPE_GAP_AT + 8 * command, now)
    put_off(s, b, p, BANK_GAP_AT + 8 * command, now)


@record_inlined
def record(p, s, c, now, command, b, row, line):
    n = s[c + LOGGED]
    if n < p[LOG_ROOM]:
        at = s[c + LOG] + n * LOG_FIELDS
        s[at] = now
        s[at + 1] = command
        s[at + 2] = s[b + NUMBER]
        s[at + 3] = row
        s[at + 4] = line
        s[c + LOGGED] = n + 1


@record_inlined
def _count(s, c, q, outcome):
    """A request's first command tells whether it hits; `outcome` is ROW_HITS or a neighbour."""
    if not s[q + COUNTED]:
        s[q + COUNTED] = 1
        s[c + outcome] += 1


@record_inlined
def _close_row(s, c, b):
    s[b + ROW] = -1
    s[b + ACCESSES] = 0
    s[b + CLOSING] = 0
    s[b + FIRST_HIT] = -1
    s[b + FIRST_OTHER] = s[b + HEAD_READ + s[c + SERVING]]


@record_inlined
def _take_hit(p, s, c, b):
    """Dequeue bank b's oldest hit and find the next."""
    q = s[b + FIRST_HIT]
    row = s[b + ROW]
    after = s[q + NEXT]
    while after >= 0 and s[after + TARGET_ROW] != row:
        after = s[after + NEXT]
    s[b + FIRST_HIT] = after
    _unlink(p, s, c, b, q)
    return q


@record_inlined
def complete(p, s, c, done):
    s[c + LAST_DONE] = max(s[c + LAST_DONE], done)
    s[s[c + DONE_RING] + (s[c + DONE] & (p[WINDOW] - 1))] = done
    s[c + DONE] += 1


@record_expanded
def _finish(p, s, c, q, now):
    """Book the end of a request whose column command issues now; its queue entry is free."""
    kind = s[q + KIND]
    done = now + p[READ_LATENCY + kind]
    if kind == 0:
        latency = done - s[q + ARRIVED]
        s[c + LATENCY_SUM] += latency
        s[c + ARRIVAL_LATENCY_SUM] += done - s[q + INTENDED]
        s[s[c + HISTOGRAM] + min(latency, p[BINS] - 1)] += 1
    s[c + READS + kind] += 1
    complete(p, s, c, done)
    s[q + NEXT] = s[c + FREE]
    s[c + FREE] = q


@record_inlined
def _await_column(s, c, b):
    """The request that opened bank b's row joins list ACTIVE.

    Of requests that arrived at the same tick, the first to open its row goes first there.
    """
    q = s[b + OPENER]
    age = s[q + AGE] << AGE_BITS
    if s[c + TIED]:
        e = s[c + ACTIVE + AFTER]
        while e != c + ACTIVE:
            if s[s[e - (ENTRY + ACTIVE) + OPENER] + ARRIVED] == s[q + ARRIVED]:
                age = max(age, (s[e + KEY] >> KEY_BITS) + 1)
            e = s[e + AFTER]
    _put(s, c, ACTIVE, b, T_RD + s[q + KIND], age)


@record_inlined
def _open_row(p, s, c, b, q, now):
    """What ACT changes: four activations fill a window, and q waits."""
    s[c + ACTIVATIONS] += 1
    recent = s[b + SCOPE] + RECENT
    s[recent] = s[recent + 1]
    s[recent + 1] = s[recent + 2]
    s[recent + 2] = s[recent + 3]
    s[recent + 3] = now
    _delay_activations(p, s, ACT_BANK, b, now)
    _delay_others(p, s, ACT_BANK, b, now)
    _unlink(p, s, c, b, q)
    s[b + OPENER] = q
    s[b + ROW] = s[q + TARGET_ROW]
    _search_bank(s, c, b)
    if p[ACT2_LIMIT]:
        s[c + ACTIVATING] = b
        s[c + ACT2_DEADLINE] = now + p[ACT2_LIMIT]
    else:
        _await_column(s, c, b)
        _list_hit(s, c, b)


@record_inlined
def _overlap(first, last, since, until):
    return max(0, min(last, until) - max(first, since))


@record_inlined
def _explain(p, s, c, b, q, now):
    """Book the data bus's idle ticks before a column command to what it waited for, in turn: a
    refresh, the request itself, its row, the other commands' spacing, a turn to issue."""
    bus = s[b + BUS]
    kind = s[q + KIND]
    t = s[bus + BUS_FREE]
    if t < now:
        blocked = _overlap(s[c + BLOCKED_FROM], s[c + BLOCKED_TO], t, now)
        refresh = _overlap(s[b + REFRESH_FROM], s[b + REFRESH_TO], t, now)
        t += max(blocked, refresh)
        s[c + LOST_REFRESH] += max(blocked, refresh)
        u = min(now, max(t, s[q + ARRIVED] + 1))
        s[c + LOST_NO_REQUEST + s[q + WAITED]] += u - t
        t = min(now, max(u, s[b + T_RD + kind]))
        s[c + LOST_ROW + s[b + ACT_WAITED]] += t - u
        spaced = max(s[s[b + SHARES + T_RD + kind]], s[c + COLUMN_FREE])
        u = min(now, max(t, spaced))
        turned = s[bus + BUS_KIND] != kind
        s[c + (LOST_TURNAROUND if turned else LOST_SPACING)] += u - t
        s[c + LOST_COMMAND_BUS] += now - u
    s[bus + BUS_FREE] = now + p[BURST]
    s[bus + BUS_KIND] = kind


@record_kernel
def serve_column(p, s, c, k, b, now):
    """RD or WR for the request that bank b's entry of list k, ACTIVE or HIT, stands for."""
    if k == ACTIVE:
        q = s[b + OPENER]
        s[b + OPENER] = -1
        _drop(s, ACTIVE, b)
    else:
        q = _take_hit(p, s, c, b)
        _count(s, c, q, ROW_HITS)
    kind = s[q + KIND]
    command = RD + kind
    cap = p[CLOSE_AFTER]
    if cap > 0 and s[b + ACCESSES] >= cap and s[b + OPENER] < 0:
        command += RDA - RD
    record(p, s, c, now, command, b, s[q + TARGET_ROW], s[q + LINE])
    _explain(p, s, c, b, q, now)
    _delay_columns(p, s, command, b, now)
    _delay_others(p, s, command, b, now)
    s[c + COLUMN_FREE] = now + p[COLUMN_BUS]
    s[b + ACCESSES] += 1
    if cap > 0 and s[b + ACCESSES] >= cap:
        s[c + NEXT_CLOSE] = min(s[c + NEXT_CLOSE], s[b + T_PRE])
    _finish(p, s, c, q, now)
    if command >= RDA:
        _close_row(s, c, b)
        _list_bank(p, s, c, b)
        return
    if k == HIT:
        _list_hit(s, c, b)
    _list_other(p, s, c, b)


@record_kernel
def serve_row(p, s, c, k, b, now):
    """PRE or ACT, of list k, for bank b's oldest request to another row than is open."""
    q = s[b + FIRST_OTHER]
    command = PRE_PB if k == PRE else ACT_BANK
    record(p, s, c, now, command, b, s[q + TARGET_ROW], s[q + LINE])
    if k == PRE:
        _count(s, c, q, ROW_CONFLICTS)
        _delay_others(p, s, PRE_PB, b, now)
        s[c + ROW_FREE] = now + p[ROW_BUS]
        _close_row(s, c, b)
        _drop(s, HIT, b)
        _drop(s, PRE, b)
        _put(s, c, ACT, b, T_ACT, s[s[b + FIRST_OTHER] + AGE])
        return
    _count(s, c, q, ROW_MISSES)
    own = max(s[b + T_ACT], s[q + ARRIVED] + 1)
    s[b + ACT_WAITED] = max(s[s[b + SHARES + T_ACT]], s[c + ROW_FREE]) > own
    s[c + ROW_FREE] = now + p[ACT_BUS]
    _drop(s, ACT, b)
    _open_row(p, s, c, b, q, now)


@record_kernel
def activate_second(p, s, c, now):
    """LPDDR: the second half of an activation."""
    b = s[c + ACTIVATING]
    s[c + ACTIVATING] = -1
    q = s[b + OPENER]
    record(p, s, c, now, ACT2, b, s[q + TARGET_ROW], s[q + LINE])
    _await_column(s, c, b)
    _list_hit(s, c, b)


# ---------------------------------------------------------------- maintenance


@record_kernel
def _ask(p, s, c, command, b):
    at = s[c + ASKED_RING] + (s[c + ASKED_FIRST] + s[c + ASKED]) % RING * 2
    s[at] = command
    s[at + 1] = b
    s[c + ASKED] += 1
    if command != PRE_PB:
        s[b + REFRESH_FROM] = s[c + NOW]
        if s[c + BLOCKED_TO] < FAR and p[REFRESH] != PER_BANK:
            s[c + BLOCKED_FROM] = s[c + NOW]
            s[c + BLOCKED_TO] = FAR


@record_expanded
def _skip_idle(p, s, c):
    """Whether refreshes of an idle channel were counted instead of issued: all up to the last two
    rounds before its next request, after which everything is as if they had been."""
    all_banks = p[REFRESH] == ALL_BANK
    cycle = p[REFI] if all_banks else p[REFI_BANK] * (p[BANKS] // p[BUSES])
    skipped = (s[c + STOP_TICK] - s[c + NEXT_REFRESH]) // cycle - 2
    taken = s[c + NEXT_AGE] + s[c + FORWARDED] + s[c + MERGED]
    busy = s[c + DONE] < taken or s[c + ASKED] > 0 or s[c + NEXT_CLOSE] < FAR
    if skipped <= 0 or busy or p[LOG_ROOM] > 0:
        return False
    s[c + NEXT_REFRESH] += skipped * cycle
    s[c + REFRESHES] += skipped * (p[SCOPES] if all_banks else p[BANKS])
    return True


@record_kernel
def ask_refresh(p, s, c):
    """The refresh that is due: of every scope, or of one bank on every data bus."""
    if _skip_idle(p, s, c):
        return
    first = s[c + FIRST_BANK]
    if p[REFRESH] == ALL_BANK:
        s[c + NEXT_REFRESH] += p[REFI]
        for scope in range(p[SCOPES]):
            _ask(p, s, c, REF_AB, first + scope * (p[BANKS] // p[SCOPES]) * BANK_SIZE)
        return
    s[c + NEXT_REFRESH] += p[REFI_BANK]
    banks = p[BANKS] // p[BUSES]
    for bus in range(p[BUSES]):
        b = first + (bus * banks + s[c + REFRESH_CURSOR]) * BANK_SIZE
        _ask(p, s, c, REF_PB, b)
        if p[REFRESH] == PER_BANK:
            s[b + HELD] = 1
            _list_bank(p, s, c, b)
    s[c + REFRESH_CURSOR] = (s[c + REFRESH_CURSOR] + 1) % banks


@record_kernel
def ask_precharges(p, s, c, now):
    """Closed-row policy: a precharge for each row that has had its share, once it is legal."""
    soonest = FAR
    first = s[c + FIRST_BANK]
    for b in range(first, first + p[BANKS] * BANK_SIZE, BANK_SIZE):
        if s[b + ACCESSES] >= p[CLOSE_AFTER] and not s[b + CLOSING]:
            t = max(s[b + T_PRE], s[s[b + SHARES + T_PRE]], s[c + ROW_FREE])
            if t <= now:
                s[b + CLOSING] = 1
                _ask(p, s, c, PRE_PB, b)
            else:
                soonest = min(soonest, t)
    s[c + NEXT_CLOSE] = soonest


@record_kernel
def next_maintenance(p, s, c):
    """The earliest tick of the command that the oldest maintenance request needs, and which."""
    at = s[c + ASKED_RING] + s[c + ASKED_FIRST] * 2
    command = s[at]
    b = s[at + 1]
    if command == REF_AB:
        follower = T_REF_AB
        for other in range(b, b + p[BANKS] // p[SCOPES] * BANK_SIZE, BANK_SIZE):
            if s[other + OPENER] >= 0:
                return FAR, command
            if s[other + ROW] >= 0:
                command = PRE_AB
                follower = T_PRE_AB
        t = s[s[b + SHARES + follower]]
    else:
        if s[b + OPENER] >= 0:
            return FAR, command
        follower = T_REF_PB
        if s[b + ROW] >= 0 or command == PRE_PB:
            command = PRE_PB
            follower = T_PRE
        t = max(s[b + follower], s[s[b + SHARES + follower]])
    t = max(t, s[c + ROW_FREE])
    if command >= REF_AB:
        t |= p[SPLIT_BUS]
    return t, command


@record_kernel
def maintain(p, s, c, command, now):
    """Issue `command` for the oldest maintenance request."""
    at = s[c + ASKED_RING] + s[c + ASKED_FIRST] * 2
    b = s[at + 1]
    if command == s[at]:
        s[c + ASKED_FIRST] = (s[c + ASKED_FIRST] + 1) % RING
        s[c + ASKED] -= 1
        if s[c + ASKED] == 0:
            s[c + BLOCKED_TO] = min(s[c + BLOCKED_TO], now)
    covered = p[BANKS] // p[SCOPES] if command in (PRE_AB, REF_AB) else 1
    last = b + (covered - 1) * BANK_SIZE
    if command == PRE_AB:
        for other in range(b, last, BANK_SIZE):
            _close_row(s, c, other)
            _list_bank(p, s, c, other)
    if command == REF_PB:
        s[b + HELD] = 0
    record(p, s, c, now, command, last, -1, -1)
    _delay_activations(p, s, command, last, now)
    _delay_others(p, s, command, last, now)
    s[c + ROW_FREE] = now + p[ROW_BUS]
    if command < REF_AB:
        _close_row(s, c, last)
    _list_bank(p, s, c, last)
    if command >= REF_AB:
        s[c + REFRESHES] += 1
        ready = max(s[last + T_ACT], s[s[last + SHARES + T_ACT]])
        for other in range(b, last + 1, BANK_SIZE):
            s[other + REFRESH_FROM] = s[b + REFRESH_FROM]
            s[other + REFRESH_TO] = ready
