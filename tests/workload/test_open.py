"""Specs to workloads: matrices, made-up requests, extra reads, and contradictions refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hmsim.config.base import load, read_toml
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload import open_workload
from hmsim.workload.open import save_requests
from hmsim.workload.statistics import measure
from tests.oracles.chat_requests import write_chat

WORKLOADS = Path(__file__).parents[2] / "workloads"
BASE = {"model": "gpt2", "layers": 2, "block_tokens": 4, "tokens": (20, 24)}


def sets(workload):
    return [
        set(np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist())
        for chunk in workload.chunks()
        for row in chunk.bits
    ]


def matrix(folder, scores, name="scores.npz"):
    path = folder / name
    if path.suffix == ".npz":
        np.savez(path, scores=scores)
    else:
        with h5py.File(path, "w") as file:
            file["scores"] = scores
    return path


def open_matrix(path, **rule):
    spec = WorkloadSpec(kind="matrix", matrix={"path": path.name} | rule, **BASE)
    return open_workload(spec, path.parent)


@pytest.mark.parametrize("name", ["scores.npz", "scores.h5"])
@pytest.mark.parametrize("heads", [None, 3])
def test_a_matrix_of_scores_gives_its_top_pages(tmp_path, name, heads):
    rng = np.random.default_rng(1)
    scores = rng.random((5, 2, 24) if heads is None else (5, 2, heads, 24))
    found = sets(open_matrix(matrix(tmp_path, scores, name), budget=8))
    for step in range(5):
        for layer in range(2):
            past = 20 + step
            expected = set()
            for row in np.atleast_2d(scores[step, layer])[:, :past]:
                best = {page: row[4 * page : 4 * page + 4].max() for page in range(-(-past // 4))}
                expected |= set(sorted(best, key=best.get)[-2:])
            assert found[2 * step + layer] == expected


def test_a_matrix_by_mass_takes_the_fewest_pages_that_hold_it(tmp_path):
    scores = np.full((5, 2, 24), 0.01)
    scores[:, :, 7], scores[:, :, 13] = 5.0, 3.0
    assert sets(open_matrix(matrix(tmp_path, scores), mass=0.6))[0] == {1}
    assert sets(open_matrix(matrix(tmp_path, scores), mass=0.9))[0] == {1, 3}
    assert sets(open_matrix(matrix(tmp_path, scores), mass=1.0))[0] == set(range(5))
    assert len(sets(open_matrix(matrix(tmp_path, scores), keep=0.4))[0]) == 2


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        (np.zeros((5, 2, 3)), "3 past tokens: the workload has 5 steps, 2 layers and 24 past"),
        (np.zeros((4, 2, 24)), "4 steps, 2 layers, 24 past tokens: the workload"),
        (np.zeros(5), "float64 of shape .5,.: expected numbers"),
        (np.full((5, 2, 24), np.nan), "step 0, layer 0, head 0, token 0: nan; scores must be"),
    ],
)
def test_bad_matrices_are_refused(tmp_path, scores, complaint):
    with pytest.raises(InputError, match=complaint):
        open_matrix(matrix(tmp_path, scores), budget=8)


def test_files_that_are_no_matrix(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    for name, complaint in (("bad.npz", "not a readable"), ("none.h5", "No such file")):
        with pytest.raises(InputError, match=complaint):
            open_matrix(tmp_path / name, budget=8)
    np.savez(tmp_path / "other.npz", score=np.zeros(3))
    with pytest.raises(InputError, match="no dataset 'scores'; did you mean 'score'"):
        open_matrix(tmp_path / "other.npz", budget=8)


def test_a_chat_outgrows_hbm(tmp_path):
    """At least 64 sequences at once, KV beyond 96 GB less the weights, 200 decode steps or more."""
    table = read_toml(WORKLOADS / "chat-real.toml")["workload"]
    table["requests"]["path"] = str(write_chat(tmp_path / "chat.jsonl"))
    workload = open_workload(load(WorkloadSpec, table, "chat-real"))
    found = measure(workload)
    assert found.tokens >= 200
    assert np.diff(workload.schedule.active_offset).min() >= 64
    assert found.peak_blocks * found.block_bytes > 96e9 - workload.geometry.resident_bytes


def test_made_up_requests_have_their_medians_and_rate():
    synthetic = {"count": 400, "rate": 5, "prompt_median": 300, "output_median": 20}
    spec = WorkloadSpec(
        model="gpt2", layers=1, block_tokens=16,
        requests={"synthetic": synthetic, "batch": 400, "steps": 2},
    )  # fmt: skip
    plan = open_workload(spec).schedule
    assert np.median(plan.prompt) == pytest.approx(300, rel=0.15)
    assert plan.prompt.tolist() == open_workload(spec).schedule.prompt.tolist()
    other = open_workload(spec.model_copy(update={"seed": 2})).schedule
    assert plan.prompt.tolist() != other.prompt.tolist()


def test_weights_grow_with_the_batch_and_the_index_with_the_context():
    def hbm(**changes):
        spec = WorkloadSpec(**(BASE | {"model": "mixtral-8x7b", "copies": 2} | changes))
        return next(iter(open_workload(spec).chunks())).hbm_bytes

    assert hbm()[0] > hbm(copies=1)[0]
    extra = hbm(index_bytes=100) - hbm()
    np.testing.assert_allclose(extra, np.repeat(100.0 * 2 * np.arange(20, 25), 2))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"trace": "t.h5", "seed": 2}, "trace excludes seed"),
        ({}, "give tokens .first and last n., or"),
        (BASE | {"requests": {"path": "x"}}, "tokens excludes .workload.requests."),
        ({"wrokload": 1}, "wrokload: unknown key"),
        (BASE | {"tokens": (5, 4)}, "tokens: the first n is above the last"),
        (BASE | {"kind": "scores"}, "needs a table .workload.scores."),
        (BASE | {"kind": "dense", "sparsity": 0.5}, "sparsity does not go with kind = 'dense'"),
        (BASE | {"sparsity": 1.0}, "sparsity: 1.0: input should be less than 1"),
        (BASE | {"sparcity": 0.5}, "sparcity: unknown key; did you mean 'sparsity'"),
        ({"requests": {"batch": 3}}, "requests: give path"),
        ({"requests": {"path": "x"}, "copies": 2}, "copies goes with tokens"),
        (BASE | {"model": {"layers": 3}}, "spec: model: give ffn, heads, hidden, vocab"),
        (BASE | {"model": {"layers": 3, "hiden": 4}}, "hiden: unknown key; did you mean 'hidden'"),
        (BASE | {"model": 5}, "model: 5: expected the name of a preset, or a table"),
    ],
)
def test_contradictory_specs_are_refused_in_one_line(table, complaint):
    with pytest.raises(InputError, match=complaint) as refused:
        load(WorkloadSpec, table, "spec")
    assert "\n" not in str(refused.value)


def test_churn_refuses_what_it_cannot_model():
    spec = WorkloadSpec(**(BASE | {"model": "gpt-oss-120b"}))
    with pytest.raises(InputError, match=r"'churn' .the default. knows no windowed layers"):
        open_workload(spec)


def test_a_model_may_be_given_as_a_table():
    sizes = {"kv_bytes_per_token_layer": "1 KiB", "weight_bytes_step": 5, "resident_bytes": 7}
    workload = open_workload(WorkloadSpec(**(BASE | {"model": {"layers": 2} | sizes})))
    assert (workload.geometry.block_bytes, workload.geometry.resident_bytes) == (4096, 7)


def test_requests_of_a_spec_for_other_tools(tmp_path):
    requests = {"synthetic": {"count": 5}, "skip": 2}
    save_requests(WorkloadSpec(requests=requests), tmp_path, "vidur", tmp_path / "r.csv")
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 3
    with pytest.raises(InputError, match=r"format 'vidur': needs a spec with"):
        save_requests(WorkloadSpec(**BASE), tmp_path, "vidur", tmp_path / "s.csv")


def test_skipping_every_request_is_refused():
    requests = {"synthetic": {"count": 3}, "skip": 3}
    with pytest.raises(InputError, match="skip: 3 leaves none of the 3 requests"):
        open_workload(WorkloadSpec(model="gpt2", requests=requests))
