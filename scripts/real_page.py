"""The tables of docs/real-attention.md and results/real/README.md: `python scripts/real_page.py`.

What stands between `<!-- NAME -->` and `<!-- end -->` is made anew from the files in results/real/.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `reproduce_paper`

ROOT = Path(__file__).parents[1]
REAL = ROOT / "results/real"
PAGES = (ROOT / "docs/real-attention.md", REAL / "README.md")
TRACES = {
    f"{text}-{rule}": f"`{text}`, {name}"
    for rule, name in {"pages-1024": "pages", "quest-1024": "Quest", "tokens-64": "tokens"}.items()
    for text in ("persuasion", "argparse")
}
SPEC = "quest-2048"
# What is shown of statistics.csv: its names, whose values share a cell, and whether they are shares.
SHOWN: dict[str, tuple[tuple[str, ...], bool]] = {
    "overlap with the next step's": (("overlap",), True),
    "in the union of the last 4, 16, 32 steps": (("union.4", "union.16", "union.32"), True),
    "still read after 16, 128, 512 tokens": (
        ("persistence.16", "persistence.128", "persistence.512"), True),
    "reads of the newest 64 blocks": (("newest_share.64",), True),
    "reads of the 1, 5, 20 % read most": (
        ("top_share.0.01", "top_share.0.05", "top_share.0.2"), True),
    "LRU hit rate, 1, 2, 4 read sets": (
        ("lru_multiple.1.0", "lru_multiple.2.0", "lru_multiple.4.0"), True),
    "best hit rate, 1, 2, 4 read sets": (
        ("belady_multiple.1.0", "belady_multiple.2.0", "belady_multiple.4.0"), True),
    "misses of a shared LRU, 30 % of all; in peaks": (("shared_misses", "shared_peaks"), True),
    "stays of one step, of all stays": (("one_step_stays",), True),
    "misses of LRU, 2 read sets: variance / mean": (("miss_dispersion",), False),
    "their correlation from token to token": (("miss_memory",), False),
    "their variance over that of independent layers": (("miss_common",), False),
    "overlap, standard deviation over layers": (("overlap_spread",), False),
    "overlap with the layer 1, 16 away": (("overlap_away.1", "overlap_away.16"), True),
    "a block's next (previous) is read at the next token": (("slash", "mirror"), True),
    "steps that read the first block": (("first_block",), True),
    "best 30 % of blocks of 64 tokens later catch": (("best_caught",), True),
    "attention mass on what is read": (("mass.read",), True),
    "mass on the first token; most of a layer": (
        ("mass.first_token", "mass.first_token.most of a layer"), True),
}  # fmt: skip
CASES = {
    "low, 60 %": "synthetic, low", "real-like, 60 %": "synthetic, real-like",
    "persuasion, 60 %": "`persuasion`", "high, 60 %": "synthetic, high",
}  # fmt: skip


def main() -> None:
    for page in PAGES:
        text = page.read_text()
        made = with_tables(text)
        if made != text:
            page.write_text(made)
            print(page.relative_to(ROOT), file=sys.stderr)


def with_tables(text: str) -> str:
    """A page with its tables made anew."""

    def made(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def statistics() -> str:
    values = {row["statistic"]: row for row in rows("statistics.csv")}
    columns = {**TRACES, SPEC: f"`{SPEC}`"}

    def cell(names: tuple[str, ...], column: str, share: bool) -> str:
        found = [values[name][column] for name in names]
        if not any(found):
            return "-"
        if share:
            return ", ".join(f"{100 * float(x):.3g}" if x else "-" for x in found) + " %"
        return ", ".join(f"{float(x):.2g}" if x else "-" for x in found)

    return table(
        ["", *columns.values()],
        ([label, *(cell(names, column, share) for column in columns)]
         for label, (names, share) in SHOWN.items()),
    )  # fmt: skip


def fits() -> str:
    lines = []
    for name, title in TRACES.items():
        *found, last = (REAL / f"fit-{name}.txt").read_text().splitlines()
        missed = [line.split() for line in found if line.endswith("missed")]
        count = re.fullmatch(r"(\d+) of (\d+) met, after (\d+) evaluations", last)
        assert count is not None, name
        off = ", ".join(f"`{each[0]}` {each[1]}: {each[2]}" for each in missed) or "-"
        lines.append([title, f"{count[1]} of {count[2]}", count[3], off])
    return table(["fit of", "met", "trials", "missed (trace: spec)"], lines)


def gaps() -> str:
    found = {(row["trace"], row["policy"]): row for row in rows("gaps.csv")}
    policies = list(dict.fromkeys(policy for _, policy in found))
    real, made = "gap on the trace", "gap on the fitted spec"
    lines = []
    for name, title in TRACES.items():
        mine = [found[name, policy] for policy in policies]
        off = max(abs(float(row[real]) - float(row[made])) for row in mine)
        lines.append([title, *(percent(row[real]) for row in mine), ""])
        lines.append(["fitted spec", *(percent(row[made]) for row in mine), f"{100 * off:.1f}"])
    return table(["gap of", *policies, "most, points"], lines)


def shuffles() -> str:
    found = [row for row in rows("shuffles.csv") if row["trace"] == "persuasion-pages-1024"]
    policies = ["reactive", "lfu", "belady", "lookahead"]
    return table(
        ["the trace", *policies],
        ([row["shuffled"], *(f"{100 * float(row[each]):.0f} %" for each in policies)]
         for row in found),
    )  # fmt: skip


def paper() -> str:
    from reproduce_paper import PAPER, STRATEGIES, as_authors

    found = {(row["case"], row["strategy"], row["model"]): row for row in rows("paper.csv")}
    names = STRATEGIES[1:]  # all but `unlimited`, which is 1
    lines = []
    for case, title in CASES.items():
        times = [found[case, as_authors(each), "authors"] for each in names]
        bound = found[case, "certified bound", "code"]["time"]
        lines.append([
            title, percent(times[0]["overlap"]),
            *(f"{float(row['time']):.2f}" for row in times), f"{float(bound):.2f}",
        ])  # fmt: skip
    unit, *own = PAPER["real-like"]
    lines.insert(3, ["the paper's real trace", "", *(f"{each / unit:.2f}" for each in own), ""])
    return table(
        ["60 % sparse, by the authors' simulator", "next-step overlap", *names, "bound"], lines
    )


TABLES: dict[str, Callable[[], str]] = {
    each.__name__: each for each in (statistics, fits, gaps, shuffles, paper)
}


def rows(name: str) -> list[dict[str, str]]:
    with open(REAL / name, newline="") as file:
        return list(csv.DictReader(file))


def percent(share: str) -> str:
    return f"{100 * float(share):.1f} %"


def table(head: list[str], lines: Iterable[list[str]]) -> str:
    lined = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lined)


if __name__ == "__main__":
    main()
