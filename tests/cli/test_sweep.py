"""`hmsim sweep` as a user calls it; what a sweep does is tested in tests/sweep."""

import pytest

from hmsim.cli import main
from hmsim.sweep import executors
from tests.cli.calls import done, refused
from tests.sweep.toy_sweep import TEXT, Here, write

GOOD = TEXT.replace('["8 GB", "16.001 GB"]', '["16.001 GB"]')


def test_a_dry_run_lists_the_points(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(executors, "LocalPool", lambda jobs: Here())
    shown = done(capsys, "sweep", write(tmp_path, GOOD), "--dry-run", "--jobs", "1")
    assert "3 points, 2 different runs" in shown
    assert "as before" in shown
    assert shown.count("  about ") == 2


def test_a_sweep_whose_points_all_work(tmp_path, capsys):
    out = tmp_path / "out"
    shown = done(capsys, "sweep", write(tmp_path, GOOD), "-o", out, "--jobs", "1")
    assert "3 points: 2 computed" in shown
    assert shown.count("layers: 2 of the model's 32 are decoded; the weights of all of them") == 1
    assert (out / "sweep.h5").exists()
    assert "3 points: 0 computed, 2 known" in done(
        capsys, "sweep", write(tmp_path, GOOD), "-o", out, "--jobs", "1", "--resume"
    )


def test_a_point_that_fails_is_told_and_ends_with_one(tmp_path, capsys):
    call = ["sweep", str(write(tmp_path)), "-o", str(tmp_path / "out"), "--jobs", "1"]
    assert main(call) == 1
    assert capsys.readouterr().err.count("failed: ") == 2  # two different runs


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (GOOD, [], "-o DIR: missing"),
        (GOOD.replace("workload.sparsity", "workload.sparcity"), ["--dry-run"], "sparcity"),
        (
            GOOD.replace("values = [0.4, 0.6, 0.4]", "values = []"),
            ["--dry-run"],
            "axes.sparsity: empty",
        ),
        (GOOD, ["--dry-run", "--jobs", "0"], "jobs"),
        (f"{GOOD}\n[base.output]\nbogus = 1", ["--dry-run"], "base.output: bogus: unknown key"),
        ("title = ", ["--dry-run"], "not valid TOML"),
    ],
)
def test_mistakes(tmp_path, capsys, text, arguments, message):
    assert message in refused(capsys, "sweep", write(tmp_path, text), *arguments)
