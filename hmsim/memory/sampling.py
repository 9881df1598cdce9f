"""`run` fidelity: what a step's traffic costs is learned from samples of it, not from all of it.

A step costs channel c

    time(c) = lead + pace * bursts(c) + noise,    and the slowest channel ends the step.

bursts(c) is counted exactly, in closed form, extent by extent. Lead (filling and draining the
queues) and pace are properties of a *class* of traffic: its share of writes, and how many bursts in
a row a channel gets. Both are measured with the burst engine, so queues, conflicts, turnarounds and
refresh are its own on every map and mix:

- pace on a channel that never drains: it is fed rounds of consecutive extents, now of one channel
  and now of another, from all over the step, step after step;
- lead on a channel that plays short steps, from the first request to the last completion.

Every step adds to what is known of its class: rounds until its time is known to TARGET, within a
budget; later only a short step, and a round every so often. A short step that contradicts what was
known makes the class start anew. So a new kind of traffic costs milliseconds, and one that is known
costs little more than counting.

The slowest channel is expected from the noise among channels at the same place of a step, and from how
much the paces of sampled channels differ beyond it: extents that do not cover all channels alike may
favour some.

This is the sampling of R. Wunderlich et al., "SMARTS" (ISCA 2003), applied to memory channels, with
ratio estimators (Cochran, Sampling Techniques, chapter 6).
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.jit import compiled
from hmsim.memory import burst_kernel
from hmsim.memory import burst_state as state
from hmsim.memory import sampling_kernel as kernel
from hmsim.memory.timing import Timing

I64 = NDArray[np.int64]
Traffic = tuple[I64, I64, I64]  # address, size, write: see device.Extents

EXACT = kernel.EXACT


class Survey(NamedTuple):
    """What a step's extents come to. position: bytes before each extent, and in all: int64 [n + 1];
    bursts: int64 [channels]."""

    position: I64
    bursts: I64
    written: int  # bursts that are writes
    runs: int  # of bytes in a row
    visits: int  # channels that these touch, one by one


def survey(extents: Traffic, channels: int, stripe: int, burst: int, hashed: int = 0) -> Survey:
    """Count a step's bursts by channel; 2^stripe bytes in a row belong to one channel, and where
    `hashed` a hash turns each round of them."""
    position = np.empty(len(extents[0]) + 1, np.int64)
    bursts, rises = np.zeros((2, channels), np.int64)
    extra = np.zeros(3, np.int64)
    kernel.count(*extents, stripe, burst, hashed, position, bursts, rises, extra)
    return Survey(position, bursts, *extra.tolist())


def cut(extents: Traffic, position: I64, start: int, length: int) -> Traffic:
    """The extents that begin in `length` bytes from `start` on of the step's bytes in a row; those
    that are not much smaller than that are cut where it begins and ends."""
    first, last = np.searchsorted(position, [start, start + length - 1], "right") - 1
    last = min(last, len(extents[0]) - 1)
    late = start - position[first]
    if extents[1][first] <= length // 4 and late:
        first, late = first + 1, 0
    address, size, write = (each[first : last + 1].copy() for each in extents)
    address[0] += late
    size[0] -= late
    if extents[1][last] > length // 4:
        size[-1] -= max(0, position[last + 1] - (start + length))
    return address, size, write


@cache
def learn_kernel() -> Any:
    """The kernel that learns, compiled when it is first asked for."""
    return compiled(kernel.learn, kernel.LEARN)


class Sampler:
    """Times of a memory's steps, learned as they come; see above.

    Attributes:
        learner: What the kernels take, and write to.
    """

    def __init__(
        self,
        timing: Timing,
        policy: state.Policy,
        parameters: I64,
        sizes: state.Sizes,
        columns: int,
        channels: int,
        stripe: int,
        burst: int,
    ):
        memo = np.zeros(kernel.MEMO_SIZE, np.int64)
        memo[kernel.LATEST] = kernel.NO_KEY
        rows = kernel.CLASSES + 1
        self.learner = kernel.Learner(
            parameters=parameters,
            flow=state.allocate(timing, policy, sizes, 1),
            short=state.allocate(timing, policy, sizes, 1),
            known=np.zeros((rows, kernel.KNOWN_SIZE)),
            key=np.full(rows, kernel.NO_KEY),
            used=np.zeros(rows, np.int64),
            memo=memo,
            seen=np.zeros(state.DONE + 1, np.int64),
            total=np.zeros(state.DONE + 1, np.int64),
            bursts=np.zeros(channels, np.int64),
            rises=np.zeros(channels, np.int64),
            work=np.zeros((4, max(channels, kernel.GRID[1]))),
            channels=channels,
            stripe=stripe,
            burst=burst,
            row_set=timing.banks * columns,
            short_bursts=2 * (policy.read_queue + policy.write_queue),
            all_bank=int(policy.refresh == state.ALL_BANK),
            scopes=timing.scopes,
            buses=timing.buses,
            refi=timing.refi,
            rfc=timing.rfc,
            burst_ticks=timing.burst,
            hashed=int(policy.hashed),
        )

    def step(
        self, extents: Traffic, seen: Survey, start: int, window: int, delay: int
    ) -> tuple[int, dict[str, int]] | None:
        """Ticks of a step that starts at tick `start`, and counts; see device.replay_apart.

        None where samples miss the traffic.
        """
        self.learner.bursts[:] = seen.bursts
        address, size, write = (np.array(each, np.int64) for each in extents)
        asked = kernel.Asked(address, size, write, seen.position, window, delay)
        counts = np.zeros(len(state.STATISTICS), np.int64)
        ticks = learn_kernel()(
            burst_kernel.replay, self.learner, asked, seen.written, seen.runs, seen.visits, start,
            counts,
        )  # fmt: skip
        if ticks == kernel.UNKNOWN:
            return None
        return ticks, dict(zip(state.STATISTICS, counts.tolist(), strict=True))
