"""Text to tokens and back: byte-level byte-pair encoding, as GGUF files describe it.

A text is cut into words; a word is a string of bytes, each written as one printable character;
neighbouring pieces are merged, the pair that comes first in the file's list first, until none is
in the list (GPT-2's scheme, github.com/openai/gpt-2). How a text is cut differs by model, and is
known by name (`tokenizer.ggml.pre`).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from hmsim.errors import InputError, did_you_mean
from hmsim.workload.steps import I64

# The rules by which a text is cut, one after the other, each applied to the pieces that those
# before it left. L: the letters of the text, N: its numerals (as the inside of a set).
_GPT2 = r"'(?:s|t|re|ve|m|ll|d)| ?[{L}]+| ?[{N}]+| ?[^\s{L}{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"'(?i:s|t|re|ve|m|ll|d)|[^\r\n{L}{N}]?[{L}]+|[{N}]{{1,3}}| ?[^\s{L}{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CUTS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2,),
    "smollm": (r"[{N}]", _GPT2),
    "llama-bpe": (_LLAMA3,),
}
_ABSENT = "\ue000"  # a private character, for a class that the text has no member of


class Tokenizer:
    """A vocabulary with its merges.

    Args:
        tokens: The pieces by number, bytes written as printable characters.
        merges: Pairs of pieces, divided by a blank, the first to be merged first.
        cut: A key of `CUTS`.
        first: A token that stands before every text, or None.

    Raises:
        InputError: `cut` is not known.
    """

    def __init__(
        self, tokens: Sequence[str], merges: Sequence[str], cut: str, first: int | None = None
    ) -> None:
        if cut not in CUTS:
            raise InputError(f"tokenizer {cut!r}: not known{did_you_mean(cut, CUTS)}")
        self._tokens, self._first, self._cut = tokens, first, cut
        self._number = {piece: number for number, piece in enumerate(tokens)}
        self._rank = {tuple(pair.split(" ")): rank for rank, pair in enumerate(merges)}
        self._letter = _letters()
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, most: int | None = None) -> I64:
        """The numbers of the text's tokens, the first `most` of them."""
        found = [] if self._first is None else [self._first]
        for word in self._words(text):
            if most is not None and len(found) >= most:
                break
            if word not in self._known:
                self._known[word] = self._merged(word)
            found += self._known[word]
        return np.array(found[:most], np.int64)

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        byte = {letter: value for value, letter in enumerate(self._letter)}
        pieces = "".join(self._tokens[number] for number in numbers)
        data = b"".join(bytes([byte[c]]) if c in byte else c.encode() for c in pieces)
        return data.decode("utf-8", errors="replace")

    def _words(self, text: str) -> Iterator[str]:
        kinds = {c: unicodedata.category(c)[0] for c in set(text)}
        inside = {
            kind: re.escape("".join(sorted(c for c in kinds if kinds[c] == kind)) or _ABSENT)
            for kind in "LN"
        }
        rules = [re.compile(rule.format(**inside)) for rule in CUTS[self._cut]]
        return _pieces(text, rules)

    def _merged(self, word: str) -> list[int]:
        parts = [self._letter[byte] for byte in word.encode("utf-8")]
        while len(parts) > 1:
            ranks = [self._rank.get(pair, len(self._rank)) for pair in pairwise(parts)]
            best = min(ranks)
            if best == len(self._rank):
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        missing = [part for part in parts if part not in self._number]
        if missing:
            raise InputError(f"text: {word!r:.40} is not in the model's vocabulary")
        return [self._number[part] for part in parts]


def _pieces(text: str, rules: list[re.Pattern[str]]) -> Iterator[str]:
    """The text cut by the first rule, and what it matches and leaves cut by the others."""
    if not rules:
        if text:
            yield text
        return
    end = 0
    for match in rules[0].finditer(text):
        yield from _pieces(text[end : match.start()], rules[1:])
        yield from _pieces(match.group(), rules[1:])
        end = match.end()
    yield from _pieces(text[end:], rules[1:])


def _letters() -> list[str]:
    """The printable character of each byte: itself, or for those that are none 256, 257, ..."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, next_letter = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in plain else next_letter))
        next_letter += byte not in plain
    return letters
