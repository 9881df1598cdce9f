"""One look for every figure: sizes, colours, markers, and byte-stable files."""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from hmsim import files
from hmsim.errors import InputError

Function = Any  # of a kind of figure: a callable that carries its height

FORMATS = (".png", ".pdf", ".svg")
WIDTHS = {"column": 3.5, "page": 7.2, "slide": 10.0}  # inches
TALLER = {"column": 1.25, "page": 1.0, "slide": 1.3}  # than on a page: legends go below, type grows
TYPE = {"column": 8.0, "page": 8.0, "slide": 11.0}  # points
NARROW = 5.0  # inches, below which a legend has no place beside the axes

# Okabe and Ito's colour-blind safe palette; black and greys are kept for bounds (OPTIMUM).
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Of losses, none of which is blue: data are.
LOSSES = (ORANGE, SKY, GREEN, RED, PURPLE, YELLOW, "#999999", "#8C6BB1", "#A6761D")
TIP = "tip: "  # opens the id of an artist that has a text for the pointer
INK, MUTED, FAINT = "#222222", "#666666", "#D9D9D9"
# The line of what is proven, in every figure; its colour is put beside it where it is no line.
OPTIMUM: Any = {"color": INK, "linestyle": "--", "linewidth": 1.2}

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": TYPE["page"],
    "axes.titlesize": "large",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": "medium",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": "medium",
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "hmsim",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # titles and names are text: a `$` is a `$`
}


def check_format(path: Path) -> None:
    """InputError unless a figure can be written in the format that the name asks for."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: figures are {', '.join(FORMATS)}, not {path.suffix!r}")


def kind(height: float | Callable[[Any], float]) -> Callable[[Function], Function]:
    """Make a function (data, ax, ...) a kind of figure, `height` inches high on a page.

    Its axes become optional: without them it makes a figure as wide as a page, in this style. Axes
    that are given keep their own style.
    """

    def decorate(function: Function) -> Function:
        height_of = height if callable(height) else lambda _: height

        @wraps(function)
        def drawn(data: Any, ax: Any = None, **options: Any) -> Any:
            if ax is not None:
                return function(data, ax, **options)
            import matplotlib
            import matplotlib.pyplot as plt

            # Outside the style: the first figure of a session loads a backend, which sets how
            # figures are shown, and leaving the style would take that back.
            size = (WIDTHS["page"], height_of(data))
            whole = plt.figure(figsize=size, layout="constrained", dpi=_RC["figure.dpi"])
            with matplotlib.rc_context(_RC):
                return function(data, whole.add_subplot(), **options)

        kind: Function = drawn
        kind.height = height_of
        return kind

    return decorate


def title(ax: Any, text: str) -> None:
    """A title that stays within its figure's width."""
    ax.set_title(wrapped(printable(text), _letters(ax)), parse_math=False)


def printable(text: str) -> str:
    """`text` without control characters, which images cannot hold."""
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)


def x_label(ax: Any, text: str) -> None:
    """A label under the axes that stays within its figure's width."""
    ax.set_xlabel(wrapped(text, int(1.3 * _letters(ax))))


def _letters(ax: Any) -> int:
    """How many letters of a title fit above the axes."""
    from matplotlib import rcParams

    return int(11.5 * (ax.get_figure().get_figwidth() - 0.9) * 8 / rcParams["font.size"])


def wrapped(text: str, width: int) -> str:
    """`text` over several lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width))


def legend_below(ax: Any, columns: int) -> None:
    """The legend under the axes' label, for figures of rows or groups."""
    from matplotlib import rcParams
    from matplotlib.transforms import ScaledTranslation

    labels = max((_lines(label) for label in ax.get_xticklabels()), default=1)
    label = ax.get_xlabel().count("\n") + 1 if ax.get_xlabel() else 0
    depth = (0.9 + 1.25 * labels + 1.3 * label) * rcParams["font.size"] / 72  # inches
    below = ax.transAxes + ScaledTranslation(0, -depth, ax.get_figure().dpi_scale_trans)
    room = ax.get_figure().get_figwidth() / WIDTHS["page"] * TYPE["page"] / rcParams["font.size"]
    fitting = max(1, int(columns * room + 0.05))
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, ncols=fitting,
              borderaxespad=0, columnspacing=1.4, handlelength=1.6)  # fmt: skip


def _lines(label: Any) -> float:
    """How many lines high a tick's label is, turned as it may be."""
    turned = 0.6 * len(label.get_text()) * math.sin(math.radians(label.get_rotation()))
    return max(turned, label.get_text().count("\n") + 1)


def legend_beside(ax: Any) -> None:
    """The legend to the right of the axes, for figures of curves; below in a narrow figure."""
    if ax.get_figure().get_figwidth() < NARROW:
        legend_below(ax, columns=4)
    else:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, handlelength=1.6)


def tip(artists: Any, texts: Any) -> None:
    """What a pointer over each of some artists (bars, points, a line) shows in an SVG."""
    for artist, text in zip(artists, texts, strict=True):
        artist.set_gid(f"{TIP}{printable(text)}")


def _tips_as_titles(svg: bytes) -> bytes:
    """The image with groups that `tip` marked as groups with a <title>, which viewers show."""
    return re.sub(f'<g id="{TIP}([^"]*)">'.encode(), rb"<g><title>\1</title>", svg)


@contextmanager
def figure(width: str, height: float, path: Path | None, command: str) -> Iterator[Any]:
    """A figure of a named width, `height` inches high on a page, saved on leaving if `path` is given.

    The file's metadata names the command that made it and no date, so that it is byte-stable.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC | {"font.size": TYPE[width]}):
        # Not pyplot's: a session's backend, and the figures that it shows, are the session's own.
        size = (WIDTHS[width], height * TALLER[width])
        drawn = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn
        if path is not None:
            image, kind = io.BytesIO(), path.suffix.lower()
            with warnings.catch_warnings():  # a character that no font has is drawn as a box
                warnings.filterwarnings("ignore", "Glyph .* missing from font")
                drawn.savefig(image, format=kind[1:], metadata=_metadata(path, command))
            made = image.getvalue()
            files.write_bytes(path, _tips_as_titles(made) if kind == ".svg" else made)


def _metadata(path: Path, command: str) -> dict[str, Any]:
    kind, command = path.suffix.lower(), printable(command)
    if kind == ".png":
        return {"Software": "hmsim", "Description": command}
    if kind == ".pdf":
        return {"Creator": "hmsim", "Subject": command, "CreationDate": None, "ModDate": None}
    return {"Creator": "hmsim", "Description": command, "Date": None}


def fastest(seconds: Mapping[str, float], is_schedule: Mapping[str, float]) -> str:
    """The policy of the least time among those that are schedules, or among all if none is."""
    names = [name for name in seconds if is_schedule[name]] or list(seconds)
    return min(names, key=lambda name: seconds[name])
