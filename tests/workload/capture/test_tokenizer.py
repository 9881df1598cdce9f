"""Byte-level BPE: where texts are cut, what is merged, and that nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.errors import InputError
from hmsim.workload.capture.tokenizer import Tokenizer, _letters

LETTERS = _letters()
MERGES = ["Ġ t", "h e", "Ġt he", "e r", "l o", "lo w", "low er", "Ġ low"]
TOKENS = [*LETTERS, *(pair.replace(" ", "") for pair in MERGES)]


def words(text, cut):
    return list(Tokenizer(TOKENS, MERGES, cut)._words(text))


@pytest.mark.parametrize(
    ("cut", "text", "expected"),
    [
        ("gpt-2", "It's 12  the\n\nday.", ["It", "'s", " 12", " ", " the", "\n", "\n", "day", "."]),
        ("smollm", "a 12b", ["a", " ", "1", "2", "b"]),
        ("smollm", "x  7", ["x", "  ", "7"]),
        ("llama-bpe", "DON'T 12345\n x", ["DON", "'T", " ", "123", "45", "\n", " x"]),
        ("gpt-2", "naïve été № ½", ["naïve", " été", " №", " ½"]),
        ("gpt-2", "!?", ["!?"]),
    ],
)  # fmt: skip
def test_where_a_text_is_cut(cut, text, expected):
    assert words(text, cut) == expected


def test_the_pair_that_comes_first_in_the_list_is_merged_first():
    tokenizer = Tokenizer(TOKENS, MERGES, "gpt-2")
    pieces = [TOKENS[number] for number in tokenizer.encode("the the lower low")]
    assert pieces == ["t", "he", "Ġthe", "Ġ", "lower", "Ġlow"]


def test_only_so_many_and_the_one_that_stands_before():
    tokenizer = Tokenizer(TOKENS, MERGES, "gpt-2", first=3)
    whole = tokenizer.encode("the lower low")
    assert whole[0] == 3
    assert tokenizer.encode("the lower low", 3).tolist() == whole[:3].tolist()
    assert tokenizer.encode("", 5).tolist() == [3]


@given(st.text(), st.sampled_from(["gpt-2", "smollm", "llama-bpe"]))
def test_nothing_is_lost(text, cut):
    text = text.encode("utf-8", "replace").decode()
    tokenizer = Tokenizer(TOKENS, MERGES, cut)
    assert "".join(tokenizer._words(text)) == text
    assert tokenizer.decode(tokenizer.encode(text).tolist()) == text


def test_what_is_not_known_is_refused():
    with pytest.raises(InputError, match="tokenizer 'gpt-5': not known; did you mean 'gpt-2'"):
        Tokenizer(TOKENS, MERGES, "gpt-5")
    with pytest.raises(InputError, match="text: 'az' is not in the model's vocabulary"):
        Tokenizer(["a"], [], "gpt-2").encode("az")
