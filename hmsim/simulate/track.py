"""One policy's way through a run: its traffic step by step, and what that adds up to."""

from typing import TYPE_CHECKING

import numpy as np

from hmsim.config.enumerations import CAUSES
from hmsim.memory.energy import ACTIVATION
from hmsim.placement.driver import Run
from hmsim.placement.joules import SHAPE, Joules
from hmsim.placement.latency import HITS, READS, RESIDENT, Groups, Traffic
from hmsim.placement.policies.api import BasePolicy
from hmsim.results.schema import REASONS
from hmsim.simulate.estimate import F64
from hmsim.simulate.memories import Memories
from hmsim.simulate.ran import Outcome
from hmsim.simulate.sampling import Sampling
from hmsim.workload.steps import I64, Geometry, within
from hmsim.workload.windows import Window

if TYPE_CHECKING:
    from hmsim.simulate.replay_kernel import Replayed

# What is added up over all steps: seconds, then bytes.
SUMS = ("time_s", "demand_bytes", "hbm_bytes", "kv_bytes", "kv_hbm_bytes", "migrated_bytes")


class Track:
    """A policy, its run, and the memories (None: analytic times only) that its sample goes through."""

    def __init__(
        self,
        policy: BasePolicy,
        run: Run,
        geometry: Geometry,
        sampling: Sampling,
        memories: Memories | None,
        joules: Joules | None = None,
    ):
        self.policy = policy
        self._run, self._size = run, geometry.block_bytes
        self._sampling, self._memories = sampling, memories
        self._sums = np.zeros(len(SUMS))
        self._second = geometry.steps // 2  # steps before the second half
        self._late = np.zeros(2)  # seconds and demand bytes of the second half
        self._counted = self._reads = self._hits = 0  # steps, blocks, blocks
        self._steps = 0  # in the groups measured
        self._joules = joules
        self._energy = np.zeros(SHAPE)
        self._sampled_J = np.zeros(2)  # of the measured groups, weighted: replayed, and analytic
        self._groups = 0

    def warm_up(self, window: Window) -> None:
        """Take the policy through a window that does not count."""
        self._run.advance(window)

    def window(self, window: Window, groups: Groups) -> dict[str, np.ndarray]:
        """Take the policy through a window; its variables for the result file."""
        taken, measured = np.zeros(0, np.int64), np.zeros(0, bool)
        if self._memories is not None:
            taken, measured = self._sampling.draw(len(groups.start))
        ends = np.append(groups.start[1:], window.rows)
        first, last = groups.start[taken], ends[taken]
        wanted = np.full(window.rows, -1)
        rows = np.repeat(first, last - first) + within(last - first)
        wanted[rows] = np.arange(len(rows))
        counts, samples = self._run.advance(window, wanted)
        traffic = self._run.traffic(counts, groups)
        self._add(counts, traffic)
        variables = _variables(traffic, counts[:, RESIDENT] * self._size)
        if self._joules is not None:
            variables["energy_J"] = self._joules.of_steps(traffic)
            self._energy += self._joules.total(traffic)
        if self._memories is not None:
            seconds = np.zeros(0)
            if len(taken):
                found = self._memories.groups(window.steps, first, last, wanted, samples, traffic)
                first, last = first[measured], last[measured]
                seconds = self._note(found, measured, first, last, traffic, groups, variables)
            self._sampling.add(_known(traffic, groups.start), taken[measured], seconds)
        self._groups += len(groups.start)
        return variables

    def _add(self, counts: I64, traffic: Traffic) -> None:
        from_hbm = traffic.attention_hbm + traffic.weights_hbm
        from_dram = traffic.attention_dram + traffic.weights_dram
        kv = traffic.attention_hbm + traffic.attention_dram
        migrated = traffic.promotion_hbm + traffic.demotion_hbm
        late = slice(max(0, self._second - self._counted), None)
        self._late += traffic.time_s[late].sum(), (from_hbm + from_dram)[late].sum()
        self._counted += len(counts)
        # Times are added up plainly in step order, as the founding authors do.
        self._sums[0] = np.add.accumulate(np.append(self._sums[0], traffic.time_s))[-1]
        bytes_ = (from_hbm + from_dram, from_hbm, kv, traffic.attention_hbm, migrated)
        self._sums[1:] += [each.sum() for each in bytes_]
        self._reads += int(counts[:, READS].sum())
        self._hits += int(counts[:, HITS].sum())

    def _note(
        self, found: "Replayed", measured: np.ndarray, first: I64, last: I64, traffic: Traffic,
        groups: Groups, variables: dict[str, np.ndarray],
    ) -> F64:  # fmt: skip
        """Note what the measured ones of the groups replayed took, rows `first` to `last` each; the
        seconds of each."""
        sizes = last - first
        rows = np.repeat(first, sizes) + within(sizes)
        seconds = np.maximum(found.seconds[measured], _sums(groups.compute_s, first, last))
        analytic = _sums(traffic.time_s, first, last)
        self._steps += len(rows)
        # A group that moves nothing takes no time by the formulas: its steps share alike.
        whole = np.repeat(analytic, sizes)
        share = np.divide(
            traffic.time_s[rows], whole, out=1 / np.repeat(sizes, sizes), where=whole != 0
        )
        variables["replay_time_s"][rows] = np.repeat(seconds, sizes) * share
        for name in ("row_hits", "activations", "bus_ticks"):
            variables[name][rows] = 0
            variables[name][last - 1] = getattr(found, name)[measured]
        if self._joules is not None:
            weight = np.repeat(self._sampling.weight, sizes)
            self._replay_energy(self._joules, rows, weight, traffic, variables)
        return seconds

    def _replay_energy(
        self, joules: Joules, rows: I64, weight: F64, traffic: Traffic,
        variables: dict[str, np.ndarray],
    ) -> None:  # fmt: skip
        """Joules of replayed rows: bytes as they are, the rows that the memories opened (at a group's
        last row, as their count is), and their time."""
        analytic = variables["energy_J"][rows]
        longer = variables["replay_time_s"][rows] - traffic.time_s[rows]
        replayed = analytic + longer[:, None, None] * joules.power[0]
        replayed[:, :, ACTIVATION] = variables["activations"][rows] * joules.activation_J[0]
        variables["replay_energy_J"][rows] = replayed
        self._sampled_J += [weight @ each.sum(axis=(1, 2)) for each in (replayed, analytic)]

    def outcome(self) -> Outcome:
        """The totals over all windows so far."""
        sums = dict(zip(SUMS, map(float, self._sums), strict=True))
        return Outcome(
            name=self.policy.name,
            is_schedule=self.policy.is_schedule,
            bound_kind=self.policy.bound_kind,
            foresight=self.policy.foresight or self.policy.ahead_tokens > 0,
            **sums,
            reads=self._reads,
            hits=self._hits,
            late_s=float(self._late[0]),
            late_bytes=float(self._late[1]),
            sampled_steps=self._steps,
            replay=self._sampling.estimate(),
            replay_is_whole=self._sampling.measured == self._groups,
            energy=None if self._joules is None else self._energy.copy(),
            replay_energy_J=self._replay_energy_J(),
        )

    def _replay_energy_J(self) -> float:
        """Of all steps, from the sample by the ratio to the analytic ones; NaN without a sample."""
        replayed, analytic = self._sampled_J
        return float(replayed / analytic * self._energy[0].sum()) if analytic else np.nan


def _sums(values: np.ndarray, first: I64, last: I64) -> np.ndarray:
    """The sum over each of some groups of rows."""
    if (last - first == 1).all():
        return values[first]
    return np.array([values[a:b].sum() for a, b in zip(first, last, strict=True)])


def _known(traffic: Traffic, start: I64) -> F64:
    """What the seconds of every group may depend on, see `hmsim.simulate.estimate`: the analytic
    ones, 1, bytes moved between the memories, all bytes of HBM, and all of DRAM; [groups, 5]."""
    moved = traffic.promotion_hbm + traffic.demotion_hbm
    dram = traffic.link_to_gpu + traffic.link_to_dram
    columns = traffic.time_s, np.ones_like(moved), moved, traffic.hbm, dram
    known = np.add.reduceat(np.stack(columns, axis=1), start)
    known[:, 1] = 1
    return known


def _variables(traffic: Traffic, resident: I64) -> dict[str, np.ndarray]:
    """The result file's per-step variables; bytes whole, both memories' reads adding up."""

    def both(hbm: np.ndarray, dram: np.ndarray) -> I64:
        total = np.rint(hbm + dram)
        here = np.rint(hbm)
        return np.stack([here, total - here], axis=1).astype(np.int64)

    def each(hbm: np.ndarray, dram: np.ndarray) -> I64:
        return np.rint(np.stack([hbm, dram], axis=1)).astype(np.int64)

    attention = both(traffic.attention_hbm, traffic.attention_dram)
    weights = both(traffic.weights_hbm, traffic.weights_dram)
    appends = each(traffic.append_hbm, traffic.append_dram)
    promotions = each(traffic.promotion_hbm, traffic.promotion_dram)
    demotions = each(traffic.demotion_hbm, traffic.demotion_dram)
    rows, time_s = len(resident), traffic.time_s[:, None]
    reads = (attention + weights).astype(np.float64)
    bandwidth = np.divide(reads, time_s, out=np.zeros_like(reads), where=time_s > 0) / 1e9
    return {
        "time_s": traffic.time_s,
        "attention_read_bytes": attention,
        "weight_read_bytes": weights,
        "read_bandwidth_GBps": bandwidth,
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
        "energy_J": np.full((rows, 2, len(CAUSES)), np.nan),
        "replay_energy_J": np.full((rows, 2, len(CAUSES)), np.nan),
    }
