"""Logged selections as traces, against what the log says line by line."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.cli import main
from hmsim.config.model import model
from hmsim.errors import InputError, InputWarning
from hmsim.store.trace import TraceFile
from hmsim.workload.imports import import_file

GPT2 = {"model": "gpt2"}
# Selections of two of gpt2's twelve layers are told.
pytestmark = pytest.mark.filterwarnings("ignore:.*the others are left out")


def dsa(step, layer, tokens, selected, request=None):
    row = {
        "event": "dsa_topk", "step_idx": step, "layer_id": layer, "seq_len_current": tokens,
        "selected_token_pos": selected,
    }  # fmt: skip
    return row if request is None else row | {"request_id": request}


def lines(folder, rows, name="log.jsonl"):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def read(path):
    """What a trace says: by (token step, layer), reads and appends of (sequence, position)."""
    file = TraceFile(path)
    where = list(zip(file.blocks.sequence.tolist(), file.blocks.position.tolist(), strict=True))
    reads, appends, hbm = {}, {}, {}
    for slab in file.slabs():
        for k in range(slab.token.size):
            key = int(slab.token[k]), int(slab.layer[k])
            chosen = slab.read_block[slab.read_offset[k] : slab.read_offset[k + 1]]
            assert (file.blocks.layer[chosen] == slab.layer[k]).all()
            reads[key] = {where[b] for b in chosen}
            part = slice(slab.append_offset[k], slab.append_offset[k + 1])
            to, added = slab.append_block[part].tolist(), slab.append_bytes[part].tolist()
            appends[key] = {where[b]: size for b, size in zip(to, added, strict=True)}
            hbm[key] = float(slab.hbm_bytes[k])
    return file, reads, appends, hbm


def test_a_dump_of_deepseek_sparse_attention(tmp_path):
    rows = [
        dsa(6, 0, 7, [6, 2, 0, 2]), dsa(6, 1, 7, [5, -1, -1]),
        dsa(7, 0, 8, [0, 7]), dsa(7, 1, 8, []),
    ]  # fmt: skip
    import_file(lines(tmp_path, rows), "dsa", tmp_path / "t.h5", GPT2 | {"index_bytes": 10})
    file, reads, appends, hbm = read(tmp_path / "t.h5")
    assert (file.steps, file.header.sequences, file.header.tokens_per_block) == (4, 1, 1)
    entry = model("gpt2").kv_bytes
    assert file.header.block_bytes == entry
    assert reads == {
        (0, 0): {(0, 0), (0, 2), (0, 6)}, (0, 1): {(0, 5)}, (1, 0): {(0, 0), (0, 7)}, (1, 1): set()
    }  # fmt: skip
    assert appends[0, 0] == {(0, 6): entry}
    assert appends[1, 1] == {(0, 7): entry}
    assert (file.blocks.birth < 0).sum() == 2 * 6
    weights = model("gpt2").weights_step(1, 0)
    assert hbm[0, 0] == weights + 10 * 6
    assert hbm[1, 0] == weights + 10 * 7


@st.composite
def logs(draw):
    """Rows of a log, in any order, of sequences that come and go, and grow by one or more."""
    steps, layers = draw(st.integers(1, 6)), draw(st.sampled_from([[0], [0, 1], [1, 3, 4]]))
    rows = []
    for sequence in range(draw(st.integers(1, 3))):
        tokens = draw(st.integers(1, 40))
        for step in range(draw(st.integers(0, steps - 1)), draw(st.integers(1, steps))):
            tokens += draw(st.sampled_from([1, 1, 1, 3]))
            for layer in layers:
                chosen = draw(st.lists(st.integers(0, tokens - 1), max_size=6))
                rows.append(dsa(10 + step, layer, tokens, chosen, f"r{sequence}"))
    return draw(st.permutations(rows)) if rows else [dsa(0, 0, 1, [0])]


@settings(max_examples=40, deadline=None)
@given(logs(), st.sampled_from([1, 4, 16]))
@pytest.mark.filterwarnings("ignore:.*requests are taken in turn")
def test_a_trace_says_what_the_log_says(tmp_path_factory, rows, block_tokens):
    folder = tmp_path_factory.mktemp("log")
    changes = GPT2 | {"block_tokens": block_tokens, "requests": "together"}
    import_file(lines(folder, rows), None, folder / "t.h5", changes)
    _, reads, appends, _ = read(folder / "t.h5")
    names = list(dict.fromkeys(row.get("request_id", 0) for row in rows))
    steps = sorted({row["step_idx"] for row in rows})
    expected = {}
    held = {}  # bytes of a block, appended so far, and the prompt's
    for row in sorted(rows, key=lambda row: row["step_idx"]):
        s, layer = names.index(row.get("request_id", 0)), row["layer_id"]
        key = steps.index(row["step_idx"]), layer
        expected.setdefault(key, set()).update(
            (s, position // block_tokens) for position in row["selected_token_pos"]
        )
        end = row["seq_len_current"]
        start = held.get((s, layer), end - 1 if key[0] == 0 else 0)
        entry = model("gpt2").kv_bytes
        assert sum(size for (q, _), size in appends[key].items() if q == s) == (end - start) * entry
        held[s, layer] = end
    assert reads == expected


def test_requests_in_turn_or_together(tmp_path):
    """Positions as steps, one request after the other: the second waits for the first."""
    rows = [
        dsa(tokens - 1, layer, tokens, [0], request)
        for request, first in ((7, 5), ("b", 6))
        for tokens in (first, first + 1)
        for layer in (0, 1)
    ]
    path = lines(tmp_path, rows)
    with pytest.warns(InputWarning, match="requests are taken in turn"):
        import_file(path, "dsa", tmp_path / "t.h5", GPT2)
    file, reads, _, _ = read(tmp_path / "t.h5")
    assert [reads[t, 0] for t in range(4)] == [{(0, 0)}, {(0, 0)}, {(1, 0)}, {(1, 0)}]
    assert set(file.blocks.death[file.blocks.sequence == 0].tolist()) == {4}
    import_file(path, "dsa", tmp_path / "t.h5", GPT2 | {"requests": "together"})
    _, reads, _, _ = read(tmp_path / "t.h5")
    assert [reads[t, 0] for t in range(3)] == [{(0, 0)}, {(0, 0), (1, 0)}, {(1, 0)}]


@pytest.mark.parametrize("one_a_layer", [False, True])
def test_blocks_of_an_array_or_of_one_file_a_layer(tmp_path, one_a_layer):
    chosen = np.full((3, 2, 2, 3), -1, np.int32)  # step, layer, head group, k
    chosen[:, :, 0] = [0, 2, 1]
    chosen[2, 1, 1, 0] = 3
    path = tmp_path / "log.npy"
    if one_a_layer:
        path = tmp_path / "log"
        path.mkdir()
        for layer in range(2):
            np.save(path / f"run7_layer{layer:02d}.npy", chosen[:, layer])
    else:
        np.save(path, chosen)
    changes = GPT2 | {"block_tokens": 4, "prompt": 12}
    import_file(path, None, tmp_path / "t.h5", changes)
    file, reads, _, _ = read(tmp_path / "t.h5")
    base = {(0, 0), (0, 1), (0, 2)}
    assert reads == {(t, layer): base for t in range(3) for layer in (0, 1)} | {
        (2, 1): base | {(0, 3)}
    }
    assert file.blocks.birth.reshape(2, 4).tolist() == [[-1, -1, -1, 0], [-1, -1, -1, 1]]
    with pytest.warns(InputWarning, match="prompt: taken as 10 tokens"):
        import_file(path, None, tmp_path / "t.h5", GPT2 | {"block_tokens": 4})
    with pytest.raises(
        InputError, match="step 2, layer 1: block 3: 12 tokens are in blocks 0 to 2"
    ):
        import_file(path, None, tmp_path / "u.h5", changes | {"prompt": 9})
    assert not (tmp_path / "u.h5").exists()


@pytest.mark.parametrize("unit", ["selected_tokens", "selected_blocks"])
def test_our_own_csv(tmp_path, unit):
    given = {"selected_tokens": ("0 9 5", "[8; 9]", ""), "selected_blocks": ("2 0 1", "2", "-1")}
    rows = [f"step,sequence,layer,tokens,{unit}"]
    rows += [f"{t},chat-1,0,{10 + t},{given[unit][t]}" for t in range(3)]
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(("\ufeff" + "\r\n".join(rows) + "\r\n\r\n").encode()))
    import_file(path, None, tmp_path / "t.h5", GPT2 | {"block_tokens": 4})
    _, reads, _, _ = read(tmp_path / "t.h5")
    assert reads == {(0, 0): {(0, 0), (0, 1), (0, 2)}, (1, 0): {(0, 2)}, (2, 0): set()}


def test_a_log_runs(tmp_path, capsys):
    rows = [
        dsa(t, layer, 101 + t, list(range(t, 100, 7)), 0) for t in range(5) for layer in range(12)
    ]
    path = lines(tmp_path, rows)
    out = tmp_path / "t.h5"
    assert main(["workload", "import", str(path), "-o", str(out), "--set", "model=gpt2"]) == 0
    (tmp_path / "run.toml").write_text(
        f'[system]\npreset = "gh200-paper"\nhbm.capacity = "250 MB"\n[workload]\ntrace = "{out.name}"\n'
    )
    capsys.readouterr()
    assert main(["run", str(tmp_path / "run.toml"), "--json", "--fidelity", "analytic"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"]["token_steps"] == 5


GOOD = [dsa(0, 0, 5, [1]), dsa(0, 1, 5, [1]), dsa(1, 0, 6, [1]), dsa(1, 1, 6, [1])]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (dsa(2, 0, 7, [7]), "line 5: selected_token_pos: expected numbers of 0 to 6"),
        (dsa(2, 0, 7, [-2]), "line 5: selected_token_pos: expected numbers"),
        (dsa(2, 0, 7, [1.0]), "line 5: selected_token_pos: expected a list of whole numbers"),
        (dsa(2, 0, 7, None), "line 5: selected_token_pos: expected a list"),
        (dsa(2, 0, 10**30, [1]), "line 5: seq_len_current 1000"),
        (dsa("x", 0, 7, [1]), "line 5: step_idx 'x': expected a whole number"),
        (dsa(2, 0, 7, [1]), "step 2: no selection of layer 1 for the sequence of line 5"),
        (dsa(1, 1, 6, [2]), "line 5: the same step, sequence and layer as line 4"),
        (dsa(0, 2, 5, [2]), "step 1: no selection of layer 2"),
        ({"step_idx": 1}, "line 5: layer_id is missing"),
        ([], "line 5: expected an object"),
        (dsa(2, 0, 7, [1], 1.5), "line 5: request_id: expected"),
    ],
)
def test_a_bad_line_is_named_and_nothing_written(tmp_path, row, complaint):
    path = lines(tmp_path, [*GOOD, row])
    with pytest.raises(InputError, match=complaint):
        import_file(path, None, tmp_path / "t.h5", GPT2)
    assert [each.name for each in tmp_path.iterdir()] == ["log.jsonl"]


def test_logs_that_contradict_themselves_or_the_model(tmp_path):
    def refused(rows, complaint, **changes):
        with pytest.raises(InputError, match=complaint):
            import_file(lines(tmp_path, rows), None, tmp_path / "t.h5", GPT2 | changes)

    refused([dsa(0, 0, 5, [1]), dsa(1, 0, 5, [1])], "line 2: the sequence has 5 tokens, no more")
    refused([dsa(0, 0, 5, [1]), dsa(0, 1, 6, [1])], "lines 1 to 2: a sequence with two lengths")
    refused([dsa(0, 12, 5, [1])], "layer 12: GPT-2.* has layers 0 to 11")
    refused(GOOD, "prompt: the log says how long sequences are", prompt=4)
    refused(GOOD, "budget: unknown key", budget=4)
    refused(GOOD, "block_tokens: 0", block_tokens=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without"):
        import_file(tmp_path / "empty", None, tmp_path / "t.h5", GPT2)
    np.save(tmp_path / "empty" / "scores.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match="its name must end in the number of its layer"):
        import_file(tmp_path / "empty", None, tmp_path / "t.h5", GPT2)
    for array, complaint in (
        (np.zeros((2, 1, 1, 2)), "expected an array of whole numbers"),
        (np.zeros((2, 1, 2), int), r"shape \(2, 1, 2\): expected \[step, layer, head group, k\]"),
        (np.array([{}]), "not a readable .npy file"),
    ):
        np.save(tmp_path / "log.npy", array, allow_pickle=True)
        with pytest.raises(InputError, match=complaint):
            import_file(tmp_path / "log.npy", None, tmp_path / "t.h5", GPT2)
    (tmp_path / "log.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="not a readable"):
        import_file(tmp_path / "log.npy", None, tmp_path / "t.h5", GPT2)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("step,layer,selected_tokens\n0,0,1\n", "line 1: expected the columns step, sequence"),
        ("step,sequence,layer,tokens,selected_tokens\n0,a,0,5\n", "line 2: 4 cells"),
        ("step,sequence,layer,tokens,selected_tokens\n0,a,0,5,1.5\n", "line 2: selected_tokens '1.5'"),
        ("step,sequence,layer,tokens,selected_tokens\n0,a,0,5,5\n", "line 2: selected_tokens: exp"),
        ("step,sequence,layer,tokens,selected_tokens\n", "holds no selection"),
        ("step,sequence,layer,tokens,selected_blocks\n0,a,0,5,9\n", "line 2, layer 0: block 9"),
    ],
)  # fmt: skip
def test_a_bad_csv_is_refused(tmp_path, content, complaint):
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(InputError, match=complaint):
        import_file(tmp_path / "log.csv", None, tmp_path / "t.h5", GPT2)


def test_requests_and_others_are_told_from_selections(tmp_path):
    (tmp_path / "r.csv").write_text("num_prefill_tokens,num_decode_tokens\n60,3\n")
    changes = GPT2 | {"layers": 2}
    import_file(tmp_path / "r.csv", None, tmp_path / "t.h5", changes)
    assert TraceFile(tmp_path / "t.h5").steps == 6
    (tmp_path / "r.csv").write_text("hello\n")
    with pytest.raises(InputError, match=r"neither JSON lines.*taken for requests, as --from"):
        import_file(tmp_path / "r.csv", None, tmp_path / "t.h5")
