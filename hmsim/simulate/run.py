"""A whole run: every policy over every step of a workload, and the result file it leaves.

The stream is read once. While the policies work on one window, each in a thread of its own, the
next is being generated; kernels release the GIL. Sampled groups of steps go through the memory
kernels as they come by.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from hmsim.bound import bound, quick_prices
from hmsim.bound.certificate import Certificate
from hmsim.config.run import RunSpec
from hmsim.config.system import SystemSpec
from hmsim.memory.device import MemoryConfig, Pages
from hmsim.memory.superchip import Superchip
from hmsim.memory.timing import tick_seconds
from hmsim.placement import driver
from hmsim.placement.latency import (
    RESIDENT,
    Groups,
    Traffic,
    analytic_rates,
    peak_bandwidth,
    pin_rates,
    pooled_bound,
    split_bound,
)
from hmsim.placement.policies.authors import Authors
from hmsim.results.schema import REASONS, ResultWriter
from hmsim.simulate import overlap
from hmsim.simulate.estimate import Estimate, ratio_estimate
from hmsim.simulate.extents import AddressMap
from hmsim.simulate.policies import make_policy
from hmsim.workload.open import open_workload
from hmsim.workload.steps import I64, Geometry, Steps, Workload, group_starts
from hmsim.workload.windows import Window, windows

DEFAULT_SAMPLE = 16  # groups replayed where the configuration does not say
SAMPLE_BYTES = 128e6  # of sampled placements that a policy holds at once

Progress = Callable[[int], None]  # more steps done


class Outcome(NamedTuple):
    """One policy's totals over the run."""

    name: str
    time_s: float
    demand_bytes: float  # attention and weight reads
    hbm_bytes: float  # of those, from HBM
    migrated_bytes: float
    sampled_steps: int
    replay: Estimate | None
    pooled: bool  # weights may come from either memory


class Bounds(NamedTuple):
    """Seconds that no placement undercuts: at the analytic rates, and at the pins (rigorous).

    The pooled ones hold also where weights may be read from either memory, as the founding authors
    count.
    """

    analytic_s: float
    analytic_pooled_s: float
    rigorous_s: float
    rigorous_pooled_s: float


class Ran(NamedTuple):
    """A finished run."""

    workload: Workload
    tokens: int  # token steps
    decoded: int  # tokens, over all sequences
    outcomes: list[Outcome]
    bounds: Bounds
    iterations: int  # passes of the search for a tighter bound; 0 for the cheap ones
    achievable_s: float | None  # of the best schedule that search found
    wall_s: float


class Sampling:
    """Which barrier groups go through the memory kernels: every `period`-th, after a warm-up."""

    def __init__(self, period: int, groups: int):
        self.period = period or max(1, groups // DEFAULT_SAMPLE)
        self._offset = self.period // 2

    def measured(self, group: I64) -> np.ndarray:
        return group % self.period == self._offset

    def taken(self, group: I64) -> np.ndarray:
        """Measured groups and those before them, which leave the memories in their usual state."""
        return self.measured(group) | self.measured(group + 1)


class _Track:
    """One policy's way through the run."""

    def __init__(self, spec: RunSpec, policy: Any, workload: Workload, sampling: Sampling):
        capacity = spec.system.hbm.capacity
        self.name = policy.name
        self._run = driver.start(
            policy, workload, capacity, analytic_rates(spec.system), spec.bound.variant
        )
        self._size = workload.geometry.block_bytes
        self._pooled = isinstance(policy, Authors)
        self._sums = np.zeros(4)
        self._sampling = sampling
        self._kernel_s: list[float] = []
        self._analytic_s: list[float] = []
        self._steps = 0
        self._groups = 0
        self._chip: Superchip | None = None
        if spec.replay.fidelity != "analytic":
            self._chip = Superchip(
                MemoryConfig.of(spec.system.hbm), spec.system.link, MemoryConfig.of(spec.system.dram),
                spec.replay.outstanding or spec.system.outstanding, spec.replay.fidelity, threads=1,
            )  # fmt: skip
            self._addresses = AddressMap(
                workload.geometry, driver.capacity_blocks(workload, capacity)
            )

    def window(self, window: Window, groups: Groups) -> dict[str, np.ndarray]:
        """Take the policy through a window; its variables for the result file."""
        group = self._groups + np.arange(len(groups.start))
        taken = np.zeros(len(group), bool) if self._chip is None else self._sampling.taken(group)
        rows = np.repeat(taken, np.diff(groups.start, append=window.rows))
        wanted = np.where(rows, np.cumsum(rows) - 1, -1)
        counts, samples = self._run.advance(window, wanted)
        traffic = self._run.traffic(counts, groups)
        self._add(traffic)
        variables = _variables(traffic, counts[:, RESIDENT] * self._size)
        measured = self._sampling.measured(group)
        for i in np.flatnonzero(taken):
            start = int(groups.start[i])
            end = int(groups.start[i + 1]) if i + 1 < len(group) else window.rows
            self._replay(window, range(start, end), samples[wanted[start] :], traffic, groups,
                         variables if measured[i] else None)  # fmt: skip
        self._groups += len(group)
        return variables

    def _add(self, traffic: Traffic) -> None:
        from_hbm = traffic.attention_hbm + traffic.weights_hbm
        from_dram = traffic.attention_dram + traffic.weights_dram
        migrated = traffic.promotion_hbm + traffic.demotion_hbm
        # Times are added up plainly in step order, as the founding authors do.
        self._sums[0] = np.add.accumulate(np.append(self._sums[0], traffic.time_s))[-1]
        self._sums[1:] += [(from_hbm + from_dram).sum(), from_hbm.sum(), migrated.sum()]

    def _replay(
        self,
        window: Window,
        rows: range,
        samples: list[driver.Sample],
        traffic: Traffic,
        groups: Groups,
        variables: dict[str, np.ndarray] | None,
    ) -> None:
        """Put one group through the memory kernels; `variables` is None for a warm-up."""
        assert self._chip is not None
        placed = [
            self._addresses.step(window.steps, k, sample, traffic)
            for k, sample in zip(rows, samples, strict=False)
        ]
        timing = self._chip.step(
            joined([each.hbm for each in placed]), joined([each.dram for each in placed])
        )
        if variables is None:
            return
        group = slice(rows.start, rows.stop)
        seconds = max(timing.seconds, float(groups.compute_s[group].sum()))
        analytic = float(traffic.time_s[group].sum())
        self._kernel_s.append(seconds)
        self._analytic_s.append(analytic)
        self._steps += len(rows)
        # A group that moves nothing takes no time by the formulas: its steps share alike.
        share = traffic.time_s[group] / analytic if analytic else 1 / len(rows)
        variables["replay_time_s"][group] = seconds * share
        variables["row_hits"][group] = 0
        variables["activations"][group] = 0
        variables["row_hits"][rows.stop - 1] = timing.hbm_row_hits, timing.dram_row_hits
        variables["activations"][rows.stop - 1] = timing.hbm_activations, timing.dram_activations
        variables["bus_ticks"][group] = 0
        variables["bus_ticks"][rows.stop - 1] = [
            [ticks[reason] for reason in REASONS]
            for ticks in (timing.hbm_bus_ticks, timing.dram_bus_ticks)
        ]

    def outcome(self) -> Outcome:
        time_s, demand, from_hbm, migrated = map(float, self._sums)
        replay = None
        if self._kernel_s:
            replay = ratio_estimate(
                np.array(self._kernel_s), np.array(self._analytic_s), time_s, self._groups
            )
        return Outcome(
            self.name, time_s, demand, from_hbm, migrated, self._steps, replay, self._pooled
        )


class _Certifier:
    """The dual bound of the run's variant, certified along the run's own stream."""

    def __init__(self, spec: RunSpec, workload: Workload):
        self.iterations = 0
        self.achievable_s: float | None = None  # of a schedule, where a gap was asked for
        self.history = np.zeros((0, 3))
        self._certificate: Certificate | None = None
        self._value = 0.0
        if spec.bound.method == "split":
            return
        rates, capacity = analytic_rates(spec.system), spec.system.hbm.capacity
        variant, barrier = spec.bound.variant, spec.replay.barrier
        if spec.bound.gap > 0:
            gap, time_s = spec.bound.gap, spec.bound.time
            found = bound(workload, rates, capacity, variant, barrier, gap=gap, time_s=time_s)
            self._value, self.iterations = found.bound_s, found.iterations
            self.achievable_s, self.history = found.achievable_s, found.history
        else:
            setting, prices, self.history = quick_prices(
                workload, rates, capacity, variant, barrier
            )
            self._certificate = Certificate(setting, workload.geometry, prices, overlap.threads())

    def feed(self, steps: Steps) -> None:
        if self._certificate is not None:
            self._certificate.feed(steps)

    def value(self) -> float:
        return self._value if self._certificate is None else self._certificate.value()


def execute(spec: RunSpec, path: Path | None, progress: Progress) -> Ran:
    """Run `spec`, writing the result file `path` (if any) as it goes.

    Raises InputError before anything is written where the input is wrong; KeyboardInterrupt leaves
    the finished steps in the file.
    """
    began = time.perf_counter()
    workload = open_workload(spec.workload)
    geometry = workload.geometry
    barrier = spec.replay.barrier
    groups = geometry.steps if barrier == "layer" else geometry.steps // geometry.lanes
    chosen = [make_policy(name, spec.policies.options.get(name)) for name in spec.policies.names]
    sampling = Sampling(spec.replay.sample, groups)
    tracks = [_Track(spec, policy, workload, sampling) for policy in chosen]
    ahead = max((policy.ahead_tokens for policy in chosen), default=0)
    bounds = np.zeros(len(Bounds._fields))
    certifier = _Certifier(spec, workload)
    tokens = decoded = 0
    with _writer(spec, path, geometry, [track.name for track in tracks]) as writer:
        with overlap.pool() as pool:
            for window in overlap.ahead(windows(workload, ahead, _most_rows(spec, geometry))):
                steps = window.own
                barriers = Groups.of(steps, barrier)
                bounds += _split_bounds(spec.system, steps, barriers, geometry.block_bytes)
                tokens += len(group_starts(steps.token, "token"))
                decoded += _decoded(workload, steps)
                certified = pool.submit(certifier.feed, steps)
                done = [pool.submit(track.window, window, barriers) for track in tracks]
                for policy, future in enumerate(done):
                    variables = future.result()
                    if writer is not None:
                        writer.append(policy, variables)
                if writer is not None:
                    writer.steps(steps.first, steps.token, steps.lane)
                certified.result()
                progress(steps.rows)
        # Both are proven; prices from few passes need not beat the split.
        bounds[0] = max(bounds[0], certifier.value())
        ran = Ran(
            workload, tokens, decoded, [track.outcome() for track in tracks],
            Bounds(*map(float, bounds)), certifier.iterations, certifier.achievable_s,
            time.perf_counter() - began,
        )  # fmt: skip
        if writer is not None:
            writer.finish(
                [_totals(ran, outcome) for outcome in ran.outcomes],
                {
                    "wall_s": ran.wall_s,
                    "bound_s": ran.bounds.analytic_s,
                    "bound_method": spec.bound.method,
                    "bound_iterations": ran.iterations,
                }
                | ({} if ran.achievable_s is None else {"achievable_s": ran.achievable_s}),
                certifier.history,
            )
    return ran


def _most_rows(spec: RunSpec, geometry: Geometry) -> float:
    """Rows of a window whose samples fit in memory: two placements each, of two in `period`."""
    if spec.replay.fidelity == "analytic" or spec.replay.sample == 0:
        return np.inf
    sample_bytes = 2 * 8 * geometry.lanes * geometry.words
    return SAMPLE_BYTES / sample_bytes * max(1.0, spec.replay.sample / 2)


def bounds_of(ran: Ran, outcome: Outcome) -> tuple[float, float]:
    """What a policy's analytic and replayed times are held against, seconds."""
    bounds = ran.bounds
    if outcome.name == "unlimited":  # no schedule, and its own bound
        return outcome.time_s, bounds.rigorous_s
    if outcome.pooled:
        return bounds.analytic_pooled_s, bounds.rigorous_pooled_s
    return bounds.analytic_s, bounds.rigorous_s


def gap(time_s: float, bound_s: float) -> float:
    """(time - bound) / time, 0 where both are 0."""
    return (time_s - bound_s) / time_s if time_s else 0.0


def joined(parts: list[Pages]) -> Pages:
    """The pages of several steps as those of one."""
    return parts[0] if len(parts) == 1 else Pages(*map(np.concatenate, zip(*parts, strict=True)))


def _decoded(workload: Workload, steps: Steps) -> int:
    """Tokens decoded: sequences that append in each token step, one where none is known to."""
    rows = group_starts(steps.token, "token")
    first, last = steps.append_offset[rows], steps.append_offset[rows + 1]
    entry = np.repeat(first, last - first) + _within(last - first)
    step = np.repeat(np.arange(len(rows)), last - first)
    block = steps.lane[rows][step] * workload.geometry.slots + steps.append_slot[entry]
    _, sequence, _ = workload.locate(block)
    pairs = np.unique(step * workload.geometry.sequences + sequence)
    return len(pairs) + int((first == last).sum())


def _within(lengths: I64) -> I64:
    """0 .. n - 1 for every length n, in a row."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)


def _split_bounds(system: SystemSpec, steps: Steps, groups: Groups, size: int) -> np.ndarray:
    """Seconds at analytic and at pin rates below which no placement serves these steps."""
    start = groups.start
    reads = np.add.reduceat(steps.reads * float(size), start)
    weights = np.add.reduceat(steps.hbm_bytes, start)
    floor = np.add.reduceat(steps.compute_s, start)
    return np.array(
        [
            np.maximum(seconds, floor).sum()
            for rates in (analytic_rates(system), pin_rates(system))
            for seconds in (
                split_bound(reads, weights, rates),
                pooled_bound(reads + weights, rates),
            )
        ]
    )


def _variables(traffic: Traffic, resident: I64) -> dict[str, np.ndarray]:
    """The result file's per-step variables; bytes whole, both memories' reads adding up."""

    def both(hbm: np.ndarray, dram: np.ndarray) -> np.ndarray:
        total = np.rint(hbm + dram)
        here = np.rint(hbm)
        return np.stack([here, total - here], axis=1).astype(np.int64)

    def each(hbm: np.ndarray, dram: np.ndarray) -> np.ndarray:
        return np.rint(np.stack([hbm, dram], axis=1)).astype(np.int64)

    attention = both(traffic.attention_hbm, traffic.attention_dram)
    weights = both(traffic.weights_hbm, traffic.weights_dram)
    appends = each(traffic.append_hbm, traffic.append_dram)
    promotions = each(traffic.promotion_hbm, traffic.promotion_dram)
    demotions = each(traffic.demotion_hbm, traffic.demotion_dram)
    rows = len(resident)
    return {
        "time_s": traffic.time_s,
        "attention_read_bytes": attention,
        "weight_read_bytes": weights,
        "append_write_bytes": appends,
        "promotion_bytes": promotions,
        "demotion_bytes": demotions,
        "link_to_gpu_bytes": attention[:, 1] + weights[:, 1] + promotions[:, 1],
        "link_to_dram_bytes": appends[:, 1] + demotions[:, 1],
        "resident_bytes": resident,
        "replay_time_s": np.full(rows, np.nan),
        "row_hits": np.full((rows, 2), -1),
        "activations": np.full((rows, 2), -1),
        "bus_ticks": np.full((rows, 2, len(REASONS)), -1),
    }


def _writer(
    spec: RunSpec, path: Path | None, geometry: Geometry, names: list[str]
) -> AbstractContextManager[ResultWriter | None]:
    if path is None:
        return nullcontext()
    attributes = {
        "title": spec.title,
        "config": spec.as_toml(),
        "seed": spec.workload.seed,
        "variant": spec.bound.variant,
        "barrier": spec.replay.barrier,
        "fidelity": spec.replay.fidelity,
        "peak_bandwidth_bytes_per_s": peak_bandwidth(spec.system),
        **{
            f"{name}_{key}": value
            for name, side in (("hbm", spec.system.hbm), ("dram", spec.system.dram))
            for key, value in (
                ("tick_s", tick_seconds(side.spec)),
                ("data_buses", side.channels * side.spec.organization.pseudo_channels),
            )
        },
        "numba": numba.__version__,
        "numpy": np.__version__,
    }
    return ResultWriter(path, names, geometry.steps, attributes)


def _totals(ran: Ran, outcome: Outcome) -> dict[str, float]:
    """The result file's totals of a policy."""
    bound, rigorous = bounds_of(ran, outcome)
    totals = {
        "total_time_s": outcome.time_s,
        "tokens_per_s": ran.decoded / outcome.time_s,
        "aggregate_bandwidth_bytes_per_s": outcome.demand_bytes / outcome.time_s,
        "hbm_read_share": outcome.hbm_bytes / outcome.demand_bytes,
        "migrated_bytes": outcome.migrated_bytes,
        "bound_s": bound,
        "gap": gap(outcome.time_s, bound),
    }
    if outcome.replay is not None:
        totals |= {
            "replay_total_time_s": outcome.replay.time_s,
            "replay_ci95_s": outcome.replay.ci95_s,
            "replay_aggregate_bandwidth_bytes_per_s": outcome.demand_bytes / outcome.replay.time_s,
            "replay_bound_s": rigorous,
            "replay_gap": gap(outcome.replay.time_s, rigorous),
        }
    return totals
