"""A report as Markdown for a repository, its figures as SVG files beside it."""

import html
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

from hmsim import files
from hmsim.report.blocks import Block, Code, Figure, Report, Table, Text


def write(report: Report, path: Path) -> None:
    """Write `path`, and its figures in the folder NAME_figures: everything or nothing."""
    folder = path.with_name(f"{path.stem}_figures")
    lines = [f"# {_plain(report.title)}", "", f"Made by {_code(report.made_by)}.", ""]
    figures: dict[Path, str] = {}
    for section in report.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_lines(block, folder, figures), ""]
    known = folder.exists()
    try:
        with ExitStack() as together:  # renamed once every one of them has been written
            for target, text in ({path: "\n".join(lines)} | figures).items():
                together.enter_context(files.writing(target)).write_text(text, encoding="utf-8")
    except BaseException:
        if not known:
            with suppress(OSError):
                folder.rmdir()
        raise


def _lines(block: Block, folder: Path, figures: dict[Path, str]) -> list[str]:
    if isinstance(block, Text):
        return [_plain(block.text)]
    if isinstance(block, Table):
        rule = ["---", *["---:"] * (len(block.head) - 1)]
        return [f"| {' | '.join(_cell(cell) for cell in row)} |"
                for row in (block.head, rule, *block.rows)]  # fmt: skip
    if isinstance(block, Figure):
        name = _FILE_NAME.sub("-", block.name)
        figures[folder / f"{name}.svg"] = block.svg
        return [f"![{_plain(block.caption)}]({quote(folder.name)}/{name}.svg)"]
    assert isinstance(block, Code)
    longest = max((len(each) for each in _TICKS.findall(block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["<details>", f"<summary>{html.escape(block.summary)}</summary>", "", fence,
            block.text.rstrip("\n"), fence, "", "</details>"]  # fmt: skip


_FILE_NAME = re.compile(r"[^\w.-]+")
_MARKUP = re.compile(r"([\\`*\[\]<>#|~$&]|(?<![^\W_])_|_(?![^\W_]))")
_TICKS = re.compile("`+")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _plain(text)


def _code(text: str) -> str:
    """A code span, whatever backquotes it holds."""
    text = " ".join(text.split())
    ticks = "`" * (1 + max((len(each) for each in _TICKS.findall(text)), default=0))
    return f"{ticks} {text} {ticks}" if len(ticks) > 1 else f"`{text}`"
