"""The script that reproduces the founding paper, on two tokens of it."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/reproduce_paper.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("reproduce_paper", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "QUICK_TOKENS", 2)
    few = [
        module.Pass("low", "authors", module.LOW, {"authors-page": module.AUTHORS["authors-page"]}),
        module.Pass("low", "text", module.LOW, {"static": module.TEXT["static"]}),
    ]
    monkeypatch.setattr(module, "passes", lambda: iter(few))
    return module


def test_passes_are_kept_and_not_played_again(script, tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    found = script.evaluate(path, quick=True)
    monkeypatch.setattr(script, "play", None)  # would fail if called
    assert script.evaluate(path, quick=True) == found == json.loads(path.read_text())
    played = found["cases"]["low"]["policies"]
    assert set(played["static"]["time_s"]) == {"text", "code", "exclusive", "inclusive"}
    assert set(played["authors-page"]["time_s"]) == {"authors"}
    assert 0.4 < played["static"]["hbm_share"]["text"] < 1
    script.write_csv(found, tmp_path / "results.csv")
    script.write_table(found, tmp_path / "table.md")
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 5
    assert "| static | 165.315 |" in (tmp_path / "table.md").read_text()


def test_fewer_layers_keep_the_share_of_the_kv_that_hbm_holds(script):
    whole, part = (script.spec_of(script.REAL | {"layers": layers}, False) for layers in (32, 12))
    room = [
        spec.system.hbm.capacity - script.open_workload(spec.workload).geometry.resident_bytes
        for spec in (whole, part)
    ]
    assert room[1] == pytest.approx(room[0] * 12 / 32)
