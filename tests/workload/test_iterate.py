"""The library's plain iteration over steps."""

import numpy as np
import pytest
import tomli_w

import hmsim.workload
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload import open_workload
from hmsim.workload.trace import save

TABLE = {
    "model": "gpt2", "layers": 2, "block_tokens": 4, "tokens": [40, 47], "copies": 2,
    "sparsity": 0.5,
}  # fmt: skip


def blocks(steps):
    return [
        (s.number, s.token, s.layer, sorted(zip(*(x.tolist() for x in s.blocks()), strict=True)))
        for s in steps
    ]


def test_a_table_a_spec_a_file_and_a_trace_give_the_same_steps(tmp_path):
    expected = blocks(hmsim.steps(TABLE))
    assert [row[:3] for row in expected[:4]] == [(0, 40, 0), (1, 40, 1), (2, 41, 0), (3, 41, 1)]
    assert all(len(set(row[3])) == len(row[3]) == 2 * round(0.5 * 9) for row in expected[:2])
    spec = WorkloadSpec(**TABLE)
    (tmp_path / "s.toml").write_text(tomli_w.dumps({"workload": TABLE}))
    save(open_workload(spec), tmp_path / "t.h5")
    for source in (spec, tmp_path / "s.toml", str(tmp_path / "t.h5")):
        assert blocks(hmsim.steps(source)) == expected


def test_a_workload_opens_from_whatever_its_steps_do(tmp_path):
    spec = WorkloadSpec(**TABLE)
    save(open_workload(spec), tmp_path / "t.h5")
    (tmp_path / "s.toml").write_text(tomli_w.dumps({"workload": {"trace": "t.h5"}}))
    expected = [chunk.reads.tolist() for chunk in open_workload(spec).chunks()]
    for source in (TABLE, str(tmp_path / "t.h5"), tmp_path / "s.toml"):
        assert [chunk.reads.tolist() for chunk in open_workload(source).chunks()] == expected
    for source in ("t.h5", "s.toml", {"trace": "t.h5"}):
        again = open_workload(source, base=tmp_path)
        assert [chunk.reads.tolist() for chunk in again.chunks()] == expected


def test_arrays_are_views():
    first, second = (step for step, _ in zip(hmsim.steps(TABLE), range(2), strict=False))
    assert first.bits.base is second.bits.base
    assert first.reads == np.bitwise_count(first.bits).sum()
    assert first.append_bytes.tolist() == [3072, 3072]


def test_mistakes_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        next(hmsim.steps(tmp_path / "none.h5"))
    with pytest.raises(InputError, match="workload: sparcity: unknown key"):
        next(hmsim.steps(TABLE | {"sparcity": 1}))
