"""One look for every figure: sizes, colours, markers, and byte-stable files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmsim.errors import InputError

FORMATS = (".png", ".pdf", ".svg")
WIDTHS = {"column": 3.5, "page": 7.2, "slide": 10.0}  # inches

# Okabe and Ito's colour-blind safe palette; black and greys are kept for bounds.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, MUTED, FAINT = "#222222", "#666666", "#D9D9D9"

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
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
    "legend.fontsize": 7.5,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "hmsim",
    "pdf.fonttype": 42,
}


def check_format(path: Path) -> None:
    """InputError unless a figure can be written in the format that the name asks for."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: figures are {', '.join(FORMATS)}, not {path.suffix!r}")


@contextmanager
def figure(width: str, height: float, path: Path | None, command: str) -> Iterator[Any]:
    """A figure of a named width and a height in inches, saved on leaving if `path` is given.

    The file's metadata names the command that made it and no date, so that it is byte-stable.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(_RC):  # type: ignore[arg-type]
        drawn = plt.figure(figsize=(WIDTHS[width], height), layout="constrained")
        try:
            yield drawn
            if path is not None:
                drawn.savefig(path, metadata=_metadata(path, command))
        finally:
            plt.close(drawn)


def _metadata(path: Path, command: str) -> dict[str, Any]:
    kind = path.suffix.lower()
    if kind == ".png":
        return {"Software": "hmsim", "Description": command}
    if kind == ".pdf":
        return {"Creator": "hmsim", "Subject": command, "CreationDate": None, "ModDate": None}
    return {"Creator": "hmsim", "Description": command, "Date": None}
