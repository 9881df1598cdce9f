"""One memory channel, every burst scheduled: FR-FCFS over finite queues, bank by bank.

Event driven: the channel jumps from one tick at which a command can issue to the next. What can
issue is kept in four short lists with at most one entry per bank:

    ACTIVE  the request that opened a row and now waits for its column command
    HIT     the oldest queued request to the open row
    PRE     the oldest queued request to another row of an open bank
    ACT     the oldest queued request to a closed bank

An entry's command is ready at max(its bank's time, its group's time). Constraints only ever push
these times up, so the earliest ready time of a list, once found, is a lower bound that stays valid
until an entry is added; no list is looked at before its bound. The queue holds reads and writes
apart and serves one kind at a time; HIT, PRE and ACT hold the kind being served.

Records are described in burst_state. Ticks count from 1.
"""

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
    AGE,
    ALL_BANK,
    ARRIVAL_LATENCY_SUM,
    ARRIVED,
    ASKED,
    ASKED_FIRST,
    ASKED_RING,
    BANK,
    BANK_GAP_AT,
    BANK_SIZE,
    BANK_SLICES,
    BANKS,
    BINS,
    BLOCKED_FROM,
    BLOCKED_TO,
    BOUND,
    BURST,
    BUS,
    BUS_FREE,
    BUS_KIND,
    BUS_SIZE,
    BUSES,
    CAS_RD,
    CHANNEL_SIZE,
    CLOCK_READ,
    CLOCK_STOPS,
    CLOCK_WRITE,
    CLOCKED,
    CLOCKED_LIST,
    CLOSE_AFTER,
    CLOSING,
    COLUMN_BUS,
    COUNT,
    COUNTED,
    DONE,
    DONE_RING,
    DRAIN_ABOVE,
    DRAIN_BELOW,
    FAR,
    FAW,
    FIRST_AT,
    FIRST_BANK,
    FIRST_BUS,
    FIRST_HIT,
    FIRST_OTHER,
    FORWARDED,
    FREE,
    GAP_AT,
    GROUP,
    GROUP_READY,
    GROUP_TIMES,
    GROUPS,
    HEAD_READ,
    HEAD_WRITE,
    HELD,
    HISTOGRAM,
    HIT,
    INTENDED,
    KIND,
    LAST_AT,
    LAST_DONE,
    LATENCY_SUM,
    LINE,
    LIST_HEAD,
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
    PLACE,
    PRE,
    PRE_AB,
    PRE_PB,
    PREVIOUS,
    QUEUED_READS,
    QUEUED_WRITES,
    RD,
    RDA,
    READ_LATENCY,
    READ_QUEUE,
    READS,
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
    ROW_CONFLICTS,
    ROW_HIT_FIRST,
    ROW_HITS,
    ROW_MISSES,
    SCOPE,
    SCOPES,
    SERVING,
    SLICE_AT,
    SLICES,
    SPLIT_BUS,
    STOP_DONE,
    STOP_KIND,
    STOP_QUEUED,
    STOP_TICK,
    T_ACT,
    T_PRE,
    T_PRE_AB,
    T_RD,
    T_REF_AB,
    T_REF_PB,
    TAIL_READ,
    TARGET_ROW,
    WAITED,
    WAITED_FOR,
    WINDOW,
    WRA,
)
from hmsim.memory.compiling import inlined, kernel
from hmsim.memory.timing import FOLLOWERS

# ---------------------------------------------------------------- lists


@inlined
def _put(p, s, k, place, b, follower, q):
    """Make bank b's entry in list k say: `follower`, for queue entry q."""
    banks = p[BANKS]
    ready = s[b + follower]
    group = s[b + GROUP_READY] + follower * p[GROUPS]
    i = s[b + PLACE + place]
    if i < 0:
        i = k + LIST_HEAD + s[k + COUNT]
        s[k + COUNT] += 1
        s[b + PLACE + place] = i
        s[i + 3 * banks] = b
    s[i] = ready
    s[i + banks] = group
    s[i + 2 * banks] = s[q + AGE]
    s[k + BOUND] = min(s[k + BOUND], max(ready, s[group]))


@inlined
def _drop(p, s, k, place, b):
    """Bank b leaves list k; the last entry takes its place."""
    i = s[b + PLACE + place]
    if i < 0:
        return
    banks = p[BANKS]
    s[b + PLACE + place] = -1
    s[k + COUNT] -= 1
    last = k + LIST_HEAD + s[k + COUNT]
    if i != last:
        for field in range(4):
            s[i + field * banks] = s[last + field * banks]
        s[s[i + 3 * banks] + PLACE + place] = i


@inlined
def _oldest_ready(p, s, k, rising, now):
    """The oldest entry of list k that can issue now, or -1; the list's bound becomes that of all
    its other entries.

    `rising` = 1 where the command needs a rising clock edge (an odd tick).
    """
    banks = p[BANKS]
    first = k + LIST_HEAD
    best = -1
    oldest = FAR
    bound = FAR
    for i in range(first, first + s[k + COUNT]):
        t = max(s[i], s[s[i + banks]]) | rising
        if t > now:
            bound = min(bound, t)
            continue
        if best >= 0:
            bound = now + 1
        if s[i + 2 * banks] < oldest:
            oldest = s[i + 2 * banks]
            best = i
    s[k + BOUND] = bound
    return best


@inlined
def _keep(s, k, now):
    """List k has an entry that could issue but must wait."""
    s[k + BOUND] = min(s[k + BOUND], now + 1)


@kernel
def _list_bank(p, s, c, b):
    """Put bank b in the lists where its queued requests of the served kind belong."""
    hit = s[b + FIRST_HIT]
    other = s[b + FIRST_OTHER]
    if s[b + HELD] or s[c + ACTIVATING] == b:
        hit = -1
        other = -1
    if hit >= 0:
        _put(p, s, s[c + HIT], 1, b, T_RD + s[c + SERVING], hit)
    else:
        _drop(p, s, s[c + HIT], 1, b)
    if other >= 0 and s[b + ROW] < 0:
        _put(p, s, s[c + ACT], 3, b, T_ACT, other)
        other = -1
    else:
        _drop(p, s, s[c + ACT], 3, b)
    protected = hit >= 0 and p[ROW_HIT_FIRST] and s[hit + AGE] < s[other + AGE]
    if other >= 0 and s[b + OPENER] < 0 and not protected:
        _put(p, s, s[c + PRE], 2, b, T_PRE, other)
    else:
        _drop(p, s, s[c + PRE], 2, b)


# ---------------------------------------------------------------- queue


@kernel
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


@inlined
def _push(p, s, c, kind, b, row, line, arrived, intended):
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
    s[c + NEXT_AGE] += 1
    s[c + QUEUED_READS + kind] += 1
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


@inlined
def _unlink(s, c, b, q):
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


@inlined
def _keeps_kind(p, s, c):
    """Reads first; writes once their queue is nearly full, until it is nearly empty."""
    reads = s[c + QUEUED_READS]
    writes = s[c + QUEUED_WRITES]
    if s[c + SERVING]:
        return writes >= p[DRAIN_BELOW] or reads == 0
    return writes <= p[DRAIN_ABOVE] and reads > 0


@kernel
def _choose_kind(p, s, c):
    if _keeps_kind(p, s, c):
        return
    s[c + SERVING] = 1 - s[c + SERVING]
    first = s[c + FIRST_BANK]
    for b in range(first, first + p[BANKS] * BANK_SIZE, BANK_SIZE):
        _search_bank(s, c, b)
        _list_bank(p, s, c, b)


# ---------------------------------------------------------------- commands


@inlined
def _delay_followers(p, s, c, command, b, now):
    """Every command that must wait for this one, does."""
    groups = p[GROUPS]
    first = p[p[FIRST_AT] + command] * groups
    last = p[p[LAST_AT] + command] * groups
    gap = p[GAP_AT] + (command * groups + s[b + GROUP]) * len(FOLLOWERS) * groups
    times = s[s[c + GROUP_TIMES] + first : s[c + GROUP_TIMES] + last]
    gaps = p[gap + first : gap + last]
    for j in range(last - first):
        times[j] = max(times[j], now + gaps[j])
    if command != PRE_AB and command != REF_AB:
        bank_gap = p[BANK_GAP_AT] + command * len(FOLLOWERS)
        for f in range(len(FOLLOWERS)):
            s[b + f] = max(s[b + f], now + p[bank_gap + f])


@inlined
def _record(p, s, c, now, command, b, row, line):
    n = s[c + LOGGED]
    if n < p[LOG_ROOM]:
        at = s[c + LOG] + n * LOG_FIELDS
        s[at] = now
        s[at + 1] = command
        s[at + 2] = s[b + NUMBER]
        s[at + 3] = row
        s[at + 4] = line
        s[c + LOGGED] = n + 1


@inlined
def _count(s, c, q, outcome):
    """A request's first command tells whether it hits; `outcome` is ROW_HITS or a neighbour."""
    if not s[q + COUNTED]:
        s[q + COUNTED] = 1
        s[c + outcome] += 1


@inlined
def _close_row(s, c, b):
    s[b + ROW] = -1
    s[b + ACCESSES] = 0
    s[b + CLOSING] = 0
    s[b + FIRST_HIT] = -1
    s[b + FIRST_OTHER] = s[b + HEAD_READ + s[c + SERVING]]


@inlined
def _take_hit(s, c, b):
    """Dequeue bank b's oldest hit and find the next."""
    q = s[b + FIRST_HIT]
    row = s[b + ROW]
    after = s[q + NEXT]
    while after >= 0 and s[after + TARGET_ROW] != row:
        after = s[after + NEXT]
    s[b + FIRST_HIT] = after
    _unlink(s, c, b, q)
    return q


@inlined
def _complete(p, s, c, done):
    s[c + LAST_DONE] = max(s[c + LAST_DONE], done)
    s[s[c + DONE_RING] + (s[c + DONE] & (p[WINDOW] - 1))] = done
    s[c + DONE] += 1


@inlined
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
    _complete(p, s, c, done)
    s[q + NEXT] = s[c + FREE]
    s[c + FREE] = q


@inlined
def _await_column(p, s, c, b):
    """The request that opened bank b's row joins list ACTIVE."""
    q = s[b + OPENER]
    _put(p, s, s[c + ACTIVE], 0, b, T_RD + s[q + KIND], q)


@inlined
def _open_row(p, s, c, b, q, now):
    """What ACT changes beside the times: four activations fill a window, and q waits."""
    s[c + ACTIVATIONS] += 1
    recent = s[b + SCOPE]
    for n in range(3):
        s[recent + n] = s[recent + n + 1]
    s[recent + 3] = now
    fifth = s[recent] + p[FAW]
    groups = p[GROUPS] // p[SCOPES]
    scope = s[c + GROUP_TIMES] + T_ACT * p[GROUPS] + s[b + GROUP] // groups * groups
    for j in range(scope, scope + groups):
        s[j] = max(s[j], fifth)
    _unlink(s, c, b, q)
    s[b + OPENER] = q
    s[b + ROW] = s[q + TARGET_ROW]
    _search_bank(s, c, b)
    if p[ACT2_LIMIT]:
        s[c + ACTIVATING] = b
        s[c + ACT2_DEADLINE] = now + p[ACT2_LIMIT]
    else:
        _await_column(p, s, c, b)


@inlined
def _overlap(first, last, since, until):
    return max(0, min(last, until) - max(first, since))


@inlined
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
        u = min(now, max(t, s[s[b + GROUP_READY] + (T_RD + kind) * p[GROUPS]]))
        turned = s[bus + BUS_KIND] != kind
        s[c + (LOST_TURNAROUND if turned else LOST_SPACING)] += u - t
        s[c + LOST_COMMAND_BUS] += now - u
    s[bus + BUS_FREE] = now + p[BURST]
    s[bus + BUS_KIND] = kind


@inlined
def _access(p, s, c, b, q, now):
    """What RD and WR change beside the times."""
    s[b + ACCESSES] += 1
    if p[CLOSE_AFTER] > 0 and s[b + ACCESSES] >= p[CLOSE_AFTER]:
        s[c + NEXT_CLOSE] = min(s[c + NEXT_CLOSE], s[b + T_PRE])
    _finish(p, s, c, q, now)


@kernel
def _issue(p, s, c, command, b, q, now):
    """Issue a command of one bank for queue entry q (-1: maintenance)."""
    row = s[q + TARGET_ROW] if q >= 0 else -1
    _record(p, s, c, now, command, b, row, s[q + LINE] if q >= 0 else -1)
    if command <= WRA:
        _explain(p, s, c, b, q, now)
    elif command == ACT_BANK:
        own = max(s[b + T_ACT], s[q + ARRIVED] + 1)
        s[b + ACT_WAITED] = s[s[b + GROUP_READY] + T_ACT * p[GROUPS]] > own
    _delay_followers(p, s, c, command, b, now)
    if command <= WRA:
        _access(p, s, c, b, q, now)
    if command == ACT_BANK:
        _open_row(p, s, c, b, q, now)
    elif command >= RDA and command < REF_AB:
        _close_row(s, c, b)
    _list_bank(p, s, c, b)


@kernel
def _serve(p, s, c, k, i, now):
    """Issue the command that entry i of list k stands for."""
    b = s[i + 3 * p[BANKS]]
    bus = p[ACT_BUS] if k == ACT else p[COLUMN_BUS]
    s[s[c + k] + BOUND] = max(s[s[c + k] + BOUND], now + (1 if k == PRE else bus))
    if k in (PRE, ACT):
        q = s[b + FIRST_OTHER]
        _count(s, c, q, ROW_CONFLICTS if k == PRE else ROW_MISSES)
        _issue(p, s, c, PRE_PB if k == PRE else ACT_BANK, b, q, now)
        return
    if k == ACTIVE:
        q = s[b + OPENER]
        s[b + OPENER] = -1
        _drop(p, s, s[c + ACTIVE], 0, b)
    else:
        q = _take_hit(s, c, b)
        _count(s, c, q, ROW_HITS)
    command = RD + s[q + KIND]
    cap = p[CLOSE_AFTER]
    if cap > 0 and s[b + ACCESSES] >= cap and s[b + OPENER] < 0:
        command += RDA - RD
    _issue(p, s, c, command, b, q, now)


@kernel
def _activate_second(p, s, c, now):
    """LPDDR: the second half of an activation."""
    b = s[c + ACTIVATING]
    s[c + ACTIVATING] = -1
    q = s[b + OPENER]
    _record(p, s, c, now, ACT2, b, s[q + TARGET_ROW], s[q + LINE])
    _await_column(p, s, c, b)
    _list_bank(p, s, c, b)


# ---------------------------------------------------------------- maintenance


@kernel
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


@kernel
def _ask_refresh(p, s, c):
    """The refresh that is due: of every scope, or of one bank on every data bus."""
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


@kernel
def _ask_precharges(p, s, c, now):
    """Closed-row policy: a precharge for each row that has had its share, once it is legal."""
    soonest = FAR
    first = s[c + FIRST_BANK]
    for b in range(first, first + p[BANKS] * BANK_SIZE, BANK_SIZE):
        if s[b + ACCESSES] >= p[CLOSE_AFTER] and not s[b + CLOSING]:
            t = max(s[b + T_PRE], s[s[b + GROUP_READY] + T_PRE * p[GROUPS]])
            if t <= now:
                s[b + CLOSING] = 1
                _ask(p, s, c, PRE_PB, b)
            else:
                soonest = min(soonest, t)
    s[c + NEXT_CLOSE] = soonest


@kernel
def _next_maintenance(p, s, c):
    """The earliest tick of the command that the oldest maintenance request needs, and which."""
    at = s[c + ASKED_RING] + s[c + ASKED_FIRST] * 2
    command = s[at]
    b = s[at + 1]
    groups = p[GROUPS]
    if command == REF_AB:
        follower = T_REF_AB
        for other in range(b, b + p[BANKS] // p[SCOPES] * BANK_SIZE, BANK_SIZE):
            if s[other + OPENER] >= 0:
                return FAR, command
            if s[other + ROW] >= 0:
                command = PRE_AB
                follower = T_PRE_AB
        t = s[s[b + GROUP_READY] + follower * groups]
    else:
        if s[b + OPENER] >= 0:
            return FAR, command
        follower = T_REF_PB
        if s[b + ROW] >= 0 or command == PRE_PB:
            command = PRE_PB
            follower = T_PRE
        t = max(s[b + follower], s[s[b + GROUP_READY] + follower * groups])
    if command >= REF_AB:
        t |= p[SPLIT_BUS]
    return t, command


@kernel
def _maintain(p, s, c, command, now):
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
        _close_row(s, c, last)
    if command == REF_PB:
        s[b + HELD] = 0
    _issue(p, s, c, command, last, -1, now)
    if command >= REF_AB:
        s[c + REFRESHES] += 1
        ready = max(s[last + T_ACT], s[s[last + GROUP_READY] + T_ACT * p[GROUPS]])
        for other in range(b, last + 1, BANK_SIZE):
            s[other + REFRESH_FROM] = s[b + REFRESH_FROM]
            s[other + REFRESH_TO] = ready


# ---------------------------------------------------------------- time


@inlined
def _is_free(p, s, c):
    """Whether requests may start: maintenance that waits holds back the whole channel, but for
    per-bank refresh, which holds only its bank."""
    return s[c + ASKED] == 0 or p[REFRESH] == PER_BANK


@inlined
def _next_event(p, s, c):
    """The first tick after NOW at which something may happen."""
    rising = p[SPLIT_BUS]
    soonest = s[c + NOW] + 1
    if s[c + ACTIVATING] >= 0 or s[c + CLOCKED] >= 0:
        return soonest
    t = min(s[c + NEXT_REFRESH], s[c + NEXT_CLOSE])
    t = min(t, s[s[c + ACTIVE] + BOUND] | rising)
    if _is_free(p, s, c):
        t = min(t, s[s[c + HIT] + BOUND] | rising)
        t = min(t, s[s[c + PRE] + BOUND])
        t = min(t, s[s[c + ACT] + BOUND] | rising)
        if not _keeps_kind(p, s, c):
            return soonest
    if s[c + ASKED] > 0:
        t = min(t, _next_maintenance(p, s, c)[0])
    return max(t, soonest)


@inlined
def _choose_column(p, s, c, now):
    """HBM: the list and entry of the column command to issue on this rising edge, or -1."""
    k = s[c + ACTIVE]
    if s[k + BOUND] <= now:
        i = _oldest_ready(p, s, k, 1, now)
        if i >= 0:
            return ACTIVE, i
    if not _is_free(p, s, c):
        return HIT, -1
    _choose_kind(p, s, c)
    k = s[c + HIT]
    if s[k + BOUND] > now:
        return HIT, -1
    return HIT, _oldest_ready(p, s, k, 1, now)


@inlined
def _choose_row(p, s, c, now):
    """HBM: the list and entry of the row command to issue; ACT needs a rising edge."""
    _choose_kind(p, s, c)
    pre = -1
    act = -1
    if s[s[c + PRE] + BOUND] <= now:
        pre = _oldest_ready(p, s, s[c + PRE], 0, now)
    if now & 1 and s[s[c + ACT] + BOUND] <= now:
        act = _oldest_ready(p, s, s[c + ACT], 1, now)
    age = 2 * p[BANKS]
    if pre >= 0 and (act < 0 or s[pre + age] < s[act + age]):
        if act >= 0:
            _keep(s, s[c + ACT], now)
        return PRE, pre
    if pre >= 0:
        _keep(s, s[c + PRE], now)
    return ACT, act


@kernel
def _split_bus_tick(p, s, c, now):
    """HBM: a column command on a rising edge, and a row command."""
    if now & 1:
        k, i = _choose_column(p, s, c, now)
        if i >= 0:
            _serve(p, s, c, k, i, now)
    if s[c + ASKED] > 0:
        t, command = _next_maintenance(p, s, c)
        if t <= now:
            _maintain(p, s, c, command, now)
            return
    if _is_free(p, s, c):
        k, i = _choose_row(p, s, c, now)
        if i >= 0:
            _serve(p, s, c, k, i, now)


@inlined
def _choose_any(p, s, c, now):
    """LPDDR: the list and entry of the command to issue, or -1; no ACT-1 amid an activation."""
    k = s[c + ACTIVE]
    if s[k + BOUND] <= now:
        i = _oldest_ready(p, s, k, 0, now)
        if i >= 0:
            return ACTIVE, i
    chosen = ACTIVE
    best = -1
    if (s[c + ASKED] > 0 and _next_maintenance(p, s, c)[0] <= now) or not _is_free(p, s, c):
        return chosen, best
    _choose_kind(p, s, c)
    age = 2 * p[BANKS]
    for each in range(HIT, ACT + 1 if s[c + ACTIVATING] < 0 else ACT):
        if s[s[c + each] + BOUND] <= now:
            i = _oldest_ready(p, s, s[c + each], 0, now)
            if i < 0:
                continue
            if best < 0 or s[i + age] < s[best + age]:
                if best >= 0:
                    _keep(s, s[c + chosen], now)
                chosen = each
                best = i
            else:
                _keep(s, s[c + each], now)
    return chosen, best


@kernel
def _single_bus_tick(p, s, c, now):
    """LPDDR: one command, ACT in two parts, a CAS before RD or WR when WCK has stopped."""
    activating = s[c + ACTIVATING] >= 0
    b = s[c + CLOCKED]
    if b >= 0:
        s[c + CLOCKED] = -1
        k = s[c + CLOCKED_LIST]
        i = s[b + PLACE + k - ACTIVE]
    elif activating and s[c + ACT2_DEADLINE] <= now:
        _activate_second(p, s, c, now)
        return
    else:
        k, i = _choose_any(p, s, c, now)
    if i < 0:
        t = FAR
        if s[c + ASKED] > 0:
            t, command = _next_maintenance(p, s, c)
        if t <= now:
            _maintain(p, s, c, command, now)
        elif activating:
            _activate_second(p, s, c, now)
        return
    if k in (ACTIVE, HIT):
        bank = s[i + 3 * p[BANKS]]
        q = s[bank + OPENER] if k == ACTIVE else s[bank + FIRST_HIT]
        if b < 0 and now >= s[c + CLOCK_STOPS]:
            if activating and s[c + ACT2_DEADLINE] <= now + 1:
                _keep(s, s[c + k], now)
                _activate_second(p, s, c, now)
                return
            command = CAS_RD + s[q + KIND]
            _record(p, s, c, now, command, bank, s[q + TARGET_ROW], s[q + LINE])
            s[c + CLOCKED] = bank
            s[c + CLOCKED_LIST] = k
            return
        runs = p[CLOCK_WRITE] if s[q + KIND] else p[CLOCK_READ]
        s[c + CLOCK_STOPS] = max(s[c + CLOCK_STOPS], now + runs)
    _serve(p, s, c, k, i, now)


@inlined
def _tick(p, s, c, now):
    s[c + NOW] = now
    if now >= s[c + NEXT_REFRESH]:
        _ask_refresh(p, s, c)
    if now >= s[c + NEXT_CLOSE]:
        _ask_precharges(p, s, c, now)
    if p[SPLIT_BUS]:
        _split_bus_tick(p, s, c, now)
    else:
        _single_bus_tick(p, s, c, now)


@kernel
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


@inlined
def _field(p, first, last, line):
    """The XOR of some slices of a burst's number."""
    value = 0
    for at in range(p[SLICE_AT] + 3 * first, p[SLICE_AT] + 3 * last, 3):
        value ^= ((line >> p[at]) & p[at + 1]) << p[at + 2]
    return value


@inlined
def _queued_write(s, b, line):
    """Bank b's queued write of a burst, or -1."""
    q = s[b + HEAD_WRITE]
    while q >= 0 and s[q + LINE] != line:
        q = s[q + NEXT]
    return q


@inlined
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
    if s[c + NOW] < t:
        s[c + STOP_TICK] = t
        return True, t
    size = p[READ_QUEUE + kind]
    if s[c + QUEUED_READS + kind] >= size and _queued_write(s, b, line) < 0:
        s[c + STOP_KIND] = kind
        s[c + STOP_QUEUED] = size
        s[c + WAITED_FOR] = 1
        return True, t
    return False, s[c + NOW]


@inlined
def _accept(p, s, c, b, kind, line, t, intended):
    """Channel c takes a request at tick t."""
    if _queued_write(s, b, line) < 0:
        row = _field(p, p[BANK_SLICES], p[SLICES], line)
        _push(p, s, c, kind, b, row, line, t, intended)
        s[c + WAITED_FOR] = 0
        return
    # The write queue has this very burst: a read takes it from there, a write joins it.
    s[c + FORWARDED + kind] += 1
    if kind == 0:
        s[c + LATENCY_SUM] += 1
        s[c + ARRIVAL_LATENCY_SUM] += t + 1 - intended
        s[s[c + HISTOGRAM] + min(1, p[BINS] - 1)] += 1
    _complete(p, s, c, t + 1)


@inlined
def _start_buses(p, s, n, start):
    """What channel n's (-1: every channel's) data buses did not do before `start` is no loss."""
    channels = len(s) // p[CHANNEL_SIZE]
    for m in range(max(n, 0), n + 1 if n >= 0 else channels):
        bus = s[m * p[CHANNEL_SIZE] + FIRST_BUS]
        for each in range(bus, bus + p[BUSES] * BUS_SIZE, BUS_SIZE):
            s[each + BUS_FREE] = max(s[each + BUS_FREE], start)


@inlined
def _drain(p, s, c):
    """Run channel c until nothing is left to do but refresh."""
    s[c + STOP_TICK] = 0
    s[c + STOP_DONE] = s[c + NEXT_AGE] + s[c + FORWARDED] + s[c + MERGED]
    s[c + STOP_QUEUED] = FAR
    _run(p, s, c)


@kernel
def replay(
    p, s, first, last, address, size, write, intended, start, width, window, delay, stripe, burst
):
    """Requests, in order, from tick `start`, until all are complete.

    address, size, write: int64 [n], bytes; intended: int64 [n], earliest ticks, or [0] for none.
    Channels `first` .. `last` - 1 run each on its own, accepting `width` bursts a tick; with
    first = -1 and last = 0 all run together, and a full queue holds back all that follows.
    A channel has at most `window` bursts in flight and hears of a completion `delay` ticks late.
    2^stripe bytes in a row belong to one channel, 2^burst bytes are one request.
    """
    channels = len(s) // p[CHANNEL_SIZE]
    for n in range(first, last):
        t = start
        accepted = 0
        _start_buses(p, s, n, start)
        for j in range(len(address)):
            low = address[j]
            high = low + size[j]
            chunk = low >> stripe
            if n >= 0 and channels > 1:
                chunk += (n - chunk) % channels
            while chunk << stripe < high:
                above = chunk // channels if channels > 1 else chunk
                c = (chunk - above * channels) * p[CHANNEL_SIZE]
                moved = (above - chunk) << stripe
                line = (max(low, chunk << stripe) + moved) >> burst
                end = (min(high, (chunk + 1) << stripe) + moved + (1 << burst) - 1) >> burst
                while line < end:
                    at = t + (accepted >= width)
                    if len(intended) > 0:
                        at = max(at, intended[j])
                    b = s[c + FIRST_BANK] + _field(p, 0, p[BANK_SLICES], line) * BANK_SIZE
                    wait, at = _must_run(p, s, c, b, write[j], line, at, window, delay)
                    while wait:
                        _run(p, s, c)
                        wait, at = _must_run(p, s, c, b, write[j], line, at, window, delay)
                    wanted = intended[j] if len(intended) > 0 else at
                    _accept(p, s, c, b, write[j], line, at, wanted)
                    accepted = accepted + 1 if at == t else 1
                    t = at
                    line += 1
                chunk += channels if n >= 0 else 1
        for m in range(max(n, 0), n + 1 if n >= 0 else channels):
            _drain(p, s, m * p[CHANNEL_SIZE])
