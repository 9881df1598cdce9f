"""Workloads of models whose layers differ: windows, KV, state, weights."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmsim.config.model import model, resolve_model
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload.open import open_workload

SMALL = {"layers": 4, "hidden": 64, "heads": 4, "ffn": 128, "vocab": 100}
MIXED = SMALL | {
    "kinds": {
        "wide": {"kv_heads": 4},
        "narrow": {"kv_heads": 1},
        "state": {"kv_heads": 0, "attention_parameters": 500, "state_bytes": 4096},
        "dense": {"kv_heads": 2, "sparse": False, "window": 32},
    },
    "pattern": "wide, narrow, state, dense",
    "experts": {"count": 8, "active": 2, "ffn": 32},
}


def opened(**spec):
    return open_workload(WorkloadSpec(**spec))


def reads(workload):
    """Blocks read [token steps, lanes]."""
    every = np.concatenate([chunk.reads for chunk in workload.chunks()])
    return every.reshape(-1, workload.geometry.lanes)


def gpt_oss(kind, **more):
    return opened(
        kind=kind, model="gpt-oss-120b", layers=2, block_tokens=16, tokens=(32000, 32001), **more
    )


def test_dense_layers_of_a_windowed_model_read_their_window():
    """2,000 pages before; 128 tokens are 8 pages."""
    assert reads(gpt_oss("dense")).tolist() == [[8, 2000], [9, 2001]]
    first = gpt_oss("scores", scores={"budget": 8192, "dense_layers": 1, "sink": 64, "window": 512})
    assert reads(first)[:, 0].tolist() == [8, 9]


def test_sinks_outside_a_layers_window_are_not_read():
    found = gpt_oss("streaming", streaming={"sink": 16, "window": 4096})
    assert reads(found).tolist() == [[8, 257], [9, 258]]
    narrow = gpt_oss("streaming", streaming={"sink": 16, "window": 64})
    assert reads(narrow).tolist() == [[4, 5], [5, 6]]
    # While the context fits into the window, so does the sink.
    short = opened(
        kind="streaming", model="gpt-oss-120b", layers=1, block_tokens=16, tokens=(96, 96),
        streaming={"sink": 16, "window": 32},
    )  # fmt: skip
    assert reads(short).tolist() == [[3]]


def test_a_matrix_of_scores_is_read_within_the_window(tmp_path):
    path = tmp_path / "scores.npz"
    np.savez(path, scores=np.ones((1, 2, 320)))
    spec = {"kind": "matrix", "layers": 2, "block_tokens": 16, "tokens": (320, 320)}
    matrix = {"path": str(path), "keep": 1.0}
    assert reads(opened(model="gpt-oss-120b", matrix=matrix, **spec)).tolist() == [[8, 20]]
    assert reads(opened(model="llama-3.1-8b", matrix=matrix, **spec)).tolist() == [[20, 20]]


def test_churn_is_refused_only_where_a_simulated_layer_has_a_window():
    spec = {"block_tokens": 16, "tokens": (100, 101), "sparsity": 0.5}
    with pytest.raises(InputError, match="knows no windowed layers"):
        opened(model="gpt-oss-120b", **spec)
    table = SMALL | {"kinds": {"local": {"window": 8}}, "pattern": "3 plain, local"}
    assert reads(opened(model=table, layers=3, **spec)).shape == (2, 3)


def test_blocks_bytes_and_weights_of_unequal_layers():
    """A page of a layer is as many blocks as its KV is of the smallest part that fits in all."""
    found = opened(kind="dense", model=MIXED, block_tokens=16, tokens=(100, 103), copies=2)
    layers = resolve_model(WorkloadSpec(model=MIXED, tokens=(1, 1)).model).by_layer
    shape = found.geometry
    assert [layer.kv_bytes for layer in layers] == [256, 64, 0, 128]
    assert shape.block_bytes == 16 * 64
    pages = 7 * 2  # of 100 .. 103 tokens, two sequences
    expected = [pages * 4, pages, 0, 3 * 2 * 2]  # the window: tokens 68 .. 99 are of 3 pages
    assert reads(found)[0].tolist() == expected
    appended = np.zeros(4, np.int64)
    alive = np.bitwise_count(found.prompt).sum(axis=1).tolist()
    assert alive == [pages * 4, pages, 0, pages * 2]
    for chunk in found.chunks():
        np.add.at(appended, np.repeat(chunk.lane, np.diff(chunk.append_offset)), chunk.append_bytes)
        for k, lane in enumerate(chunk.lane.tolist()):
            bits = np.flatnonzero(np.unpackbits(chunk.bits[k].view(np.uint8), bitorder="little"))
            assert bits.size == chunk.reads[k]
            _, sequence, page = found.locate(lane * shape.slots + bits)
            each = np.bincount(sequence * 100 + page)
            share = layers[lane].kv_bytes // 64
            assert set(each[each > 0].tolist()) <= {share}  # all blocks of a page, or none
            slots = chunk.append_slot[chunk.append_offset[k] : chunk.append_offset[k + 1]]
            assert slots.size == 2 * share
            assert (np.diff(slots) > 0).all()
    assert appended.tolist() == [4 * 2 * size for size in (256, 64, 0, 128)]
    given = resolve_model(WorkloadSpec(model=MIXED, tokens=(1, 1)).model)
    first = next(found.chunks()).hbm_bytes[:4]
    state = [0, 0, 2 * 2 * 4096, 0]  # of both sequences, read and written back
    for lane in range(4):
        assert first[lane] == pytest.approx(given.weights_step(2, lane) + state[lane])
    assert shape.resident_bytes == given.resident + 2 * 4096


def test_sequences_that_end_free_every_block_of_theirs():
    requests = {"synthetic": {"count": 5, "prompt_median": 60, "output_median": 9}, "batch": 2}
    spec = {"kind": "dense", "block_tokens": 16, "requests": requests | {"steps": 60}}
    plain, found = opened(model=SMALL, **spec), opened(model=MIXED, **spec)

    def deaths(workload):
        every = np.concatenate([chunk.death_block for chunk in workload.chunks()])
        return np.bincount(every // workload.geometry.slots, minlength=4)

    one = deaths(plain)[0]
    assert one > 0
    assert deaths(found).tolist() == [one * 4, one, 0, one * 2]


def test_a_model_that_keeps_no_kv_is_refused():
    table = SMALL | {"kv_heads": 0, "attention_parameters": 9, "state_bytes": 5, "heads": None}
    with pytest.raises(InputError, match="no layer keeps KV"):
        opened(model=table, block_tokens=16, tokens=(9, 9))


def test_weights_follow_the_layer():
    """Of DeepSeek-V3 the first three layers are dense, and read less than those with experts."""
    found = opened(model="deepseek-v3", block_tokens=16, tokens=(64, 64), copies=8, sparsity=0.5)
    weights = next(found.chunks()).hbm_bytes
    assert len(set(weights[:3].tolist())) == 1 == len(set(weights[3:].tolist()))
    assert weights[0] < weights[3]
    assert weights.sum() == pytest.approx(model("deepseek-v3").weights_step(8) * 61, rel=1e-12)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    windows=st.lists(st.integers(0, 70), min_size=1, max_size=4),
    past=st.integers(1, 90),
    kind=st.sampled_from(["dense", "streaming", "scores"]),
)
def test_windows_bound_what_is_read(windows, past, kind):
    """No token outside a layer's window is in a page that it reads, but those of the page's own."""
    kinds = {f"k{i}": {"window": window} for i, window in enumerate(windows)}
    table = SMALL | {"layers": len(windows), "kinds": kinds, "pattern": ", ".join(kinds)}
    rule = {
        "dense": {},
        "streaming": {"streaming": {"sink": 4, "window": 20}},
        "scores": {"scores": {"keep": 0.7, "sink": 4, "window": 8, "slow": 1.0}},
    }[kind]
    found = opened(model=table, kind=kind, block_tokens=4, tokens=(past, past + 2), **rule)
    for n, row in enumerate(reads(found).tolist(), past):
        for window, count in zip(windows, row, strict=True):
            first = max(n - window, 0) // 4 if window else 0
            assert count <= -(-n // 4) - first
            if kind == "dense":
                assert count == -(-n // 4) - first
