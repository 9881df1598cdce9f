"""Effective bandwidths against the result file, added up step by step."""

import h5py
import numpy as np
import pytest

from hmsim.results.bandwidth import effective_bandwidth
from hmsim.results.reader import ResultFile
from tests.oracles import small_results


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bandwidth")
    return small_results.result(folder, **{"replay.fidelity": "run"})


def expected(file, policy, rows, time):
    """GB/s of some steps, in plain sums over the file's variables."""
    seconds = sum(float(file[time][policy, row]) for row in rows)

    def rate(*names, tier=None):
        total = 0
        for name in names:
            for row in rows:
                total += int(
                    file[name][policy, row] if tier is None else file[name][policy, row, tier]
                )
        return total / seconds / 1e9

    reads = "attention_read_bytes", "weight_read_bytes"
    all_of_it = *reads, "append_write_bytes", "promotion_bytes", "demotion_bytes"
    hbm, dram = rate(*reads, tier=0), rate(*reads, tier=1)
    return {
        "time_s": seconds,
        "read_GBps": {"hbm": hbm, "dram": dram, "aggregate": hbm + dram},
        "carried_GBps": {"hbm": rate(*all_of_it, tier=0), "dram": rate(*all_of_it, tier=1)},
        "link_GBps": {"to_gpu": rate("link_to_gpu_bytes"), "to_dram": rate("link_to_dram_bytes")},
    }  # fmt: skip


def same(found, wanted, at=()):
    for key, value in wanted.items():
        if isinstance(value, dict):
            same(found[key], value, at)
        else:
            assert (found[key][at[0]] if at else found[key]) == pytest.approx(value, rel=1e-12), key


@pytest.mark.parametrize("by", ["token", "step"])
def test_bandwidths_are_the_files_bytes_over_its_times(result, by):
    found = effective_bandwidth(result, by)
    assert list(found["policies"]) == result.policies
    with h5py.File(result.path) as file:
        token = file["token"][:]
        groups = [[row] for row in range(token.size)]
        if by == "token":
            groups = [np.flatnonzero(token == each).tolist() for each in np.unique(token)]
        for k, name in enumerate(result.policies):
            policy = found["policies"][name]
            same(policy, expected(file, k, range(token.size), "time_s"))
            assert policy["time_s"] == pytest.approx(result.total(name, "total_time_s"))
            assert policy["read_GBps"]["aggregate"] == pytest.approx(
                result.total(name, "aggregate_bandwidth_GBps")
            )
            assert policy["steps"]["token"].tolist() == [token[rows[0]] for rows in groups]
            assert ("layer" in policy["steps"]) == (by == "step")
            for at, rows in enumerate(groups):
                same(policy["steps"], expected(file, k, rows, "time_s"), (at,))
            replayed = np.flatnonzero(np.isfinite(file["replay_time_s"][k])).tolist()
            assert policy["replay"]["layer_steps"] == len(replayed) > 0
            same(policy["replay"], expected(file, k, replayed, "replay_time_s"))
    assert found["peak_GBps"] == result.attributes["peak_bandwidth_GBps"]


def test_of_a_run_that_was_cut_short_the_finished_steps_count(result, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(result.path.read_bytes())
    for done, tokens in ((10, 3), (0, 0)):
        with h5py.File(path, "r+") as file:
            file.attrs["complete"], file.attrs["steps_done"] = 0, done
        found = effective_bandwidth(ResultFile.open(path, partial=True))
        assert found["layer_steps"] == done
        policy = found["policies"]["static"]
        assert len(policy["steps"]["time_s"]) == tokens
        assert (policy["read_GBps"]["hbm"] > 0) == (done > 0)
