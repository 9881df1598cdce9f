"""The presets against published measurements, and the page that says so."""

import numpy as np
import pytest

from hmsim.config.system import load_system


@pytest.fixture(scope="module")
def rows():
    from scripts import silicon

    return silicon.rows()


@pytest.mark.slow
def test_presets_meet_what_was_measured(rows):
    errors = np.array([abs(row.error) for row in rows])
    free = np.array([abs(row.error) for row in rows if not row.fixes])
    assert np.median(errors) < 0.05
    assert np.median(free) < 0.05
    assert errors.max() < 0.22
    assert len({row.fixes for row in rows if row.fixes}) == len(rows) - len(free) < len(free)


@pytest.mark.slow
def test_kv_gathers_of_two_cards_are_met(rows):
    """Those over 8 GiB, where DRAM alone counts, and those whose addresses are looked up."""
    from scripts.silicon import KV_GATHER

    errors = [abs(row.error) for row in rows if row.source == "H" and KV_GATHER.match(row.call)]
    assert len(errors) > 20
    assert np.median(errors) < 0.02
    assert max(errors) < 0.13


@pytest.mark.slow
def test_the_page_is_of_these_presets(rows):
    """Made anew by `python scripts/silicon.py`."""
    from scripts import silicon

    assert silicon.page(rows) == silicon.PAGE.read_text(encoding="utf-8")
    readme = (silicon.ROOT / "README.md").read_text(encoding="utf-8")
    assert silicon.summary([row for row in rows if not row.fixes]) in readme


def test_the_two_parts_of_a_gh200_differ_in_their_dram_alone():
    one, other = (load_system(name).model_dump() for name in ("gh200-96gb", "gh200-96gb-120gb"))
    assert [one[key] == other[key] for key in ("hbm", "link", "gpu", "cpu")] == [True] * 4
    own = {key for key in one["dram"] if one["dram"][key] != other["dram"][key]}
    assert own == {"source", "memory", "bandwidth", "capacity"}
