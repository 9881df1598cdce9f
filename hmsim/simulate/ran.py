"""What a run found out: its policies' outcomes, its bounds, and the record of both.

Which bound a policy is held against it says itself (`bound_kind`). A time below its bound is an
error of the program, and no record is made of it.
"""

import math
from typing import Any, NamedTuple

from hmsim.config.enumerations import CAUSES
from hmsim.errors import ProgramError
from hmsim.results.schema import TOTALS, Record
from hmsim.simulate.certify import Bounds
from hmsim.simulate.estimate import Estimate
from hmsim.workload.steps import F64, Workload

NEGATIVE_GAP = -1e-9  # below this no rounding of sums explains a time below its bound


class Outcome(NamedTuple):
    """One policy's totals over the run, and what the policy says of itself."""

    name: str
    is_schedule: bool
    bound_kind: str
    foresight: bool
    time_s: float
    demand_bytes: float  # attention and weight reads
    hbm_bytes: float  # of those, from HBM
    kv_bytes: float  # attention reads
    kv_hbm_bytes: float  # of those, from HBM
    migrated_bytes: float
    reads: int  # blocks
    hits: int  # of those, in HBM when read
    late_s: float  # of the second half of the steps
    late_bytes: float  # attention and weight reads of that half
    sampled_steps: int
    replay: Estimate | None
    replay_is_whole: bool  # every group was replayed
    energy: F64 | None = None  # J by case, memory and cause, see placement.joules; None: unknown
    replay_energy_J: float = math.nan


class Ran(NamedTuple):
    """A finished run."""

    workload: Workload
    token_steps: int
    tokens: int  # decoded, over all sequences
    outcomes: list[Outcome]
    bounds: Bounds
    record: Record


def bounds_of(bounds: Bounds, outcome: Outcome) -> tuple[float, float]:
    """What a policy's analytic and replayed times are held against, seconds."""
    if outcome.bound_kind == "own":
        return outcome.time_s, bounds.rigorous_split_s
    if outcome.bound_kind == "pooled":
        return bounds.analytic_pooled_s, bounds.rigorous_pooled_s
    return bounds.analytic_s, bounds.rigorous_s


def achievable_of(found_s: float, outcomes: list[Outcome]) -> float:
    """Seconds of the fastest legal schedule that the run has seen: the search's, or a policy's."""
    seen = [o.time_s for o in outcomes if o.is_schedule and o.bound_kind == "variant"]
    return min([found_s, *seen])


def gap(what: str, time_s: float, bound_s: float) -> float:
    """(time - bound) / time, 0 where both are 0; ProgramError where it is negative.

    `what` takes the time. Sums in another order may differ in their last digits: that is no gap.
    """
    if time_s == bound_s:
        return 0.0
    found = (time_s - bound_s) / time_s if time_s else -math.inf
    if not found >= NEGATIVE_GAP:
        raise ProgramError(
            f"{what}: {time_s:.9g} s is below the bound of {bound_s:.9g} s, which nothing can "
            "undercut: one of the two is wrong"
        )
    return max(found, 0.0)


def totals_of(outcome: Outcome, bounds: Bounds, token_steps: int, tokens: int) -> dict[str, float]:
    """A policy's totals, by their names in `hmsim.results.schema.TOTALS`; NaN: there is none."""
    bound_s, rigorous_s = bounds_of(bounds, outcome)
    time_s = outcome.time_s
    totals = dict.fromkeys(TOTALS, math.nan) | {
        "total_time_s": time_s,
        "tokens_per_s": _over(tokens, time_s),
        "tpot_s": _over(time_s, token_steps),
        "sequence_tokens_per_s": _over(token_steps, time_s),
        "aggregate_bandwidth_GBps": _over(outcome.demand_bytes, time_s) / 1e9,
        "hbm_read_share": _over(outcome.hbm_bytes, outcome.demand_bytes),
        "kv_hit_rate": _over(outcome.hits, outcome.reads),
        "kv_hbm_read_share": _over(outcome.kv_hbm_bytes, outcome.kv_bytes),
        "migrated_bytes": outcome.migrated_bytes,
        "cold_share": _cold_share(outcome, token_steps),
        "bound_s": bound_s,
        "gap": gap(f"policy {outcome.name}", time_s, bound_s),
        **_energy_of(outcome, tokens),
    }
    if outcome.replay is not None:
        replay_s, ci95_s = outcome.replay
        if not outcome.replay_is_whole and replay_s < rigorous_s:
            replay_s = rigorous_s  # an estimate from a sample, below what is proven
        totals |= {
            "replay_sampled_steps": outcome.sampled_steps,
            "replay_total_time_s": replay_s,
            "replay_ci95_s": ci95_s,
            "replay_aggregate_bandwidth_GBps": _over(outcome.demand_bytes, replay_s) / 1e9,
            "replay_bound_s": rigorous_s,
        }
        if math.isfinite(replay_s):  # else no step of the sample reads anything
            totals["replay_gap"] = gap(f"replay of policy {outcome.name}", replay_s, rigorous_s)
    return totals


def _energy_of(outcome: Outcome, tokens: int) -> dict[str, float]:
    """The totals of energy; none where a memory has no currents."""
    if outcome.energy is None:
        return {}
    nominal, low, high = outcome.energy.sum(axis=(1, 2)).tolist()
    hbm, dram = outcome.energy[0]
    named = {f"energy_hbm_{cause}_J": joules for cause, joules in zip(CAUSES, hbm, strict=True)}
    named |= {f"energy_dram_{cause}_J": joules for cause, joules in zip(CAUSES, dram, strict=True)}
    named["energy_link_J"] = named.pop("energy_dram_link_J")
    del named["energy_hbm_link_J"]
    return {name: float(joules) for name, joules in named.items()} | {
        "total_energy_J": nominal,
        "energy_low_J": low,
        "energy_high_J": high,
        "energy_per_token_J": _over(nominal, tokens),
        "replay_total_energy_J": outcome.replay_energy_J,
        "replay_energy_per_token_J": _over(outcome.replay_energy_J, tokens),
    }


def _cold_share(outcome: Outcome, token_steps: int) -> float:
    """What of the time the start is to blame for; NaN where nothing tells."""
    late = _over(outcome.late_s, outcome.late_bytes)
    whole = _over(outcome.time_s, outcome.demand_bytes)
    return math.nan if token_steps < 2 else 1 - _over(late, whole)


def record_of(
    attributes: dict[str, Any],
    outcomes: list[Outcome],
    bounds: Bounds,
    token_steps: int,
    tokens: int,
) -> Record:
    """All that a run says at its end; `attributes` are those of the run as a whole so far."""
    demand = outcomes[0].demand_bytes if outcomes else 0.0
    by_policy = [totals_of(outcome, bounds, token_steps, tokens) for outcome in outcomes]
    return Record(
        attributes
        | {
            "workload_token_steps": token_steps,
            "workload_tokens": tokens,
            "workload_demand_bytes": demand,
            "bound_time_s": bounds.analytic_s,
            "bound_bandwidth_GBps": _over(demand, bounds.analytic_s) / 1e9,
        },
        [outcome.name for outcome in outcomes],
        {name: [totals[name] for totals in by_policy] for name in TOTALS},
        traits_of(outcomes),
    )


def traits_of(policies: Any) -> dict[str, list[Any]]:
    """What each policy, or outcome, says that it is, by their names in the schema's TRAITS."""
    return {
        "is_schedule": [int(each.is_schedule) for each in policies],
        "foresight": [int(each.foresight) for each in policies],
        "bound_kind": [each.bound_kind for each in policies],
    }


def _over(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
