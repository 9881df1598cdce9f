"""How a run goes, from its first decoded token to its last."""

from typing import Any

import numpy as np

from hmsim.errors import InputError
from hmsim.plot import style

BINS = 300  # at most: a page is no wider

READS = (  # variable, memory (0 HBM, 1 DRAM), colour, label
    ("weight_read_bytes", 0, style.SKY, "weights, HBM"),
    ("attention_read_bytes", 0, style.BLUE, "attention, HBM"),
    ("attention_read_bytes", 1, style.ORANGE, "attention, DRAM"),
    ("weight_read_bytes", 1, style.YELLOW, "weights, DRAM"),
)
MOVES = (
    ("promotion_bytes", 0, 1, style.GREEN, "promoted to HBM"),
    ("demotion_bytes", 0, -1, style.RED, "demoted to DRAM"),
)


@style.kind(height=5.0)
def timeline(data: Any, ax: Any, policy: str | None = None) -> Any:
    """Bandwidth by memory and cause (GB/s), migrations (GB/s) and HBM's residents (GB), along the
    decode.

    Args:
        data: A `hmsim.Result`.
        ax: One of a figure's subplots, which gives its place to three axes that share their
            abscissa; a figure of its own unless given.
        policy: Of which policy; the fastest one that is a schedule unless given.

    Returns:
        The first of the three axes.

    Raises:
        InputError: There is no such policy, or `ax` is none of a figure's subplots.
    """
    if policy is None:
        policy = style.fastest(
            {name: data.total(name, "total_time_s") for name in data.policies},
            dict(zip(data.policies, data.record.traits["is_schedule"], strict=True)),
        )
    data.total(policy, "total_time_s")  # an InputError that names the nearest, if it is unknown
    reads, moves, room = _panels(ax)
    row = data.policies.index(policy)
    token, start = _bins(data.steps("token"))
    seconds = np.add.reduceat(data.steps("time_s")[row], start)

    def rate(variable: str, memory: int) -> np.ndarray:
        bytes_ = np.add.reduceat(data.steps(variable)[row, :, memory].astype(float), start)
        return np.divide(bytes_, seconds, out=np.zeros_like(bytes_), where=seconds > 0) / 1e9

    layers = [(rate(name, memory), colour, label) for name, memory, colour, label in READS]
    layers = [layer for layer in layers if layer[0].any()]
    reads.stackplot(token, [each for each, _, _ in layers], labels=[each for *_, each in layers],
                    colors=[each for _, each, _ in layers], step="mid", linewidth=0)  # fmt: skip
    bound = data.report()["bound"]
    reads.axhline(bound["bandwidth_GBps"], **style.OPTIMUM,
                  label=f"optimum, mean\n({bound['method']} bound)")  # fmt: skip
    reads.set_ylabel("reads, GB/s")
    style.title(reads, f"{data.title}: {policy}")

    for name, memory, sign, colour, label in MOVES:
        moves.fill_between(token, sign * rate(name, memory), step="mid", color=colour,
                           linewidth=0, label=label)  # fmt: skip
    moves.axhline(0, color=style.MUTED, linewidth=0.8)
    moves.set_ylabel("migrated, GB/s")
    if not any(rate(name, memory).any() for name, memory, *_ in MOVES):
        moves.set_ylim(-1, 1)

    held = np.maximum.reduceat(data.steps("resident_bytes")[row], start) / 1e9
    room.plot(token, held, color=style.BLUE, drawstyle="steps-mid", label="KV in HBM")
    room.set_ylabel("resident, GB")
    room.set_ylim(0, 1.08 * max(held.max(), 1e-9))
    room.set_xlabel("token step")
    room.ticklabel_format(axis="x", useOffset=False)
    room.locator_params(axis="x", nbins=max(3, int(1.3 * room.get_figure().get_figwidth())))
    room.set_xlim(token[0], token[-1] if token[-1] > token[0] else token[0] + 1)
    for panel in (reads, moves, room):
        panel.grid(axis="y")
        style.legend_beside(panel)
    return reads


def _panels(ax: Any) -> list[Any]:
    """Three axes, one above the other, in the place of one."""
    place = ax.get_subplotspec()
    if place is None:
        raise InputError("timeline: ax must be one of a figure's subplots, whose place it takes")
    figure = ax.get_figure()
    ax.remove()
    grid = place.subgridspec(3, 1, height_ratios=(2.2, 1.2, 1))
    first = figure.add_subplot(grid[0])
    rest = [figure.add_subplot(grid[k], sharex=first) for k in (1, 2)]
    for panel in (first, rest[0]):
        panel.tick_params(labelbottom=False)
    return [first, *rest]


def _bins(token: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins of whole tokens: the first token of each, and the step at which it starts."""
    starts = np.flatnonzero(np.diff(token, prepend=token[0] - 1))
    every = -(-len(starts) // BINS)
    starts = starts[::every]
    return token[starts], starts
