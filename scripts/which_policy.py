"""Which policy for which machine: the tables of docs/which-policy.md, and `online-dual` at its worst.

    python scripts/which_policy.py gaps [NAME=TRACE.h5 ...]   # gaps of policies, 200 tokens after 100
    python scripts/which_policy.py long                       # 1,000 tokens after 100
    python scripts/which_policy.py batches                    # tokens/s by batch: does offloading pay?
    python scripts/which_policy.py worst [COUNT]              # ratios over random tiny workloads

Each writes results/policies/*.csv and puts it into the page. Without names `gaps` takes the traces of
REAL and generates the workloads of CASES. With names it makes their rows alone, and the others stay:
a trace for one of CASES is as `hmsim workload generate` makes it (300 tokens), one of another name is
a case of its own, on the founding paper's machine, with 30 % of its last blocks in HBM.
"""

import csv
import sys
import tomllib
from pathlib import Path

import numpy as np

import hmsim
from hmsim.bits import cardinality
from hmsim.bound import quick_bound
from hmsim.config.catalogue import find
from hmsim.placement import policies
from hmsim.placement.latency import TABLE, Groups, Rates
from hmsim.workload.steps import Workload
from hmsim.workload.warmup import Counted
from hmsim.workload.windows import windows

ROOT = Path(__file__).parent.parent
WARMUP, COUNTED = 100, 200  # tokens
CASES = {  # copies, prompt tokens
    "nosa-4096": (64, 32768), "quest-2048": (16, 131072), "shadowkv-1.56": (16, 131072),
}  # fmt: skip
REAL = {
    f"a real model, {what}": str(ROOT / "workloads" / "real" / f"persuasion-{name}.h5")
    for what, name in (
        ("64 pages", "pages-1024"), ("64 pages by Quest", "quest-1024"), ("64 tokens", "tokens-64")
    )
}  # fmt: skip
SHARE = 0.3  # of another trace's blocks in HBM
LONG = 1000  # tokens
LONG_RULES = {"reactive": {}, "lfu": {"half_life": 32}, "ema": {}, "online-dual": {}}
RULES = {
    "static": {}, "reactive": {}, "balanced": {}, "slack": {"payback": 3}, "lfu": {"half_life": 32},
    "ema": {}, "s3-fifo": {}, "online-dual": {}, "belady": {},
    "lookahead": {"window": 8, "share": 0.5, "scope": "all"}, "dual": {"time_s": 60},
}  # fmt: skip
SEARCH = {"gap": 0.01, "time": 90}  # of the bound that many tokens are held against
VARIANTS = ("text", "exclusive", "inclusive")
BATCHES = (4, 8, 16, 18, 24, 32, 64)  # sequences of nosa-4096: 18 of them fit into 96 GB
BATCH_RULES = {
    "static": {}, "reactive": {}, "small": {"policy": "hisparse", "buffer": 4096},
    "large": {"policy": "hisparse", "buffer": 8192},
    "pressure": {"policy": "hisparse-pressure", "buffer": 8192}, "online-dual": {},
}  # fmt: skip
BATCH_WARMUP, BATCH_COUNTED = 40, 20
RIVALS = ("static", "reactive", "belady")  # of `worst`: from the same blocks in HBM at the start


def run(
    workload: dict, system: dict, rules: dict, variant: str = "text", bound: dict | None = None
) -> hmsim.Result:
    """A run at analytic times."""
    return hmsim.run(
        {
            "system": system, "workload": workload, "latency": {"variant": variant},
            "policies": {"names": list(rules), "options": {n: o for n, o in rules.items() if o}},
            "replay": {"fidelity": "analytic"}, "bound": bound or {},
        },
        progress=False,
    )  # fmt: skip


def spec(name: str, copies: int, prompt: int, tokens: int) -> dict:
    """A workload of the catalogue, as a table."""
    table = tomllib.loads(Path(find(name)).read_text())["workload"]
    return table | {"copies": copies, "tokens": [prompt, prompt + tokens - 1]}


def long() -> list[list[str]]:
    """Gaps of policies without foresight over many tokens: a row a workload and variant."""
    cases = {
        name: (spec(name, *where, WARMUP + LONG), {"preset": "gh200-96gb"})
        for name, where in CASES.items()
    }
    churning = tomllib.loads(Path(find("paper-60-real")).read_text())["workload"]
    first = churning["tokens"][0]
    churning["tokens"] = [first, first + WARMUP + LONG - 1]
    cases["paper-60-real"] = (churning, {"preset": "gh200-paper", "hbm": {"capacity": "23 GiB"}})
    rows = [["workload", "variant", *LONG_RULES]]
    for name, (workload, system) in cases.items():
        for variant in ("text", "inclusive"):  # `exclusive` is as `text` there
            result = run(workload | {"warmup": WARMUP}, system, LONG_RULES, variant, SEARCH)
            rows.append(row_of(name, variant, result, LONG_RULES))
    return rows


def row_of(name: str, variant: str, result: hmsim.Result, rules: dict) -> list[str]:
    """The gaps of a run in per cent, which are also printed."""
    row = [name, variant, *(f"{100 * result.total(rule, 'gap'):.1f}" for rule in rules)]
    print(*row, flush=True)
    return row


def gaps(given: dict[str, str]) -> list[list[str]]:
    """The share of its time that each policy could at most save: a row a workload and variant."""
    cases = []
    given = given or REAL | dict.fromkeys(CASES, "")
    for name in given:
        workload = {"trace": given[name]} if given[name] else None
        system = {"preset": "gh200-96gb"}
        if name not in CASES:
            trace = hmsim.open_workload(workload)
            shape = trace.geometry
            tokens = shape.steps // shape.lanes
            alive = cardinality(Counted(trace, tokens - 1).prompt.reshape(-1))
            room = shape.resident_bytes + SHARE * alive * shape.block_bytes
            system = {"preset": "gh200-paper", "hbm": {"capacity": room}}
        workload = workload or spec(name, *CASES[name], WARMUP + COUNTED)
        cases.append((name, workload | {"warmup": WARMUP}, system))
    rows = [["workload", "variant", *RULES]]
    for name, workload, system in cases:
        for variant in VARIANTS:
            result = run(workload, system, RULES, variant)
            rows.append(row_of(name, variant, result, RULES))
    return rows


def batches() -> list[list[str]]:
    """Tokens per second of nosa-4096 by batch."""
    rows = [["sequences", *BATCH_RULES]]
    for copies in BATCHES:
        workload = spec("nosa-4096", copies, 32768, BATCH_WARMUP + BATCH_COUNTED)
        workload["warmup"] = BATCH_WARMUP
        result = run(workload, {"preset": "gh200-96gb"}, BATCH_RULES)
        rows.append([str(copies), *(f"{result.total(r, 'tokens_per_s'):.0f}" for r in BATCH_RULES)])
        print(*rows[-1], flush=True)
    return rows


def instance(seed: int) -> tuple[Workload, float, Rates, str]:
    """A random tiny workload, capacity, rates and variant."""
    model = {"layers": 2, "kv_bytes_per_token_layer": 4096, "resident_bytes": 1}
    rng = np.random.default_rng(seed)
    first = int(rng.integers(40, 400))
    table = {
        "model": model | {"weight_bytes_step": 10 ** rng.uniform(3, 7)},
        "block_tokens": int(2 ** rng.integers(0, 4)), "seed": seed,
        "tokens": [first, first + int(rng.integers(8, 60))],
    }  # fmt: skip
    if rng.random() < 0.5:
        table |= {
            "kind": "churn",
            "sparsity": rng.uniform(0.2, 0.9),
            "drift": rng.uniform(0, 1),
        }
    else:
        scores = {
            "keep": rng.uniform(0.1, 0.7),
            "slow": rng.uniform(0, 2),
            "flicker": rng.random(),
        }
        table |= {"kind": "scores", "scores": scores}
    rates = Rates(*10 ** rng.uniform([11.5, 10, 10, 10], [12.7, 12, 12, 12]))
    workload = hmsim.open_workload(table)
    shape = workload.geometry
    room = rng.uniform(0.02, 1) * 2 * first / table["block_tokens"] * shape.block_bytes
    return workload, shape.resident_bytes + room, rates, list(TABLE)[seed % len(TABLE)]


def seconds(name: str, workload: Workload, capacity: float, rates: Rates, variant: str) -> float:
    """What a policy takes."""
    policy = policies.make(name)
    run, time_s = policy.start(workload, capacity, rates, variant), 0.0
    for window in windows(workload, policy.ahead_tokens):
        counts, _ = run.advance(window)
        time_s += run.traffic(counts, Groups.of(window.own, "layer")).time_s.sum()
    return time_s


def worst(count: int) -> list[list[str]]:
    """Time of `online-dual` on random workloads, over each one's bound and over its best rival's."""
    found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in TABLE}
    for seed in range(count):
        case = workload, capacity, rates, variant = instance(seed)
        time_s = seconds("online-dual", *case)
        bound_s = quick_bound(workload, rates, capacity, variant).bound_s
        rival_s = min(seconds(name, *case) for name in RIVALS)
        found[variant].append((time_s / bound_s, time_s / rival_s))
    rows = [
        ["variant", *(f"{x}: {y}" for x in ("bound", "rival") for y in ("worst", "99 %", "half"))]
    ]
    for variant, pairs in found.items():
        ratios = np.array(pairs)
        rows.append(
            [variant, *(f"{x:.2f}" for x in np.quantile(ratios, [1, 0.99, 0.5], axis=0).T.flat)]
        )
        seeds = np.argmax(ratios, axis=0) * len(TABLE) + list(TABLE).index(variant)
        print(*rows[-1], "worst at seeds", *seeds, flush=True)
    return rows


def publish(name: str, rows: list[list[str]]) -> None:
    """The rows as CSV, beside those of other workloads that it has, and as that table of the page."""
    path = ROOT / "results" / "policies" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        with open(path, newline="") as file:
            old = list(csv.reader(file))
        mine = {row[0] for row in rows}
        kept = [row for row in old if row[0] not in mine] if old[0] == rows[0] else []
        rows = [rows[0], *kept, *rows[1:]]
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    page = ROOT / "docs" / "which-policy.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(end)[2]
    lines = [f"| {' | '.join(row)} |\n" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]
    page.write_text(before + begin + "\n" + "".join(lines) + "\n" + end + after)


def main() -> None:
    what, *rest = sys.argv[1:] or [""]
    if what == "gaps":
        publish(what, gaps(dict(each.split("=", 1) for each in rest)))  # type: ignore[misc]
    elif what == "long":
        publish(what, long())
    elif what == "batches":
        publish(what, batches())
    elif what == "worst":
        publish(what, worst(int(rest[0]) if rest else 10_000))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
