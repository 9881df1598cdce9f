"""Figures of runs. `data` is a `hmsim.Result`, or what `hmsim run --json` prints of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hmsim.config.enumerations import CAUSES
from hmsim.plot import style


def _report(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else data.report()


def _title(data: Any) -> str:
    return data["workload"]["title"] if isinstance(data, dict) else data.title


def _rows(data: Any) -> int:
    return len(_report(data)["policies"])


@style.kind(height=lambda data: 1.35 + 0.36 * _rows(data))
def bandwidth(data: Any, ax: Any, title: str | None = None) -> Any:
    """Achieved aggregate bandwidth of every policy, against the optimum and the pin peak, in GB/s.

    Args:
        data: A `hmsim.Result`, or what `hmsim run --json` prints of one.
        ax: Axes to draw into; a figure of its own unless given.
        title: Above the axes; the workload's title unless given.

    Returns:
        The axes.
    """
    report = _report(data)
    policies = report["policies"]
    optimum = report["bound"]["bandwidth_GBps"]
    peak = report["peak_bandwidth_GBps"]
    rows = range(len(policies))
    analytic = [policy["aggregate_bandwidth_GBps"] for policy in policies.values()]
    replayed = any("replay" in policy for policy in policies.values())
    height = 0.36 if replayed else 0.62
    shift = height / 2 + 0.02 if replayed else 0.0

    bars = ax.barh([row - shift for row in rows], analytic, height, color=style.BLUE,
                   label=f"analytic, {report['bound']['variant']}")  # fmt: skip
    style.tip(bars, [
        f"{name}: {policy['aggregate_bandwidth_GBps']:,.1f} GB/s, {policy['time_s']:.6g} s, "
        f"gap {100 * policy['gap']:.3f} %"
        for name, policy in policies.items()
    ])  # fmt: skip
    for row, (policy, value) in enumerate(zip(policies.values(), analytic, strict=True)):
        _label(ax, value, row - shift, f"{value:,.0f}  ({100 * policy['gap']:.1f} % gap)", peak)
    if replayed:
        _replay_bars(ax, list(policies.values()), height, shift, peak)

    ax.axvline(optimum, **style.OPTIMUM,
               label=f"optimum ({_bound_name(report)}), {optimum:,.0f}")  # fmt: skip
    ax.axvline(peak, color=style.MUTED, linewidth=1.2, linestyle=":",
               label=f"pin peak, {peak:,.0f}")  # fmt: skip
    _policy_rows(ax, list(policies))
    ax.set_xlim(0, 1.02 * max(peak, optimum, *analytic, 1.0))
    style.x_label(ax, "aggregate bandwidth of attention and weight reads, GB/s")
    style.title(ax, _title(data) if title is None else title)
    style.legend_below(ax, columns=4)
    return ax


@style.kind(height=lambda data: 1.25 + 0.26 * _rows(data))
def split(data: Any, ax: Any) -> Any:
    """HBM's share of the bytes read, per policy, against the share at which both sides tie.

    Args:
        data: A `hmsim.Result`.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.
    """
    policies = _report(data)["policies"]
    best = _memories(data)[2]
    shares = [policy["hbm_read_share"] for policy in policies.values()]
    rows = range(len(policies))
    here = ax.barh(rows, shares, 0.62, color=style.BLUE, label="from HBM")
    there = ax.barh(rows, [1 - share for share in shares], 0.62, left=shares, color=style.ORANGE,
                    label="from DRAM, over the link")  # fmt: skip
    for bars, side, parts in (
        (here, "HBM", shares),
        (there, "DRAM", [1 - share for share in shares]),
    ):
        style.tip(bars, [f"{name}: {100 * part:.3f} % from {side}"
                         for name, part in zip(policies, parts, strict=True)])  # fmt: skip
    for row, share in enumerate(shares):
        ax.annotate(f"{100 * share:.1f} %", (0, row), (5, 0), textcoords="offset points",
                    fontsize="small", va="center", color="white")  # fmt: skip
    ax.axvline(best, **style.OPTIMUM,
               label=f"best split, {100 * best:.1f} %")  # fmt: skip
    _policy_rows(ax, list(policies))
    ax.set_xlim(0, 1)
    style.x_label(ax, "share of the bytes that attention and weights read")
    style.title(ax, _title(data))
    style.legend_below(ax, columns=3)
    return ax


@style.kind(height=lambda data: 1.65 + 0.34 * _rows(data))
def energy(data: Any, ax: Any) -> Any:
    """Joules a token of every policy, HBM, DRAM and link together, stacked by cause.

    The line at a bar's end reaches from all doubtful coefficients at their low ends to all at their
    high ends.

    Args:
        data: A `hmsim.Result`, or what `hmsim run --json` prints of one.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.

    Raises:
        InputError: A memory of the run has no currents, so that no energy is known.
    """
    policies = _report(data)["policies"]
    found = {name: policy["energy"] for name, policy in policies.items()}
    if any(_missing(each["total_J"]) for each in found.values()):
        from hmsim.errors import InputError

        raise InputError("energy: a memory of the system has no table [energy]")
    rows, left = range(len(found)), np.zeros(len(found))
    # Of a token, with what NaN and null stand for where nothing is decoded: all of it.
    scale = np.array([
        1.0 if _missing(each["per_token_J"]) or not each["total_J"]
        else each["per_token_J"] / each["total_J"]
        for each in found.values()
    ])  # fmt: skip
    for cause, color in zip(CAUSES, (style.BLUE, *style.LOSSES), strict=False):
        parts = [
            [each.get(f"{memory}_{cause}_J", 0.0) for memory in ("hbm", "dram")]
            if cause != "link" else [0.0, each["link_J"]]
            for each in found.values()
        ]  # fmt: skip
        joules = scale * np.sum(parts, axis=1)
        bars = ax.barh(rows, joules, 0.62, left=left, color=color, label=cause)
        style.tip(bars, [
            f"{name}: {cause} {value:.4g} J a token" + (
                f", HBM {factor * near:.4g}, DRAM {factor * far:.4g}" if cause != "link" else ""
            )
            for name, value, factor, (near, far) in zip(found, joules, scale, parts, strict=True)
        ])  # fmt: skip
        left += joules
    low, high = (
        scale * [each[end] for each in found.values()] for end in ("low_J", "high_J")
    )  # fmt: skip
    ax.errorbar(left, rows, xerr=[left - low, high - left], fmt="none", ecolor=style.INK,
                elinewidth=0.9, capsize=2.5, label="doubtful coefficients")  # fmt: skip
    for row, (value, end) in enumerate(zip(left, high, strict=True)):
        ax.annotate(f"{value:.4g}", (end, row), (5, 0), textcoords="offset points",
                    fontsize="small", va="center")  # fmt: skip
    _policy_rows(ax, list(found))
    ax.set_xlim(0, 1.12 * max(1e-30, *high))
    style.x_label(ax, "joules a token: HBM, DRAM and link")
    style.title(ax, _title(data))
    style.legend_below(ax, columns=4)
    return ax


def _missing(value: float | None) -> bool:
    """NaN, or null in a JSON file."""
    return value is None or bool(np.isnan(value))


@style.kind(height=3.2)
def roofline(data: Any, ax: Any) -> Any:
    """Aggregate bandwidth (GB/s) against HBM's share of the reads: what both memories allow, and
    where policies are.

    Args:
        data: A `hmsim.Result`.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.
    """
    report = _report(data)
    hbm, dram, best = _memories(data)
    policies = report["policies"]
    low = max(0.0, min(best, *(policy["hbm_read_share"] for policy in policies.values())) - 0.06)
    share = np.unique(np.append(np.linspace(low, 1, 400), best))
    with np.errstate(divide="ignore"):
        roof = np.minimum(hbm / share, dram / (1 - share)) / 1e9
    ax.plot(share, roof, **style.OPTIMUM,
            label="bound: min(HBM / share, DRAM / (1 - share))")  # fmt: skip
    ax.axvline(best, color=style.MUTED, linewidth=0.8, linestyle=":",
               label=f"best split, {100 * best:.1f} % from HBM")  # fmt: skip
    for k, (name, policy) in enumerate(policies.items()):
        look = {"marker": style.MARKERS[k % 7], "color": style.CYCLE[k % 7], "linestyle": "none"}
        point = ax.plot(policy["hbm_read_share"], policy["aggregate_bandwidth_GBps"], label=name,
                        **look)  # fmt: skip
        style.tip(point, [f"{name}: {policy['aggregate_bandwidth_GBps']:,.1f} GB/s, "
                          f"{100 * policy['hbm_read_share']:.3f} % from HBM"])  # fmt: skip
        if "replay" in policy:
            ax.plot(policy["hbm_read_share"], policy["replay"]["aggregate_bandwidth_GBps"],
                    fillstyle="none", **look)  # fmt: skip
    if any("replay" in policy for policy in policies.values()):
        ax.plot([], [], marker="o", color=style.MUTED, linestyle="none", fillstyle="none",
                label="hollow: by the memory kernels")  # fmt: skip
    ax.set_xlim(low, 1)
    ax.set_ylim(0, 1.05 * roof.max())
    style.x_label(ax, "share of the reads that comes from HBM")
    ax.set_ylabel("aggregate bandwidth, GB/s")
    ax.grid()
    style.title(ax, _title(data))
    style.legend_beside(ax)
    return ax


@style.kind(height=lambda data: 1.25 + 0.26 * _rows(data))
def gap(data: Any, ax: Any) -> Any:
    """Decode time of every policy as a multiple of what no placement can beat.

    Beside it, how the search for the bound went, where the result holds that and `ax` is one of a
    figure's subplots.

    Args:
        data: A `hmsim.Result`, or what `hmsim run --json` prints of one.
        ax: Axes to draw into; a figure of its own unless given.

    Returns:
        The axes.
    """
    report = _report(data)
    history = np.zeros((0, 3)) if isinstance(data, dict) else data.bound_history()
    if len(history) > 1 and ax.get_subplotspec() is not None:
        ax = _convergence(ax, history, report["bound"]["time_s"])
    names, ratios = [], []
    for name, policy in report["policies"].items():
        if policy["bound_s"] > 0:
            names.append(name)
            ratios.append(policy["time_s"] / policy["bound_s"])
    rows = range(len(names))
    ax.hlines(rows, 1, ratios, color=style.BLUE, linewidth=2.5)
    ax.plot(ratios, rows, "o", color=style.BLUE, label=f"analytic, {report['bound']['variant']}")
    for row, ratio in enumerate(ratios):
        ax.annotate(f"{ratio:.3f}  ({100 * (1 - 1 / ratio):.1f} % gap)", (ratio, row), (7, 0),
                    textcoords="offset points", fontsize="small", va="center")  # fmt: skip
    ax.axvline(1, **style.OPTIMUM,
               label=f"optimum ({_bound_name(report)})")  # fmt: skip
    _policy_rows(ax, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    span = max(ratios, default=1) - 1 + 0.05
    room = 1 + 2.2 / ax.get_figure().get_figwidth()  # for the label of the longest
    ax.set_xlim(1 - 0.04 * span, 1 + room * span)
    style.x_label(ax, "decode time over the bound on it")
    style.title(ax, _title(data))
    style.legend_below(ax, columns=2)
    return ax


@style.kind(height=2.9)
def speedup(data: Sequence[Any], ax: Any, against: str = "static") -> Any:
    """Tokens per second relative to one policy: a group of bars for every run, a bar for each
    policy.

    The optimum of each run is the line across its group.

    Args:
        data: Results, each a `hmsim.Result` or what `hmsim run --json` prints of one.
        ax: Axes to draw into; a figure of its own unless given.
        against: The policy whose speed is 1.

    Returns:
        The axes.

    Raises:
        InputError: A run lacks that policy.
    """
    reports = [_report(each) for each in data]
    names = [name for name in reports[0]["policies"] if name != against]
    width = 0.8 / max(len(names), 1)
    for k, name in enumerate(names):
        heights = [
            _against(report, against) / report["policies"][name]["time_s"]
            if name in report["policies"] else np.nan
            for report in reports
        ]  # fmt: skip
        places = [run - 0.4 + (k + 0.5) * width for run in range(len(reports))]
        bars = ax.bar(places, heights, 0.92 * width, color=style.CYCLE[k % 7], label=name,
                      hatch=("", "///")[k // 7 % 2])  # fmt: skip
        style.tip(bars, [f"{name}: {height:.4f} times {against}" for height in heights])
        for place, height in zip(places, heights, strict=True):
            if not np.isnan(height):
                ax.annotate(f"{height:.2f}", (place, height), (0, 2), textcoords="offset points",
                            fontsize="small", ha="center")  # fmt: skip
    for run, report in enumerate(reports):
        best = _against(report, against) / report["bound"]["time_s"]
        ax.hlines(best, run - 0.42, run + 0.42, **style.OPTIMUM,
                  label=f"optimum ({_bound_name(report)})" if run == 0 else None)  # fmt: skip
    ax.axhline(1, color=style.MUTED, linewidth=0.8)
    letters = int(11.5 * ax.get_figure().get_figwidth() / len(data)) - 2
    titles = [style.wrapped(_title(each), max(letters, 8)) for each in data]
    ax.set_xticks(range(len(reports)), titles)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(f"tokens per second / {against}")
    ax.set_ylim(0, None)
    style.title(ax, f"Speed-up over {against}")
    style.legend_below(ax, columns=5)
    return ax


def _convergence(ax: Any, history: np.ndarray, bound_s: float) -> Any:
    """Puts the dual's values by pass at the right of `ax`'s place; what is left of it at the left.

    A sample's values, where the passes went over one, may end a little above the bound.
    """
    figure = ax.get_figure()
    grid = ax.get_subplotspec().subgridspec(1, 2, width_ratios=(1.9, 1))
    ax.remove()
    left, right = (figure.add_subplot(place) for place in grid)
    passes, values, _ = history.T
    drawn = right.plot(passes, 100 * values / bound_s, color=style.BLUE, linewidth=1.2)
    style.tip(drawn, [f"{len(passes)} passes, {values[-1]:.6g} s"])
    right.axhline(100, **style.OPTIMUM)
    right.set_xlabel("pass")
    right.set_ylabel("dual / bound, %")
    low = max(0.0, 100 * float(np.median(values)) / bound_s - 5)
    right.set_ylim(min(low, 95), max(101, 100 * float(values.max()) / bound_s + 1))
    right.grid()
    return left


def _against(report: dict[str, Any], name: str) -> float:
    from hmsim.errors import InputError, did_you_mean

    if name not in report["policies"]:
        raise InputError(f"speedup: no policy {name!r}{did_you_mean(name, report['policies'])}")
    return report["policies"][name]["time_s"]


def _memories(data: Any) -> tuple[float, float, float]:
    """Bandwidths of HBM and beyond the link, bytes/s, as the analytic times use; best split."""
    system = data.spec.system
    hbm = system.hbm.analytic_bandwidth
    dram = min(system.link.read_bandwidth, system.dram.analytic_bandwidth)
    return hbm, dram, hbm / (hbm + dram)


def _bound_name(report: dict[str, Any]) -> str:
    return f"{report['bound']['method']} bound"


def _policy_rows(ax: Any, names: list[str]) -> None:
    """Policies down the side, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


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
    bars = ax.barh([row + shift for row in rows], values, height, xerr=errors, color=style.ORANGE,
                   error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": style.INK},
                   label=f"memory kernels, {replays[0]['fidelity']}")  # fmt: skip
    style.tip(bars, [f"{value:,.1f} ± {error:,.1f} GB/s, {replay['time_s']:.6g} s"
                     for value, error, replay in zip(values, errors, replays, strict=True)])  # fmt: skip
    for row, value, error, replay in zip(rows, values, errors, replays, strict=True):
        text = f"{value:,.0f}  ({100 * replay['gap']:.1f} % below pins)"
        _label(ax, value, row + shift, text, peak, error)


def _label(ax: Any, value: float, row: float, text: str, peak: float, error: float = 0.0) -> None:
    """The number at a bar's end, clear of its error bar: inside where the bar is long."""
    inside = value > 0.5 * peak
    at = value - error if inside else value + error
    ax.annotate(
        text, (at, row), (-4 if inside else 4, 0), textcoords="offset points", fontsize="small",
        va="center", ha="right" if inside else "left", color="white" if inside else style.INK,
    )  # fmt: skip
