"""Figures of replays. `data`: by label, what `hmsim replay --json` prints; see also `of_run`."""

from pathlib import Path
from typing import Any

import numpy as np

from hmsim.errors import InputError
from hmsim.memory.address_trace import REASONS
from hmsim.plot import style

# Of a replay that figures and reports show; latencies are null where nothing was read.
NUMBERS = ("bandwidth_GBps", "peak_GBps", "row_hit_rate")
LATENCIES = ("mean_read_latency_ns", "p99_read_latency_ns", "mean_arrival_latency_ns")


def of_run(result: Any) -> dict[str, dict[str, Any]]:
    """What the data buses of each memory did in a run's replayed steps.

    Args:
        result: A `hmsim.Result`.

    Returns:
        By "policy, memory", an object with `bus_ticks`, as of a replay.

    Raises:
        InputError: No step went through the memory models.
    """
    ticks = np.maximum(result.steps("bus_ticks"), 0).sum(axis=1)
    if not ticks.any():
        raise InputError(f"{result.path}: no step went through the memory kernels (analytic)")
    return {
        f"{policy}, {memory}": {"bus_ticks": dict(zip(REASONS, ticks[n, m].tolist(), strict=True))}
        for n, policy in enumerate(result.policies)
        for m, memory in enumerate(("HBM", "DRAM"))
        if ticks[n, m].any()
    }


def read_replay(path: str | Path, data: Any) -> dict[str, Any]:
    """`data` of the JSON file `path`, if it is what `hmsim replay --json` prints; else InputError."""
    wrong = InputError(f"{path}: not what `hmsim replay --json` prints")
    ticks = data.get("bus_ticks") if isinstance(data, dict) else None
    if not isinstance(ticks, dict):
        raise wrong
    latencies = [data.get(name, "missing") for name in LATENCIES]
    if latencies == [None] * len(latencies):
        latencies = []
    for value in (*ticks.values(), *(data.get(name) for name in NUMBERS), *latencies):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong
        if not 0 <= value < 1e30:
            raise wrong
    if not data["peak_GBps"]:
        raise wrong
    return data


def _replays(data: Any) -> dict[str, dict[str, Any]]:
    return data if isinstance(data, dict) else of_run(data)


@style.kind(height=lambda data: 1.6 + 0.3 * len(_replays(data)))
def lost_cycles(data: Any, ax: Any) -> Any:
    """What the data buses' time goes into, in per cent: data, or the reason for its absence.

    Args:
        data: By label, what `hmsim replay --json` prints; or a `hmsim.Result`, whose replayed steps
            are added up by policy and memory.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.

    Raises:
        InputError: No step of the result went through the memory models.
    """
    data = _replays(data)
    ticks = {label: each["bus_ticks"] for label, each in data.items()}
    whole = np.array([max(sum(each.values()), 1) for each in ticks.values()])
    left = np.zeros(len(ticks))
    shown = 0
    for reason, text in REASONS.items():
        shares = 100 * np.array([each.get(reason, 0) for each in ticks.values()]) / whole
        if not shares.any():
            continue
        colour = style.BLUE if reason == "data" else style.LOSSES[shown % len(style.LOSSES)]
        shown += reason != "data"
        bars = ax.barh(range(len(ticks)), shares, 0.66, left=left, color=colour, label=text,
                       edgecolor="white", linewidth=0.4)  # fmt: skip
        style.tip(bars, [f"{label}: {text}, {share:.3f} %"
                         for label, share in zip(ticks, shares, strict=True)])  # fmt: skip
        ink = "white" if reason == "data" else style.INK
        for row in np.flatnonzero(shares >= 4):
            middle = (left[row] + shares[row] / 2, row)
            ax.annotate(f"{shares[row]:.0f}", middle, ha="center", va="center", fontsize="small",
                        color=ink)  # fmt: skip
        left += shares
    ax.set_yticks(range(len(ticks)), list(ticks))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 100)
    style.x_label(ax, "share of the data buses' time, %; the bound is 100 % data (pin peak)")
    style.title(ax, "Where the bandwidth goes")
    style.legend_below(ax, columns=2)
    return ax


@style.kind(height=2.8)
def latency_load(data: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Mean and 99th percentile of the read latency (ns) against the bandwidth that was reached.

    Args:
        data: By label, what `hmsim replay --load SHARE --json` prints at several loads.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.

    Raises:
        InputError: No replay has a read.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    points = [each for each in data.values() if each["mean_read_latency_ns"] is not None]
    if not points:
        raise InputError(f"{', '.join(data)}: no reads, hence no latencies")
    points.sort(key=lambda each: each["bandwidth_GBps"])
    reached = [100 * each["bandwidth_GBps"] / each["peak_GBps"] for each in points]
    for key, colour, marker, label in (
        ("mean_arrival_latency_ns", style.BLUE, "o", "mean, from the intended arrival"),
        ("mean_read_latency_ns", style.GREEN, "^", "mean, from entering a queue"),
        ("p99_read_latency_ns", style.ORANGE, "s", "99th percentile, from entering a queue"),
    ):
        ax.plot(reached, [each[key] for each in points], color=colour, marker=marker,
                markersize=4, linewidth=1.2, label=label)  # fmt: skip
    ax.axvline(100, color=style.MUTED, linewidth=1.2, linestyle=":", label="bound: pin peak")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0, 103)
    style.x_label(ax, "bandwidth, % of pin peak")
    ax.set_ylabel("read latency, ns")
    ax.grid()
    style.title(ax, "Latency under load")
    style.legend_beside(ax)
    return ax
