"""A run for people (a table) and for programs (one JSON object), both from its record."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hmsim.results.schema import TOTALS, TRAITS, Record
from hmsim.units import show_bytes, show_seconds

# Tables of the JSON object, and their keys; in a record's attributes they are joined by `_`.
TABLES = {
    "workload": ("title", "steps", "warmup_steps", "token_steps", "tokens", "layers",
                 "model_layers", "resident_bytes", "sequences", "block_bytes", "tokens_per_block",
                 "demand_bytes", "seed"),
    "bound": ("time_s", "bandwidth_GBps", "method", "variant", "barrier", "iterations",
              "achievable_s"),
}  # fmt: skip
# Left out where the run has none: an achieved schedule; layers that are not decoded.
OPTIONAL = ("bound_achievable_s", "workload_model_layers", "workload_resident_bytes")
COLD = 0.05  # share of a run's time above which the start says more than the policy
REMEDY = "decode more tokens, or give [workload] warmup = TOKENS"
Number = Callable[[str], float]  # a total by name


def as_dict(record: Record) -> dict[str, Any]:
    """The JSON object of `hmsim run`; keys carry their units. NaN stands where a run was cut short."""
    attributes = record.attributes
    report: dict[str, Any] = {
        table: {
            key: attributes.get(f"{table}_{key}", math.nan)
            for key in keys
            if f"{table}_{key}" in attributes or f"{table}_{key}" not in OPTIONAL
        }
        for table, keys in TABLES.items()
    }
    policies = {name: _policy(record, k) for k, name in enumerate(record.policies)}
    return {
        "workload": report["workload"],
        "policies": policies,
        "bound": report["bound"],
        "peak_bandwidth_GBps": attributes["peak_bandwidth_GBps"],
        "wall_s": attributes.get("wall_s", math.nan),
    }


def _policy(record: Record, row: int) -> dict[str, Any]:
    """A policy's part: its totals as TOTALS places them, and what it says of itself."""
    policy: dict[str, Any] = {}
    replayed = not math.isnan(record.totals["replay_sampled_steps"][row])
    for name, (path, _, _) in TOTALS.items():
        value = float(record.totals[name][row])
        if len(path) == 1:
            policy[path[0]] = value
        elif path[0] == "energy":
            policy.setdefault("energy", {})[path[1]] = value
        elif replayed:
            replay = policy.setdefault("replay", {"fidelity": record.attributes["fidelity"]})
            replay[path[1]] = int(value) if path[1] == "sampled_steps" else value
    traits = {name: record.traits[name][row] for name in TRAITS}
    return policy | {
        name: bool(value) if TRAITS[name][0] == "i1" else value for name, value in traits.items()
    }


def flat(report: dict[str, Any]) -> dict[str, Any]:
    """Numbers and texts of a JSON object's tables but `policies`, by their names in files."""
    found: dict[str, Any] = {}
    for key, value in report.items():
        if key in TABLES:
            found |= {f"{key}_{name}": each for name, each in value.items() if name != "title"}
        elif key != "policies":
            found[key] = value
    return found


def flat_policy(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy's part of the JSON object, by the names that files have for it."""
    found: dict[str, Any] = {}
    for name, (path, _, _) in TOTALS.items():
        value: Any = policy
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    if "replay" in policy:
        found["replay_fidelity"] = policy["replay"]["fidelity"]
    return found | {name: policy[name] for name in TRAITS if name in policy}


class Column(NamedTuple):
    """A column of the table: it is left out where no policy has the total `of`."""

    heading: str
    of: str
    text: Callable[[Number], str]


COLUMNS = (
    Column("time s", "total_time_s", lambda of: _seconds(of("total_time_s"))),
    Column("tokens/s", "tokens_per_s", lambda of: _fixed(of("tokens_per_s"), 2)),
    Column("TPOT ms", "tpot_s", lambda of: _digits(1e3 * of("tpot_s"))),
    Column("GB/s", "aggregate_bandwidth_GBps", lambda of: _fixed(of("aggregate_bandwidth_GBps"))),
    Column("HBM share", "hbm_read_share", lambda of: _fixed(of("hbm_read_share"), 3)),
    Column("KV hits", "kv_hit_rate", lambda of: _fixed(of("kv_hit_rate"), 3)),
    Column("migrated GB", "migrated_bytes", lambda of: _digits(of("migrated_bytes") / 1e9)),
    Column("J/token", "energy_per_token_J", lambda of: _digits(of("energy_per_token_J"))),
    Column("gap %", "gap", lambda of: _fixed(100 * of("gap"), 2)),
    Column(
        "replay s",
        "replay_total_time_s",
        lambda of: f"{_seconds(of('replay_total_time_s'))} {_interval(of)}",
    ),
    Column(
        "replay GB/s",
        "replay_aggregate_bandwidth_GBps",
        lambda of: _fixed(of("replay_aggregate_bandwidth_GBps")),
    ),
    Column("replay gap %", "replay_gap", lambda of: _fixed(100 * of("replay_gap"), 2)),
)


def columns(totals: dict[str, Sequence[float]]) -> list[Column]:
    """The columns of which there is a number, in any of the rows of `totals`."""
    return [
        column
        for column in COLUMNS
        if column.of in totals and not all(map(math.isnan, totals[column.of]))
    ]


def cell(column: Column, of: Number) -> str:
    """What stands in a row; nothing where the row lacks the number."""
    return "" if math.isnan(of(column.of)) else column.text(of)


def as_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """The table: headings, and a row for each policy."""
    shown = columns(dict(record.totals))
    rows = [
        [name, *(cell(column, lambda key, k=k: float(record.totals[key][k])) for column in shown)]  # type: ignore[misc]
        for k, name in enumerate(record.policies)
    ]
    return ["policy", *(column.heading for column in shown)], rows


def about(record: Record) -> list[str]:
    """What the table is of: system, and size of the workload; a line each."""
    attributes = record.attributes
    size = (
        f"{attributes['workload_steps']:,} steps, {attributes['workload_layers']} layers, "
        f"{attributes['workload_sequences']:,} sequences"
    )
    if "workload_tokens" in attributes:
        size += (
            f", {attributes['workload_tokens']:,} tokens, "
            f"{show_bytes(attributes['workload_demand_bytes'])} to read"
        )
    return [attributes["system"], size]


def notes(record: Record) -> list[str]:
    """What a reader of the table must know, a line each."""
    attributes = record.attributes
    bound = as_dict(record)["bound"]
    lines = [
        f"bound ({bound['method']}, {bound['variant']}, barrier a {bound['barrier']}): "
        f"{show_seconds(bound['time_s'])}, {bound['bandwidth_GBps']:,.0f} GB/s; pin peak "
        f"{attributes['peak_bandwidth_GBps']:,.0f} GB/s"
    ]
    if "achievable_s" in bound:
        times = zip(record.policies, record.totals["total_time_s"], strict=True)
        by = [name for name, time_s in times if time_s == bound["achievable_s"]]
        who = f"policy {by[0]}: prices are no guide here" if by else "the best schedule found"
        lines.append(f"achievable: {show_seconds(bound['achievable_s'])}, by {who}")
    lines += _certificate(record)
    sampled = [each for each in record.totals["replay_sampled_steps"] if not math.isnan(each)]
    if sampled:
        rigorous = {
            show_seconds(each) for each in record.totals["replay_bound_s"] if not math.isnan(each)
        }
        lines.append(
            f"replay: {int(max(sampled)):,} of {attributes['workload_steps']:,} steps through the "
            f"memory kernels at {attributes['fidelity']} fidelity; its gap is to the bound at pin "
            f"bandwidth, {' or '.join(sorted(rigorous))}"
        )
    lines += _energy(record)
    busy = [
        name
        for k, name in enumerate(record.policies)
        if record.totals["kv_hit_rate"][k] > 0 and record.totals["kv_hbm_read_share"][k] == 0
    ]
    if busy:
        lines.append(f"{', '.join(busy)}: HBM is so busy with weights that no KV read goes there")
    if attributes["workload_warmup_steps"]:
        lines.append(
            f"warm-up: {attributes['workload_warmup_steps']:,} steps before these, simulated and "
            "not counted"
        )
    if "workload_model_layers" in attributes:
        lines.append(
            cut_short(
                attributes["workload_layers"],
                attributes["workload_model_layers"],
                attributes["workload_resident_bytes"],
            )
        )
    lines += _too_short(record)
    if "wall_s" in attributes:
        lines.append(f"the whole run took {show_seconds(attributes['wall_s'])} of wall time")
    return lines


def _energy(record: Record) -> list[str]:
    """How far doubtful coefficients reach, at most over the policies."""
    totals = [
        each
        for each in zip(
            *(record.totals[f"{name}_J"] for name in ("total_energy", "energy_low", "energy_high")),
            strict=True,
        )
        if each[0] > 0
    ]
    if not totals:
        return []
    less = max(1 - low / nominal for nominal, low, _ in totals)
    more = max(high / nominal - 1 for nominal, _, high in totals)
    return [
        f"energy: HBM, DRAM and link, of {record.attributes['energy_data']} data; doubtful coefficients "
        f"make it up to {100 * less:.0f} % less or {100 * more:.0f} % more"
    ]


def cut_short(decoded: int, layers: int, resident: float) -> str:
    """What is said of a workload that decodes only some of its model's layers."""
    return (
        f"layers: {decoded:,} of the model's {layers:,} are decoded; the weights of all of them stay "
        f"in HBM, {show_bytes(resident)}"
    )


def _certificate(record: Record) -> list[str]:
    """How far from the best the fastest policy without foresight can be, by the run's own bound."""
    totals, traits = record.totals, record.traits
    online = [
        k
        for k in range(len(record.policies))
        if traits["is_schedule"][k]
        and not traits["foresight"][k]
        and traits["bound_kind"][k] == "variant"
        and totals["total_time_s"][k] > 0 < totals["bound_s"][k]
    ]
    if not online:
        return []
    best = min(online, key=lambda k: totals["total_time_s"][k])
    over = float(totals["total_time_s"][best] / totals["bound_s"][best]) - 1
    return [
        f"certificate: {record.policies[best]}, without foresight, takes at most "
        f"{_fixed(100 * over, 2)} % longer than the best schedule that there is"
    ]


def _too_short(record: Record) -> list[str]:
    """Where how blocks come in weighs more than how a policy goes on."""
    cold = {
        name: record.totals["cold_share"][k]
        for k, name in enumerate(record.policies)
        if record.totals["migrated_bytes"][k] > 0
    }
    if cold and record.attributes.get("workload_token_steps") == 1:
        return [f"too short for {', '.join(cold)}: one token says how blocks come in, no more; "
                f"{REMEDY}"]  # fmt: skip
    shares = {name: f"{name} ({100 * share:.0f} %)" for name, share in cold.items() if share > COLD}
    if not shares:
        return []
    return [
        f"too short for {', '.join(shares.values())}: so much of the time is the start, as blocks "
        f"come in; {REMEDY}"
    ]


def as_text(record: Record, title: str) -> str:
    """The table as plain text, as `hmsim run` prints it."""
    head, rows = as_rows(record)
    lines = aligned([head, *rows])
    rule = "-" * max(map(len, lines))
    return "\n".join([title, *about(record), "", lines[0], rule, *lines[1:], "", *notes(record)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a plain table: the first column's cells at the left, all others' at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            each.ljust(width) if k == 0 else each.rjust(width)
            for k, (each, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _fixed(value: float, decimals: int = 0) -> str:
    """With so many decimals; what rounds to zero has no sign."""
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def _digits(value: float) -> str:
    """Four digits, or all those before the point."""
    return f"{value:,.{max(0, 3 - math.floor(math.log10(value))) if value > 0 else 0}f}"


def _seconds(seconds: float, like: float | None = None) -> str:
    """Down to the millisecond, and four digits of less than a second (or of `like`)."""
    size = seconds if like is None else like
    decimals = max(3, 3 - math.floor(math.log10(size))) if size > 0 else 3
    return f"{seconds:.{decimals}f}"


def _interval(of: Number) -> str:
    """The half width of a replay's confidence interval; one sample alone has none."""
    ci95_s = of("replay_ci95_s")
    return "± ?" if math.isnan(ci95_s) else f"± {_seconds(ci95_s, of('replay_total_time_s'))}"
