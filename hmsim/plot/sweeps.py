"""Figures of sweeps. `data` is what `hmsim.open_sweep` gives."""

from typing import Any

import numpy as np

from hmsim.errors import InputError, did_you_mean
from hmsim.plot import style

SCALES = {"byte": (1e9, "GB"), "byte/s": (1e9, "GB/s"), "s": (1.0, "s"), "1": (1.0, "")}
NAMES = {
    "aggregate_bandwidth_GBps": "aggregate bandwidth, GB/s",
    "tokens_per_s": "tokens per second",
    "total_time_s": "decode time, s",
    "tpot_s": "time per output token, s",
    "kv_hit_rate": "KV reads that find their block in HBM, %",
    "gap": "gap to the bound, %",
    "hbm_read_share": "HBM's share of the reads, %",
    "replay_gap": "gap of the replay to pin bandwidth, %",
    "replay_aggregate_bandwidth_GBps": "aggregate bandwidth by the memory kernels, GB/s",
    "speedup": "tokens per second / static",
}
SHARES = ("gap", "replay_gap", "hbm_read_share", "kv_hit_rate")  # shown in per cent
BASELINE = "static"  # whose speed others' is compared with


@style.kind(height=3.0)
def sweep_line(
    data: Any,
    ax: Any,
    x: str | None = None,
    y: str = "aggregate_bandwidth_GBps",
    at: dict[str, Any] | None = None,
) -> Any:
    """A number along an axis, a line for each policy, with the bound where there is one.

    Args:
        data: The dataset that `hmsim.open_sweep` gives.
        ax: Axes to draw into; a figure of its own unless given.
        x: The axis; the first one with several values unless given.
        y: The number: a variable of the dataset, or `speedup` over static.
        at: The value of every other axis, by name; its middle one unless given.

    Returns:
        The axes.

    Raises:
        InputError: There is no such axis, value or number; the nearest one is named.
    """
    x = x or next(iter(several(data)), None)
    if x is None:
        raise InputError("sweep-line: this sweep has no axis of several values")
    data, fixed = _slice(data, [x], at)
    values, label = _along(data, x)
    numbers = _number(data, y)
    if y == "aggregate_bandwidth_GBps" and "bound_bandwidth_GBps" in data:
        method = _method(data)
        bound = _per_policy_free(data, data["bound_bandwidth_GBps"]).transpose(x)
        ax.plot(values, bound, **style.OPTIMUM,
                label=f"optimum ({method} bound)")  # fmt: skip
    for k, (name, line) in enumerate(_lines(data, numbers, x)):
        drawn = ax.plot(values, line, color=style.CYCLE[k % 7], marker=style.MARKERS[k % 7],
                        markersize=4, linewidth=1.2, label=name)  # fmt: skip
        style.tip(drawn, ["\n".join([name, *(f"{_short(at)}: {number:.6g}" for at, number
                                             in zip(values, line, strict=True))])])  # fmt: skip
    if _is_geometric(values):
        _log_axis(ax, values)
    style.x_label(ax, label)
    ax.set_ylabel(NAMES.get(y, y))
    ax.grid()
    style.title(ax, f"{data.attrs['title']}{fixed}")
    style.legend_beside(ax)
    return ax


@style.kind(height=3.4)
def sweep_heatmap(
    data: Any,
    ax: Any,
    x: str | None = None,
    y: str | None = None,
    value: str = "gap",
    policy: str | None = None,
    at: dict[str, Any] | None = None,
) -> Any:
    """A number over two axes, of one policy.

    Args:
        data: The dataset that `hmsim.open_sweep` gives.
        ax: Axes to draw into; a figure of its own unless given.
        x: The axis from left to right; the first one with several values unless given.
        y: The axis upwards; the second one unless given.
        value: The number: a variable of the dataset, or `speedup` over static.
        policy: Of which policy. Unless given, the schedule that is fastest over the whole map; for
            a speed-up, another one than static.
        at: The value of every other axis, by name; its middle one unless given.

    Returns:
        The axes.

    Raises:
        InputError: There is no such axis, value, number or policy, or there are not two axes of
            several values.
    """
    axes = several(data)
    x = x or next((name for name in axes if name != y), None)
    y = y or next((name for name in axes if name != x), None)
    if x is None or y is None:
        raise InputError("sweep-heatmap: needs a sweep with two axes of several values")
    data, fixed = _slice(data, [x, y], at)
    numbers = _number(data, value)
    which = _policy_dimension(data)
    if which in numbers.dims:
        policy = policy or _fastest(data, which, BASELINE if value == "speedup" else None)
        numbers = _pick(numbers, which, policy)
    grid = numbers.transpose(y, x).values
    across, x_label = _along(data, x)
    up, y_label = _along(data, y)
    image = ax.pcolormesh(np.arange(len(across) + 1), np.arange(len(up) + 1), grid,
                          cmap="viridis", edgecolors="white", linewidth=0.5)  # fmt: skip
    names = _names(across)
    ax.set_xticks(np.arange(len(across)) + 0.5, names)
    ax.set_yticks(np.arange(len(up)) + 0.5, _names(up))
    ax.tick_params(length=0)
    letters = 11.5 * ax.get_figure().get_figwidth() / len(across)  # in a cell's width, about
    if max(map(len, names)) + 1 > letters:
        ax.tick_params(axis="x", labelrotation=90)
    cells = [_cell(number) for number in grid.ravel()]
    if grid.size <= 150 and letters >= max(7, *map(len, cells)):
        middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
        for (row, column), number in np.ndenumerate(grid):
            text = cells[row * len(across) + column]
            dark = not np.isnan(number) and number < middle
            ax.annotate(text, (column + 0.5, row + 0.5), ha="center", va="center", fontsize="small",
                        color="white" if dark else style.INK)  # fmt: skip
    ax.get_figure().colorbar(image, ax=ax, label=NAMES.get(value, value))
    style.x_label(ax, x_label)
    ax.set_ylabel(y_label)
    if "bound" in NAMES.get(value, ""):
        fixed += f"; {_method(data)} bound"
    style.title(ax, f"{data.attrs['title']}{f': {policy}' if policy else ''}{fixed}")
    return ax


def several(data: Any) -> list[str]:
    """The sweep's axes with several values, in their order; policies are none of them."""
    policies = _policy_dimension(data)
    return [name for name, size in data["point"].sizes.items() if size > 1 and name != policies]


def _policy_dimension(data: Any) -> str:
    """The dimension that tells policies apart; empty where nothing does."""
    return data.attrs["policy_dimension"]


def _slice(data: Any, free: list[str], at: dict[str, Any] | None) -> tuple[Any, str]:
    """`data` with every axis but the free ones (and policies) at one value, and which these are."""
    at = at or {}
    keep = {*free, _policy_dimension(data)}
    for name in (*free, *at):
        if name not in data.dims:
            raise InputError(f"no axis {name!r} in this sweep{did_you_mean(name, data.sizes)}")
    said = []
    for name, size in data.sizes.items():
        if name in keep and name not in at:
            continue
        values = data[name].values
        place = size // 2
        if name in at:
            place = _nearest(values, at[name], name)
        data = data.isel({name: place})
        if size > 1:
            unit = SCALES.get(data[name].attrs.get("units", "1"), (1.0, ""))[1]
            said.append(f"{name} {_short(_scaled(values, data[name])[place])} {unit}".strip())
    return data, f" ({', '.join(said)})" if said else ""


def _nearest(values: np.ndarray, wanted: Any, name: str) -> int:
    if values.dtype.kind in "OUT":
        if str(wanted) not in list(map(str, values)):
            raise InputError(f"{name}: no {wanted!r}{did_you_mean(str(wanted), map(str, values))}")
        return list(map(str, values)).index(str(wanted))
    from hmsim.sweep.axes import number

    return int(np.abs(values - number(wanted, name)).argmin())


def _number(data: Any, name: str) -> Any:
    if name == "speedup":
        which = _policy_dimension(data)
        if which not in data.sizes or BASELINE not in data[which].values:
            raise InputError(f"speedup: needs the policy {BASELINE} in the sweep")
        return data["total_time_s"].sel({which: BASELINE}) / data["total_time_s"]
    numeric = [key for key in data.data_vars if data[key].dtype.kind == "f"]
    if name not in numeric:
        raise InputError(f"no number {name!r} in this sweep{did_you_mean(name, numeric)}")
    return data[name] * (100.0 if name in SHARES else 1.0)


def _lines(data: Any, numbers: Any, x: str) -> list[tuple[str, np.ndarray]]:
    which = _policy_dimension(data)
    if which not in numbers.dims:
        return [("", numbers.transpose(x).values)]
    names = numbers[which].values
    return [(str(name), _pick(numbers, which, name).transpose(x).values) for name in names]


def _pick(numbers: Any, which: str, policy: Any) -> Any:
    names = [str(name) for name in numbers[which].values]
    if policy not in names:
        raise InputError(f"no policy {policy!r} in this sweep{did_you_mean(str(policy), names)}")
    return numbers.isel({which: names.index(policy)})


def _per_policy_free(data: Any, numbers: Any) -> Any:
    which = _policy_dimension(data)
    return numbers.isel({which: 0}) if which in numbers.dims else numbers


def _fastest(data: Any, which: str, but: str | None) -> str:
    """Of the policies but one, the schedule of the least time over all points."""

    def over_all(name: str, of: str) -> float:
        return float(_pick(data[of], which, name).sum())

    names = [str(name) for name in data[which].values if name != but]
    return style.fastest(
        {name: over_all(name, "total_time_s") for name in names},
        {name: over_all(name, "is_schedule") for name in names},
    )


def _method(data: Any) -> str:
    found = data["bound_method"].values.ravel() if "bound_method" in data else []
    return next((str(name) for name in found if name), "split")


def _along(data: Any, name: str) -> tuple[np.ndarray, str]:
    """An axis's values in the unit that people use, and its label."""
    values = _scaled(data[name].values, data[name])
    unit = SCALES.get(data[name].attrs.get("units", "1"), (1.0, ""))[1]
    return values, f"{name}, {unit}" if unit else name


def _scaled(values: np.ndarray, coordinate: Any) -> np.ndarray:
    if values.dtype.kind in "OUT":
        return np.array(list(map(str, values)))
    scale = SCALES.get(coordinate.attrs.get("units", "1"), (1.0, ""))[0]
    return values / scale if scale != 1 else values


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _cell(number: float) -> str:
    """Three digits, and no powers of ten of what people count in thousands."""
    if np.isnan(number):
        return "failed"
    text = f"{number:.3g}"
    return f"{float(text):,.0f}" if 1000 <= abs(float(text)) < 1e9 else text


def _names(values: np.ndarray) -> list[str]:
    """Ticks of an axis: no more digits than tell them apart, four at least."""
    for digits in range(4, 16):
        names = [each if isinstance(each, str) else f"{float(each):.{digits}g}" for each in values]
        if len(set(names)) == len(set(values)):
            break
    return names


def _is_geometric(values: np.ndarray) -> bool:
    if values.dtype.kind not in "fi" or len(values) < 3 or values.min() <= 0:
        return False
    ratios = values[1:] / values[:-1]
    return bool(np.allclose(ratios, ratios[0], rtol=0.01) and abs(ratios[0] - 1) > 0.2)


def _log_axis(ax: Any, values: np.ndarray) -> None:
    ax.set_xscale("log")
    shown = values[:: -(-len(values) // 8)]
    ax.set_xticks(shown, _names(shown))
    ax.minorticks_off()
