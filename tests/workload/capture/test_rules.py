"""What each rule reads, against the sentence that describes it, written out."""

import numpy as np
import pytest

from hmsim.config.capture import parse_rule
from hmsim.errors import InputError
from hmsim.workload.capture import rules
from hmsim.workload.capture.rules import Attention
from tests.oracles.attention_rules import read_by

GROUPS, SHARED, CHANNELS, PAST = 2, 3, 4, 37


@pytest.fixture(scope="module")
def seen():
    draw = np.random.default_rng(4)
    query = draw.standard_normal((GROUPS, SHARED, CHANNELS)).astype(np.float32)
    keys = draw.standard_normal((GROUPS, PAST, CHANNELS)).astype(np.float32)
    mass = np.exp(query @ keys.swapaxes(1, 2))
    mass /= mass.sum(axis=2, keepdims=True) * 1.1  # the rest is the token's own
    pages = {size: rules.extremes(keys, size) for size in (4, 16)}
    return Attention(query, mass, pages), keys


@pytest.mark.parametrize(
    "text",
    [
        "tokens,budget=9", "tokens,budget=9,block_tokens=4", "tokens,budget=5,heads=union",
        "tokens,budget=5,heads=groups", "share,sparsity=0.6", "share,sparsity=0.9,heads=union",
        "pages,budget=8,block_tokens=4", "pages,budget=16", "pages,budget=8,block_tokens=4,heads=groups",
        "quest,budget=8,block_tokens=4", "quest,budget=16,heads=union", "window,window=9,sink=2",
        "window,window=6,sink=3,block_tokens=1", "tokens,budget=400", "pages,budget=1600",
    ],
)  # fmt: skip
def test_a_rule_reads_what_its_description_says(seen, text):
    attention, keys = seen
    spec = parse_rule(text)
    chosen = rules.select(spec, attention)
    expected = read_by(spec, attention.query, attention.mass, keys)
    assert [set(np.flatnonzero(row).tolist()) for row in chosen] == expected
    assert len(expected) == rules.lanes(spec, GROUPS)
    mass = 0.0
    for g in range(GROUPS):
        for m in range(SHARED):
            blocks = expected[g if spec.heads == "groups" else 0]
            mass += sum(
                attention.mass[g, m, i] for i in range(PAST) if i // spec.block_tokens in blocks
            )
    assert rules.held(spec, chosen, attention.mass) == pytest.approx(mass / 6, rel=1e-5)


def test_the_newest_of_equals_and_the_papers_count():
    assert np.flatnonzero(rules.top(np.array([1, 2, 1, 1, 0], np.float32), 3)).tolist() == [1, 2, 3]
    assert rules.kept(0.6, 31299) == 12520  # 0.4 * 31300, as it is, not one more
    assert rules.kept(0.0, 5) == 5


def test_quest_bounds_every_logit(seen):
    attention, keys = seen
    logits = (attention.query @ keys.swapaxes(1, 2)).mean(axis=(0, 1))
    bound = rules._bound(parse_rule("quest,budget=16"), attention)[0]
    for page, start in enumerate(range(0, PAST, 16)):
        assert (logits[start : start + 16] <= bound[page] + 1e-5).all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("qest,budget=16", "--rule qest,budget=16: 'qest' is no rule; known: tokens,budget="),
        ("pages", "--rule pages: rule pages needs budget="),
        ("pages,budget=17", "budget: 17 tokens are no multiple of block_tokens, 16"),
        ("share,sparsity=1.0", "sparsity: '1.0': input should be less than 1"),
        ("window,window=3,heads=union", "heads does not go with rule window"),
        ("tokens,budget=3,sink=4", "sink does not go with rule tokens"),
        ("tokens,budget", "'budget': write KEY=VALUE"),
        ("tokens,bugdet=3", "bugdet: unknown key; did you mean 'budget'"),
    ],
)  # fmt: skip
def test_bad_rules_are_refused_in_one_line(text, complaint):
    with pytest.raises(InputError) as error:
        parse_rule(text)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_names_tell_rules_apart():
    texts = ["pages,budget=1024", "share,sparsity=0.8,heads=union", "window,window=64,sink=16",
             "quest,budget=64,block_tokens=32"]  # fmt: skip
    assert [parse_rule(text).name for text in texts] == [
        "pages-1024", "share-0.8-union", "window-64-sink-16", "quest-64-block-32",
    ]  # fmt: skip
