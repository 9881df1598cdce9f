"""The records of the burst kernel: parameters, channels, banks, queue entries, and their making.

All state of all channels is one flat int64 array `s` of records; a record is referred to by the
index of its first field: `c` a channel, `b` a bank, `q` a queue entry, `k` a list, so that
`s[b + ROW]` is a bank's open row. Parameters are one such array, `p`. Two plain arrays cost nothing
to pass, where tuples of many arrays cost more than the scheduling. docs/architecture.md has a
picture of a channel's record. All times are ticks.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.memory.mapping import Mapping
from hmsim.memory.timing import COMMANDS, FOLLOWERS, NEVER, Timing

FAR = 1 << 60
LATE = 1 << 61
RD, WR, RDA, WRA, PRE_PB, PRE_AB, ACT_BANK, REF_AB, REF_PB = range(len(COMMANDS))
ACT2, CAS_RD, CAS_WR = range(len(COMMANDS), len(COMMANDS) + 3)
LOG_NAMES = (*COMMANDS, "ACT2", "CAS_RD", "CAS_WR")
T_RD, T_WR, T_PRE_AB, T_PRE, T_ACT, T_REF_AB, T_REF_PB = range(len(FOLLOWERS))
OF_GROUP = T_RD, T_WR, T_ACT  # wait for what bank groups did; the others, for what their scope did
OF_SCOPE = T_PRE_AB, T_PRE, T_REF_AB, T_REF_PB
NO_REFRESH, ALL_BANK, PER_BANK, PER_BANK_BLOCKING = range(4)

# Parameters.
(
    BANKS,
    WIDTH,  # bank groups of one data bus, up to a multiple of eight: buses share commands' ways alone
    SCOPES,  # a scope is what tFAW and an all-bank refresh cover: a pseudo channel, or a rank
    BUSES,
    SPLIT_BUS,
    READ_LATENCY,
    WRITE_LATENCY,
    BURST,
    COLUMN_BUS,  # ticks that RD or WR, ACT, and another row command take of the bus that it has for
    ACT_BUS,  # itself; NEVER where one bus is for all
    ROW_BUS,
    ACT2_LIMIT,
    CLOCK_READ,
    CLOCK_WRITE,
    REFI,
    REFI_BANK,
    READ_QUEUE,
    WRITE_QUEUE,
    DRAIN_ABOVE,  # serve writes once more than this many are queued
    DRAIN_BELOW,  # until fewer than this many are
    ROW_HIT_FIRST,  # a precharge may not overtake an older hit of its bank
    CLOSE_AFTER,  # column commands to a row; 0 leaves rows open
    REFRESH,
    CHANNEL_SIZE,  # int64s of state per channel
    WINDOW,  # completion ticks remembered, a power of two
    BINS,
    LOG_ROOM,
    BANK_SLICES,  # slices of the address map that make the bank number; the row's follow
    SLICES,  # the channel's follow, where the map places it
    ALL_SLICES,
    HASHED,  # whether a hash turns each round of chunks over the channels
    CHECKED,  # data bursts that share a burst of in-band ECC; 0: none
    GAP_AT,  # [commands, groups, OF_GROUP, WIDTH] ticks to other commands, groups of one data bus
    GAP_SIZE,  # of a command's
    FAW_AT,  # [groups, WIDTH] ticks from the last but three ACT of a group's scope to another ACT
    SCALARS,
) = range(36)
# Tables, by command: the ticks by which it delays its scope's and its bank's eight times (of which the
# last ones are none).
SCOPE_GAP_AT = SCALARS
BANK_GAP_AT = SCOPE_GAP_AT + 8 * len(COMMANDS)
SLICE_AT = BANK_GAP_AT + 8 * len(COMMANDS)  # shift, mask, left of each

# An entry of a list of banks. The list's head is one, too: not ready ever, and BOUND for its KEY.
READY, AFTER, BEFORE, KEY, SHARED = range(5)  # AFTER is -1 out of the list; SHARED a place in s
BOUND = KEY
ENTRY_SIZE = SHARED + 1
KEY_BITS = 8  # of a bank's number, below the age of what waits
AGE_BITS = 8  # below an age in list ACTIVE: who opened its row first, of those that came together
# A bank; the first fields are its ready times, by follower.
SHARES = 8  # where in s the times are that it shares with others, by follower
(
    ROW,  # open row or -1
    OPENER,  # request that opened it and waits, or -1
    FIRST_HIT,  # oldest queued request of the served kind to the row, or -1
    FIRST_OTHER,  # oldest to another row
    ACCESSES,
    HELD,  # per-bank refresh is due
    CLOSING,
    HEAD_READ,
    HEAD_WRITE,
    TAIL_READ,
    TAIL_WRITE,
    NUMBER,
    GROUP_TIMES,  # where in s the group times of its data bus are
    GROUP_FAW,  # where in its table the row of its bank group begins
    GROUP_GAPS,  # where in the table of each command the row of its bank group begins
    SCOPE,  # where in s its scope's record is
    BUS,  # where in s its data bus's record is
    ACT_WAITED,  # what its last ACT waited for: 0 the bank, 1 other ACTs
    REFRESH_FROM,  # tick at which its last refresh was asked for
    REFRESH_TO,  # tick at which that refresh was over
    CHECK_HELD,  # twice the group whose ECC the controller holds, + 1 once written; or -2
    ENTRIES,  # in each of the four lists
) = range(2 * SHARES, 2 * SHARES + 22)
BANK_SIZE = ENTRIES + 4 * ENTRY_SIZE
# A scope; the first fields are its times, in the order of OF_SCOPE.
RECENT = SHARES  # the last four ACTs, which tFAW counts
SCOPE_SIZE = RECENT + 4
# A data bus.
BUS_FREE, BUS_KIND, BUS_SIZE = range(3)
# A queued request.
(
    BANK,
    TARGET_ROW,
    LINE,
    ARRIVED,
    INTENDED,
    KIND,
    AGE,
    COUNTED,
    NEXT,
    PREVIOUS,
    WAITED,  # before it was accepted: 0 nothing, 1 a full queue, 2 the limit in flight
    REQUEST_SIZE,
) = range(12)
# Statistics, the first fields of a channel.
STATISTICS = (
    "reads",
    "writes",
    "forwarded",
    "merged",
    "ecc",
    "row_hits",
    "row_misses",
    "row_conflicts",
    "activations",
    "refreshes",
    "latency_ticks",
    "arrival_latency_ticks",
    "lost_no_request",
    "lost_queue_full",
    "lost_in_flight_limit",
    "lost_row_cycle",
    "lost_activation_rate",
    "lost_refresh",
    "lost_turnaround",
    "lost_spacing",
    "lost_command_bus",
)
(
    READS,
    WRITES,
    FORWARDED,
    MERGED,
    ECC,  # requests of in-band ECC, which are among all others
    ROW_HITS,
    ROW_MISSES,
    ROW_CONFLICTS,
    ACTIVATIONS,
    REFRESHES,
    LATENCY_SUM,
    ARRIVAL_LATENCY_SUM,
    LOST_NO_REQUEST,
    LOST_QUEUE_FULL,
    LOST_IN_FLIGHT,
    LOST_ROW,
    LOST_ACT_RATE,
    LOST_REFRESH,
    LOST_TURNAROUND,
    LOST_SPACING,
    LOST_COMMAND_BUS,
    # The rest of a channel.
    NOW,
    COLUMN_FREE,  # HBM: tick from which the channel's column command bus is free; next, the row one
    ROW_FREE,
    SERVING,  # the kind being served: 0 reads, 1 writes
    QUEUED_READS,
    QUEUED_WRITES,
    KEEPS_KIND,  # whether it goes on to be served
    FREE,  # first free queue entry
    NEXT_AGE,
    LATEST,  # tick at which the last request was queued
    TIED,  # whether two ever were at one tick
    ASKED,  # maintenance commands waiting
    ASKED_FIRST,  # ring position of the oldest
    NEXT_REFRESH,
    REFRESH_CURSOR,
    NEXT_CLOSE,  # closed-row policy: earliest precharge that is due
    ACTIVATING,  # LPDDR: bank between ACT-1 and ACT-2, or -1
    ACT2_DEADLINE,
    CLOCKED,  # LPDDR: bank whose column command follows a CAS, or -1
    CLOCKED_LIST,  # and the list it was chosen from
    CLOCK_STOPS,  # LPDDR: tick until which WCK runs
    LAST_DONE,
    DONE,  # requests completed
    LOGGED,
    WAITED_FOR,  # what the request being accepted had to wait for, last
    BLOCKED_FROM,  # tick from which maintenance last held back the channel
    BLOCKED_TO,  # tick until which it did
    STOP_TICK,  # when `_run` returns
    STOP_DONE,
    STOP_KIND,
    STOP_QUEUED,
    # Where the channel's records are.
    FIRST_BANK,
    ASKED_RING,  # command, bank
    DONE_RING,
    FIRST_BUS,
    HISTOGRAM,
    LOG,  # tick, command, bank number, row, line
    LISTS,  # four heads
) = range(59)
ACTIVE, HIT, PRE, ACT = range(LISTS, LISTS + 4 * ENTRY_SIZE, ENTRY_SIZE)
ENTRY = ENTRIES - LISTS  # from a list's place in a channel to its entry's place in a bank
CHANNEL_FIELDS = LISTS + 4 * ENTRY_SIZE
RING = 512  # two maintenance commands per bank at most
LOG_FIELDS = 5


class Policy(NamedTuple):
    """The controller's choices."""

    read_queue: int = 32
    write_queue: int = 32
    drain_above: float = 0.8  # of the write queue
    drain_below: float = 0.2
    row_hit_first: bool = True
    close_after: int = 0
    refresh: int = ALL_BANK
    posted_writes: bool = True  # done when WR issues; else once the data is in
    hashed: bool = False  # which channel a chunk is of
    checked: int = 0  # data bursts that share a burst of in-band ECC


class Sizes(NamedTuple):
    """What is kept per channel beside the machine itself."""

    bins: int = 1  # latency histogram, one tick each, the last open-ended
    window: int = 1
    log: int = 0  # commands


def pack(timing: Timing, policy: Policy, mapping: Mapping, sizes: Sizes) -> NDArray[np.int64]:
    """The parameter array."""
    slices = [
        (shift, mask, left)
        for wanted in (0, 1, 3)
        for shift, mask, left, target in zip(*mapping[:4], strict=True)
        if target == wanted
    ]
    held, gap = _gaps(timing)
    of_group = gap[:, :, OF_GROUP]
    scope_gap, bank_gap = np.full((2, len(COMMANDS), SHARES), NEVER)
    scope_gap[:, : len(OF_SCOPE)] = gap[:, 0, OF_SCOPE, 0]
    bank_gap[:, : len(FOLLOWERS)] = timing.bank_gap
    tables = [
        scope_gap.ravel(),
        bank_gap.ravel(),
        np.array(slices, np.int64).ravel(),
        of_group.ravel(),
        _activation_windows(timing).ravel(),
    ]
    queue = np.float32(policy.write_queue)  # single precision decides where 0.8 of a queue lies
    scalars = [
        timing.banks,
        _width(timing),
        timing.scopes,
        timing.buses,
        timing.split_bus,
        timing.read_latency,
        0 if policy.posted_writes else timing.write_latency,
        timing.burst,
        held[RD],
        held[ACT_BANK],
        held[PRE_PB],
        timing.act2_limit,
        timing.clock_read,
        timing.clock_write,
        timing.refi,
        timing.refi_bank,
        policy.read_queue,
        policy.write_queue,
        np.floor(np.float32(policy.drain_above) * queue),
        np.ceil(np.float32(policy.drain_below) * queue),
        policy.row_hit_first,
        policy.close_after,
        policy.refresh,
        _layout(timing, policy, sizes)["end"],
        _ring(sizes.window),
        sizes.bins,
        sizes.log,
        (mapping.target == 0).sum(),
        (mapping.target <= 1).sum(),
        len(slices),
        policy.hashed,
        policy.checked,
        SLICE_AT + 3 * len(slices),
        of_group[0].size,
        SLICE_AT + 3 * len(slices) + of_group.size,
    ]
    return np.concatenate([np.array(scalars, np.int64), *tables])


def allocate(timing: Timing, policy: Policy, sizes: Sizes, channels: int) -> NDArray[np.int64]:
    """State of channels with closed rows and empty queues at tick 0."""
    start = _layout(timing, policy, sizes)
    size = start["end"]
    state = np.zeros((channels, size), np.int64)
    at = size * np.arange(channels)[:, None]  # where each channel begins

    for k in (ACTIVE, HIT, PRE, ACT):
        state[:, [k + READY, k + BOUND]] = FAR
        state[:, [k + AFTER, k + BEFORE]] = at + k
    for field, part in (
        (FIRST_BANK, "banks"),
        (ASKED_RING, "ring"),
        (DONE_RING, "done"),
        (HISTOGRAM, "histogram"),
        (LOG, "log"),
        (FIRST_BUS, "buses"),
        (FREE, "queue"),
    ):
        state[:, field] = start[part]
    state[:, FIRST_BANK : LOG + 1] += at
    state[:, FREE : FREE + 1] += at
    state[:, [ACTIVATING, CLOCKED, LATEST]] = -1
    state[:, [NEXT_REFRESH, NEXT_CLOSE]] = FAR
    if policy.refresh != NO_REFRESH:
        first = timing.refi if policy.refresh == ALL_BANK else timing.refi_bank
        state[:, NEXT_REFRESH] = first

    number = np.arange(timing.banks)
    group = number * timing.groups // timing.banks
    bus, own = np.divmod(group, timing.groups // timing.buses)
    width = _width(timing)
    banks = state[:, start["banks"] : start["scopes"]].reshape(channels, timing.banks, BANK_SIZE)
    banks[:, :, ROW : FIRST_OTHER + 1] = -1
    banks[:, :, HEAD_READ : TAIL_WRITE + 1] = -1
    banks[:, :, ENTRIES + AFTER :: ENTRY_SIZE] = -1
    banks[:, :, NUMBER] = number
    banks[:, :, CHECK_HELD] = -2
    banks[:, :, GROUP_TIMES] = at + start["group times"] + bus * len(OF_GROUP) * width
    banks[:, :, GROUP_FAW] = own * width
    banks[:, :, GROUP_GAPS] = own * len(OF_GROUP) * width
    banks[:, :, SCOPE] = at + start["scopes"] + group * timing.scopes // timing.groups * SCOPE_SIZE
    banks[:, :, BUS] = at + start["buses"] + bus * BUS_SIZE
    for n, follower in enumerate(OF_GROUP):
        banks[:, :, SHARES + follower] = banks[:, :, GROUP_TIMES] + n * width + own
    for n, follower in enumerate(OF_SCOPE):
        banks[:, :, SHARES + follower] = banks[:, :, SCOPE] + n
    state[:, start["banks"] : start["scopes"]] = banks.reshape(channels, -1)
    scopes = state[:, start["scopes"] : start["group times"]].reshape(channels, -1, SCOPE_SIZE)
    scopes[:, :, RECENT:] = -FAR
    state[:, start["scopes"] : start["group times"]] = scopes.reshape(channels, -1)

    entries = _entries(timing, policy)
    queue = np.zeros((channels, entries, REQUEST_SIZE), np.int64)
    queue[:, :, NEXT] = at + start["queue"] + REQUEST_SIZE * np.arange(1, entries + 1)
    queue[:, -1, NEXT] = -1
    state[:, start["queue"] : start["histogram"]] = queue.reshape(channels, -1)
    return state.ravel()


def _gaps(timing: Timing) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What commands hold of a bus of their own, and the gaps [commands, groups, followers, WIDTH] of one
    data bus, for all are alike. Gaps that a bus keeps anyway are left out."""
    held = np.full(len(COMMANDS), timing.pre_bus)
    held[: WRA + 1] = timing.column_bus
    held[ACT_BANK] = timing.act_bus
    if not timing.split_bus:
        held[:] = NEVER
    own = timing.groups // timing.buses
    every = timing.gap.reshape(len(COMMANDS), timing.groups, len(FOLLOWERS), timing.groups)
    gap = np.full((len(COMMANDS), own, len(FOLLOWERS), _width(timing)), NEVER)
    gap[..., :own] = every[:, :own, :, :own]
    gap[gap <= held[:, None, None, None]] = NEVER
    return held, gap


def _activation_windows(timing: Timing) -> NDArray[np.int64]:
    """Ticks [groups, WIDTH] by which tFAW keeps the ACTs of a data bus's groups apart."""
    own = np.arange(timing.groups // timing.buses)
    scope = own * timing.scopes // timing.groups
    windows = np.full((len(own), _width(timing)), NEVER)
    windows[:, : len(own)] = np.where(np.equal.outer(scope, scope), timing.faw, NEVER)
    return windows


def _width(timing: Timing) -> int:
    return -(-timing.groups // timing.buses // 8) * 8


def _entries(timing: Timing, policy: Policy) -> int:
    return policy.read_queue + policy.write_queue + timing.banks


def _ring(entries: int) -> int:
    return 1 << (entries - 1).bit_length()


def _layout(timing: Timing, policy: Policy, sizes: Sizes) -> dict[str, int]:
    """Where in a channel each of its parts begins; "end" is its size."""
    parts = {
        "banks": timing.banks * BANK_SIZE,
        "scopes": SCOPE_SIZE * timing.scopes,
        "group times": len(OF_GROUP) * _width(timing) * timing.buses,
        "ring": 2 * RING,
        "done": _ring(sizes.window),
        "queue": _entries(timing, policy) * REQUEST_SIZE,
        "histogram": sizes.bins,
        "log": sizes.log * LOG_FIELDS,
        "buses": timing.buses * BUS_SIZE,
    }
    ends = CHANNEL_FIELDS + np.cumsum([0, *parts.values()])
    return dict(zip([*parts, "end"], ends.tolist(), strict=True))
