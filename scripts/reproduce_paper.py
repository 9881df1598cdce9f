"""The evaluation of arXiv 2508.13231, at full size: `python scripts/reproduce_paper.py`.

Figs 3 (time by sparsity), 4 (by variation) and 5 (share of the reads that HBM serves), every
strategy by the paper's text and by its authors' simulator, under all four latency models, beside
the paper's numbers and the certified bounds; authors-reactive over seeds; dynamic against static
placement for 12 and 32 layers. Its real trace is not public: "real-like" is the same workload with
the drift at which static placement is as slow as there.

Every pass over a workload is added to OUT/results.json as it ends; a second call goes on from
there. Tables and figures are written at the end, or now with `--draw`. `--quick` takes the first
256 tokens of everything, into OUT/quick, and leaves the paper's numbers out.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmsim.bound import bound, quick_bound
from hmsim.config.run import RunSpec, load_run
from hmsim.config.system import SystemSpec
from hmsim.placement import policies
from hmsim.placement.latency import VARIANTS, Groups, Traffic, analytic_rates, variant_traffic
from hmsim.placement.policies.sa import Sa
from hmsim.plot import style
from hmsim.simulate import overlap
from hmsim.workload.open import open_workload
from hmsim.workload.steps import Workload
from hmsim.workload.windows import Window, windows

ROOT = Path(__file__).parents[1]
COMMAND = "python scripts/reproduce_paper.py"
QUICK_TOKENS = 256

# Decode seconds of the paper's figure data.
STRATEGIES = ("unlimited", "static", "reactive", "page", "sa")
PAPER = {
    "sparsity 40 %": (31.905, 189.696, 147.857, 95.907, 40.305),
    "sparsity 50 %": (28.250, 166.796, 117.065, 69.836, 34.250),
    "real-like": (24.596, 140.008, 85.946, 47.735, 25.699),
    "sparsity 80 %": (16.887, 76.145, 31.043, 19.619, 17.350),
    "sparsity 85 %": (14.859, 58.188, 21.430, 16.205, 15.483),
    "sparsity 90 %": (13.432, 39.513, 15.718, 13.774, 13.635),
    "low": (24.592, 165.315, 89.113, 25.148, 24.932),
    "high": (24.611, 122.304, 100.427, 65.140, 52.443),
}
PAPER_SHARE = {"static": 0.583, "reactive": 0.755, "page": 0.887, "sa": 0.913}  # of HBM, real trace
BY_SPARSITY = {40: "sparsity 40 %", 50: "sparsity 50 %", 60: "real-like", 80: "sparsity 80 %",
               85: "sparsity 85 %", 90: "sparsity 90 %"}  # fmt: skip
BY_VARIATION = ("low", "real-like", "high")
LOW = {"tokens": [31299, 41537], "sparsity": 0.6, "drift": 0.1, "seed": 5}
REAL = {"tokens": [31299, 41538], "sparsity": 0.6, "drift": 0.5, "seed": 5}
HIGH = {"tokens": [31346, 41584], "sparsity": 0.6, "drift": 0.9, "seed": 1}
SCHEDULE = "by the bound's prices"
SEEDS = range(1, 9)  # of what depends on the seed most


class Player(NamedTuple):
    """A policy with its options; `variant` is the latency model that it reckons with."""

    name: str
    options: dict[str, Any] = {}
    variant: str = "text"


AUTHORS = {
    f"authors-{name}": Player(f"authors-{name}")
    for name in ("unlimited", "static", "initonly", "reactive", "page", "lookahead1")
} | {
    "authors-sa (1, 1.0)": Player("authors-sa", {"window": 1, "share": 1.0}),
    "authors-sa (3, 1.0)": Player("authors-sa", {"window": 3, "share": 1.0}),
}
TEXT = {name: Player(name) for name in ("unlimited", "static", "reactive", "page")} | {
    "sa": Player("sa"),
    "sa, for code": Player("sa", variant="code"),
}
MORE = {name: Player(name) for name in ("interleaved", "balanced", "lfu", "ema")} | {
    "belady": Player("belady", {"scope": "layer"}),  # as all oracles of the paper
    "slack": Player("slack"),
    "slack, for code": Player("slack", variant="code"),
}


def as_authors(strategy: str) -> str:
    """The strategy of the paper's figures in its authors' simulator."""
    return "authors-sa (3, 1.0)" if strategy == "sa" else f"authors-{strategy}"


class Pass(NamedTuple):
    """One pass over one workload: policies to play, or (`bound`) latency models to bound.

    With `schedule`, the bound is the full one, beside a schedule that follows its prices.
    """

    case: str
    what: str
    workload: dict[str, Any]
    players: dict[str, Player] = {}
    bound: tuple[str, ...] = ()
    schedule: bool = False


def passes() -> Iterator[Pass]:
    """All of the evaluation: what the paper shows first, what takes long last."""
    variation = dict(zip(BY_VARIATION, (LOW, REAL, HIGH), strict=True))
    by_sparsity = {
        case: REAL | {"sparsity": sparsity / 100}
        for sparsity, case in BY_SPARSITY.items()
        if case not in variation
    }
    shown = {as_authors(strategy): AUTHORS[as_authors(strategy)] for strategy in STRATEGIES}
    for case, workload in variation.items():
        yield Pass(case, "authors", workload, AUTHORS)
        yield Pass(case, "text", workload, TEXT)
    for layers in (12, 32):
        names = ("static", "reactive", "lfu", "page", "sa, for code")
        players = {name: (TEXT | MORE)[name] for name in names}
        yield Pass(f"{layers} layers", "text", REAL | {"layers": layers}, players)
    for case, workload in by_sparsity.items():
        yield Pass(case, "authors", workload, shown)
        yield Pass(case, "text", workload, {name: TEXT[name] for name in STRATEGIES})
    for case, workload in variation.items():
        yield Pass(case, "more", workload, MORE)
    for seed in SEEDS:
        players = {"authors-reactive": AUTHORS["authors-reactive"]}
        yield Pass(f"low, seed {seed}", "authors", LOW | {"seed": seed}, players)
    for case, workload in by_sparsity.items():
        yield Pass(case, "bound", workload, bound=("text", "code"))
    for case in reversed(BY_VARIATION):
        for model in ("text", "code"):
            yield Pass(case, f"bound, {model}", variation[case], bound=(model,), schedule=True)


def spec_of(workload: dict[str, Any], quick: bool) -> RunSpec:
    """The run; HBM holds the same share of the KV whatever the layers."""
    workload = dict(workload)
    first = workload["tokens"][0]
    if quick:
        workload["tokens"] = [first, first + QUICK_TOKENS - 1]
    layers = workload.get("layers", 32)
    changes = [f"workload.{key}={value}" for key, value in workload.items()]
    spec = load_run(ROOT / "workloads/paper-60.toml", changes)
    if layers == 32:
        return spec
    whole = open_workload(load_run(ROOT / "workloads/paper-60.toml").workload).geometry
    weights = open_workload(spec.workload).geometry.resident_bytes
    room = (spec.system.hbm.capacity - whole.resident_bytes) * layers / 32
    capacity = f"system.hbm.capacity={int(weights + room)}"
    return load_run(ROOT / "workloads/paper-60.toml", [*changes, capacity])


def play(
    workload: Workload, system: SystemSpec, players: dict[str, Player]
) -> dict[str, dict[str, Any]]:
    """Every player over the workload; decode seconds and HBM's share by latency model."""
    rates, size = analytic_rates(system), workload.geometry.block_bytes
    made = {label: policies.make(each.name, each.options) for label, each in players.items()}
    capacity = system.hbm.capacity
    tracks = {
        label: made[label].start(workload, capacity, rates, players[label].variant)
        for label in players
    }
    models = {
        label: ("authors",) if made[label].bound_kind == "pooled" else VARIANTS for label in players
    }
    sums = {label: np.zeros((len(models[label]), 3)) for label in players}
    moved = dict.fromkeys(players, 0.0)

    def advance(label: str, window: Window, groups: Groups) -> None:
        counts, _ = tracks[label].advance(window)
        own = tracks[label].traffic(counts, groups)
        moved[label] += float((own.promotion_hbm + own.demotion_hbm).sum())
        for row, model in enumerate(models[label]):
            if model == "authors" or not made[label].is_schedule:
                traffic = own
            else:
                traffic = variant_traffic(counts, groups, size, rates, model)
            sums[label][row] += figures(traffic)

    def figures(traffic: Traffic) -> list[float]:
        hbm = traffic.attention_hbm + traffic.weights_hbm
        dram = traffic.attention_dram + traffic.weights_dram
        return [float(each.sum()) for each in (traffic.time_s, hbm, dram)]

    stream = windows(workload, max(policy.ahead_tokens for policy in made.values()))
    with overlap.pool() as pool:
        for window in overlap.ahead(stream):
            groups = Groups.of(window.own, "layer")
            done = [pool.submit(advance, label, window, groups) for label in players]
            for future in done:
                future.result()
    return {
        label: {
            "time_s": dict(zip(models[label], sums[label][:, 0], strict=True)),
            "hbm_share": dict(zip(models[label], share(sums[label]), strict=True)),
            "migrated_bytes": moved[label],
        }
        | ({"window": policy.ahead_tokens, "share": policy.share} if isinstance(policy, Sa) else {})
        for label, policy in made.items()
    }


def share(sums: np.ndarray) -> np.ndarray:
    return sums[:, 1] / (sums[:, 1] + sums[:, 2])


def certify(
    workload: Workload, system: SystemSpec, models: tuple[str, ...], schedule: bool = False
) -> dict[str, dict[str, float]]:
    """Seconds by latency model: the certified bound, and the schedule's if one is asked for."""
    rates, capacity = analytic_rates(system), system.hbm.capacity
    search = bound if schedule else quick_bound
    found = {model: search(workload, rates, capacity, model) for model in models}
    return {
        "bound_s": {model: result.bound_s for model, result in found.items()},
        "achievable_s": {
            model: result.achievable_s
            for model, result in found.items()
            if result.achievable_s is not None
        },
    }


def evaluate(path: Path, quick: bool) -> dict[str, Any]:
    """Play what `path` does not hold yet, saving after each pass."""
    results: dict[str, Any] = {"command": COMMAND, "cases": {}}
    if path.exists():
        results = json.loads(path.read_text())
    for each in passes():
        fresh = {"workload": each.workload, "policies": {}, "bound_s": {}, "cpu_s": {}}
        case = results["cases"].setdefault(each.case, fresh)
        if case["workload"] != each.workload:  # of another version of this script
            case = results["cases"][each.case] = fresh
        if each.what in case["cpu_s"]:
            continue
        began = time.process_time()
        spec = spec_of(each.workload, quick)
        workload = open_workload(spec.workload)
        case["policies"] |= play(workload, spec.system, each.players) if each.players else {}
        for key, by_model in certify(workload, spec.system, each.bound, each.schedule).items():
            case.setdefault(key, {}).update(by_model)
        case["cpu_s"][each.what] = round(time.process_time() - began, 1)
        print(f"{each.case}, {each.what}: {case['cpu_s'][each.what]} CPU s", file=sys.stderr)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(results, indent=1) + "\n")
        beside.replace(path)
    return results


def rows_of(results: dict[str, Any]) -> Iterator[tuple[str, str, str, float, float, float | None]]:
    """Case, strategy, latency model, seconds, HBM's share, and the paper's seconds if any."""
    for name, case in results["cases"].items():
        paper = dict(zip(STRATEGIES, PAPER.get(name, ()), strict=False))
        for label, policy in case["policies"].items():
            for model, seconds in policy["time_s"].items():
                strategy = label.removeprefix("authors-").partition(" ")[0].rstrip(",")
                yield (name, label, model, seconds, policy["hbm_share"][model],
                       paper.get(strategy) if "slack" not in label else None)  # fmt: skip
        for key, label in (("bound_s", "certified bound"), ("achievable_s", SCHEDULE)):
            for model, seconds in case.get(key, {}).items():
                yield name, label, model, seconds, float("nan"), None


def write_csv(results: dict[str, Any], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "strategy", "latency_model", "time_s", "hbm_share", "paper_s"])
        for *names, seconds, part, paper in rows_of(results):
            known = "" if np.isnan(part) else f"{part:.4f}"
            writer.writerow([*names, f"{seconds:.6f}", known, "" if paper is None else paper])


def write_table(results: dict[str, Any], path: Path) -> None:
    """Markdown: a table a case, strategies down, latency models across."""
    lines = ["# arXiv 2508.13231, reproduced", "", f"Made by `{COMMAND}`; decode seconds.", ""]
    found = list(rows_of(results))
    for name in results["cases"]:
        if name.startswith("low, seed"):
            continue
        columns = ["authors", *VARIANTS]
        lines += [f"## {name}", "", "| strategy | paper | " + " | ".join(columns) + " |",
                  "|---|" + "---|" * (1 + len(columns))]  # fmt: skip
        for label in dict.fromkeys(row[1] for row in found if row[0] == name):
            mine = [row for row in found if row[:2] == (name, label)]
            cells = {row[2]: f"{row[3]:.3f}" for row in mine}
            paper = "" if mine[0][5] is None else f"{mine[0][5]:.3f}"
            found_at = results["cases"][name]["policies"].get(label, {})
            if "window" in found_at:
                label = f"{label}: ({found_at['window']}, {found_at['share']})"
            lines.append(
                f"| {label} | {paper} | " + " | ".join(cells.get(c, "") for c in columns) + " |"
            )
        lines.append("")
    spread = [row[3] for row in found if row[0].startswith("low, seed")]
    if spread:
        lines += [
            "## authors-reactive over seeds",
            "",
            f"Low variation, {len(spread)} seeds: {min(spread):.1f} to {max(spread):.1f} s, mean "
            f"{np.mean(spread):.1f} s, standard deviation {np.std(spread):.1f} s"
            + (f"; the paper's one trace gave {PAPER['low'][2]:.1f} s." if PAPER else "."),
            "",
        ]
    path.write_text("\n".join(lines))


def draw_sparsity(results: dict[str, Any], path: Path) -> None:
    """Fig 3: decode time by sparsity, with the certified bound; the paper's hollow and dotted."""
    with style.figure("page", 4.0, path, COMMAND) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for k, strategy in enumerate(STRATEGIES):
            colour, marker = (style.INK, *style.CYCLE)[k], style.MARKERS[k]
            paper = [PAPER[case][k] for case in BY_SPARSITY.values()]
            for ax, label, model in (
                (left, as_authors(strategy), "authors"),
                (right, strategy, "text"),
            ):
                x = [s for s, case in BY_SPARSITY.items() if has(results, case, label)]
                y = [seconds(results, BY_SPARSITY[s], label, model) for s in x]
                ax.plot(x, y, color=colour, marker=marker, markersize=4, label=strategy)
                ax.plot([*BY_SPARSITY], paper, color=colour, marker=marker, markersize=6,
                        markerfacecolor="none", linestyle=":", linewidth=0.8)  # fmt: skip
        for ax, model in ((left, "code"), (right, "text")):
            bounds = {s: results["cases"].get(case, {}).get("bound_s", {}).get(model)
                      for s, case in BY_SPARSITY.items()}  # fmt: skip
            known = [s for s in bounds if bounds[s] is not None]
            ax.plot(known, [bounds[s] for s in known], **style.OPTIMUM, label="certified bound")
        left.set_title("Fig 3, by the authors' simulator")
        right.set_title("the same strategies by the paper's text")
        left.set_ylabel("decode time, s")
        for ax in (left, right):
            ax.set_yscale("log")
            ticks = [12.5, 25, 50, 100, 200, 400, 800]
            ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
            ax.grid(axis="y")
        left.set_xlabel("attention sparsity, %  (bound: of the variant `code`)")
        right.set_xlabel("attention sparsity, %  (bound: of the variant `text`)")
        handles, names = right.get_legend_handles_labels()
        (hollow,) = right.plot([], [], color=style.MUTED, marker="o", markersize=6,
                               markerfacecolor="none", linestyle=":", linewidth=0.8)  # fmt: skip
        figure.legend([*handles, hollow], [*names, "paper"], loc="outside lower center", ncols=7)


def draw_variation(results: dict[str, Any], path: Path) -> None:
    """Fig 4: every strategy at low, real-like and high variation, with the certified bounds."""
    labels = [
        label
        for label in (*AUTHORS, *TEXT, *MORE)
        if any(has(results, case, label) for case in BY_VARIATION)
    ]
    labels.append(SCHEDULE)
    with style.figure("slide", 6.2, path, COMMAND) as figure:
        for ax, case in zip(figure.subplots(1, 3, sharey=True), BY_VARIATION, strict=True):
            own = [label for label in labels if has(results, case, label)]
            for k, label in enumerate(own):
                times = results["cases"][case]["policies"][label]["time_s"]
                models = ("authors",) if label.startswith("authors") else ("text", "code")
                for model, colour in zip(models, (style.BLUE, style.ORANGE), strict=False):
                    drawn = style.GREEN if model == "authors" else colour
                    ax.plot(times[model], labels.index(label), style.MARKERS[models.index(model)],
                            color=drawn, markersize=7 if model == "text" else 4,
                            label=model if k in (0, 8) else None)  # fmt: skip
            for strategy, time_s in zip(STRATEGIES, PAPER[case], strict=True):
                ax.plot(time_s, labels.index(as_authors(strategy)), "o", markersize=9, color=style.INK,
                        markerfacecolor="none", label="paper" if strategy == "sa" else None)  # fmt: skip
            for i, (model, colour) in enumerate((("text", style.BLUE), ("code", style.ORANGE))):
                achieved = results["cases"][case].get("achievable_s", {}).get(model)
                if achieved is not None:
                    ax.plot(achieved, len(labels) - 1, style.MARKERS[i], color=colour,
                            markersize=(7, 4)[i])  # fmt: skip
            bounds = results["cases"][case]["bound_s"]
            for model, colour in (("text", style.BLUE), ("code", style.ORANGE)):
                if model in bounds:
                    ax.axvline(bounds[model], color=colour, linestyle="--", linewidth=1,
                               label=f"certified bound, {model}")  # fmt: skip
            ax.set_xscale("log")
            ax.set_xticks([25, 50, 100, 200], ["25", "50", "100", "200"])
            ax.minorticks_off()
            ax.set_title(f"Fig 4, {case}")
            ax.set_xlabel("decode time, s")
            ax.set_yticks(range(len(labels)), labels)
            ax.set_ylim(len(labels) - 0.5, -0.5)
            ax.grid(axis="both")
        handles, names = ax.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=6)


def draw_share(results: dict[str, Any], path: Path) -> None:
    """Fig 5: HBM's share of all bytes read at 60 %, beside the paper's and the best split."""
    case = "real-like"
    rates = analytic_rates(spec_of(REAL, False).system)
    with style.figure("page", 2.6, path, COMMAND) as figure:
        ax = figure.add_subplot()
        for k, (strategy, paper) in enumerate(PAPER_SHARE.items()):
            shown = [("paper", paper, style.MUTED)]
            for label, model, colour in (
                (as_authors(strategy), "authors", style.GREEN), (strategy, "text", style.BLUE),
                (strategy, "code", style.ORANGE),
            ):  # fmt: skip
                if has(results, case, label):
                    part = results["cases"][case]["policies"][label]["hbm_share"][model]
                    shown.append((model, part, colour))
            for i, (model, part, colour) in enumerate(shown):
                ax.bar(k + 0.2 * i - 0.3, part, 0.18, color=colour, label=model if k == 0 else None)
        ax.axhline(rates.split, color=style.INK, linestyle="--", linewidth=1, label="best split")
        ax.set_xticks(range(len(PAPER_SHARE)), list(PAPER_SHARE))
        ax.set_ylim(0, 1.02)
        ax.set_title("Fig 5, HBM's share of the bytes read, 60 % sparse")
        figure.legend(loc="outside right")


def has(results: dict[str, Any], case: str, label: str) -> bool:
    return label in results["cases"].get(case, {}).get("policies", {})


def seconds(results: dict[str, Any], case: str, label: str, model: str) -> float:
    return float(results["cases"][case]["policies"][label]["time_s"][model])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the first 256 tokens of everything")
    parser.add_argument("--draw", action="store_true", help="only write tables and figures")
    parser.add_argument("--out", type=Path, default=ROOT / "results/paper")
    options = parser.parse_args()
    out = options.out / "quick" if options.quick else options.out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    results = json.loads(path.read_text()) if options.draw else evaluate(path, options.quick)
    if options.quick:
        PAPER.clear()
    write_csv(results, out / "results.csv")
    write_table(results, out / "table.md")
    if options.quick:
        return
    figures: dict[str, Callable[[dict[str, Any], Path], None]] = {
        "fig3-sparsity": draw_sparsity, "fig4-variation": draw_variation, "fig5-share": draw_share,
    }  # fmt: skip
    for name, draw in figures.items():
        draw(results, out / f"{name}.png")


if __name__ == "__main__":
    main()
