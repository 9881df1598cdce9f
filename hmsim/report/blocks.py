"""What a report is made of, whatever it is written as."""

from typing import NamedTuple


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Table(NamedTuple):
    """Rows of cells under headings; the first column names the row."""

    head: list[str]
    rows: list[list[str]]


class Figure(NamedTuple):
    """An SVG image. `name` is unique in its report and fit for a file name.

    `narrow` is the same for a phone: letters of the same size on half the width.
    """

    name: str
    svg: str
    narrow: str
    caption: str


class Code(NamedTuple):
    """Text to copy, folded away under a summary."""

    summary: str
    text: str


Block = Text | Table | Figure | Code


class Section(NamedTuple):
    """A headed part of a report."""

    title: str
    blocks: list[Block]


class Report(NamedTuple):
    """A whole report; `made_by` is the command that makes it again."""

    title: str
    made_by: str
    sections: list[Section]
