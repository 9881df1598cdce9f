"""The founding paper's strategies on a real model's attention: `python scripts/real_paper.py TRACES`.

TRACES is a folder with what this makes of the text of workloads/real/README.md:

    hmsim workload capture smollm2-135m --text persuasion.txt --prompt 6144 --decode 1000 \\
        --rule share,sparsity=0.6 --rule share,sparsity=0.7 --rule share,sparsity=0.8 \\
        --rule share,sparsity=0.85 --rule share,sparsity=0.9 -o TRACES/persuasion.h5

The traces are too large for the repository. The model is smaller than the paper's, so the machine is
scaled with it: HBM holds the same share of the KV as there, and weights are the same share of it. Beside
the traces, the paper's synthetic workloads are played at the same size, so that what differs is the
selection alone. Written are results/real/paper.csv and paper.png; without TRACES, the figure is
drawn from paper.csv again. Times are shares of `unlimited`, which no strategy's selection changes.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import reproduce_paper as paper
from real_gaps import prompt_blocks

from hmsim.config.base import load
from hmsim.config.run import load_run
from hmsim.config.workload import WorkloadSpec
from hmsim.plot import style
from hmsim.workload import open_workload
from hmsim.workload.statistics import measure
from hmsim.workload.steps import Steps, Workload
from hmsim.workload.trace import TraceWorkload
from hmsim.workload.view import View

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/real"
COMMAND = "python scripts/real_paper.py TRACES"
FIELDS = ("case", "strategy", "model", "time", "overlap")
SPARSITIES = (60, 70, 80, 85, 90)
CHURN = {"low": 0.1, "real-like": 0.5, "high": 0.9}  # drift, at 60 %
SHOWN = {paper.as_authors(name): paper.AUTHORS[paper.as_authors(name)] for name in paper.STRATEGIES}
OURS = {"online-dual": paper.Player("online-dual"), "belady": paper.MORE["belady"]}
BOUND = "certified bound"


class Scale(NamedTuple):
    """What the paper's machine holds and reads for each byte of KV cache."""

    hbm: float  # bytes of HBM for KV, at the end
    weights: float  # bytes of weights that a step reads, over a layer's KV at half time


class Weighted(View):
    """A workload whose steps read weights."""

    def __init__(self, whole: Workload, weights: float):
        super().__init__(whole, whole.geometry.steps, whole.prompt)
        self._weights = weights

    def chunks(self) -> Iterator[Steps]:
        """The steps of the whole workload, with `weights` bytes each."""
        for chunk in self._whole.chunks():
            yield chunk._replace(hbm_bytes=np.full(chunk.rows, self._weights))


def main() -> None:
    if len(sys.argv) > 1:
        rows = list(evaluate(Path(sys.argv[1])))
        with open(OUT / "paper.csv", "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(FIELDS)
            table.writerows(rows)
    with open(OUT / "paper.csv", newline="") as file:
        found = {
            (row["case"], row["strategy"], row["model"]): float(row["time"])
            for row in csv.DictReader(file)
        }
    draw(found, OUT / "paper.png")


def evaluate(folder: Path) -> Iterator[list[Any]]:
    scale = scale_of_paper()
    traces = {s: TraceWorkload(folder / f"persuasion-share-{s / 100:g}.h5") for s in SPARSITIES}
    for sparsity, trace in traces.items():
        yield from case(f"persuasion, {sparsity} %", trace, scale)
    for name, drift in CHURN.items():
        yield from case(f"{name}, 60 %", churn_like(traces[60], drift), scale)


def scale_of_paper() -> Scale:
    spec = load_run(ROOT / "workloads/paper-60.toml")
    workload = open_workload(spec.workload)
    shape, (first, last) = workload.geometry, spec.workload.tokens
    kv = shape.block_bytes * shape.layers * (last + 1)
    weights = float(next(iter(workload.chunks())).hbm_bytes.mean())
    return Scale(
        (spec.system.hbm.capacity - shape.resident_bytes) / kv,
        weights / (shape.block_bytes * (first + last) / 2),
    )


def churn_like(trace: Workload, drift: float) -> Workload:
    """The paper's synthetic workload at a trace's size; its weights are `case`'s, but for a byte."""
    shape, prompt = trace.geometry, prompt_blocks(trace)
    table = {
        "model": {"layers": shape.layers, "weight_bytes_step": 1, "resident_bytes": 1,
                  "kv_bytes_per_token_layer": shape.block_bytes},
        "tokens": [prompt, prompt + shape.steps // shape.layers - 1],
        "sparsity": 0.6, "drift": drift,
    }  # fmt: skip
    return open_workload(load(WorkloadSpec, table, "churn"))


def case(name: str, workload: Workload, scale: Scale) -> Iterator[list[Any]]:
    """What every strategy takes, over what `unlimited` takes."""
    shape, prompt = workload.geometry, prompt_blocks(workload)
    tokens = shape.steps // shape.layers
    weighted = Weighted(workload, scale.weights * shape.block_bytes * (prompt + tokens / 2))
    capacity = scale.hbm * shape.block_bytes * shape.layers * (prompt + tokens)
    changes = [f"system.hbm.capacity={int(capacity)}"]
    system = load_run(ROOT / "workloads/paper-60.toml", changes).system
    played = paper.play(weighted, system, SHOWN | paper.TEXT | OURS)
    bounds = paper.certify(weighted, system, ("text", "code"))["bound_s"]
    overlap = measure(workload).overlap
    unit = played["unlimited"]["time_s"]["text"]
    for label, policy in played.items():
        for model, seconds in policy["time_s"].items():
            if model in ("authors", "text", "code"):
                yield [name, label, model, f"{seconds / unit:.4f}", f"{overlap:.4f}"]
    for model, seconds in bounds.items():
        yield [name, BOUND, model, f"{seconds / unit:.4f}", f"{overlap:.4f}"]
    print(name, file=sys.stderr)


def draw(found: dict[tuple[str, str, str], float], path: Path) -> None:
    """Figs 3 and 4 on real attention; the paper's own numbers hollow and dotted."""
    labels = [*paper.STRATEGIES, "online-dual"]
    colours = (style.INK, *style.CYCLE)
    looks = {label: (colours[k], style.MARKERS[k]) for k, label in enumerate(labels)}

    def points(ax: Any, x: list[float], y: list[float], label: str, **own: Any) -> None:
        colour, marker = looks[label]
        ax.plot(x, y, color=colour, marker=marker, markersize=4, label=label, **own)

    with style.figure("slide", 5.0, path, COMMAND) as figure:
        axes = figure.subplots(1, 3, sharey=True)
        for ax, model in zip(axes[:2], ("authors", "text"), strict=True):
            for label in labels if model == "text" else paper.STRATEGIES:
                name = label if model == "text" else paper.as_authors(label)
                real = [found[f"persuasion, {s} %", name, model] for s in SPARSITIES]
                points(ax, [*SPARSITIES], real, label)
                if label == "online-dual":
                    continue
                own = [(s, paper.PAPER[each]) for s, each in paper.BY_SPARSITY.items() if s >= 60]
                k = paper.STRATEGIES.index(label)
                ax.plot([s for s, _ in own], [each[k] / each[0] for _, each in own], ":",
                        color=looks[label][0], marker=looks[label][1], markersize=6,
                        markerfacecolor="none", linewidth=0.8)  # fmt: skip
            bound = [found[f"persuasion, {s} %", BOUND, "text" if model == "text" else "code"]
                     for s in SPARSITIES]  # fmt: skip
            ax.plot(SPARSITIES, bound, **style.OPTIMUM, label=BOUND)
            ax.set_xlabel("attention sparsity, %")
        axes[0].set_title("Fig 3, authors' simulator")
        axes[1].set_title("Fig 3, the paper's text")
        axes[0].set_ylabel("decode time, of unlimited = 1")
        cases = ["low, 60 %", "real-like, 60 %", "persuasion, 60 %", "high, 60 %"]
        for label in paper.STRATEGIES:
            y = [found[each, paper.as_authors(label), "authors"] for each in cases]
            points(axes[2], [0, 1, 2, 3], y, label, linewidth=0)
            k, own = paper.STRATEGIES.index(label), ("low", "real-like", "high")
            axes[2].plot([0, 2, 3], [paper.PAPER[each][k] / paper.PAPER[each][0] for each in own],
                         linewidth=0, color=looks[label][0], marker=looks[label][1], markersize=6,
                         markerfacecolor="none")  # fmt: skip
        for x, each in enumerate(cases):
            axes[2].plot([x - 0.3, x + 0.3], 2 * [found[each, BOUND, "code"]], **style.OPTIMUM)
        axes[2].set_xticks(range(4), ["low", "real-like", "real", "high"])
        axes[2].set_xlim(-0.5, 3.5)
        axes[2].set_title("Fig 4, authors' simulator")
        axes[2].set_xlabel("selection, 60 % sparse")
        for ax in axes:
            ax.set_yscale("log")
            ax.set_yticks([1, 2, 4, 6], ["1", "2", "4", "6"])
            ax.minorticks_off()
            ax.grid(axis="y")
        handles, names = axes[1].get_legend_handles_labels()
        (hollow,) = axes[1].plot([], [], color=style.MUTED, marker="o", markersize=6,
                                 markerfacecolor="none", linestyle=":", linewidth=0.8)  # fmt: skip
        figure.legend([*handles, hollow], [*names, "paper"], loc="outside lower center", ncols=4)


if __name__ == "__main__":
    main()
