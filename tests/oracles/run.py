"""A whole run as plain Python: what `hmsim.run` must put into its file, step by step.

Policies play by sets (`tests/oracles/rules.py`), bytes and seconds come from the formulas
(`times.py`), addresses from the documented layout (`extents.py`). Of hmsim only `Superchip` is
used, one call a replayed group: what it makes of extents is tested elsewhere.

What is called by names of hmsim's configuration stands in `config`, and in the few lines that make
a `Superchip`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hmsim.config.enumerations import CAUSES
from hmsim.config.run import resolve
from hmsim.memory import energy as memory_energy
from hmsim.memory.device import Extents, MemoryConfig
from hmsim.memory.superchip import Superchip
from tests.oracles import extents, rules, times
from tests.oracles.authors import Authors
from tests.oracles.job import Job
from tests.oracles.online_dual import OnlineDual

MEMORIES = ("hbm", "dram")


class Case(NamedTuple):
    """One run, apart from its workload."""

    system: dict[str, Any]
    policies: dict[str, dict[str, Any]]  # options by name; `policy` makes a name an alias
    variant: str = "text"
    barrier: str = "layer"
    fidelity: str = "analytic"
    sample: int = 0
    seed: int = 1  # of the sample
    method: str = "split"


def config(case: Case, workload: dict[str, Any]) -> dict[str, Any]:
    """The case as hmsim takes it."""
    return {
        "system": case.system,
        "workload": workload,
        "policies": {"names": list(case.policies), "options": case.policies},
        "latency": {"variant": case.variant, "barrier": case.barrier},
        "replay": {"fidelity": case.fidelity, "sample": case.sample, "seed": case.seed},
        "bound": {"method": case.method},
    }


RULES = {
    "static": lambda rates: rules.Rule(),
    "interleaved": lambda rates, share=None: rules.Interleaved(
        rates.split if share is None else share
    ),
    "reactive": lambda rates: rules.Lru(),
    "balanced": lambda rates: rules.Balanced(),
    "slack": lambda rates, stretch=0.0, payback=0.0: rules.Slack(stretch, payback),
    "lfu": lambda rates, half_life=0.0: rules.Scored(
        1 - 0.5 ** (1 / half_life) if half_life else None
    ),
    "ema": lambda rates, weight=0.1: rules.Scored(weight),
    "sieve": lambda rates: rules.Sieve(),
    "s3-fifo": lambda rates, small=0.1: rules.S3Fifo(small),
    "arc": lambda rates: rules.Arc(),
    "lirs": lambda rates, cold=0.01: rules.Lirs(cold),
    "working-set": lambda rates, window=8: rules.WorkingSet(window),
    "hisparse": lambda rates, buffer=4096: rules.HiSparse(buffer),
    "hisparse-pressure": lambda rates, buffer=4096: rules.HiSparsePressure(buffer),
    "online-dual": lambda rates, **options: OnlineDual(**options),
    "page": lambda rates: rules.Page(),
    "lookahead": lambda rates, window=1, share=1.0, scope="layer": (
        rules.LookaheadAll if scope == "all" else rules.Lookahead
    )(window, share),
    "belady": lambda rates, window=8, scope="all": (
        rules.BeladyAll if scope == "all" else rules.Belady
    )(window),
}


class Rates(NamedTuple):
    """Of a system: by its configuration, and as the pins allow."""

    analytic: times.Rates
    pins: times.Rates

    @classmethod
    def of(cls, system) -> "Rates":
        pins = {name: pin_bandwidth(getattr(system, name)) for name in MEMORIES}
        link = system.link.read_bandwidth, system.link.write_bandwidth
        given = {name: getattr(system, name).bandwidth or pins[name] for name in MEMORIES}
        return cls(
            times.Rates(given["hbm"], *link, given["dram"]),
            times.Rates(pins["hbm"], *link, pins["dram"]),
        )


def pin_bandwidth(side) -> float:
    """Bytes per second of data buses that are never idle."""
    spec = side.spec
    buses = side.channels * spec.organization.pseudo_channels
    return buses * spec.organization.burst_bytes / (spec.timing.nBL * spec.tCK)


class Played(NamedTuple):
    """A policy's way through the workload, before any replay."""

    moved: list[times.Bytes]
    time_s: list[float]
    resident: list[int]  # blocks
    before: list[set[int]]  # in HBM while each step runs
    after: list[set[int]]  # once its moves are done
    kind: str  # schedule, unlimited or authors

    def from_step(self, steps: int) -> "Played":
        """Without the first so many steps."""
        return self._replace(**{name: getattr(self, name)[steps:] for name in self._fields[:-1]})


def play(
    job: Job, name: str, options: dict[str, Any], capacity: float, rates, case: Case
) -> Played:
    """Any policy but `sa` and `dual`."""
    options = dict(options)
    name = options.pop("policy", name)
    if name == "unlimited":
        return _unlimited(job, rates, case)
    if name.startswith("authors-"):
        return _authors(job, name.removeprefix("authors-"), options, capacity, rates)
    game = rules.Game(job, job.capacity_blocks(capacity), rates, case.variant, case.barrier)
    counts = [times.Count(*row[:8]) for row in game.play(RULES[name](rates, **options)).tolist()]
    moved = [
        times.moved(case.variant, count, job.block_bytes, step.hbm_bytes)
        for count, step in zip(counts, job.steps, strict=True)
    ]
    time_s: list[float] = []
    for group in job.groups(case.barrier):
        own = slice(group.start, group.stop)
        floor_s = sum(step.compute_s for step in job.steps[own])
        moved[own], seconds = times.group(case.variant, rates, moved[own], floor_s)
        time_s += shares(moved[own], seconds)
    resident = [count.resident for count in counts]
    return Played(moved, time_s, resident, game.before, game.after, "schedule")


def shares(moved: list[times.Bytes], seconds: float) -> list[float]:
    """A group's time, to its steps by the bytes that they move."""
    weight = [each.everything for each in moved]
    whole = sum(weight)
    if not whole:
        return [seconds / len(moved)] * len(moved)
    return [seconds * each / whole for each in weight]


def _unlimited(job: Job, rates, case: Case) -> Played:
    moved, time_s = [], []
    for group in job.groups(case.barrier):
        steps = job.steps[group.start : group.stop]
        reads = [float(job.block_bytes * len(step.read)) for step in steps]
        floor_s = sum(step.compute_s for step in steps)
        split, seconds = times.unlimited(rates, reads, [s.hbm_bytes for s in steps], floor_s)
        moved += split
        time_s += shares(split, seconds)
    everywhere = [set(range(job.lanes * job.slots))] * len(job.steps)
    return Played(moved, time_s, [0] * len(job.steps), everywhere, everywhere, "unlimited")


def _authors(job: Job, strategy: str, options: dict[str, Any], capacity: float, rates) -> Played:
    rule = options.pop("time_rule", "overlap")
    limit = int((capacity - job.resident_bytes) // job.block_bytes)
    steps = [(step.lane, step.read, step.appends, step.dying) for step in job.steps]
    prompt = len(job.prompt) // job.lanes
    weights = job.steps[0].hbm_bytes
    naive = Authors(steps, prompt, limit, rates.split, weights, job.block_bytes, **options)
    rows = naive.run("static" if strategy == "unlimited" else strategy)
    moved, time_s = [], []
    for step, row in zip(job.steps, rows, strict=True):
        demand = step.hbm_bytes + job.block_bytes * len(step.read)
        appended = sum(size for _, size, _ in step.appends)
        each, seconds = times.authors(
            rule, rates, row, step.hbm_bytes, job.block_bytes, appended,
            capacity / demand if strategy == "unlimited" else None,
        )  # fmt: skip
        moved.append(each)
        time_s.append(seconds)
    return Played(moved, time_s, [], [], [], "authors")


class Replayed(NamedTuple):
    """What the memories made of the groups of a sample."""

    variables: dict[str, np.ndarray]
    time_s: float  # of the whole run, estimated
    ci95_s: float
    steps: int


def replay(
    job: Job, played: Played, system, capacity: float, case: Case, reasons
) -> Replayed | None:
    """One of every `sample` groups, by a draw, and the one before it; None where there is none."""
    copies = case.variant in times.INCLUSIVE
    chip = Superchip(
        MemoryConfig.of(system.hbm), system.link, MemoryConfig.of(system.dram),
        system.outstanding, case.fidelity, threads=1,
    )  # fmt: skip
    places = extents.Places(job, job.capacity_blocks(capacity))
    groups = job.groups(case.barrier)
    stretches = stretches_of(len(groups), case.sample, case.seed)
    steps = len(job.steps)
    found = {
        "replay_time_s": np.full(steps, np.nan),
        "row_hits": np.full((steps, 2), -1),
        "activations": np.full((steps, 2), -1),
        "bus_ticks": np.full((steps, 2, len(reasons)), -1),
    }
    sampled, weight, known = [], [], []
    for number, group in enumerate(groups):
        if number not in stretches and number + 1 not in stretches:
            continue
        asked: tuple[list, list] = ([], [])
        for t in group:
            step = job.steps[t]
            if played.kind == "unlimited":
                step = step._replace(appends=[])
            dying = job.steps[t + 1].dying if t + 1 < steps else set()
            parts = extents.of_step(
                places, step, played.before[t], played.after[t], dying, played.moved[t], copies
            )
            for every, part in zip(asked, parts, strict=True):
                every += part
        timing = chip.step(
            *(Extents(*np.array(each, np.int64).reshape(-1, 3).T.copy()) for each in asked)
        )
        if number not in stretches:  # it opened the rows for the next one
            continue
        seconds = max(timing.seconds, sum(job.steps[t].compute_s for t in group))
        analytic = sum(played.time_s[t] for t in group)
        sampled.append(seconds)
        weight.append(stretches[number])
        for t in group:
            share = played.time_s[t] / analytic if analytic else 1 / len(group)
            found["replay_time_s"][t] = seconds * share
            for name in ("row_hits", "activations", "bus_ticks"):
                found[name][t] = 0
        last = group[-1]
        found["row_hits"][last] = timing.hbm_row_hits, timing.dram_row_hits
        found["activations"][last] = timing.hbm_activations, timing.dram_activations
        found["bus_ticks"][last] = [
            [ticks[reason] for reason in reasons]
            for ticks in (timing.hbm_bus_ticks, timing.dram_bus_ticks)
        ]
    if not sampled:
        return None
    count = sum(np.isfinite(found["replay_time_s"]))
    known = [what_is_known(played, group) for group in groups]
    chosen = [known[number] for number in sorted(stretches)]
    return Replayed(found, *estimate(sampled, weight, chosen, known), int(count))


def stretches_of(groups: int, period: int, seed: int) -> dict[int, int]:
    """The groups measured, and how many each stands for."""
    assert period or groups < 128, "how long stretches are would follow from their times"
    rng = np.random.default_rng(seed)
    found = {}
    for first in range(0, groups, period or 1):
        length = min(period or 1, groups - first)
        found[first + int(rng.integers(length))] = length
    return found


def what_is_known(played: Played, group: range) -> list[float]:
    """Of any group: analytic seconds, 1, bytes that change sides, bytes of HBM, of DRAM."""
    moved = [played.moved[t] for t in group]
    return [
        sum(played.time_s[t] for t in group),
        1.0,
        sum(m.promotion_hbm + m.demotion_hbm for m in moved),
        sum(m.everything - m.to_gpu - m.to_dram for m in moved),
        sum(m.to_gpu + m.to_dram for m in moved),
    ]


def estimate(
    sampled: list[float], weight: list[int], chosen: list[list[float]], known: list[list[float]]
) -> tuple[float, float]:
    """The regression estimator, as a sum over samples with calibrated weights: Särndal, Swensson,
    Wretman, chapter 6. One column for every eight samples counts."""
    from scipy.stats import t

    y, n = np.array(sampled), len(sampled)
    if n == len(known):
        return sum(sampled), 0.0
    columns = min(5, max(1, n // 8))
    every = np.array(known)[:, :columns]
    if not np.array(chosen)[:, 0].any():
        return math.nan, math.nan
    mean = np.where(every.any(axis=0), every.mean(axis=0), 1 / len(known))
    x, w = np.array(chosen)[:, :columns] / mean, np.array(weight, float)
    scatter = np.array([max(row[0], 1e-3) for row in x])
    root = np.sqrt(w / scatter)[:, None]
    solve = np.linalg.pinv(x * root, rcond=1e-5)
    residual = y - x @ (solve @ (y * root[:, 0]))
    lacks = (every / mean).sum(axis=0) - w @ x
    calibrated = 1 + x @ solve @ solve.T @ lacks / scatter
    time_s = float(w * calibrated @ y)
    freedom = n - np.linalg.matrix_rank(x * root, rtol=1e-5)
    if freedom < 1:
        return time_s, math.nan
    variance = float((w * (w - 1)) @ (calibrated * residual) ** 2) * n / freedom
    return time_s, float(t.ppf(0.975, freedom)) * math.sqrt(variance)


def variables(job: Job, played: Played) -> dict[str, np.ndarray]:
    """The result file's variables of each step; bytes are whole, a read's parts add up to it."""

    def both(hbm: float, dram: float) -> tuple[int, int]:
        return round(hbm), round(hbm + dram) - round(hbm)

    rows = {
        "time_s": played.time_s,
        "attention_read_bytes": [both(m.attention_hbm, m.attention_dram) for m in played.moved],
        "weight_read_bytes": [both(m.weights_hbm, m.weights_dram) for m in played.moved],
        "append_write_bytes": [(m.append_hbm, m.append_dram) for m in played.moved],
        "promotion_bytes": [(m.promotion_hbm, m.promotion_dram) for m in played.moved],
        "demotion_bytes": [(m.demotion_hbm, m.demotion_dram) for m in played.moved],
    }
    found = {name: np.array(values) for name, values in rows.items()}
    reads = found["attention_read_bytes"] + found["weight_read_bytes"]
    found["read_bandwidth_GBps"] = np.array(
        [[part / (1e9 * s) if s else 0 for part in parts]
         for parts, s in zip(reads.tolist(), played.time_s, strict=True)]
    )  # fmt: skip
    found["link_to_gpu_bytes"] = (
        found["attention_read_bytes"] + found["weight_read_bytes"] + found["promotion_bytes"]
    )[:, 1]
    found["link_to_dram_bytes"] = (found["append_write_bytes"] + found["demotion_bytes"])[:, 1]
    if played.kind != "authors":
        found["resident_bytes"] = np.array(played.resident) * job.block_bytes
    return found


def energy(played: Played, system, block_bytes: int, data: str = "random") -> np.ndarray:
    """Joules of each step, [steps, HBM or DRAM, causes], byte by byte of what is moved."""
    configs = [MemoryConfig.of(getattr(system, name)) for name in MEMORIES]
    of_blocks = [memory_energy.of_bytes(config, block_bytes, data) for config in configs]
    of_weights = [memory_energy.of_bytes(config, 1 << 22, data) for config in configs]
    wire = [each[0] for each in memory_energy.link_of_bytes(system.link)]
    found = np.zeros((len(played.moved), 2, len(CAUSES)))
    for row, m, seconds in zip(found, played.moved, played.time_s, strict=True):
        for k, name in enumerate(MEMORIES):
            blocks, weights = of_blocks[k], of_weights[k]
            # A promotion is a DRAM read and an HBM write, a demotion the reverse.
            out, into = ("demotion", "promotion") if name == "hbm" else ("promotion", "demotion")
            read = getattr(m, f"attention_{name}") + getattr(m, f"{out}_{name}")
            written = getattr(m, f"append_{name}") + getattr(m, f"{into}_{name}")
            streamed = getattr(m, f"weights_{name}")
            row[k] = read * blocks.read[0] + written * blocks.write[0] + streamed * weights.read[0]
            row[k] += seconds * blocks.power[0]
            if name == "dram":
                row[k, CAUSES.index("link")] = (read + streamed) * wire[0] + written * wire[1]
    return found


def replayed_energy(joules: np.ndarray, played: Played, found: dict, system) -> np.ndarray:
    """The same with the rows that memories opened, and the time that they took; NaN elsewhere."""
    out = np.full_like(joules, np.nan)
    for t in np.flatnonzero(np.isfinite(found["replay_time_s"])):
        out[t] = joules[t]
        for k, name in enumerate(MEMORIES):
            config = MemoryConfig.of(getattr(system, name))
            power = memory_energy.of_bytes(config, 64).power[0]
            out[t, k] += (found["replay_time_s"][t] - played.time_s[t]) * power
            opened = memory_energy.commands(config.spec).activation_J[0]
            out[t, k, CAUSES.index("activation")] = opened * found["activations"][t, k]
    return out


def totals(job: Job, played: Played, replayed: Replayed | None, bounds: dict) -> dict[str, float]:
    """The result file's totals of a policy, in its units."""
    moved, time_s = played.moved, sum(played.time_s)
    from_hbm = sum(m.attention_hbm + m.weights_hbm for m in moved)
    demand = from_hbm + sum(m.attention_dram + m.weights_dram for m in moved)
    kv_hbm = sum(m.attention_hbm for m in moved)
    kv = kv_hbm + sum(m.attention_dram for m in moved)
    tokens = len(job.groups("token"))
    pooled = played.kind == "authors"
    bound_s = time_s if played.kind == "unlimited" else bounds["analytic", pooled]
    found = {
        "total_time_s": time_s,
        "tokens_per_s": job.decoded / time_s,
        "tpot_s": time_s / tokens,
        "sequence_tokens_per_s": tokens / time_s,
        "aggregate_bandwidth_GBps": demand / time_s / 1e9,
        "hbm_read_share": from_hbm / demand,
        "kv_hbm_read_share": kv_hbm / kv if kv else math.nan,
        "migrated_bytes": sum(m.promotion_hbm + m.demotion_hbm for m in moved),
        "bound_s": bound_s,
        "gap": (time_s - bound_s) / time_s,
    }
    if played.before:  # the authors' strategies keep no sets
        reads = [(step.read, here) for step, here in zip(job.steps, played.before, strict=True)]
        blocks = sum(len(read) for read, _ in reads)
        found["kv_hit_rate"] = (
            sum(len(read & here) for read, here in reads) / blocks if blocks else math.nan
        )
    if replayed is not None:
        rigorous = bounds["pins", pooled]
        replay_s = replayed.time_s
        if replayed.steps < len(job.steps) and replay_s < rigorous:
            replay_s = rigorous  # an estimate from a sample, below what is proven
        found |= {
            "replay_sampled_steps": replayed.steps,
            "replay_total_time_s": replay_s,
            "replay_ci95_s": replayed.ci95_s,
            "replay_aggregate_bandwidth_GBps": demand / replay_s / 1e9,
            "replay_bound_s": rigorous,
            "replay_gap": (replay_s - rigorous) / replay_s if math.isfinite(replay_s) else math.nan,
        }
    return found


def floors(job: Job, rates: Rates, barrier: str) -> dict[tuple[str, bool], float]:
    """Seconds by rates (analytic, pins) and by whether weights may come from DRAM too."""
    found = {}
    for kind, pooled in (("analytic", False), ("analytic", True), ("pins", False), ("pins", True)):
        total = 0.0
        for group in job.groups(barrier):
            steps = job.steps[group.start : group.stop]
            total += times.floor_of(
                getattr(rates, kind), sum(job.block_bytes * len(s.read) for s in steps),
                sum(s.hbm_bytes for s in steps), sum(s.compute_s for s in steps), pooled,
            )  # fmt: skip
        found[kind, pooled] = total
    return found


def resolved(case: Case, workload: dict[str, Any]):
    """The system as hmsim understands it: presets filled in, quantities in base units."""
    return resolve(config(case, workload), [], "case").system
