"""Every kind of figure: that it draws its data, names its bound, and is the same file each time."""

import json
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest

import hmsim
from hmsim import plot
from hmsim.errors import InputError
from hmsim.memory.address_trace import replay_trace
from hmsim.plot import style
from hmsim.plot.replays import read_replay
from hmsim.workload.open import open_workload
from hmsim.workload.statistics import measure
from tests.oracles import small_results

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """By what kinds are drawn of."""
    folder = tmp_path_factory.mktemp("results")
    run = small_results.result(folder)
    other = small_results.result(folder, "other.h5", **{"workload.sparsity": "0.8"})
    return {
        "run": run,
        "runs": [run, other],
        "sweep": hmsim.open_sweep(small_results.sweep(folder)),
        "workload": measure(open_workload(run.spec.workload)),
        "replays": {str(load): small_results.replay(load) for load in (0.3, 0.9)},
    }


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def texts(ax) -> str:
    """All that is written in a figure."""
    found = ax.get_figure().findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(each.get_text().replace("\n", " ") for each in found)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [*((kind, ".svg") for kind in plot.KINDS), ("bandwidth", ".png"), ("bandwidth", ".pdf")],
)
def test_files_are_byte_stable_and_say_what_made_them(data, tmp_path, kind, suffix):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        plot.draw(kind, data[plot.KINDS[kind].of], path, f"hmsim plot --kind {kind}")
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    if suffix != ".pdf":  # whose metadata are compressed
        assert f"hmsim plot --kind {kind}".encode() in first


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("bandwidth", 3), ("split", 6), ("energy", 21), ("roofline", 3), ("speedup", 4),
        ("sweep-line", 2), ("lost-cycles", 2), ("reuse", 1),
    ],
)  # fmt: skip
def test_svg_shows_values_to_a_pointer(data, tmp_path, kind, texts):
    path = tmp_path / "figure.svg"
    plot.draw(kind, data[plot.KINDS[kind].of], path, "command")
    title = "{http://www.w3.org/2000/svg}title"
    found = [group.findtext(title) for group in ElementTree.parse(path).getroot().iter()]
    titles = [text for text in found if text is not None]
    assert len(titles) >= texts
    assert all(any(letter.isdigit() for letter in title) for title in titles)
    assert "tip:" not in path.read_text()


@pytest.mark.parametrize("kind", plot.KINDS)
@pytest.mark.parametrize("width", style.WIDTHS)
def test_everything_stays_inside_the_page(data, kind, width):
    """At every width: no text beyond the figure's edge."""
    function = plot.KINDS[kind].function(kind)
    of = data[plot.KINDS[kind].of]
    with style.figure(width, function.height(of), None, "") as figure:
        function(of, ax=figure.add_subplot())
        figure.draw_without_rendering()
        page = figure.bbox.padded(3)
        for artist in figure.findobj(lambda each: hasattr(each, "get_text")):
            if artist.get_visible() and artist.get_text().strip():
                box = artist.get_window_extent()
                inside = page.x0 <= box.x0 and box.x1 <= page.x1
                ticks = artist.get_text().replace(".", "").isdigit()  # off-limits ticks exist
                assert inside or ticks, artist.get_text()


@pytest.mark.parametrize(
    "kind", ["bandwidth", "timeline", "gap", "speedup", "sweep-line", "sweep-heatmap"]
)
def test_bound_is_named(data, kind):
    ax = plot.KINDS[kind].function(kind)(data[plot.KINDS[kind].of])
    assert "bound" in texts(ax)


def test_functions_draw_on_given_axes_and_return_them(data):
    _, axes = plt.subplots(1, 2)
    assert hmsim.plot.bandwidth(data["run"], ax=axes[0]) is axes[0]
    assert data["run"].plot.roofline(ax=axes[1]) is axes[1]
    assert "timeline" in dir(data["run"].plot)
    with pytest.raises(AttributeError, match="bandwidth"):
        _ = data["run"].plot.bandwith


def test_bandwidth_bars_are_the_results(data):
    ax = plot.bandwidth(data["run"])
    widths = [patch.get_width() for patch in ax.patches]
    expected = data["run"].totals["aggregate_bandwidth_GBps"]
    assert np.allclose(widths, expected)


def test_gap_shows_how_the_bound_was_found_where_the_result_tells(data, tmp_path):
    run = small_results.result(tmp_path, **{"workload.seed": "3"})
    assert len(run.bound_history()) == 0
    assert len(plot.gap(run).get_figure().axes) == 1
    values = float(run.attributes["bound_time_s"]) * np.array([0.5, 0.9, 1.0])
    with h5py.File(run.path, "a") as file:
        file["bound/history"] = np.stack([np.arange(3), values, np.arange(3) / 10], axis=1)
    run = hmsim.Result.open(run.path)
    ax = plot.gap(run)
    left, right = ax.get_figure().axes
    assert left is ax
    assert np.allclose(right.lines[0].get_ydata(), [50, 90, 100])


def test_lost_cycles_of_a_run_are_its_replayed_steps(tmp_path):
    run = small_results.burst_result(tmp_path)
    ax = run.plot.lost_cycles()
    assert "static, HBM" in [label.get_text() for label in ax.get_yticklabels()]
    ends = {}
    for patch in ax.patches:
        row = round(patch.get_y() + patch.get_height() / 2)
        ends[row] = max(ends.get(row, 0), patch.get_x() + patch.get_width())
    assert np.allclose(list(ends.values()), 100)


def test_timeline_adds_up_to_the_run(data):
    """Each bin's bandwidth times its time is its bytes; together, the run's."""
    run = data["run"]
    ax = plot.timeline(run, policy="reactive")
    row = run.policies.index("reactive")
    seconds = run.steps("time_s")[row].reshape(16, 4).sum(axis=1)
    top = np.array([stack.get_paths()[0].vertices for stack in ax.collections][-1])
    peak = (run.steps("attention_read_bytes") + run.steps("weight_read_bytes"))[row]
    expected = peak.sum(axis=1).reshape(16, 4).sum(axis=1) / seconds / 1e9
    assert np.isclose(top[:, 1].max(), expected.max())


def test_roofline_is_above_every_analytic_policy(data):
    ax = plot.roofline(data["run"])
    roof = next(line for line in ax.lines if "min(HBM" in str(line.get_label()))
    for line in ax.lines:
        if len(line.get_xdata()) == 1:
            share, achieved = line.get_xdata()[0], line.get_ydata()[0]
            assert achieved <= np.interp(share, *roof.get_data()) * 1.001


def test_sweep_line_cuts_where_it_is_told(data):
    ax = plot.sweep_line(
        data["sweep"], x="sparsity", y="total_time_s", at={"capacity": "16.001 GB"}
    )
    (line,) = [line for line in ax.lines if line.get_label() == "static"]
    expected = data["sweep"].total_time_s.isel(capacity=1).sel(policy="static")
    assert np.array_equal(line.get_ydata(), expected)


def test_heatmap_shows_failed_points(data):
    assert "failed" in texts(plot.sweep_heatmap(data["sweep"]))


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda data: plot.sweep_line(data["sweep"], x="sparsty"), "did you mean 'sparsity'"),
        (lambda data: plot.sweep_line(data["sweep"], y="gaps"), "did you mean 'gap'"),
        (lambda data: plot.sweep_heatmap(data["sweep"], policy="lru"), "no policy 'lru'"),
        (lambda data: plot.timeline(data["run"], policy="statik"), "did you mean 'static'"),
        (lambda data: plot.speedup(data["runs"], against="page"), "no policy 'page'"),
    ],
)
def test_wrong_options_name_the_right_ones(data, draw, said):
    with pytest.raises(InputError, match=said):
        draw(data)


def test_a_replay_without_reads_has_no_latency_to_draw(tmp_path):
    writes = (np.arange(400) * 64, np.ones(400, np.int64))
    printed = json.loads(json.dumps(replay_trace(writes, "hbm3-6400").to_json()))
    data = {"writes": read_replay("writes.json", printed)}
    plot.draw("lost-cycles", data, tmp_path / "a.svg", "command")
    with pytest.raises(InputError, match="writes: no reads"):
        plot.draw("latency-load", data, tmp_path / "b.svg", "command")
    with pytest.raises(InputError, match="not what"):
        read_replay("half.json", printed | {"p99_read_latency_ns": 3.0})


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (19_700.4, "19,700"), (0.0123, "0.0123"), (1234.5, "1,230"), (999.6, "1,000"),
        (1e12, "1e+12"), (-5600, "-5,600"), (float("nan"), "failed"),
    ],
)  # fmt: skip
def test_cells_of_a_map_are_written_as_people_write(number, text):
    from hmsim.plot.sweeps import _cell

    assert _cell(number) == text
