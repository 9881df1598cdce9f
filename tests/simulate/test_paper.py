"""The founding paper's workloads at full size, against the numbers it and its simulator give."""

from pathlib import Path

import pytest

from hmsim.config.run import load_run
from hmsim.simulate import run as engine

CATALOGUE = Path(__file__).parents[2] / "workloads"


def times(name, *changes, policies=("unlimited",)):
    """Analytic decode seconds by policy, over every step."""
    changes = [*changes, f"policies.names={list(policies)}", "replay.fidelity=analytic",
               "bound.method=split"]  # fmt: skip
    ran = engine.execute(load_run(CATALOGUE / f"{name}.toml", changes), None)
    assert ran.workload.geometry.steps == 327_648
    return {outcome.name: outcome.time_s for outcome in ran.outcomes}


@pytest.mark.slow
def test_low_variation():
    names = ("unlimited", "static", "reactive", "authors-static", "authors-reactive")
    found = times("paper-60", policies=names)
    assert f"{found['unlimited']:.9f}" == "24.592106225"
    assert found["authors-static"] == pytest.approx(165.32, rel=0.002)
    assert found["static"] == pytest.approx(165.32, rel=0.002)
    # The flush makes this one chaotic: the file's seed is one of two in eight that are this close.
    assert found["authors-reactive"] == pytest.approx(82.3, rel=0.01)
    assert found["unlimited"] < found["reactive"] < found["static"]


@pytest.mark.slow
def test_high_variation():
    found = times("paper-60-high", policies=("unlimited", "authors-static"))
    assert f"{found['unlimited']:.9f}" == "24.610970108"
    assert found["authors-static"] == pytest.approx(122.24, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("sparsity", "seconds"), [(0.5, 28.247), (0.4, 31.901)])
def test_unlimited_at_other_sparsities(sparsity, seconds):
    found = times("paper-60", f"workload.sparsity={sparsity}")
    assert found["unlimited"] == pytest.approx(seconds, rel=1e-4)
