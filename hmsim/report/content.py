"""What a report says, from the files of a directory."""

import json
import shlex
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hmsim import __version__, files, plot
from hmsim.errors import InputError
from hmsim.plot.replays import read_replay
from hmsim.report.blocks import Block, Code, Figure, Report, Section, Table, Text
from hmsim.results import summary
from hmsim.results.reader import ResultFile
from hmsim.results.schema import TOTALS, check
from hmsim.sweep.folder import read_journal
from hmsim.units import show_bandwidth, show_bytes

RUN_FIGURES = ("bandwidth", "timeline", "split", "roofline", "gap")
WORKLOAD_FIGURES = ("overlap", "reuse")
REPLAY_FIGURES = ("lost-cycles", "latency-load")
MOST_ROWS = 2000  # of a sweep's table


def report_on(directory: str | Path, made_by: str, statistics: bool = True) -> Report:
    """The report on a sweep's directory, or on a directory of results.

    Result files (`*.h5`) and what `hmsim replay --json` printed (`*.json`) count. `statistics`
    generates every run's workload once more to measure it. InputError if there is nothing, or if
    a file is incomplete or of a newer version.
    """
    path = Path(directory)
    if not path.is_dir():
        raise InputError(f"{directory}: no directory")
    if (path / "sweep.toml").exists():
        return _sweep_report(path, made_by)
    results = [ResultFile.open(each) for each in sorted(path.glob("*.h5")) if _is_result(each)]
    replays = _replays(path)
    if not results and not replays:
        raise InputError(f"{directory}: holds no result files, no replays and no sweep")
    sections = [_comparison(results, made_by)] if len(results) > 1 else []
    for result in results:
        sections.append(_run_section(result, made_by))
        if statistics:
            sections.append(_workload_section(result, made_by))
        sections.append(_provenance(result))
    if replays:
        sections.append(_replay_section(replays, made_by))
    title = results[0].title if len(results) == 1 else f"{path.resolve().name}: results"
    return Report(title, made_by, sections)


def _is_result(path: Path) -> bool:
    """Whether it is a result at all; traces and datasets lie beside them."""
    try:
        check(path)
    except InputError as error:
        if "newer" in str(error) or "truncated" in str(error):
            raise
        return False
    return True


def _replays(path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for each in sorted(path.glob("*.json")):
        try:
            data = files.read_json(each)
        except InputError:
            continue
        if isinstance(data, dict) and "bus_ticks" in data:
            found[each.stem] = read_replay(each, data)
    return found


def _comparison(results: list[ResultFile], made_by: str) -> Section:
    """All runs side by side."""
    blocks: list[Block] = []
    tables = [result.table() for result in results]
    head = max((own for own, _ in tables), key=len)
    rows = []
    for result, (own, lines) in zip(results, tables, strict=True):
        for line in lines:
            row = dict(zip(own, line, strict=True)) | {"policy": f"{result.path.stem}: {line[0]}"}
            rows.append([row.get(heading, "") for heading in head])
    blocks.append(Table(head, rows))
    if all("static" in result.policies for result in results):
        blocks.append(_figure("speedup", results, "speed-up of all runs", "runs", made_by))
    return Section("All runs", blocks)


def _run_section(result: ResultFile, made_by: str) -> Section:
    head, rows = result.table()
    blocks: list[Block] = [
        *(Text(line) for line in summary.about(result.record)),
        Table(head, rows),
        *(Text(line) for line in result.notes()),
    ]
    kinds: tuple[str, ...] = RUN_FIGURES
    if result.attributes["fidelity"] != "analytic":
        kinds += ("lost-cycles",)
    for kind in kinds:
        caption = plot.KINDS[kind].shows
        blocks.append(_figure(kind, result, caption, result.path.stem, made_by))
    return Section(result.title, blocks)


def _workload_section(result: ResultFile, made_by: str) -> Section:
    from hmsim.workload.open import open_workload
    from hmsim.workload.statistics import measure

    found = measure(open_workload(result.spec.workload))
    pairs = [line.strip().partition("  ") for line in found.format_table().splitlines()]
    rows = [[name, value.strip()] for name, _, value in pairs]
    blocks: list[Block] = [Table(["quantity", "value"], rows)]
    for kind in WORKLOAD_FIGURES:
        caption = plot.KINDS[kind].shows
        blocks.append(_figure(kind, found, caption, result.path.stem, made_by))
    return Section(f"Workload of {result.path.name}", blocks)


def _provenance(result: ResultFile) -> Section:
    attributes = result.attributes
    rows = [
        [key, str(attributes[key])]
        for key in sorted(attributes)
        if key not in ("config", "format", "title") and not isinstance(attributes[key], np.ndarray)
    ]
    again = (
        f"hmsim info {shlex.quote(result.path.name)} --config > again.toml\nhmsim run again.toml"
    )
    return Section(
        f"Provenance of {result.path.name}",
        [
            Table(["attribute", "value"], rows),
            Code("How to run it again", again),
            Code("Configuration, resolved", attributes["config"]),
        ],
    )


def _replay_section(replays: dict[str, dict[str, Any]], made_by: str) -> Section:
    rows = [
        [
            name,
            f"{each['bandwidth_GBps']:.4g}",
            f"{each['peak_GBps']:.4g}",
            f"{100 * each['row_hit_rate']:.1f}",
            *(
                "none" if each[key] is None else f"{each[key]:.4g}"
                for key in ("mean_read_latency_ns", "p99_read_latency_ns")
            ),
        ]
        for name, each in replays.items()
    ]
    head = ["replay", "GB/s", "peak GB/s", "row hits %", "read latency ns", "p99 ns"]
    read = [each for each in replays.values() if each["mean_read_latency_ns"] is not None]
    kinds = REPLAY_FIGURES if len(read) > 1 else REPLAY_FIGURES[:1]
    figures = [_figure(kind, replays, plot.KINDS[kind].shows, "replays", made_by) for kind in kinds]
    return Section("Lost cycles of plain replays", [Table(head, rows), *figures])


def _sweep_report(path: Path, made_by: str) -> Report:
    from hmsim.plot.sweeps import several
    from hmsim.sweep.dataset import open_sweep

    data = open_sweep(path)
    attributes = data.attrs
    state = (
        f"{attributes['points']:,} points, {attributes['missing']:,} missing, "
        f"{attributes['failed']:,} failed; {attributes['created_by']}."
    )
    axis_rows = [[str(name), str(data.sizes[name]), _span(data[name])] for name in data.sizes]
    sections = [
        Section("The sweep", [Text(state), Table(["axis", "values", "from … to"], axis_rows)]),
        Section("Figures", _sweep_figures(data, several(data), made_by)),
        _points(data, path),
        Section(
            "How to run it again",
            [
                Code(
                    "The whole sweep", f"hmsim sweep sweep.toml -o again  # version {__version__}"
                ),
                Code("sweep.toml", files.read_text(path / "sweep.toml")),
                Code("base.toml", files.read_text(path / "base.toml")),
            ],
        ),
    ]
    failures = _failures(data)
    if failures:
        sections.insert(3, Section("Failed points", failures))
    return Report(attributes["title"], made_by, sections)


def _sweep_figures(data: Any, axes: list[str], made_by: str) -> list[Block]:
    figures: list[Block] = []
    for x in axes[:3]:
        figures.append(_figure("sweep-line", data, f"along {x}", x, made_by, x=x))
    if len(axes) > 1:
        x, y = axes[:2]
        caption = f"gap over {x} and {y}"
        figures.append(_figure("sweep-heatmap", data, caption, "gap", made_by, x=x, y=y))
    return figures


def _points(data: Any, path: Path) -> Section:
    """A row for every point and policy, and the command that repeats it."""
    frame = data.to_dataframe().reset_index()
    shown = summary.columns({name: frame[name].tolist() for name in frame if name in TOTALS})
    keys = [name for name in (*data.sizes, *data.coords) if name in frame]
    keys = list(dict.fromkeys(keys))
    units = [data[key].attrs.get("units", "") for key in keys]
    rows = []
    for row in frame.head(MOST_ROWS).to_dict("records"):
        numbers = [
            summary.cell(column, lambda key, row=row: row.get(key, np.nan))  # type: ignore[misc]
            for column in shown
        ]
        rows.append(
            [*(_cell(row[key], unit) for key, unit in zip(keys, units, strict=True)), *numbers]
        )
    blocks: list[Block] = [Table([*map(str, keys), *(column.heading for column in shown)], rows)]
    if len(frame) > MOST_ROWS:
        blocks.append(
            Text(f"The first {MOST_ROWS:,} of {len(frame):,} rows; all are in sweep.csv.")
        )
    commands = []
    for entry in islice(read_journal(path), MOST_ROWS):
        settings = [f"{key}={_setting(value)}" for key, value in entry["changes"].items()]
        words = ["hmsim", "run", "base.toml", *(word for s in settings for word in ("--set", s))]
        commands.append(shlex.join(words))
    blocks.append(Code("How to run each point again, in this directory", "\n".join(commands)))
    return Section("Points", blocks)


def _failures(data: Any) -> list[Block]:
    frame = data["error"].to_dataframe().reset_index()
    failed = frame[frame["error"] != ""]
    if failed.empty:
        return []
    keys = list(data["error"].dims)
    units = [data[key].attrs.get("units", "") for key in keys]
    rows = [
        [*(_cell(row[key], unit) for key, unit in zip(keys, units, strict=True)), row["error"]]
        for row in failed.to_dict("records")
    ]
    return [Table([*map(str, keys), "error"], rows[:MOST_ROWS])]


def _span(coordinate: Any) -> str:
    values = coordinate.values
    if values.dtype.kind in "OUT":
        return ", ".join(map(str, values[:12]))
    unit = coordinate.attrs.get("units", "")
    return f"{_cell(values[0], unit)} … {_cell(values[-1], unit)}"


def _cell(value: Any, unit: str) -> str:
    """A coordinate for people: quantities with their unit."""
    if isinstance(value, str):
        return value
    if unit == "byte":
        return f"{value / 1e9:.6g} GB" if value >= 1e9 else show_bytes(value)
    return show_bandwidth(value) if unit == "byte/s" else f"{value:.6g}"


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _figure(kind: str, data: Any, caption: str, name: str, made_by: str, **options: Any) -> Figure:
    images = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        for width in ("page", "column"):
            plot.draw(kind, data, path, made_by, width, **options)
            text = path.read_text(encoding="utf-8")
            images.append(text[text.index("<svg") :])
    wide, narrow = images
    return Figure(f"{kind}-{name}", wide, narrow, f"{kind}: {caption}")
