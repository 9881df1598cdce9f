"""The promise of a sample's 95 % interval, held against full replays."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/sample_coverage.py"


@pytest.mark.slow
def test_intervals_hold_what_a_full_replay_takes():
    spec = importlib.util.spec_from_file_location("sample_coverage", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.covered(script.small(), 200)  # a minute or two
    assert len(found) == 2
    for name, coverage in found.items():
        assert 0.9 <= coverage.share <= 0.99, name
        assert coverage.half <= 0.02, name
        assert abs(coverage.error) <= 0.005, name
