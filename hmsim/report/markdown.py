"""A report as Markdown for a repository, its figures as SVG files beside it."""

from pathlib import Path

from hmsim.report.blocks import Block, Code, Figure, Report, Table, Text


def write(report: Report, path: Path) -> None:
    """Write `path`, and its figures in the folder NAME_figures."""
    folder = path.with_name(f"{path.stem}_figures")
    folder.mkdir(exist_ok=True)
    lines = [f"# {report.title}", "", f"Made by `{report.made_by}`.", ""]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [*_lines(block, folder), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _lines(block: Block, folder: Path) -> list[str]:
    if isinstance(block, Text):
        return [block.text]
    if isinstance(block, Table):
        rule = ["---", *["---:"] * (len(block.head) - 1)]
        return [f"| {' | '.join(_cell(cell) for cell in row)} |"
                for row in (block.head, rule, *block.rows)]  # fmt: skip
    if isinstance(block, Figure):
        (folder / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
        return [f"![{block.caption}]({folder.name}/{block.name}.svg)"]
    assert isinstance(block, Code)
    return ["<details>", f"<summary>{block.summary}</summary>", "", "```", block.text.rstrip("\n"),
            "```", "", "</details>"]  # fmt: skip


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
