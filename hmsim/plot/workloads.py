"""Figures of workloads. `data` is what `hmsim.workload.statistics.measure` finds."""

from typing import Any

import numpy as np

from hmsim.plot import style


@style.kind(height=2.6)
def reuse(data: Any, ax: Any) -> Any:
    """Reads by LRU stack distance: how large a buffer would have held the block.

    Args:
        data: What `hmsim.workload.measure` finds.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.
    """
    counts = data.reuse[:-1] / max(int(data.reuse.sum()), 1)
    seen = np.flatnonzero((np.cumsum(counts) > 0.001) & (np.cumsum(counts[::-1])[::-1] > 0))
    first, last = (int(seen[0]), int(seen[-1])) if len(seen) else (0, 0)
    bins = range(first, last + 1)
    bars = ax.bar(bins, 100 * counts[first : last + 1], 0.9, color=style.BLUE)
    reach = np.cumsum(counts)[first : last + 1]
    shares = zip(100 * counts[first : last + 1], 100 * reach, strict=True)
    style.tip(bars, [f"{one:.3f} % of the reads; {all_:.3f} % up to here" for one, all_ in shares])
    ax.plot([k + 0.45 for k in bins], 100 * reach, color=style.ORANGE, marker="o", markersize=3,
            linewidth=1.2, label="hit rate of an LRU buffer up to here")  # fmt: skip
    ax.set_xticks(list(bins), [_size((1 << k) - 1 if k else 0, data.block_bytes) for k in bins])
    ax.tick_params(axis="x", labelrotation=45)
    style.x_label(ax, "LRU stack distance within a layer, up to")
    ax.set_ylabel("share of the reads, %")
    ax.set_ylim(0, 102)
    ax.grid(axis="y")
    first_reads = 100 * data.reuse[-1] / max(int(data.reuse.sum()), 1)
    style.title(ax, f"Reuse ({first_reads:.1f} % are first reads)")
    style.legend_beside(ax)
    return ax


@style.kind(height=2.6)
def overlap(data: Any, ax: Any) -> Any:
    """What share of a read set the earlier ones of its layer hold, and the set one layer before.

    Args:
        data: What `hmsim.workload.measure` finds.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.
    """
    back = np.arange(1, len(data.union) + 1)
    ax.plot(back, 100 * data.union, color=style.BLUE, marker="o", markersize=3.5, linewidth=1.2,
            label="in the union of the last steps")  # fmt: skip
    ax.axhline(100 * data.overlap, color=style.ORANGE, linewidth=1.2,
               label=f"in the last step, {100 * data.overlap:.1f} %")  # fmt: skip
    if not np.isnan(data.adjacent_overlap):
        ax.axhline(100 * data.adjacent_overlap, color=style.GREEN, linewidth=1.2, linestyle="--",
                   label=f"in the layer before, {100 * data.adjacent_overlap:.1f} %")  # fmt: skip
    ax.axhline(100 * data.density, color=style.MUTED, linewidth=1.2, linestyle=":",
               label=f"by chance (density), {100 * data.density:.1f} %")  # fmt: skip
    style.x_label(ax, "steps of the layer that are looked back")
    ax.set_ylabel("share of a read set, %")
    ax.set_ylim(0, 102)
    ax.grid()
    style.title(ax, "Overlap of read sets")
    style.legend_beside(ax)
    return ax


def _size(blocks: int, block_bytes: int) -> str:
    from hmsim.units import show_bytes

    return show_bytes((blocks + 1) * block_bytes)
