"""Draw the four pictures of docs/architecture.md as SVG files in docs/pictures.

    python scripts/pictures.py

Plain shapes and text on a light ground of their own, so that they read on any page.
"""

from html import escape
from pathlib import Path

OUT = Path(__file__).parent.parent / "docs" / "pictures"

INK, FAINT, GROUND = "#1f2430", "#8a8f9c", "#fcfcfa"
BLUE, AMBER, GREEN, ROSE, GREY = "#cfe3f7", "#fbe3bd", "#d3ecd2", "#f6d3d8", "#e9e9e6"


class Picture:
    """Shapes in the order in which they are drawn."""

    def __init__(self, width: int, height: int, title: str):
        self.size, self.title = (width, height), title
        self.parts: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, fill: str, *lines: str) -> None:
        """A box with centred lines of text, the first one bold."""
        self.rect(x, y, w, h, fill)
        top = y + h / 2 - 8 * (len(lines) - 1) + 4.5
        for i, line in enumerate(lines):
            self.text(x + w / 2, top + 16 * i, line, anchor="middle", bold=i == 0)

    def rect(self, x: float, y: float, w: float, h: float, fill: str, edge: str = INK) -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="3" fill="{fill}" '
            f'stroke="{edge}"/>'
        )

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", bold: bool = False,
        color: str = INK, size: int = 13,
    ) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{color}"'
            f"{weight}>{escape(text)}</text>"
        )

    def lines(self, x: float, y: float, *lines: str) -> None:
        """Lines of text, one below the other."""
        for i, line in enumerate(lines):
            self.text(x, y + 18 * i, line)

    def arrow(self, *points: tuple[float, float], color: str = INK, head: bool = True) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = ' marker-end="url(#head)"' if head else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.4"{end}/>'
        )

    def save(self, name: str) -> None:
        width, height = self.size
        OUT.mkdir(exist_ok=True)
        (OUT / f"{name}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Helvetica, Arial, '
            'sans-serif">\n'
            f"<title>{escape(self.title)}</title>\n"
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker>'
            "</defs>\n"
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6" '
            f'fill="{GROUND}" stroke="#d9d9d4"/>\n' + "\n".join(self.parts) + "\n</svg>\n",
            encoding="utf-8",
        )


def road_of_a_step() -> None:
    p = Picture(860, 430, "The road of a step through hmsim")
    p.text(24, 30, "every step", bold=True)
    p.box(24, 44, 160, 66, BLUE, "workload", "Steps: what is read,", "appended, born, dead")
    p.box(234, 44, 150, 66, BLUE, "policy", "which blocks move", "before the next step")
    p.box(434, 44, 170, 66, BLUE, "driver", "checks and makes the", "moves, counts blocks")
    p.box(654, 44, 182, 66, BLUE, "latency", "bytes by memory and", "cause; analytic seconds")
    for x, what in ((184, "reads"), (384, "moves"), (604, "counts")):
        p.arrow((x, 77), (x + 50, 77))
        p.text(x + 24, 70, what, "middle", color=FAINT, size=11)

    p.text(24, 182, "a sample of steps", bold=True)
    p.box(434, 196, 170, 66, AMBER, "extents", "addresses and lengths", "in either memory")
    p.box(654, 196, 182, 66, AMBER, "memory", "HBM, link, LPDDR5X:", "replayed seconds, losses")
    p.arrow((519, 110), (519, 196))
    p.text(511, 158, "where blocks are", "end", color=FAINT, size=12)
    p.arrow((745, 110), (745, 152), (575, 152), (575, 196))
    p.text(660, 144, "bytes by cause", "middle", color=FAINT, size=12)
    p.arrow((604, 229), (654, 229))

    p.text(24, 334, "once a run", bold=True)
    p.box(
        24,
        348,
        360,
        60,
        GREEN,
        "bound",
        "prices from a sample of blocks, then one pass over",
        "every block: a time that no placement undercuts",
    )
    p.arrow((176, 110), (176, 348))
    p.box(654, 348, 182, 60, GREY, "results", "one HDF5 file, one table,", "one JSON object")
    p.arrow((384, 378), (654, 378))
    p.text(519, 370, "seconds", "middle", color=FAINT, size=12)
    p.arrow((745, 262), (745, 348))
    p.text(737, 310, "replayed", "end", color=FAINT, size=12)
    p.arrow((836, 77), (848, 77), (848, 378), (837, 378))
    p.text(842, 310, "analytic", "end", color=FAINT, size=12)
    p.save("road-of-a-step")


def lane_slot_word() -> None:
    p = Picture(860, 390, "Lane, slot and word: the three indices of a bitset of blocks")
    p.text(
        24, 30, "What exists: one bit for each block. A word has 64 bits; 8 are drawn.", bold=True
    )
    left, cell, gap, top = 110, 24, 14, 78
    alive = ["111111000000000011110000", "111111000000000011110000"]
    reads = {0: (0, 3, 16), 1: (1, 4, 5, 18)}
    for word in range(3):
        x = left + word * (8 * cell + gap)
        p.text(x + 4 * cell, top - 22, f"word {word}", "middle", bold=True)
        for bit in range(8):
            if bit in (0, 7):
                label = str(64 * word + (63 if bit else 0))
                p.text(x + bit * cell + cell / 2, top - 6, label, "middle", color=FAINT, size=11)
    p.text(left - 12, top - 6, "slot", "end", color=FAINT, size=11)
    for lane in range(2):
        y = top + lane * 50
        p.text(left - 12, y + 17, f"lane {lane}", "end", bold=True)
        p.text(left - 12, y + 32, f"(layer {lane})", "end", color=FAINT, size=11)
        for slot in range(24):
            x = left + slot * cell + slot // 8 * gap
            there = alive[lane][slot] == "1"
            fill = "#ffffff" if not there else AMBER if slot in reads[lane] else BLUE
            p.rect(x, y, cell, cell, fill, edge=FAINT)
            p.text(x + cell / 2, y + 17, "1" if there else "0", "middle", size=12)
    p.text(left, 190, "sequence 0: blocks 0 to 5", color=FAINT, size=12)
    p.text(left + 2 * (8 * cell + gap), 190, "sequence 1: blocks 0 to 3", color=FAINT, size=12)
    y = 216
    for fill, text in (
        ("#ffffff", "no block there (yet, or any more)"),
        (BLUE, "a block, not read in this step"),
        (AMBER, "a block that the step of its lane reads"),
    ):
        p.rect(24, y - 12, 16, 16, fill, edge=FAINT)
        p.text(50, y + 1, text)
        y += 24
    y += 6
    p.text(
        24,
        y + 4,
        "number of a block = lane × slots + slot;  slots = 64 × words of a lane",
        bold=True,
    )
    p.text(24, y + 26, "bit of a slot = bit (slot mod 64) of word (slot div 64) of the lane's row")
    p.lines(
        24, y + 48,
        "Each sequence begins at a new word, so a block's place in its sequence and its slot agree",
        "modulo 64: a bitset over a sequence's blocks moves into the lane's row word by word.",
    )  # fmt: skip
    p.save("lane-slot-word")


def stretches() -> None:
    p = Picture(860, 412, "The stretches of a lane")
    left, cell, top = 120, 58, 74
    p.text(24, 30, "Steps visit one lane after another: here three layers, four tokens.", bold=True)
    for step in range(12):
        x = left + step * cell
        p.text(x + cell / 2, top - 12, f"step {step}", "middle", color=FAINT, size=11)
        if step % 3 == 0:
            p.text(x + 1.5 * cell, top - 28, f"token {step // 3}", "middle", size=12)
    for lane in range(3):
        y = top + lane * 30
        p.text(left - 12, y + 17, f"lane {lane}", "end", bold=lane == 1)
        for step in range(12):
            mine = step % 3 == lane
            fill = (AMBER if lane == 1 else BLUE) if mine else "#ffffff"
            p.rect(left + step * cell, y, cell, 24, fill, edge="#c9c9c4")
    y = top + 104
    p.text(left - 12, y + 17, "lane 1", "end", bold=True)
    for number, (first, last) in enumerate(((1, 4), (4, 7), (7, 10), (10, 12))):
        x, w = left + first * cell, (last - first) * cell
        p.box(x + 1, y, w - 2, 26, AMBER, f"stretch {number}")
    p.text(
        left,
        y + 52,
        "A stretch is a visit and all steps up to the next one. A block may move at any of them.",
    )
    y += 80
    for k, (name, color) in enumerate((("HBM", BLUE), ("DRAM", GREY))):
        for x in (left + 40, left + 400):
            p.box(x, y + 90 * k, 70, 34, color, name)
    p.arrow((left + 110, y + 13), (left + 400, y + 13))
    p.arrow((left + 110, y + 111), (left + 400, y + 111))
    p.arrow((left + 110, y + 22), (left + 400, y + 102))
    p.arrow((left + 110, y + 102), (left + 400, y + 22))
    p.text(left + 255, y + 7, "stays", "middle", size=12)
    p.text(left + 255, y + 127, "stays", "middle", size=12)
    p.text(left + 186, y + 33, "is demoted", size=12)
    p.text(left + 186, y + 102, "is promoted", size=12)
    p.text(left + 40, y - 8, "at a visit", color=FAINT, size=12)
    p.text(left + 400, y - 8, "at the next", color=FAINT, size=12)
    p.text(left + 500, y + 32, "Four least costs at given prices:")
    p.text(left + 500, y + 52, "a 2 × 2 matrix for a visit that")
    p.text(left + 500, y + 72, "reads the block, one for a")
    p.text(left + 500, y + 92, "visit that does not.")
    p.save("stretches-of-a-lane")


def channel_record() -> None:
    p = Picture(860, 498, "The record of a memory channel")
    p.text(
        24,
        30,
        "One array of int64 holds the state of all channels, one record after the other.",
        bold=True,
    )
    for k, name in enumerate(("channel 0", "channel 1", "channel 2", "...")):
        p.box(24 + 203 * k, 46, 203, 30, AMBER if k == 1 else GREY, name)
    p.arrow((227, 76), (24, 122), color=FAINT, head=False)
    p.arrow((430, 76), (836, 122), color=FAINT, head=False)
    parts = [
        ("fields", 178, BLUE), ("lists", 80, GREEN), ("banks", 164, AMBER), ("scopes", 88, GREY),
        ("group times", 100, GREY), ("rings", 58, GREY), ("queue", 84, ROSE), ("log", 60, GREY),
    ]  # fmt: skip
    x = 24.0
    place = {}
    for name, width, fill in parts:
        p.box(x, 122, width, 32, fill, name)
        place[name] = (x, width)
        x += width
    blocks = [
        (24, "fields", BLUE, "a channel", [
            "statistics: reads, writes, row hits,", "  ticks lost to each reason",
            "now, who is served, queue lengths,", "  next refresh, when buses are free",
            "where the other parts begin",
        ]),
        (302, "banks", AMBER, "a bank", [
            "when each kind of command may", "  issue: RD, WR, PRE, ACT, REF",
            "open row, oldest hit, oldest other", "its queue: first and last request",
            "its places in the lists and in groups",
        ]),
        (580, "queue", ROSE, "a queued request", [
            "bank, row, line, read or write", "when it arrived, its age",
            "next and previous request of", "  the same bank", "what it waited for",
        ]),
    ]  # fmt: skip
    for x, name, fill, title, lines in blocks:
        start, width = place[name]
        p.arrow((start, 154), (x, 200), color=FAINT, head=False)
        p.arrow((start + width, 154), (x + 256, 200), color=FAINT, head=False)
        p.rect(x, 200, 256, 122, fill)
        p.text(x + 10, 220, title, bold=True)
        for i, line in enumerate(lines):
            p.text(x + 10, 240 + 17 * i, line.replace("  ", "\u00a0\u00a0"), size=12)
    p.text(
        24,
        354,
        "A record is known by the index of its first field, a field by a constant:",
        bold=True,
    )
    p.lines(
        24, 376,
        "s[b + ROW] is the open row of the bank whose record begins at b.",
        "s[c + NOW] is the tick that the channel whose record begins at c has come to.",
    )  # fmt: skip
    p.lines(
        24, 424,
        "lists: the heads of those of banks that wait for a column command, precharge or activation",
        "scopes: times that ranks share, and the last four ACTs (tFAW); group times: that groups share",
        "rings: maintenance that waits; completions of which the requester has yet to hear",
        "log: with it, the histogram of latencies, and the data buses",
    )  # fmt: skip
    p.save("channel-record")


if __name__ == "__main__":
    for draw in (road_of_a_step, lane_slot_word, stretches, channel_record):
        draw()
