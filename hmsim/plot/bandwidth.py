"""Achieved aggregate bandwidth of every policy against the optimum and the pin peak."""

from pathlib import Path
from typing import Any

from hmsim.plot import style


def draw(report: dict[str, Any], path: Path, title: str, command: str = "hmsim run") -> None:
    """The figure of a run's JSON object (see `hmsim.replay.summary`), written to `path`."""
    policies = report["policies"]
    with style.figure("page", 1.35 + 0.36 * len(policies), path, command) as figure:
        axes(report, figure.add_subplot(), title)


def axes(report: dict[str, Any], ax: Any, title: str = "") -> Any:
    """The same on given axes, which are returned."""
    policies = report["policies"]
    optimum = report["bound"]["bandwidth_GBps"]
    peak = report["peak_bandwidth_GBps"]
    rows = range(len(policies))
    analytic = [policy["aggregate_bandwidth_GBps"] for policy in policies.values()]
    replayed = any("replay" in policy for policy in policies.values())
    height = 0.36 if replayed else 0.62
    shift = height / 2 + 0.02 if replayed else 0.0

    ax.barh([row - shift for row in rows], analytic, height, color=style.BLUE,
            label=f"analytic, {report['bound']['variant']}")  # fmt: skip
    for row, (policy, value) in enumerate(zip(policies.values(), analytic, strict=True)):
        _label(ax, value, row - shift, f"{value:,.0f}  ({100 * policy['gap']:.1f} % gap)", peak)
    if replayed:
        _replay_bars(ax, list(policies.values()), height, shift, peak)

    ax.axvline(optimum, color=style.INK, linewidth=1.2, linestyle="--",
               label=f"optimum ({report['bound']['method']} bound), {optimum:,.0f}")  # fmt: skip
    ax.axvline(peak, color=style.MUTED, linewidth=1.2, linestyle=":",
               label=f"pin peak, {peak:,.0f}")  # fmt: skip
    ax.set_yticks(list(rows), list(policies))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.02 * max(peak, optimum, *analytic, 1.0))
    ax.set_xlabel("aggregate bandwidth of attention and weight reads, GB/s")
    ax.grid(axis="x")
    ax.set_title(title)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.32 if len(policies) < 5 else -0.2), ncols=4,
              borderaxespad=0, columnspacing=1.4, handlelength=1.6)  # fmt: skip
    return ax


def _replay_bars(
    ax: Any, policies: list[dict[str, Any]], height: float, shift: float, peak: float
) -> None:
    """Bars of the memory kernels' times, with the confidence interval of the sample."""
    rows = [row for row, policy in enumerate(policies) if "replay" in policy]
    replays = [policies[row]["replay"] for row in rows]
    values = [replay["aggregate_bandwidth_GBps"] for replay in replays]
    errors = [
        value * (replay["ci95_s"] or 0.0) / replay["time_s"]
        for value, replay in zip(values, replays, strict=True)
    ]
    ax.barh([row + shift for row in rows], values, height, xerr=errors, color=style.ORANGE,
            error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": style.INK},
            label=f"memory kernels, {replays[0]['fidelity']}")  # fmt: skip
    for row, value, error, replay in zip(rows, values, errors, replays, strict=True):
        text = f"{value:,.0f}  ({100 * replay['gap']:.1f} % below pins)"
        _label(ax, value + error, row + shift, text, peak)


def _label(ax: Any, value: float, row: float, text: str, peak: float) -> None:
    """The number at a bar's end: inside where the bar is long."""
    inside = value > 0.5 * peak
    ax.annotate(
        text, (value, row), (-4 if inside else 4, 0), textcoords="offset points", fontsize=7,
        va="center", ha="right" if inside else "left", color="white" if inside else style.INK,
    )  # fmt: skip
