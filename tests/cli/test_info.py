"""`hmsim info` as a user calls it."""

import json

import pytest

from tests.cli.calls import done, refused, told
from tests.oracles import small_results


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return small_results.result(tmp_path_factory.mktemp("info"))


def test_a_result(result, capsys):
    shown = done(capsys, "info", result.path)
    assert "a small run" in shown
    assert "complete; fidelity analytic, seed 1" in shown
    found = told(capsys, "info", result.path)
    assert set(found["policies"]) == set(result.policies)
    assert found["attributes"]["complete"] == 1


def test_its_configuration_runs_again(result, tmp_path, capsys):
    again = tmp_path / "again.toml"
    again.write_text(done(capsys, "info", result.path, "--config"))
    report = told(capsys, "run", again)
    own = told(capsys, "info", result.path)
    assert own["policies"]["static"]["time_s"] == report["policies"]["static"]["time_s"]


def test_a_sweeps_directory(tmp_path, capsys):
    folder = small_results.sweep(tmp_path)
    assert "6 points: 0 missing, 3 failed" in done(capsys, "info", folder)
    assert told(capsys, "info", folder)["axes"] == {"sparsity": 3, "capacity": 2, "policy": 2}
    assert "gh200-paper" in done(capsys, "info", folder, "--config")


def test_bandwidths_for_serving_simulators(result, tmp_path, capsys):
    found = json.loads(done(capsys, "info", "--bandwidth", result.path))
    assert found["format"] == "hmsim-bandwidth"
    assert found["by"] == "token"
    static = found["policies"]["static"]
    own = told(capsys, "info", result.path)["policies"]["static"]
    assert static["read_GBps"]["aggregate"] == pytest.approx(own["aggregate_bandwidth_GBps"])
    assert len(static["steps"]["read_GBps"]["hbm"]) == 16
    found = json.loads(done(capsys, "info", result.path, "--bandwidth", "--by", "step"))
    assert len(found["policies"]["static"]["steps"]["layer"]) == 64
    assert "--by: goes with --bandwidth" in refused(capsys, "info", result.path, "--by", "step")
    folder = small_results.sweep(tmp_path)
    assert "not of a sweep" in refused(capsys, "info", folder, "--bandwidth")


def test_mistakes(tmp_path, capsys):
    assert "cannot be read" in refused(capsys, "info", tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    assert "not a readable HDF5 file" in refused(capsys, "info", tmp_path / "text.h5")
    (tmp_path / "empty").mkdir()
    assert "no directory of a sweep" in refused(capsys, "info", tmp_path / "empty")
