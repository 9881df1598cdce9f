"""The founding paper's strategies at another model's size, on three tokens."""

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest

from hmsim.config.workload import WorkloadSpec
from hmsim.workload import open_workload

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("real_paper")


def trace():
    model = {
        "layers": 2,
        "kv_bytes_per_token_layer": 64,
        "weight_bytes_step": 8,
        "resident_bytes": 9,
    }
    return open_workload(WorkloadSpec(model=model, tokens=(100, 102), sparsity=0.6))


def test_weights_and_hbm_are_the_papers_shares(script):
    scale = script.scale_of_paper()
    assert scale.hbm == pytest.approx((23 * 2**30 - 16e9) / (32 * 41538 * 16384), rel=1e-3)
    # 40.7 % of the bytes read at 60 % sparsity are weights.
    assert scale.weights / (scale.weights + 0.4) == pytest.approx(0.407, abs=0.002)
    for chunk in script.Weighted(trace(), 5.0).chunks():
        np.testing.assert_array_equal(chunk.hbm_bytes, 5.0)


def test_a_synthetic_workload_takes_the_traces_size(script):
    like = script.churn_like(trace(), 0.5).geometry
    assert like._replace(resident_bytes=9.0) == trace().geometry


def test_no_committed_time_is_below_its_bound(script):
    with open(script.OUT / "paper.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    bounds = {
        (r["case"], r["model"]): float(r["time"]) for r in rows if r["strategy"] == script.BOUND
    }
    assert len({case for case, _ in bounds}) == 8
    for row in rows:
        if row["model"] != "authors" and row["strategy"] != "unlimited":
            assert float(row["time"]) >= bounds[row["case"], row["model"]] - 1e-4
