"""The kernel of `hmsim.memory.superchip`: a step's traffic through HBM, link and DRAM."""

from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from hmsim.jit import record_expanded, record_kernel
from hmsim.memory.burst_state import (
    CHANNEL_SIZE,
    LAST_DONE,
    LOST_COMMAND_BUS,
    LOST_NO_REQUEST,
    READS,
    WRITES,
)
from hmsim.memory.sampling_kernel import (
    EXACT,
    LEARNER,
    STATISTICS,
    UNKNOWN,
    UNPLACED,
    Asked,
    Learner,
    add_up,
    count,
)

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# What buses did with their ticks: columns of `Served.bus_ticks`, in the order of
# `hmsim.memory.address_trace.REASONS`. Those between are the statistics' lost ones.
DATA, NO_REQUEST = 0, 1
LINK = NO_REQUEST + LOST_COMMAND_BUS - LOST_NO_REQUEST + 1
REASONS = LINK + 1


class Part(NamedTuple):
    """One of the memories with its share of the requester's window."""

    learner: Learner
    state: I64  # of all channels
    extra: I64  # [3] what `count` counts beside bursts
    none: I64  # [0]
    sampled: int  # 1: learned from samples, 0: every burst
    window: int  # bursts in flight in each channel, at most
    delay: int  # ticks of the latency
    tick_s: float
    latency: float  # seconds from the requester to the controller and back
    stretch: float  # of its time, by what others move meanwhile


class Link(NamedTuple):
    """As in `hmsim.config.memory.LinkSpec`."""

    read_bandwidth: float
    write_bandwidth: float
    latency: float
    payload: int
    header: int
    write_header: int


class Chip(NamedTuple):
    """The superchip, and the seconds since it was reset, float64 [1]."""

    hbm: Part
    dram: Part
    link: Link
    now: F64


class Served(NamedTuple):
    """What a step took; HBM is in row 0, DRAM in row 1.

    counts: [2, STATISTICS]. bus_ticks: [2, REASONS]. wire: bytes towards the GPU and from it, [2].
    seconds: of the step, and until HBM and DRAM were done, [3].
    """

    counts: I64
    bus_ticks: I64
    wire: I64
    seconds: F64

    @classmethod
    def empty(cls) -> "Served":
        return cls(
            np.zeros((2, STATISTICS), np.int64),
            np.zeros((2, REASONS), np.int64),
            np.zeros(2, np.int64),
            np.zeros(3),
        )


@record_kernel
def _ticks(seconds, part):
    return int(np.rint(seconds / part.tick_s))


@record_expanded
def _whole(replay, part, extents, start, counts):
    """Every burst in its channel: ticks until all is complete."""
    learner, state = part.learner, part.state
    size, channels = learner.parameters[CHANNEL_SIZE], learner.channels
    for i in range(len(counts)):
        counts[i] = 0
        for c in range(0, channels * size, size):
            counts[i] -= state[c + i]
    replay(
        learner.parameters, state, channels, 0, channels, extents.address, extents.size,
        extents.write, part.none, start, 0, 1, part.window, part.delay, learner.stripe, learner.burst,
        True,
    )  # fmt: skip
    done = 0
    for c in range(0, channels * size, size):
        done = max(done, state[c + LAST_DONE])
        for i in range(len(counts)):
            counts[i] += state[c + i]
    return max(0, done - start)


@record_expanded
def recall(replay, learn, part, now, counts):
    """Ticks that one memory takes from `now` on, where its class of traffic is known, or below 0.

    `part.learner.bursts` and `part.extra` hold what the step's extents come to.
    """
    learner = part.learner
    if add_up(learner.bursts) < EXACT:
        return UNPLACED
    asked = Asked(part.none, part.none, part.none, part.none, part.window, part.delay)
    written, runs, visits = part.extra[0], part.extra[1], part.extra[2]
    ticks = learn(replay, learner, asked, written, runs, visits, _ticks(now, part), counts)
    return int(ticks * part.stretch) if ticks >= 0 else UNPLACED


@record_kernel
def serve(replay, learn, part, extents, position, now, counts):
    """Ticks that one memory takes from `now` on. The extents are changed while it runs.

    position: [n + 1] at least, work space.
    """
    start = _ticks(now, part)
    learner = part.learner
    if part.sampled == 1:
        position = position[: len(extents.address) + 1]
        count(
            extents.address, extents.size, extents.write, learner.stripe, learner.burst,
            learner.hashed, position, learner.bursts, learner.rises, part.extra,
        )  # fmt: skip
        if add_up(learner.bursts) >= EXACT:
            asked = Asked(
                extents.address, extents.size, extents.write, position, part.window, part.delay
            )
            written, runs, visits = part.extra[0], part.extra[1], part.extra[2]
            ticks = learn(replay, learner, asked, written, runs, visits, start, counts)
            if ticks != UNKNOWN:
                return int(ticks * part.stretch)
    return int(_whole(replay, part, extents, start, counts) * part.stretch)


@record_kernel
def add_wire_bytes(link, size, write, times, wire):
    """Add what so many extents of one size and kind take, with the headers of requests and answers.
    wire: bytes towards the GPU and from it, [2]."""
    packets = (size + link.payload - 1) // link.payload * times
    wire[0] += packets * link.header
    if write != 0:
        wire[1] += size * times + packets * link.write_header
    else:
        wire[0] += size * times
        wire[1] += packets * link.header


@record_kernel
def set_wire_bytes(link, extents, wire):
    """Bytes towards the GPU and from it, [2]."""
    size, write = extents.size, extents.write
    wire[0] = wire[1] = 0
    alike = 0
    for j in range(len(size)):
        alike += 1
        if j + 1 == len(size) or size[j + 1] != size[j] or write[j + 1] != write[j]:
            add_wire_bytes(link, size[j], write[j], alike, wire)
            alike = 0


@record_kernel
def _set_bus_ticks(part, counts, ticks, out):
    """What the time of all data buses went into; see `Memory.bus_ticks`."""
    learner = part.learner
    buses = learner.channels * learner.buses
    out[DATA] = (counts[READS] + counts[WRITES]) * learner.burst_ticks
    out[LINK] = 0
    lost = 0
    for i in range(NO_REQUEST, LINK):
        out[i] = counts[LOST_NO_REQUEST + i - NO_REQUEST]
        lost += out[i]
    out[NO_REQUEST] += ticks * buses - out[DATA] - lost
    if out[NO_REQUEST] < 0:  # a scaled sample's parts, rounded one by one
        most = NO_REQUEST
        for i in range(NO_REQUEST, LINK):
            most = i if out[i] > out[most] else most
        out[most] += out[NO_REQUEST]
        out[NO_REQUEST] = 0


@record_kernel
def _fill(part, bus_ticks, seconds, late):
    """Extend what the buses did to a whole step of so many seconds, by which they waited for the
    link, `late`, and then for the step to end."""
    buses = part.learner.channels * part.learner.buses
    left = _ticks(seconds, part) * buses - add_up(bus_ticks)
    waited = min(left, _ticks(late, part) * buses)
    bus_ticks[LINK] += waited
    bus_ticks[NO_REQUEST] += left - waited


_one = typeof(np.zeros(1, np.int64))
_PART = types.NamedTuple([LEARNER] + [_one] * 3 + [types.int64] * 3 + [types.float64] * 3, Part)
CHIP = types.NamedTuple(
    [_PART, _PART, typeof(Link(0.0, 0.0, 0.0, 0, 0, 0)), typeof(np.zeros(1))], Chip
)
SERVED = typeof(Served.empty())


@record_kernel
def conclude(chip, to_hbm, to_dram, hbm_ticks, dram_ticks, served):
    """The step's end, once each memory's ticks and counts and the bytes on the wire are known; the
    clock goes on. to_hbm, to_dram: whether anything is moved there."""
    hbm_s = dram_s = late = 0.0
    if to_hbm:
        hbm_s = hbm_ticks * chip.hbm.tick_s + chip.hbm.latency
    if to_dram:
        dram_s = dram_ticks * chip.dram.tick_s + chip.dram.latency
        wire_s = max(
            served.wire[0] / chip.link.read_bandwidth, served.wire[1] / chip.link.write_bandwidth
        )
        late = max(0.0, wire_s + chip.link.latency - dram_s)
        dram_s += late
    seconds = max(hbm_s, dram_s)
    chip.now[0] += seconds
    _set_bus_ticks(chip.hbm, served.counts[0], hbm_ticks, served.bus_ticks[0])
    _set_bus_ticks(chip.dram, served.counts[1], dram_ticks, served.bus_ticks[1])
    _fill(chip.hbm, served.bus_ticks[0], seconds, 0.0)
    _fill(chip.dram, served.bus_ticks[1], seconds, late)
    served.seconds[0] = seconds
    served.seconds[1] = hbm_s
    served.seconds[2] = dram_s
