"""hmsim as a library: run, open, look, hand on."""

import gc

import h5py
import numpy as np
import pytest

import hmsim
from hmsim.errors import InputError
from hmsim.results import summary
from hmsim.simulate import run as engine
from tests.oracles import small_results


def test_run_without_a_file_cleans_up_after_itself():
    result = hmsim.run(small_results.CONFIG)
    path = result.path
    assert path.exists()
    del result
    gc.collect()
    assert not path.parent.exists()


def test_result_says_what_the_run_said(tmp_path):
    result = small_results.result(tmp_path)
    spec = result.spec
    report = summary.as_dict(engine.execute(spec, None).record)
    own = result.report()
    assert own | {"wall_s": 0} == report | {"wall_s": 0}


def test_a_result_runs_again_to_the_same_numbers(tmp_path):
    first = small_results.result(tmp_path)
    again = hmsim.run(first.spec)
    for name, values in first.totals.items():
        assert np.array_equal(values, again.totals[name], equal_nan=True), name


def test_exports(tmp_path):
    result = small_results.result(tmp_path)
    data = result.to_xarray()
    assert data.time_s.dims == ("policy", "step")
    assert np.array_equal(data.time_s, result.steps("time_s"))
    frame = result.to_dataframe()
    assert list(frame.index) == result.policies
    assert frame.loc["static", "total_time_s"] == result.total("static", "total_time_s")


def test_bandwidth_by_memory_and_step_adds_up_to_the_run(tmp_path):
    """Reads by memory are disjoint; moves are in both memories, and only where they are asked for."""
    result = small_results.result(tmp_path)
    seconds = result.steps("time_s")[:, :, None]
    read = result.steps("attention_read_bytes") + result.steps("weight_read_bytes")
    assert np.allclose(result.bandwidth() * seconds * 1e9, read)
    total = (result.bandwidth() * seconds).sum(axis=(1, 2)) / seconds.sum(axis=(1, 2))
    assert np.allclose(total, result.totals["aggregate_bandwidth_GBps"])
    more = (result.bandwidth(moves=True) - result.bandwidth()) * seconds * 1e9
    names = ("append_write_bytes", "promotion_bytes", "demotion_bytes")
    assert np.allclose(more, sum(result.steps(name) for name in names), atol=1)
    data = result.to_xarray()
    assert data.read_bandwidth_GBps.attrs["units"] == "GB/s"
    assert np.array_equal(data.read_bandwidth_GBps, result.bandwidth())


def test_people_can_read_it(tmp_path):
    result = small_results.result(tmp_path)
    assert "a small run" in repr(result)
    for policy in result.policies:
        assert policy in repr(result)
        assert f"<td>{policy}</td>" in result._repr_html_()


def test_unknown_names(tmp_path):
    result = small_results.result(tmp_path)
    with pytest.raises(InputError, match="did you mean 'static'"):
        result.total("statik", "total_time_s")
    with pytest.raises(InputError, match="did you mean 'tpot_s'"):
        result.total("static", "tpot")
    with pytest.raises(InputError, match="did you mean 'time_s'"):
        result.steps("times_s")
    with pytest.raises(InputError, match="resolved"):
        hmsim.run(result.spec, ["workload.seed=2"])


def test_incomplete_and_newer_files(tmp_path):
    result = small_results.result(tmp_path)
    with h5py.File(result.path, "a") as file:
        file.attrs["complete"] = 0
    with pytest.raises(InputError, match="incomplete"):
        hmsim.Result.open(result.path)
    assert hmsim.Result.open(result.path, partial=True).policies == result.policies
    with h5py.File(result.path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(InputError, match="newer"):
        hmsim.Result.open(result.path)
