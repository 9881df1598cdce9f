"""Trace files as workloads: lanes, whole tokens, and tokens in any order."""

import numpy as np
import pytest

from hmsim.store.trace import Blocks, Header, Slab, write_trace
from hmsim.workload import trace as module
from hmsim.workload.trace import TraceWorkload, save

pytestmark = pytest.mark.nojit


def write(path, tokens, layers, reads):
    """A trace of six prompt blocks, three in each of two layers, and the given steps."""
    steps, none = len(tokens), np.zeros(0, np.int64)
    layer, position = np.divmod(np.arange(6), 3)
    life = np.full(6, -1), np.full(6, steps)
    slab = Slab(
        0, np.array(tokens), np.array(layers), np.zeros(steps), np.zeros(steps),
        np.append(0, np.cumsum([len(read) for read in reads])),
        np.array([block for read in reads for block in read], np.int64),
        np.zeros(steps + 1, np.int64), none, none,
    )  # fmt: skip
    header = Header(block_bytes=64, layers=2)
    write_trace(path, header, Blocks(layer, np.zeros(6, np.int64), position, *life), [slab])
    return TraceWorkload(path)


def slots(chunk, row):
    return np.flatnonzero(np.unpackbits(chunk.bits[row].view(np.uint8), bitorder="little")).tolist()


def test_a_lane_for_each_layer(tmp_path):
    workload = write(tmp_path / "t.h5", [4, 4, 5, 5], [0, 1, 0, 1], [[0, 2], [4], [1], [3, 5]])
    assert (workload.geometry.lanes, workload.geometry.slots) == (2, 64)
    (chunk,) = workload.chunks()
    assert chunk.lane.tolist() == [0, 1, 0, 1]
    assert [slots(chunk, k) for k in range(4)] == [[0, 2], [1], [1], [0, 2]]
    assert workload.prompt.tolist() == [[0b111], [0b111]]
    layer, sequence, position = workload.locate(np.array([2, 64]))
    assert (layer.tolist(), sequence.tolist(), position.tolist()) == ([0, 1], [0, 0], [2, 0])


@pytest.mark.parametrize("layers", [[-1, -1], [0, 1]], ids=["no layers", "reads across"])
def test_one_lane_where_steps_do_not_keep_to_a_layer(tmp_path, layers):
    workload = write(tmp_path / "t.h5", [4, 5], layers, [[0, 5], [4]])
    (chunk,) = workload.chunks()
    assert workload.geometry.lanes == 1
    assert [slots(chunk, k) for k in range(2)] == [[0, 5], [4]]
    save(workload, tmp_path / "u.h5")
    (again,) = TraceWorkload(tmp_path / "u.h5").chunks()
    assert [slots(again, k) for k in range(2)] == [[0, 5], [4]]


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_chunks_hold_whole_tokens(tmp_path, monkeypatch, steps):
    monkeypatch.setattr(module, "CHUNK_BYTES", 8 * steps)
    tokens = [4, 4, 5, 5, 5, 6, 7, 7]
    workload = write(tmp_path / "t.h5", tokens, [0] * 8, [[k % 3] for k in range(8)])
    chunks = list(workload.chunks())
    assert len(chunks) > 1
    assert np.concatenate([chunk.token for chunk in chunks]).tolist() == tokens
    ends = {int(chunk.token[-1]) for chunk in chunks}
    assert len(ends) == len(chunks)
    for chunk in chunks[:-1]:
        assert chunk.token[-1] != tokens[chunk.first + chunk.token.size]


def test_tokens_that_do_not_ascend_are_numbered_anew(tmp_path):
    workload = write(tmp_path / "t.h5", [9, 9, 3, 5, 5], [0] * 5, [[0]] * 5)
    tokens = np.concatenate([chunk.token for chunk in workload.chunks()])
    assert tokens.tolist() == [0, 0, 1, 2, 2]
