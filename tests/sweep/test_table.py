"""The flat table, as CSV and as Parquet, and a sweep as a call."""

import csv
import sys
import tomllib

import numpy as np
import pytest

import hmsim
from hmsim.cli import main
from hmsim.errors import InputError
from tests.sweep.toy_sweep import TEXT, write


def test_parquet_says_what_csv_says(tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = str(tmp_path / "out")
    assert main(["sweep", str(write(tmp_path)), "-o", out, "--jobs", "1", "--parquet"]) == 1
    assert "sweep.parquet" in capsys.readouterr().out
    table = parquet.read_table(tmp_path / "out/sweep.parquet")
    with (tmp_path / "out/sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    assert table.schema.field("total_time_s").metadata == {b"units": b"s"}
    assert table.schema.field("capacity").metadata == {b"units": b"byte"}
    for mine, theirs in zip(table.to_pylist(), rows, strict=True):
        for name, text in theirs.items():
            value = mine[name]
            assert (value is None) == (text == "")
            assert value is None or value == type(value)(text)


def test_without_pyarrow_parquet_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    out = tmp_path / "out"
    assert main(["sweep", str(write(tmp_path)), "-o", str(out), "--parquet"]) == 2
    said = capsys.readouterr().err
    assert said == "hmsim: --parquet: needs pyarrow: pip install 'hmsim[parquet]'\n"
    assert not out.exists()


def test_a_sweep_as_a_call(tmp_path):
    data = hmsim.run_sweep(tomllib.loads(TEXT), tmp_path / "out", jobs=1)
    assert dict(data.sizes) == {"sparsity": 3, "capacity": 2, "policy": 2}
    assert (data.attrs["complete"], data.attrs["failed"]) == (1, 3)
    assert np.isfinite(data.total_time_s.sel(capacity=16.001e9)).all()
    with pytest.raises(InputError, match="continue it with --resume"):
        hmsim.run_sweep(write(tmp_path), tmp_path / "out")
    again = hmsim.run_sweep(write(tmp_path), tmp_path / "out", jobs=1, resume=True)
    assert again.identical(data)
    with pytest.raises(InputError, match="at least 1"):
        hmsim.run_sweep(write(tmp_path), tmp_path / "out", jobs=0)
