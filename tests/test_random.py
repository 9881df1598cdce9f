"""Random words against splitmix64 in plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim import random

pytestmark = pytest.mark.nojit
WORD = 2**64 - 1


def splitmix64(seed, count):
    """The first words from a seed on, as the algorithm is published."""
    state, words = seed, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & WORD
        word = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & WORD
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
        words.append(word ^ (word >> 31))
    return words


def test_the_first_words_of_a_seed_are_those_that_others_get():
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip
    assert splitmix64(1234567, 5) == expected
    assert [int(random.random_word(np.uint64(1234567), i)) for i in range(1, 6)] == expected


@given(seed=st.integers(0, WORD), number=st.integers(1, 30), bound=st.integers(1, 2**32 - 1))
def test_words_and_integers_of_any_key(seed, number, bound):
    word = splitmix64(seed, number)[-1]
    assert int(random.random_word(np.uint64(seed), number)) == word
    assert random.random_below(np.uint64(seed), number, bound) == ((word >> 32) * bound) >> 32
