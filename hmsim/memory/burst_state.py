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
from hmsim.memory.timing import COMMANDS, FOLLOWERS, Timing

FAR = 1 << 60
RD, WR, RDA, WRA, PRE_PB, PRE_AB, ACT_BANK, REF_AB, REF_PB = range(len(COMMANDS))
ACT2, CAS_RD, CAS_WR = range(len(COMMANDS), len(COMMANDS) + 3)
LOG_NAMES = (*COMMANDS, "ACT2", "CAS_RD", "CAS_WR")
T_RD, T_WR, T_PRE_AB, T_PRE, T_ACT, T_REF_AB, T_REF_PB = range(len(FOLLOWERS))
NO_REFRESH, ALL_BANK, PER_BANK, PER_BANK_BLOCKING = range(4)

# Parameters.
(
    BANKS,
    GROUPS,  # of one data bus: the buses of a channel share no more than its commands'
    SCOPES,  # a scope is what tFAW and an all-bank refresh cover: a pseudo channel, or a rank
    BUSES,
    SPLIT_BUS,
    READ_LATENCY,
    WRITE_LATENCY,
    FAW,
    BURST,
    COLUMN_BUS,
    ACT_BUS,
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
    SLICE_AT,  # where the slices are in p: shift, mask, left of each
    FIRST_AT,  # [commands] first and last + 1 follower
    LAST_AT,
    BANK_GAP_AT,  # [commands, followers]
    GAP_AT,  # [commands, groups, followers * groups], groups of one data bus
    PARAMETERS,
) = range(38)

# A list: ready, group, age, member arrays of BANKS entries follow.
COUNT, BOUND, LIST_HEAD = range(3)
PLACE_BITS = 12  # of an entry's place in its list
AGE_BITS = 8  # below an age in list ACTIVE: who opened its row first, of those that came together
# A bank; the first fields are its ready times, by follower.
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
    PLACE,  # entry in each of the four lists, or -1
) = range(len(FOLLOWERS), len(FOLLOWERS) + 12)
NUMBER = PLACE + 4
GROUP = NUMBER + 1  # bank group number, on its data bus
GROUP_READY = NUMBER + 2  # where in s its bank group's ready times begin, one a follower
SCOPE = NUMBER + 3  # where in s the last four ACTs of its scope are: tFAW counts them
BUS = NUMBER + 4  # where in s its data bus's record is
ACT_WAITED = NUMBER + 5  # what its last ACT waited for: 0 the bank, 1 other ACTs
REFRESH_FROM = NUMBER + 6  # tick at which its last refresh was asked for
REFRESH_TO = NUMBER + 7  # tick at which that refresh was over
CHECK_HELD = NUMBER + 8  # twice the group whose ECC the controller holds, + 1 once written; or -2
BANK_SIZE = NUMBER + 9
# A data bus.
BUS_FREE, BUS_KIND, BUS_SIZE = range(3)
# A queue entry.
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
    ENTRY_SIZE,
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
    ACTIVE,
    HIT,
    PRE,
    ACT,
    FIRST_BANK,
    GROUP_TIMES,
    ASKED_RING,  # command, bank
    DONE_RING,
    FIRST_BUS,
    HISTOGRAM,
    LOG,  # tick, command, bank number, row, line
    CHANNEL_FIELDS,
) = range(63)
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
    tables = [
        np.array(slices, np.int64).ravel(),
        timing.first,
        timing.last,
        timing.bank_gap.ravel(),
        _of_one_bus(timing).ravel(),
    ]
    starts = PARAMETERS + np.cumsum([0, *(len(table) for table in tables)])
    queue = np.float32(policy.write_queue)  # single precision decides where 0.8 of a queue lies
    scalars = np.zeros(PARAMETERS, np.int64)
    scalars[:SLICE_AT] = [
        timing.banks,
        timing.groups // timing.buses,
        timing.scopes,
        timing.buses,
        timing.split_bus,
        timing.read_latency,
        0 if policy.posted_writes else timing.write_latency,
        timing.faw,
        timing.burst,
        timing.column_bus,
        timing.act_bus,
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
    ]
    scalars[SLICE_AT:PARAMETERS] = starts[:-1]
    return np.concatenate([scalars, *tables])


def allocate(timing: Timing, policy: Policy, sizes: Sizes, channels: int) -> NDArray[np.int64]:
    """State of channels with closed rows and empty queues at tick 0."""
    start = _layout(timing, policy, sizes)
    size = start["end"]
    state = np.zeros((channels, size), np.int64)
    at = size * np.arange(channels)[:, None]  # where each channel begins

    for field in (ACTIVE, HIT, PRE, ACT):
        k = start["lists"] + (field - ACTIVE) * _list_size(timing)
        state[:, field] = k
        state[:, k + BOUND] = FAR
    for field, part in (
        (FIRST_BANK, "banks"),
        (GROUP_TIMES, "group times"),
        (ASKED_RING, "ring"),
        (DONE_RING, "done"),
        (HISTOGRAM, "histogram"),
        (LOG, "log"),
        (FIRST_BUS, "buses"),
        (FREE, "queue"),
    ):
        state[:, field] = start[part]
    state[:, ACTIVE : LOG + 1] += at
    state[:, FREE : FREE + 1] += at
    state[:, [ACTIVATING, CLOCKED, LATEST]] = -1
    state[:, [NEXT_REFRESH, NEXT_CLOSE]] = FAR
    if policy.refresh != NO_REFRESH:
        first = timing.refi if policy.refresh == ALL_BANK else timing.refi_bank
        state[:, NEXT_REFRESH] = first

    number = np.arange(timing.banks)
    group = number * timing.groups // timing.banks
    banks = state[:, start["banks"] : start["scopes"]].reshape(channels, timing.banks, BANK_SIZE)
    banks[:, :, ROW : FIRST_OTHER + 1] = -1
    banks[:, :, HEAD_READ : PLACE + 4] = -1
    banks[:, :, NUMBER] = number
    banks[:, :, CHECK_HELD] = -2
    own = timing.groups // timing.buses
    banks[:, :, GROUP] = group % own
    block = group // own * own * len(FOLLOWERS)
    banks[:, :, GROUP_READY] = at + start["group times"] + block + group % own
    banks[:, :, SCOPE] = at + start["scopes"] + group * timing.scopes // timing.groups * 4
    banks[:, :, BUS] = at + start["buses"] + group * timing.buses // timing.groups * BUS_SIZE
    state[:, start["banks"] : start["scopes"]] = banks.reshape(channels, -1)
    state[:, start["scopes"] : start["group times"]] = -FAR

    entries = _entries(timing, policy)
    queue = np.zeros((channels, entries, ENTRY_SIZE), np.int64)
    queue[:, :, NEXT] = at + start["queue"] + ENTRY_SIZE * np.arange(1, entries + 1)
    queue[:, -1, NEXT] = -1
    state[:, start["queue"] : start["histogram"]] = queue.reshape(channels, -1)
    return state.ravel()


def _of_one_bus(timing: Timing) -> NDArray[np.int64]:
    """The gaps between bank groups of one data bus: all buses are alike."""
    own = timing.groups // timing.buses
    gap = timing.gap.reshape(len(COMMANDS), timing.groups, len(FOLLOWERS), timing.groups)
    return gap[:, :own, :, :own]


def _entries(timing: Timing, policy: Policy) -> int:
    return policy.read_queue + policy.write_queue + timing.banks


def _ring(entries: int) -> int:
    return 1 << (entries - 1).bit_length()


def _list_size(timing: Timing) -> int:
    return LIST_HEAD + 4 * timing.banks


def _layout(timing: Timing, policy: Policy, sizes: Sizes) -> dict[str, int]:
    """Where in a channel each of its parts begins; "end" is its size."""
    parts = {
        "lists": 4 * _list_size(timing),
        "banks": timing.banks * BANK_SIZE,
        "scopes": 4 * timing.scopes,
        "group times": len(FOLLOWERS) * timing.groups,
        "ring": 2 * RING,
        "done": _ring(sizes.window),
        "queue": _entries(timing, policy) * ENTRY_SIZE,
        "histogram": sizes.bins,
        "log": sizes.log * LOG_FIELDS,
        "buses": timing.buses * BUS_SIZE,
    }
    ends = CHANNEL_FIELDS + np.cumsum([0, *parts.values()])
    return dict(zip([*parts, "end"], ends.tolist(), strict=True))
