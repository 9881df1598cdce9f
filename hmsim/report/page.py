"""A report as one HTML page that needs nothing else: no network, no other file."""

import re
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from hmsim import __version__
from hmsim.files import write_text
from hmsim.report.blocks import Block, Code, Figure, Report, Section, Table, Text


def write(report: Report, path: Path) -> None:
    """Write the page to `path`."""
    page = Template((files("hmsim.report") / "page.html").read_text(encoding="utf-8"))
    contents = "".join(
        f'<a href="#s{k}">{escape(section.title)}</a>' for k, section in enumerate(report.sections)
    )
    text = page.substitute(
        title=escape(report.title),
        generator=f"hmsim {__version__}",
        made_by=escape(report.made_by),
        contents=contents,
        sections="\n".join(_section(section, k) for k, section in enumerate(report.sections)),
    )
    write_text(path, text)


def _section(section: Section, number: int) -> str:
    body = "\n".join(_block(block, f"s{number}f{k}-") for k, block in enumerate(section.blocks))
    return f'<section id="s{number}">\n<h2>{escape(section.title)}</h2>\n{body}\n</section>'


def _block(block: Block, prefix: str) -> str:
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        images = "".join(
            f'<div class="{name}">{_own_ids(svg, prefix + name)}</div>'
            for name, svg in (("wide", block.svg), ("narrow", block.narrow))
        )
        return (
            f'<figure role="img" aria-label="{escape(block.caption)}">{images}'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>"
        )
    assert isinstance(block, Code)
    return (
        f"<details><summary>{escape(block.summary)}</summary>"
        f"<pre><code>{escape(block.text)}</code></pre></details>"
    )


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"><button type="button">{escape(cell)}</button></th>' for cell in table.head
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    long = " long" if len(table.rows) > 30 else ""
    words = ' class="words"' if len(table.head) == 2 else ""
    return (
        f'<div class="scroll{long}"><table{words}><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _own_ids(svg: str, prefix: str) -> str:
    """The image with ids that no other image on the page has."""
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(url\(#|href="#)', rf"\1{prefix}", svg)
