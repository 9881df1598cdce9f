"""Captures of a small random model: what the traces hold, stops on the way, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hmsim.config.capture import parse_rule
from hmsim.errors import InputError
from hmsim.store.trace import TraceFile
from hmsim.workload.capture import session
from hmsim.workload.capture.gguf_file import Found
from hmsim.workload.capture.session import Call, capture
from hmsim.workload.capture.tokenizer import Tokenizer
from tests.oracles.attention_rules import read_by
from tests.oracles.llama import SHAPE, random_llama, run

PROMPT, DECODE = 21, 12
LETTERS = "abcdefghijklmnopqrstuvw"
TEXT = "".join(LETTERS[i] for i in np.random.default_rng(2).integers(0, len(LETTERS), 60))
RULES = ["pages,budget=8,block_tokens=4", "quest,budget=12,block_tokens=4", "tokens,budget=5",
         "tokens,budget=4,heads=groups", "window,window=6,sink=4,block_tokens=4"]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    weights = [100 + layer for layer in range(SHAPE.layers)]
    return Found(
        Path("tiny.gguf"), random_llama(), Tokenizer(LETTERS, [], "gpt-2"), "Tiny", "mine", weights,
        50, "0" * 64,
    )  # fmt: skip


@pytest.fixture
def call(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    return Call(text, PROMPT, DECODE, [parse_rule(rule) for rule in RULES])


def reads(path):
    """The file, and [step] the positions read."""
    file = TraceFile(path)
    slabs = list(file.slabs())
    position = file.blocks.position
    return file, [
        position[slab.read_block[slab.read_offset[k] : slab.read_offset[k + 1]]].tolist()
        for slab in slabs
        for k in range(slab.token.size)
    ]


def stopped(found, call, path, after):
    """The capture, stopped whenever `after` more tokens were done, until it comes to its end."""
    stops = 0
    while True:
        left = after

        def progress(more):
            nonlocal left
            left -= more
            if left <= 0:
                raise KeyboardInterrupt

        try:
            return capture(found, call, path, progress if stops < 40 else None), stops
        except KeyboardInterrupt:
            stops += 1


def test_the_traces_hold_what_the_rules_read(tmp_path, found, call):
    paths = capture(found, call, tmp_path / "t.h5")
    tokens = [LETTERS.index(letter) for letter in TEXT[: PROMPT + DECODE]]
    _, seen = run(found.model, tokens)
    assert [path.name for path in paths][:2] == ["t-pages-8-block-4.h5", "t-quest-12-block-4.h5"]
    groups, shared = SHAPE.groups, SHAPE.heads // SHAPE.groups
    for spec, path in zip(call.rules, paths, strict=True):
        file, sets = reads(path)
        expected = []
        for token in range(PROMPT, PROMPT + DECODE):
            for layer in seen[token]:
                query = layer["query"].reshape(groups, shared, -1)
                mass = layer["mass"].reshape(groups, shared, -1)[:, :, :-1]
                keys = layer["keys"].swapaxes(0, 1)[:, :-1]
                expected += [sorted(read) for read in read_by(spec, query, mass, keys)]
        assert sets == expected, spec.name
        lanes = SHAPE.layers * (groups if spec.heads == "groups" else 1)
        assert (file.header.layers, file.header.tokens_per_block) == (lanes, spec.block_tokens)
        entry = 2 * SHAPE.channels * 2 * (1 if spec.heads == "groups" else groups)
        assert file.header.block_bytes == spec.block_tokens * entry
        assert file.header.resident_bytes == 0
    assert not (tmp_path / "t.h5.part").exists()


def test_the_sidecar_says_where_a_trace_comes_from(tmp_path, found, call):
    call = call._replace(rules=call.rules[:1])
    (path,) = capture(found, call, tmp_path / "t.h5")
    said = json.loads(session.sidecar_of(path).read_text())
    assert (said["model"], said["model_licence"], said["text"]) == ("Tiny", "mine", "text.txt")
    assert (said["prompt_tokens"], said["decoded_tokens"]) == (PROMPT, DECODE)
    _, seen = run(found.model, [LETTERS.index(letter) for letter in TEXT[: PROMPT + DECODE]])
    own = np.array([[layer["mass"][:, -1].mean() for layer in token] for token in seen[PROMPT:]])
    np.testing.assert_allclose(said["mass_by_layer"]["own"], own.mean(axis=0), atol=1e-3)
    assert TEXT[:10] not in json.dumps(said)  # the text itself is not in it


def test_weights_are_counted_where_they_are_wanted(tmp_path, found, call):
    for rule, last in ((RULES[0], [100, 151]), (RULES[3], [0, 100, 0, 151])):
        (path,) = capture(
            found, call._replace(rules=[parse_rule(rule)], weights=True), tmp_path / "w.h5"
        )
        file = TraceFile(path)
        (slab,) = file.slabs()
        assert slab.hbm_bytes.tolist() == last * DECODE
        assert file.header.resident_bytes == 251


@pytest.mark.parametrize("after", [1, 7])
@pytest.mark.parametrize("follow", ["text", "model"])
def test_a_capture_that_is_stopped_goes_on_to_the_same_end(
    tmp_path, found, call, monkeypatch, after, follow
):
    monkeypatch.setattr(session, "CHUNK", 8)
    call = call._replace(rules=call.rules[:2], follow=follow, seed=3)
    whole = capture(found, call, tmp_path / "whole.h5")
    parts, stops = stopped(found, call, tmp_path / "parts.h5", after)
    assert stops > 2
    for one, other in zip(whole, parts, strict=True):
        assert reads(one)[1] == reads(other)[1]
        assert session.sidecar_of(one).read_text() == session.sidecar_of(other).read_text()


def test_the_model_follows_its_own_logits(tmp_path, found, call, monkeypatch):
    """At temperature 0 the likeliest token; above it another at another seed."""
    seen = {}
    forward = session.forward

    def spied(model, tokens, start, *rest):
        seen[start] = tokens.tolist()
        return forward(model, tokens, start, *rest)

    monkeypatch.setattr(session, "forward", spied)
    call = call._replace(rules=call.rules[:1], follow="model", temperature=0.0)
    capture(found, call, tmp_path / "t.h5")
    tokens = [token for start in sorted(seen) for token in seen[start]]
    logits, _ = run(found.model, tokens)
    assert tokens[PROMPT:] == logits[PROMPT - 1 : -1].argmax(axis=1).tolist()
    texts = []
    for seed in (1, 2, 1):
        seen.clear()
        capture(found, call._replace(temperature=1.0, seed=seed), tmp_path / "t.h5")
        texts.append([token for start in sorted(seen) for token in seen[start]])
    assert texts[0] == texts[2] != texts[1]


def test_another_call_is_not_mixed_with_what_was_left_off(tmp_path, found, call):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="0 tokens are kept in"):
        capture(found, call, tmp_path / "t.h5", stop)
    with pytest.raises(InputError, match=r"t\.h5\.part: holds another capture that was stopped"):
        capture(found, call._replace(decode=3), tmp_path / "t.h5")
    capture(found, call, tmp_path / "t.h5")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"prompt": 50}, "text.txt: 60 tokens: 62 are needed"),
        ({"prompt": 60}, "72 tokens are more than the context of Tiny, 64"),
        ({"decode": 0}, "--prompt and --decode: 1 token or more each"),
        ({"rules": [parse_rule("tokens,budget=5")] * 2}, "two rules have one name"),
    ],
)
def test_bad_calls_are_refused(tmp_path, found, call, changes, complaint):
    with pytest.raises(InputError, match=re.escape(complaint)):
        capture(found, call._replace(**changes), tmp_path / "out" / "t.h5")
    assert not (tmp_path / "out").exists()
