"""The sampler of `run` fidelity as NumPy and objects; `hmsim.memory.sampling` says what it does."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hmsim.memory import burst_kernel
from hmsim.memory import burst_state as state
from hmsim.memory.sampling import Survey, cut
from hmsim.memory.sampling_kernel import (
    A_DEVIATION,
    BUDGET,
    CHANNELS,
    CHECK,
    CLASSES,
    CONTRADICTION,
    ENOUGH,
    FORGET,
    GLANCE,
    GOLDEN,
    GRID,
    LEAST,
    LEAST_PAIRS,
    LEAST_PART,
    PARTS,
    ROUND,
    SELDOM,
    SIGNIFICANT,
    TARGET,
)
from hmsim.memory.timing import Timing

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Traffic = tuple[I64, I64, I64]  # address, size, write: see device.Extents
Play = Callable[[I64, int, int, float, int, bool], I64]  # see Sampler._play


class _Sums:
    """Sums over observations (bursts, ticks) of several groups, older ones fading."""

    def __init__(self, groups: int = 1) -> None:
        self.sums = np.zeros((groups, 6))  # 1, n, t, n n, n t, t t
        self.seen, self.bursts, self.ticks = 0.0, 0.0, 0.0  # of all groups

    def add(self, bursts: float, ticks: float, group: int = 0) -> None:
        self.sums *= 1 - FORGET
        self.sums[group] += [1, bursts, ticks, bursts * bursts, bursts * ticks, ticks * ticks]
        self.seen, self.bursts, self.ticks = self.sums[:, :3].sum(axis=0).tolist()

    @property
    def pace(self) -> float:
        return self.ticks / self.bursts

    def squares(self, pace: F64 | float) -> float:
        """Sum of (ticks - pace of its group * bursts) squared."""
        _, _, _, nn, nt, tt = self.sums.T
        return max(0.0, float((tt - 2 * pace * nt + pace * pace * nn).sum()))


class _Class:
    """What is known of a class of traffic."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.flow = _Sums(CHANNELS)  # rounds of the channel that never drains
        self.steps = _Sums()  # short steps
        self.counts = np.zeros(len(state.STATISTICS))  # of the rounds
        self.noise, self.spread, self.freedom = 0.0, 0.0, 0.5  # see _variances
        self.twin: tuple[float, float] | None = None  # of a round: bursts and ticks
        self.pairs, self.pair_squares = 0.0, 0.0
        self.ways = np.zeros(1)  # how sampled channels' paces differ from the mean, beyond noise
        self.rounds = 0
        self.since = 0  # bursts of all steps since the last round
        self.since_short = 0  # and since the last short step
        self.seen = 0  # and since it began

    def add_round(self, bursts: int, ticks: float, counts: I64, channel: int) -> None:
        """Learn from a round of one of the sampled channels."""
        self.counts = self.counts * (1 - FORGET) + counts
        self.flow.add(bursts, ticks, channel)
        self.noise, self.spread, self.freedom = self._variances()
        self.ways = np.zeros(1)
        if self.spread:
            sums = self.flow.sums[self.flow.sums[:, 0] > 0]
            off = sums[:, 2] / sums[:, 1] - self.flow.pace
            self.ways = off * self.spread / (self.spread + self.noise / sums[:, 1])

    def add_to_pair(self, bursts: float, ticks: float) -> None:
        """Learn from a round whether channels differ at one place of the step."""
        if self.twin is not None and self.rounds % 2 == 1:
            off = ticks / bursts - self.twin[1] / self.twin[0]
            self.pairs = self.pairs * (1 - FORGET) + 1
            self.pair_squares *= 1 - FORGET
            self.pair_squares += off * off / (1 / bursts + 1 / self.twin[0])

    def own_noise(self) -> float:
        """Variance of a channel's time, per burst, among channels at the same place of a step."""
        if self.pairs < LEAST_PAIRS:
            return self.noise
        return max(0.0, self.pair_squares / self.pairs - self.spread * ROUND)

    def _variances(self) -> tuple[float, float, float]:
        """Of a channel's time, per burst; of the pace from channel to channel; and the degrees of
        freedom of the first."""
        sums = self.flow.sums[self.flow.sums[:, 0] > 0]
        _, bursts, ticks = sums[:, :3].T
        groups, total = len(sums), self.flow.bursts
        squares = self.flow.squares(self.flow.sums[:, 2] / np.maximum(self.flow.sums[:, 1], 1))
        freedom = max(self.flow.seen - groups, 0.5)
        noise = squares / total * self.flow.seen / freedom
        between = float((bursts * (ticks / bursts - self.flow.pace) ** 2).sum())
        if between < SIGNIFICANT * (groups - 1) * noise:
            return noise, 0.0, freedom
        even = total - float((bursts**2).sum()) / total
        return noise, (between - (groups - 1) * noise) / max(even, 1.0), freedom

    @property
    def done(self) -> float:
        """Bursts that `counts` are of: those that moved data, and those the write queue took."""
        kinds = [state.READS, state.WRITES, state.FORWARDED, state.MERGED]
        return float(self.counts[kinds].sum())

    def step_noise(self) -> float:
        """Variance of a short step's time."""
        steps, pace = self.steps, self.flow.pace
        off = (steps.ticks - pace * steps.bursts) / steps.seen
        mean = max(0.0, steps.squares(pace) / steps.seen - off**2)
        return mean * steps.seen / (steps.seen - 1)

    def step(self) -> tuple[float, float]:
        """Bursts and ticks of a short step."""
        return self.steps.bursts / self.steps.seen, self.steps.ticks / self.steps.seen

    def error(self, bursts: float) -> float:
        """Standard error of the time of so many bursts, relative; infinite if not known."""
        if min(self.flow.seen, self.steps.seen) < LEAST:
            return np.inf
        short, ticks = self.step()
        shares = self.flow.sums[:, 1] / self.flow.bursts
        spread = 2 / (9 * self.freedom)  # the variance may be as much larger, at nine in ten
        doubt = 1 / (1 - spread - 1.2816 * np.sqrt(spread)) ** 3
        noise = max(2 * self.noise - self.own_noise(), self.noise) * doubt
        variance = noise / self.flow.bursts + self.spread * float((shares**2).sum())
        variance = (bursts - short) ** 2 * variance + self.step_noise() / self.steps.seen
        return float(np.sqrt(variance) / (ticks + self.flow.pace * (bursts - short)))

    def contradicts(self, bursts: float, ticks: float) -> bool:
        """Whether a short step is beyond what noise explains."""
        if min(self.flow.seen, self.steps.seen) < LEAST:
            return False
        short, usual = self.step()
        off = abs(ticks - usual - self.flow.pace * (bursts - short))
        return off > CONTRADICTION * np.sqrt(self.step_noise()) + 0.1 * usual


class Sampler:
    """Times of a memory's steps, learned as they come; see above."""

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
        self._timing, self._policy, self._parameters = timing, policy, parameters
        self._channels, self._stripe, self._burst = channels, stripe, burst
        self._flow = state.allocate(timing, policy, sizes, 1)
        self._short = state.allocate(timing, policy, sizes, 1)
        self._classes: OrderedDict[tuple[int, ...], _Class] = OrderedDict()
        self._latest: tuple[int, ...] = ()
        self._row_set = timing.banks * columns  # bursts that all rows hold at a time
        self._short_bursts = 2 * (policy.read_queue + policy.write_queue)
        self._turn = 0

    def step(
        self, extents: Traffic, seen: Survey, start: int, window: int, delay: int
    ) -> tuple[int, dict[str, int]] | None:
        """Ticks of a step that starts at tick `start`, and counts; see device.replay_apart.

        None where samples miss the traffic.
        """
        total = int(seen.bursts.sum())
        mean = total / self._channels
        key = (
            round(32 * seen.written / total),
            round(8 * np.log2(total / seen.visits)),
            round(2 * np.log2(min(max(mean, 1), self._short_bursts))),
        )
        play = partial(self._play, extents, seen, window, delay)
        known = self._classes.pop(key, None) or _Class()
        spent = 0
        budget = min(max(BUDGET[0], total // 4), BUDGET[1])
        while spent < budget:
            looked_at = not spent and known.since_short < min(SELDOM * known.seen, GLANCE)
            if looked_at and self._is_known(known, mean):
                break
            spent += self._short_step(known, seen, play)
            if self._is_known(known, mean):
                break
            if key != self._latest:  # what the last class left in the queues goes first
                self._latest = key
                play(self._flow, LEAST_PART, self._chosen(seen, 0), self._spread(), 0, False)
            spent += self._round(known, seen, play)
        if known.error(mean) == np.inf:
            return None
        known.since += total
        known.since_short += total
        known.seen += total
        self._classes[key] = known
        if len(self._classes) > CLASSES:
            self._classes.popitem(last=False)
        return self._time(known, seen, start), self._scaled(known, total)

    def _is_known(self, known: _Class, bursts: float) -> bool:
        """Whether a step's time is known as well as it can be, and by a round not long ago."""
        seldom = min(max(SELDOM * known.seen, CHECK[0]), CHECK[1])
        enough = min(known.flow.seen, known.steps.seen) >= ENOUGH
        return known.since < seldom and (enough or known.error(bursts) < TARGET)

    def _round(self, known: _Class, seen: Survey, play: Play) -> int:
        """Feed the channel that never drains; the bursts that it played. Two rounds in a row are at
        one place of the step, on two channels; the second of them and the next are on one."""
        row = self._flow
        total = np.zeros(state.DONE + 1, np.int64)
        turn = (known.rounds + 1) // 2
        is_part = bool(seen.bursts[self._chosen(seen, turn)] > ROUND)
        for part in range(PARTS):
            wanted = ROUND - int(total[state.DONE])
            place = (known.rounds // 2 + 0.5 + part) * GOLDEN % 1
            total += play(row, wanted, self._chosen(seen, turn + part), place, 0, False)
            if total[state.DONE] > ROUND - LEAST_PART:
                break
        bursts = int(total[state.DONE])
        twin = None
        if bursts:
            ticks = self._evened(known, float(total[state.NOW]), total)
            counts = total[: len(state.STATISTICS)]
            known.add_round(bursts, ticks, counts, turn % CHANNELS)
            if is_part:
                known.add_to_pair(bursts, ticks)
                twin = bursts, ticks
        known.twin = twin
        known.rounds += 1
        known.since = 0
        return ROUND + self._row_set

    def _short_step(self, known: _Class, seen: Survey, play: Play) -> int:
        """Play a short step from first to last; its bursts. What is known is forgotten if this
        contradicts it."""
        row = self._short
        began = max(int(row[state.LAST_DONE]), int(row[state.NOW])) + 1
        channel = self._chosen(seen, self._turn)
        counts = play(row, self._short_bursts, channel, self._spread(), began, True)
        bursts = int(counts[state.DONE])
        if bursts:
            ticks = self._evened(known, float(row[state.LAST_DONE] - began), counts)
            if known.contradicts(bursts, ticks):
                known.forget()
            known.steps.add(bursts, ticks)
        known.since_short = 0
        return max(bursts, 1)

    def _chosen(self, seen: Survey, turn: int) -> int:
        """The channel whose turn it is; each as often as it has bursts."""
        upto = np.cumsum(seen.bursts)
        return int(np.searchsorted(upto, turn % CHANNELS * GOLDEN % 1 * upto[-1], "right"))

    def _play(
        self,
        extents: Traffic,
        seen: Survey,
        window: int,
        delay: int,
        row: I64,
        bursts: int,
        channel: int,
        place: float,
        start: int,
        drain: bool,
    ) -> I64:
        """Put so many bursts in a row of one of the step's channels through the one in `row`; if it
        is not to drain, after some more that open the rows, and round from the step's end to its
        beginning. place: where they begin, 0 to 1. Its first fields, less what they were before."""

        def play(part: Traffic) -> None:
            burst_kernel.replay(
                self._parameters, row, self._channels, channel, channel + 1, *part, _NONE, start,
                0, 1, window, delay, self._stripe, self._burst, drain,
            )  # fmt: skip

        def play_from(first: int, length: int) -> None:
            here = min(length, total - first)
            play(cut(extents, seen.position, first, here))
            if length > here:
                play(cut(extents, seen.position, 0, length - here))

        total = int(seen.position[-1])
        bytes_per_burst = total / seen.bursts[channel]
        length = int(bursts * bytes_per_burst)
        first = int(place * total)
        if length < total and not drain:
            before = min(total - length, int(self._row_set * bytes_per_burst))
            if before:
                play_from((first - before) % total, before)
        then = row[: state.DONE + 1].copy()
        if length >= total:
            play(extents)
        elif drain:
            play_from(int(place * (total - length)), length)
        else:
            play_from(first, length)
        return row[: state.DONE + 1] - then

    def _spread(self) -> float:
        """Evenly spread over 0 to 1 from call to call."""
        self._turn += 1
        return self._turn * GOLDEN % 1

    # ------------------------------------------------------------ refresh

    @property
    def _all_bank(self) -> bool:
        return self._policy.refresh == state.ALL_BANK

    def _refresh_ticks(self, counts: F64 | I64) -> float:
        """What one all-bank refresh costs, by the time that data buses lost to so many."""
        met = counts[state.REFRESHES] / self._timing.scopes
        if met < 4:
            return self._timing.rfc
        return float(counts[state.LOST_REFRESH] / self._timing.buses / met)

    def _evened(self, known: _Class, ticks: float, counts: I64) -> float:
        """Ticks had a sample met its fair share of all-bank refreshes, no more or less."""
        if not self._all_bank:
            return ticks
        met = counts[state.REFRESHES] / self._timing.scopes
        return ticks + self._refresh_ticks(known.counts) * (ticks / self._timing.refi - met)

    def _time(self, known: _Class, seen: Survey, start: int) -> int:
        """Expected ticks until the slowest channel is done."""
        pace = known.flow.pace
        short, ticks = known.step()
        beyond = np.maximum(seen.bursts - short, 0)
        # Channels under one extent see the same rows come and go; but where channels differ for good,
        # each goes its own way.
        together, own = min(seen.visits / seen.runs, self._channels), 1.0
        if len(known.ways) > 1:
            together, own = 1.0, 1 - together / self._channels
        deviation = np.sqrt(own * (known.own_noise() * beyond + known.step_noise()))
        usual = ticks + pace * (seen.bursts - short)
        time = _expected_maximum(usual + known.ways[:, None] * beyond, deviation, together)
        if self._all_bank:  # they all refresh at the same ticks
            cost, refi = self._refresh_ticks(known.counts), self._timing.refi
            time *= 1 - cost / refi
            phase = start % refi
            while phase + time >= refi:
                phase -= refi
                time += cost
        moved = known.counts[[state.READS, state.WRITES]].sum() / known.done
        pins = float(seen.bursts.max() * moved) * self._timing.burst / self._timing.buses
        return int(max(np.rint(time), pins))

    def _scaled(self, known: _Class, total: int) -> dict[str, int]:
        """The step's counts by what its class has shown."""
        scaled = (known.counts * (total / known.done)).astype(np.int64)
        return dict(zip(state.STATISTICS, scaled.tolist(), strict=True))


_NONE = np.zeros(0, np.int64)


def _expected_maximum(mean: F64, deviation: F64, together: float) -> float:
    """Expected largest of variables, normal about any of several means alike, of which so many always
    move together: the integral of 1 - P(all are below). mean: [ways, variables], deviation:
    [variables]."""
    high = float(mean.max())
    if not deviation.any() and len(mean) == 1:
        return high
    from scipy.special import ndtr

    deviation = np.maximum(deviation, 1e-6 * high)
    low = float((mean - 5 * deviation).min(axis=0).max())
    high = float((mean + 5 * deviation).max())
    points = int(min(max(A_DEVIATION * (high - low) / deviation.min() + 1, GRID[0]), GRID[1]))
    grid, step = np.linspace(low, high, points, retstep=True)
    each = ndtr((grid[:, None, None] - mean) / deviation).mean(axis=1)
    below = np.minimum(each.min(axis=1), each.prod(axis=1) ** (1 / together))
    return high - float((below[1:] + below[:-1]).sum()) * float(step) / 2
