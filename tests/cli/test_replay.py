"""`hmsim replay` as a user calls it."""

import json
import subprocess
import sys

import pytest

from tests.cli.calls import done, refused, told

KEYS = {"requests", "bytes", "seconds", "bandwidth_GBps", "peak_GBps", "row_hit_rate",
        "mean_read_latency_ns", "p99_read_latency_ns", "mean_arrival_latency_ns", "wall_s"}  # fmt: skip


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "a.trace"
    path.write_text("LD 0\nLD 0x100\nST 512\n")
    return path


def test_what_is_achieved(trace, capsys):
    report = told(capsys, "replay", trace, "--memory", "hbm3-6400")
    assert set(report) >= KEYS
    assert (report["requests"], report["bytes"]) == (3, 96)
    assert 0 < report["bandwidth_GBps"] <= report["peak_GBps"] == 51.2
    shown = done(capsys, "replay", trace, "--memory", "hbm3-6400")
    assert "GB/s" in shown


START = """
import sys
from hmsim.cli import main
main(["replay", sys.argv[1], "--memory", "hbm3-6400", "--json"])
heavy = "scipy.linalg", "hmsim.memory.sampling_kernel", "h5py", "matplotlib", "numba"
print([each for each in heavy if each in sys.modules])
"""


def test_a_start_imports_what_it_needs(trace):
    """Not even Numba, once a replay has been: the figures are the same, whoever calls the kernels."""

    def start(before: str = "") -> tuple[dict, str]:
        call = [sys.executable, "-c", before + START, trace]
        shown = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        text, _, imported = shown.rstrip().rpartition("\n")
        return json.loads(text) | {"wall_s": 0}, imported

    by_numba, imported = start("import numba")
    assert imported == "['numba']"
    start()
    assert start() == (by_numba, "[]")


def test_joules_by_cause_and_a_bit(trace, capsys):
    report = told(capsys, "replay", trace, "--memory", "hbm3-6400")
    joules = report["energy_J"]
    assert sum(joules.values()) == pytest.approx(2 * joules["total"])
    assert report["energy_low_J"] < joules["total"] < report["energy_high_J"]
    assert report["pJ_per_bit"] == pytest.approx(joules["total"] * 1e12 / (8 * 96))
    assert joules["read"] == pytest.approx(2 * 4.26e-12 * 256, rel=0.01)
    static = told(capsys, "replay", trace, "--memory", "hbm3-6400", "--data", "static")
    assert joules["read"] / static["energy_J"]["read"] == pytest.approx(1.62)
    assert "pJ/bit" in done(capsys, "replay", trace, "--memory", "hbm3-6400")
    assert "--data" in refused(
        capsys, "replay", trace, "--memory", "hbm3-6400", "--data", "interesting"
    )


def test_a_memory_without_currents_has_no_joules(trace, tmp_path, capsys):
    spec = tmp_path / "m.toml"
    text = done(capsys, "presets", "hbm3-6400")
    spec.write_text(text[: text.index("[energy]")])
    report = told(capsys, "replay", trace, "--memory", spec)
    assert report["energy_J"] is None
    assert report["pJ_per_bit"] is None
    assert "pJ/bit" not in done(capsys, "replay", trace, "--memory", spec)


def test_options_reach_the_memory(trace, tmp_path, capsys):
    commands = tmp_path / "c.csv"
    report = told(
        capsys, "replay", trace, "--memory", "lpddr5-6400", "--channels", "2", "--interleave",
        "256 B", "--queue", "8", "--row-policy", "closed:1", "--refresh", "none", "--commands",
        commands,
    )  # fmt: skip
    assert report["peak_GBps"] == 25.6
    names = [line.split(",")[1] for line in commands.read_text().splitlines()]
    assert names.count("ACT1") == 2  # a row of each channel
    assert "REFab" not in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "hbm3-640"], "did you mean 'hbm3-6400'"),
        (["--memory", "hbm3-6400", "--interleave", "3 parsecs"], "--interleave 3 parsecs"),
        (["--memory", "hbm3-6400", "--interleave", "48"], "power of two"),
        (["--memory", "hbm3-6400", "--channels", "0"], "channels"),
        (["--memory", "hbm3-6400", "--refresh", "daily"], "refresh"),
        (["--memory", "hbm3-6400", "--row-policy", "ajar"], "row policy"),
        (["--memory", "hbm3-6400", "--queue", "0"], "queue"),
        (["--memory", "hbm3-6400", "--mapping", "Xx4"], "map"),
        (["--memory", "hbm3-6400", "--mapping", ""], "mapping: empty"),
        (["--memory", "missing.toml"], "cannot be read"),
        ([], "--memory"),
    ],
)
def test_mistakes(trace, capsys, arguments, message):
    assert message in refused(capsys, "replay", trace, *arguments)


def test_a_bad_line_is_named_by_its_number(trace, tmp_path, capsys):
    trace.write_text("LD 0\nLOAD 5\n")
    said = refused(capsys, "replay", trace, "--memory", "hbm3-6400")
    assert "2" in said
    assert "LOAD" in said
    assert "none.trace" in refused(
        capsys, "replay", tmp_path / "none.trace", "--memory", "hbm3-6400"
    )
