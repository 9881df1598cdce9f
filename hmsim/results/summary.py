"""A finished run for people (a table) and for programs (one object)."""

import math
from typing import Any

from hmsim.config.run import RunSpec
from hmsim.placement.latency import peak_bandwidth
from hmsim.simulate.run import Outcome, Ran, bounds_of, gap
from hmsim.units import show_bytes, show_seconds


def as_dict(spec: RunSpec, ran: Ran) -> dict[str, Any]:
    """The JSON object of `hmsim run`; keys carry their units."""
    geometry = ran.workload.geometry
    demand = ran.outcomes[0].demand_bytes if ran.outcomes else 0.0
    return {
        "workload": {
            "title": ran.workload.title,
            "steps": geometry.steps,
            "token_steps": ran.tokens,
            "tokens": ran.decoded,
            "layers": geometry.layers,
            "sequences": geometry.sequences,
            "block_bytes": geometry.block_bytes,
            "tokens_per_block": geometry.tokens_per_block,
            "demand_bytes": demand,
            "seed": ran.workload.seed,
        },
        "policies": {outcome.name: _policy(spec, ran, outcome) for outcome in ran.outcomes},
        "bound": {
            "time_s": ran.bounds.analytic_s,
            "bandwidth_GBps": _rate(demand, ran.bounds.analytic_s),
            "method": spec.bound.method,
            "variant": spec.bound.variant,
            "barrier": spec.replay.barrier,
            "iterations": ran.iterations,
        }
        | ({} if ran.achievable_s is None else {"achievable_s": ran.achievable_s}),
        "peak_bandwidth_GBps": peak_bandwidth(spec.system) / 1e9,
        "wall_s": ran.wall_s,
    }


def _policy(spec: RunSpec, ran: Ran, outcome: Outcome) -> dict[str, Any]:
    bound, rigorous = bounds_of(ran, outcome)
    result: dict[str, Any] = {
        "time_s": outcome.time_s,
        "tokens_per_s": ran.decoded / outcome.time_s,
        "aggregate_bandwidth_GBps": _rate(outcome.demand_bytes, outcome.time_s),
        "hbm_read_share": outcome.hbm_bytes / outcome.demand_bytes,
        "migrated_bytes": outcome.migrated_bytes,
        "bound_s": bound,
        "gap": gap(outcome.time_s, bound),
    }
    if outcome.replay is not None:
        time_s = outcome.replay.time_s
        result["replay"] = {
            "fidelity": spec.replay.fidelity,
            "sampled_steps": outcome.sampled_steps,
            "time_s": time_s,
            "ci95_s": outcome.replay.ci95_s,
            "aggregate_bandwidth_GBps": _rate(outcome.demand_bytes, time_s),
            "bound_s": rigorous,
            "gap": gap(time_s, rigorous),
        }
    return result


def as_table(spec: RunSpec, ran: Ran) -> str:
    """The table that `hmsim run` prints."""
    report = as_dict(spec, ran)
    geometry = ran.workload.geometry
    lines = [
        spec.title or ran.workload.title,
        spec.system.describe(),
        f"{geometry.steps:,} steps, {ran.decoded:,} tokens, {geometry.layers} layers, "
        f"{geometry.sequences:,} sequences, {show_bytes(report['workload']['demand_bytes'])} to read",
        "",
        _HEADER,
        "-" * len(_HEADER),
        *(_row(name, policy) for name, policy in report["policies"].items()),
        "",
        f"bound ({report['bound']['method']}, {spec.bound.variant}, barrier a "
        f"{spec.replay.barrier}): {show_seconds(ran.bounds.analytic_s)}, "
        f"{report['bound']['bandwidth_GBps']:,.0f} GB/s; pin peak "
        f"{report['peak_bandwidth_GBps']:,.0f} GB/s; took {ran.wall_s:.1f} s",
    ]
    if ran.achievable_s is not None:
        lines.append(f"achievable: {show_seconds(ran.achievable_s)}, by the best schedule found")
    sampled = max((outcome.sampled_steps for outcome in ran.outcomes), default=0)
    if sampled:
        lines.append(
            f"replay: {sampled:,} of {geometry.steps:,} steps through the memory kernels at "
            f"{spec.replay.fidelity} fidelity; its gap is to the bound at pin bandwidth, "
            f"{show_seconds(ran.bounds.rigorous_s)}"
        )
    return "\n".join(lines)


_HEADER = (
    f"{'policy':20} {'time s':>10} {'tokens/s':>9} {'GB/s':>7} {'HBM share':>9} "
    f"{'migrated':>9} {'gap':>7}  {'replay s':>17} {'GB/s':>7} {'gap':>7}"
)


def _row(name: str, policy: dict[str, Any]) -> str:
    row = (
        f"{name:20} {policy['time_s']:10.{_decimals(policy['time_s'])}f} {policy['tokens_per_s']:9.2f} "
        f"{policy['aggregate_bandwidth_GBps']:7,.0f} {policy['hbm_read_share']:9.3f} "
        f"{show_bytes(policy['migrated_bytes']):>9} {100 * policy['gap']:6.2f}%"
    )
    if "replay" in policy:
        replay = policy["replay"]
        decimals = _decimals(replay["time_s"])
        row += (
            f"  {replay['time_s']:8.{decimals}f} ± {replay['ci95_s']:6.{decimals}f} "
            f"{replay['aggregate_bandwidth_GBps']:7,.0f} {100 * replay['gap']:6.2f}%"
        )
    return row


def _decimals(seconds: float) -> int:
    """Down to the millisecond, and four digits of less than a second."""
    return max(3, 3 - math.floor(math.log10(seconds))) if seconds > 0 else 3


def _rate(size: float, seconds: float) -> float:
    return size / seconds / 1e9 if seconds else 0.0
