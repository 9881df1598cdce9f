"""A memory: channels of one standard behind an address map and a controller policy."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from hmsim.config.memory import PROTOCOLS, MemorySpec
from hmsim.config.system import MemorySide, Scheduler, close_after
from hmsim.errors import InputError, did_you_mean
from hmsim.memory import burst_state as kernel
from hmsim.memory import mapping as maps
from hmsim.memory.timing import compile_timing, tick_seconds
from hmsim.ready import Ready

if TYPE_CHECKING:
    from hmsim.memory.sampling import Sampler
    from hmsim.memory.sampling_kernel import Learner

I64 = NDArray[np.int64]

REFRESH = {  # `Refreshing`, and what Ramulator 2.1 does
    "all-bank": kernel.ALL_BANK,
    "per-bank": kernel.PER_BANK,
    "per-bank-blocking": kernel.PER_BANK_BLOCKING,
    "none": kernel.NO_REFRESH,
}
_replay = Ready("hmsim.memory.burst_kernel", "replay")
SCHEDULERS: tuple[str, ...] = get_args(Scheduler)


class Extents(NamedTuple):
    """Contiguous pieces of a memory, in the order of issue.

    Attributes:
        address: int64 [n], bytes from the memory's beginning.
        size: int64 [n], bytes.
        write: int64 [n], 1 where the piece is written, and 0 where it is read.
    """

    address: I64
    size: I64
    write: I64


@dataclass(frozen=True)
class MemoryConfig:
    """A memory as a system has it: a standard, channels of it, and what the controller does.

    Attributes:
        spec: The standard: organisation, timing set and refresh of one channel (`load_memory`).
        channels: Number of channels, 1 to 4096.
        mapping: Address map, bit fields from the least significant up; the standard's own for None.
            One with the field `Ch` is of all channels together.
        interleave: Bytes in a row that belong to one channel, a power of two; one burst for None.
            Not beside a map that places the channel.
        read_queue: Reads that a channel's controller holds, in bursts, 1 to 4096.
        write_queue: Writes that it holds, likewise.
        row_policy: `open`, or `closed:N`: a row is closed after N column commands.
        refresh: `all-bank`; `per-bank`, which holds back only the bank to be refreshed;
            `per-bank-blocking`, which holds back the whole channel while a refresh waits, as
            Ramulator 2.1 does; or `none`.
        scheduler: `FRFCFSRowHit`, row hits first, or `FRFCFS`, the oldest ready request first.
        latency: Seconds from the requester to the controller and back, without the DRAM's own.
        ecc: Data bursts that share a burst of in-band ECC; 0: there is none.
        taken: Share of its time that others have. `Superchip` stretches a step's by it.
    """

    spec: MemorySpec
    channels: int = 1
    mapping: str | None = None
    interleave: int | None = None
    read_queue: int = 32
    write_queue: int = 32
    row_policy: str = "open"
    refresh: str = "all-bank"
    scheduler: str = "FRFCFSRowHit"
    latency: float = 0.0
    ecc: int = 0
    taken: float = 0.0

    @classmethod
    def of(cls, side: MemorySide) -> "MemoryConfig":
        """The memory of a system, such as `load_system("gh200-96gb").hbm`.

        Args:
            side: The system's `hbm` or `dram`.

        Returns:
            Its configuration.

        Raises:
            InputError: The address map places the channel, which a system's `interleave` does.
        """
        mapping = _own(side.mapping, side.spec)
        if maps.places_channel(mapping):
            raise InputError(
                f"mapping {mapping!r}: Ch: in a system interleave says which channel; leave it out"
            )
        return cls(
            side.spec,
            side.own_channels,
            side.mapping,
            None if maps.divided(mapping, 1)[1] else max(1, int(side.stripe)),
            read_queue=side.queue,
            write_queue=side.write_queue or side.queue,
            row_policy=side.row_policy,
            refresh=side.refresh,
            latency=side.latency,
            ecc=side.ecc,
            taken=side.background / (side.own_channels * side.spec.channel_bandwidth),
        )

    @property
    def bandwidth(self) -> float:
        """What the data pins carry when never idle, bytes/s."""
        return self.channels * self.spec.channel_bandwidth

    @property
    def stripe(self) -> int:
        """Bytes in a row that belong to one channel."""
        burst = self.spec.organization.burst_bytes
        return self.interleave or maps.divided(_own(self.mapping, self.spec), burst)[1] or burst

    @property
    def hashed(self) -> bool:
        """Whether a hash says which channel a stripe belongs to: the map has Ch, any number."""
        return maps.divided(_own(self.mapping, self.spec), 1)[1] > 0

    def policy(self, posted_writes: bool) -> kernel.Policy:
        """The controller's choices as the kernel takes them.

        Args:
            posted_writes: A write is complete once a queue holds it, and not only once it is in
                DRAM.

        Returns:
            The choices, as numbers.

        Raises:
            InputError: A choice is unknown, or a queue is out of range.
        """
        if self.refresh not in REFRESH:
            raise InputError(f"refresh: {self.refresh!r}{did_you_mean(self.refresh, REFRESH)}")
        if self.scheduler not in SCHEDULERS:
            known = did_you_mean(self.scheduler, SCHEDULERS)
            raise InputError(f"scheduler: {self.scheduler!r}{known}")
        for name in ("read_queue", "write_queue"):
            if not 1 <= getattr(self, name) <= 4096:
                raise InputError(f"{name}: {getattr(self, name)} is outside 1 to 4096")
        return kernel.Policy(
            read_queue=self.read_queue,
            write_queue=self.write_queue,
            row_hit_first=self.scheduler == "FRFCFSRowHit",
            close_after=self._close_after(),
            refresh=REFRESH[self.refresh],
            posted_writes=posted_writes,
            hashed=self.hashed,
            checked=self.ecc,
        )

    def _close_after(self) -> int:
        try:
            return close_after(self.row_policy)
        except ValueError as error:
            raise InputError(f"row policy: {self.row_policy!r}: {error}") from None

    def check(self, where: str = "") -> maps.Mapping:
        """Check everything, and read the address map.

        Args:
            where: Opens the line of any error, such as `"system.hbm: "`.

        Returns:
            The address map.

        Raises:
            InputError: A key is out of range; the line names it.
        """
        try:
            return self._checked()
        except InputError as error:
            raise InputError(f"{where}{error}") from None

    def _checked(self) -> maps.Mapping:
        spec = self.spec
        burst = spec.organization.burst_bytes
        if not 1 <= self.channels <= 4096:
            raise InputError(f"channels: {self.channels} is outside 1 to 4096")
        if self.stripe < burst or self.stripe & (self.stripe - 1):
            raise InputError(
                f"interleave: {self.stripe} B is no power of two of at least one {burst} B burst"
            )
        if self.stripe > spec.organization.channel_bytes:
            raise InputError(
                f"interleave: {self.stripe} B is more than a channel's"
                f" {spec.organization.channel_bytes} B"
            )
        self.policy(posted_writes=True)
        self._check_refresh()
        own = _own(self.mapping, spec)
        if self.interleave and (self.hashed or maps.places_channel(own)):
            raise InputError(
                f"interleave: {self.interleave} B: the map places the channel (Ch); leave one out"
            )
        return maps.parse(maps.divided(own, 1)[0], spec, self.channels)

    def _check_refresh(self) -> None:
        """InputError where refreshes are due faster than banks and command bus allow: no request
        would ever be served."""
        organization, refresh = self.spec.organization, self.spec.refresh
        buses = organization.pseudo_channels
        banks = organization.ranks * organization.bank_groups * organization.banks
        if buses * banks > kernel.RING // 2:
            raise InputError(
                f"organization: {buses * banks} banks in a channel: {kernel.RING // 2} at most"
            )
        where = f"refresh: {self.refresh!r}: refresh."
        if self.refresh == "all-bank":
            by_rank = PROTOCOLS[self.spec.protocol].by_rank
            scopes = buses * (organization.ranks if by_rank else 1)
            if refresh.nREFI <= scopes:
                raise InputError(
                    f"{where}nREFI = {refresh.nREFI} must exceed {scopes}, the commands of a refresh"
                )
        elif self.refresh != "none":
            least = max(refresh.nPBR2PBR, buses)
            if refresh.nREFIpb <= least:
                name = "nPBR2PBR" if least == refresh.nPBR2PBR else "pseudo_channels"
                raise InputError(f"{where}nREFIpb = {refresh.nREFIpb} must exceed {name} = {least}")
            if refresh.nRFCpb >= refresh.nREFIpb * banks:
                raise InputError(
                    f"{where}nRFCpb = {refresh.nRFCpb} must be below nREFIpb x banks ="
                    f" {refresh.nREFIpb} x {banks}"
                )


def _own(mapping: str | None, spec: MemorySpec) -> str:
    """The map that is given, be it a wrong one; else the memory's own."""
    return spec.mapping if mapping is None else mapping


class Memory:
    """Channels with their state, simulated burst by burst.

    Times are in ticks of `tick_s` seconds. State is kept from call to call: open rows, the phase of
    refresh, and what is queued.

    Args:
        config: The memory.
        window: Bursts in flight for each channel, at most.
        bins: Bins of the histogram of read latencies, one tick each; the last one is open-ended.
        log: Commands of each channel to keep for `commands`.
        posted_writes: A write is complete once a queue holds it, and not only once it is in DRAM.
        threads: Threads to simulate channels in. They change no result.

    Attributes:
        config: As given.
        mapping: The address map.
        timing: The timing set in ticks.
        tick_s: Seconds of a tick.
        capacity: Bytes that the map addresses, in all channels.

    Raises:
        InputError: The configuration is wrong; the line names the key.
    """

    def __init__(
        self,
        config: MemoryConfig,
        window: int = 1,
        bins: int = 1,
        log: int = 0,
        posted_writes: bool = True,
        threads: int = 1,
    ):
        spec = config.spec
        burst = spec.organization.burst_bytes
        self.config = config
        self.mapping = config.check()
        self.timing = compile_timing(spec)
        self.tick_s = tick_seconds(spec)
        self._places_channel = bool((self.mapping.target == 3).any())
        mapped = burst << self.mapping.bits
        held = spec.organization.channel_bytes
        self.capacity = (
            min(mapped, config.channels * held)
            if self._places_channel
            else config.channels * min(mapped, held)
        )
        self._policy = config.policy(posted_writes)
        self._sizes = kernel.Sizes(bins=bins, window=window, log=log)
        self._shifts = (config.stripe.bit_length() - 1, burst.bit_length() - 1)
        self._threads = max(1, min(threads, config.channels))
        self.parameters = kernel.pack(self.timing, self._policy, self.mapping, self._sizes)
        self.reset()

    def reset(self) -> None:
        """Go back to tick 0, with closed rows and empty queues."""
        self.state = kernel.allocate(self.timing, self._policy, self._sizes, self.config.channels)
        self._stream = (0, 0)  # of replay_in_order: the last tick, and how many were taken at it
        self._learning: Sampler | None = None

    @property
    def _sampler(self) -> "Sampler":
        from hmsim.memory.sampling import Sampler  # its kernels are not for all that have a memory

        if self._learning is None:
            self._learning = Sampler(
                self.timing, self._policy, self.parameters, self._sizes,
                self.config.spec.organization.columns, self.config.channels, *self._shifts,
            )  # fmt: skip
        return self._learning

    @property
    def learner(self) -> "Learner":
        """What the kernels of `hmsim.memory.sampling` take and write to, until the next reset."""
        return self._sampler.learner

    @property
    def buses(self) -> int:
        """Data buses of all channels."""
        return self.config.channels * self.timing.buses

    def statistics(self) -> dict[str, int]:
        """Counts since the last reset, summed over channels.

        Returns:
            By name (`hmsim.memory.burst_state.STATISTICS`): requests, row hits, misses and
            conflicts, commands; `latency_ticks`, summed over reads; and ticks that data buses lost,
            by reason.
        """
        counts = self._counts(list(range(self.config.channels)))
        return dict(zip(kernel.STATISTICS, counts.tolist(), strict=True))

    @property
    def last_done(self) -> int:
        """Tick at which the last request was complete."""
        return int(self._rows()[:, kernel.LAST_DONE].max())

    @property
    def last_data(self) -> int:
        """Tick at which all data buses are free; beyond `last_done` where writes are posted."""
        buses = self._parts(kernel.FIRST_BUS, self.timing.buses * kernel.BUS_SIZE)
        return int(buses.reshape(-1, kernel.BUS_SIZE)[:, kernel.BUS_FREE].max())

    def bus_ticks(self, counts: dict[str, int], whole: int) -> dict[str, int]:
        """What the time of all data buses went into.

        Args:
            counts: Statistics of that time, as `statistics` or `replay_apart` give them.
            whole: How long that time is, in ticks.

        Returns:
            Ticks by name: `data`, and the reasons for its absence
            (`hmsim.memory.address_trace.REASONS`). They add up to whole * buses. What follows a
            bus's last burst counts as no request.
        """
        lost = {
            name.removeprefix("lost_"): ticks
            for name, ticks in counts.items()
            if name.startswith("lost_")
        }
        data = (counts["reads"] + counts["writes"]) * self.timing.burst
        lost["no_request"] += whole * self.buses - data - sum(lost.values())
        if lost["no_request"] < 0:  # a scaled sample's parts, rounded one by one
            lost[max(lost, key=lost.__getitem__)] += lost["no_request"]
            lost["no_request"] = 0
        return {"data": data, **lost, "link": 0}

    def histogram(self) -> I64:
        """Reads by latency.

        Returns:
            int64 [bins]: how many reads took so many ticks. The last bin is open-ended.
        """
        return self._parts(kernel.HISTOGRAM, self._sizes.bins).sum(axis=0)

    @property
    def log_is_full(self) -> bool:
        """Whether commands may have gone unlogged."""
        return bool((self._rows()[:, kernel.LOGGED] >= self._sizes.log).any())

    def commands(self) -> I64:
        """Commands issued, by tick, as far as the log goes (`log_is_full`).

        Returns:
            int64 [n, 6]: tick, channel, command, bank, row, line.
        """
        logs = self._parts(kernel.LOG, self._sizes.log * 5).reshape(self.config.channels, -1, 5)
        counts = self._rows()[:, kernel.LOGGED]
        parts = [
            np.insert(log[:count], 1, channel, axis=1)
            for channel, (log, count) in enumerate(zip(logs, counts, strict=True))
        ]
        together = np.concatenate(parts)
        return together[np.argsort(together[:, 0], kind="stable")]

    def replay_in_order(
        self, extents: Extents, intended: I64, width: int, last: bool = True
    ) -> None:
        """One stream over all channels, in order: a full queue holds back all that follows.

        A stream may come in parts, which end where `last` is true.

        Args:
            extents: What is read and written.
            intended: Earliest tick of each extent, int64 [n]; an empty array for "as soon as
                accepted".
            width: Bursts accepted in a tick, at most.
            last: Nothing follows: run until all is complete.
        """
        stream = self._replay(-1, 0, extents, intended, *self._stream, width, kernel.FAR, 0, last)
        self._stream = (0, 0) if last else stream

    def replay_apart(
        self, extents: Extents, start: int, window: int, delay: int, sampled: bool = False
    ) -> tuple[int, dict[str, int]]:
        """To each channel its part of the extents, at its own pace.

        Args:
            extents: What is read and written.
            start: Tick at which all channels begin.
            window: Bursts in flight in each channel, at most.
            delay: Ticks by which a channel hears late of a completion.
            sampled: Learn what such traffic takes from samples (`hmsim.memory.sampling`).

        Returns:
            Ticks from `start` until all is complete, and what was counted meanwhile, as
            `statistics` does.
        """
        if sampled and not self._places_channel:  # else no closed form counts a channel's bursts
            from hmsim.memory import sampling

            seen = sampling.survey(
                extents, self.config.channels, *self._shifts, int(self.config.hashed)
            )
            if int(seen.bursts.sum()) >= sampling.EXACT:
                known = self._sampler.step(extents, seen, start, window, delay)
                if known is not None:
                    return known
        channels = self.config.channels
        bounds = np.linspace(0, channels, self._threads + 1).astype(int).tolist()
        parts = list(pairwise(bounds))
        before = self.statistics()
        self._replay_parts(parts, extents, start, window, delay)
        after = self.statistics()
        counts = {name: after[name] - before[name] for name in after}
        return max(0, self.last_done - start), counts

    def replay_channel(
        self, channel: int, extents: Extents, intended: I64, window: int, delay: int
    ) -> None:
        """To one channel its part of the extents, from tick 0 on; see `replay_apart`.

        Args:
            channel: Which.
            extents: What is read and written, in all channels.
            intended: Earliest tick of each extent, int64 [n]; an empty array for "as soon as
                accepted".
            window: Bursts in flight in the channel, at most.
            delay: Ticks by which it hears late of a completion.
        """
        self._replay(channel, channel + 1, extents, intended, 0, 0, 1, window, delay, True)

    def evened(self, ticks: float, counts: dict[str, int], channels: int) -> float:
        """Ticks of a sample, had it met its fair share of all-bank refreshes.

        A sample holds a few refreshes, and one too many would show.

        Args:
            ticks: Ticks of the sample, the mean over its channels.
            counts: The sample's statistics, summed over its channels. The ticks lost to refresh are
                put right in it.
            channels: How many channels the sample has.

        Returns:
            Ticks; `ticks` itself where refreshes are not all-bank ones.
        """
        if self._policy.refresh != kernel.ALL_BANK:
            return ticks
        lost = counts["lost_refresh"] / (self.timing.buses * channels)
        met = counts["refreshes"] / (self.timing.scopes * channels)
        share = (lost / met if met else self.timing.rfc) / self.timing.refi
        fair = (ticks - lost) / (1 - share)
        counts["lost_refresh"] = int(fair * share * self.timing.buses * channels)
        return fair

    def _replay_parts(
        self, parts: list[tuple[int, int]], extents: Extents, start: int, window: int, delay: int
    ) -> None:
        from hmsim.jit import in_threads  # Numba is not for one stream

        none = np.zeros(0, np.int64)

        def run(part: int) -> None:
            self._replay(*parts[part], extents, none, start, 0, 1, window, delay, True)

        in_threads(run, len(parts))

    def _replay(
        self,
        first: int,
        last: int,
        extents: Extents,
        intended: I64,
        start: int,
        taken: int,
        width: int,
        window: int,
        delay: int,
        drain: bool,
    ) -> tuple[int, int]:
        tick, taken = _replay(
            self.parameters, self.state, self.config.channels, first, last, *extents, intended,
            start, taken, width, window, delay, *self._shifts, drain,
        )  # fmt: skip
        return tick, taken

    def _counts(self, channels: list[int]) -> I64:
        return self._rows()[channels, : len(kernel.STATISTICS)].sum(axis=0)

    def _rows(self) -> I64:
        return self.state.reshape(self.config.channels, -1)

    def _parts(self, field: int, length: int) -> I64:
        """The records of `length` that `field` points at: [channels, length]."""
        starts = self._rows()[:, field]
        return self.state[starts[:, None] + np.arange(length)]
