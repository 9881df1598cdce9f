"""Result files: whole at any time, opened by xarray, an old one kept until the new one is done."""

import h5py
import numpy as np
import pytest

from hmsim.errors import InputError
from hmsim.results import schema as result
from hmsim.results.schema import (
    SIZES,
    STEP_VARIABLES,
    TOTALS,
    TRAITS,
    Record,
    ResultWriter,
    check,
    read_record,
)


def variables(rows, scale=1):
    """Something for every variable."""
    return {
        name: np.full((rows, *(SIZES[each] for each in further)), scale, dtype=kind)
        for name, (further, kind, _, _) in STEP_VARIABLES.items()
    }


ATTRIBUTES = {
    "config": "x = 1", "fidelity": "analytic", "energy_data": "random", "peak_bandwidth_GBps": 1.0,
    "system": "a system",
    "workload_title": "a workload", "title": "", "seed": 1, "workload_steps": 9,
    "workload_warmup_steps": 0,
    "workload_layers": 1, "workload_sequences": 1, "workload_block_bytes": 1,
    "workload_tokens_per_block": 1, "workload_seed": 1, "bound_method": "split",
    "bound_variant": "text", "bound_barrier": "layer", "numba": "0", "numpy": "0",
}  # fmt: skip

FINISHED = {
    "wall_s": 0.1, "workload_token_steps": 9, "workload_tokens": 9, "workload_demand_bytes": 1.0,
    "bound_time_s": 1.0, "bound_bandwidth_GBps": 1.0, "bound_iterations": 0,
}  # fmt: skip


def traits(policies):
    return {
        "is_schedule": [1] * len(policies),
        "foresight": [0] * len(policies),
        "bound_kind": ["variant"] * len(policies),
    }


def writer_of(path, policies, steps):
    return ResultWriter(path, list(policies), traits(policies), steps, ATTRIBUTES)


def write(path, rows=(5, 4), policies=("static", "reactive"), finish=True):
    with writer_of(path, policies, sum(rows)) as writer:
        for rows_now in rows:
            for policy in range(len(policies)):
                writer.append(policy, variables(rows_now, policy + 1))
        writer.steps(0, np.arange(sum(rows)), np.zeros(sum(rows), np.int64))
        if finish:
            totals = dict.fromkeys(TOTALS, [float("nan")] * len(policies))
            totals["total_time_s"] = [1.5 + row for row in range(len(policies))]
            record = Record(FINISHED, list(policies), totals, traits(policies))
            writer.finish(record, np.zeros((0, 3)))


def test_xarray_opens_it_with_named_dimensions_and_units(tmp_path):
    xarray = pytest.importorskip("xarray")
    write(tmp_path / "r.h5")
    with xarray.open_dataset(tmp_path / "r.h5", engine="h5netcdf") as data:
        assert data.sizes == {"policy": 2, "step": 9, "memory": 2, "reason": 11, "cause": 7}
        assert list(data.policy.values) == ["static", "reactive"]
        assert list(data.memory.values) == ["hbm", "dram"]
        for name in (*STEP_VARIABLES, *TOTALS, *TRAITS):
            assert "units" in data[name].attrs, name
        assert data.attention_read_bytes.sel(policy="reactive", memory="dram").values[3] == 2
        assert data.attrs["complete"] == 1


@pytest.mark.parametrize("block", [1, 2, 3, 9, 100])
def test_blocks_of_any_size_hold_the_same(tmp_path, monkeypatch, block):
    monkeypatch.setattr(result, "BLOCK", block)
    write(tmp_path / "r.h5", rows=(2, 5, 1, 1))
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["steps_done"] == 9
        assert (file["time_s"][0] == 1).all()
        assert (file["promotion_bytes"][1] == 2).all()
        assert (file["bus_ticks"][1] == 2).all()


def test_only_replayed_steps_of_a_sparse_variable_are_written(tmp_path):
    values = variables(9)
    values["bus_ticks"][:] = -1
    values["bus_ticks"][[2, 3, 7]] = 5
    values["replay_energy_J"][:] = np.nan
    values["replay_energy_J"][[2, 7]] = 0.0
    with writer_of(tmp_path / "r.h5", ["static"], 9) as writer:
        writer.append(0, values)
    with h5py.File(tmp_path / "r.h5") as file:
        for name in ("bus_ticks", "replay_energy_J"):
            assert np.array_equal(file[name][0], values[name], equal_nan=name != "bus_ticks")


def test_interruption_keeps_what_is_done_and_says_so(tmp_path):
    path = tmp_path / "r.h5"
    with pytest.raises(KeyboardInterrupt), writer_of(path, ["static"], 9) as writer:
        writer.append(0, variables(4))
        raise KeyboardInterrupt
    with h5py.File(path) as file:
        assert (file.attrs["complete"], file.attrs["steps_done"]) == (0, 4)
        assert np.isnan(file["time_s"][0, 4:]).all()
        assert (file["time_s"][0, :4] == 1).all()


def test_an_existing_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "r.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), writer_of(path, ["static"], 9) as writer:
        writer.append(0, variables(4))
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["r.h5"]
    with pytest.raises(KeyboardInterrupt), writer_of(path, ["static"], 9):
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    (partial,) = tmp_path.glob("r.h5.*.partial")
    with h5py.File(partial) as file:
        assert file.attrs["complete"] == 0
    write(path, rows=(3,))
    with h5py.File(path) as file:
        assert file["time_s"].shape == (2, 3)


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        check(tmp_path / "none.h5")
    (tmp_path / "empty.h5").write_bytes(b"")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        check(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "hmsim-trace"
    with pytest.raises(InputError, match="format is 'hmsim-trace'"):
        check(tmp_path / "other.h5")
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(InputError, match="version 99 is newer"):
        check(tmp_path / "r.h5")
    with pytest.raises(InputError, match="cannot be written"):
        writer_of(tmp_path / "r.h5" / "folder.h5", ["static"], 9)


def test_a_record_is_read_as_it_was_written(tmp_path):
    write(tmp_path / "r.h5")
    record = read_record(tmp_path / "r.h5")
    assert record.policies == ["static", "reactive"]
    assert record.totals["total_time_s"] == [1.5, 2.5]
    assert record.traits == traits(record.policies)
    assert record.attributes.items() >= (ATTRIBUTES | FINISHED | {"complete": 1}).items()


@pytest.mark.parametrize("lacking", ["is_schedule", "aggregate_bandwidth_GBps"])
def test_a_file_of_an_older_schema_is_refused_in_one_line(tmp_path, lacking):
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        del file[lacking]
    with pytest.raises(InputError, match=f"lacks '{lacking}'"):
        read_record(tmp_path / "r.h5")
