"""Bitsets against Python's sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim import bits

pytestmark = pytest.mark.nojit
WORDS = 3
members = st.sets(st.integers(0, 64 * WORDS - 1))
member = st.integers(0, 64 * WORDS - 1)


def bitset(numbers):
    flags = np.zeros(64 * WORDS, bool)
    flags[list(numbers)] = True
    return bits.pack(flags)


@given(numbers=members, number=member)
def test_has_add_remove_and_cardinality(numbers, number):
    found = bitset(numbers)
    assert found.dtype == np.uint64
    assert bits.cardinality(found) == len(numbers)
    assert bits.has(found, number) == (number in numbers)
    bits.add(found, number)
    assert bits.numbers(found).tolist() == sorted(numbers | {number})
    bits.remove(found, number)
    assert bits.numbers(found).tolist() == sorted(numbers - {number})


@given(word=st.integers(0, WORDS - 1), low=member, high=st.integers(0, 64 * WORDS))
def test_a_mask_is_a_range(word, low, high):
    found = int(bits.mask(word, low, high))
    assert found == sum(1 << i for i in range(64) if low <= 64 * word + i < high)


@given(numbers=members, low=member, high=st.integers(0, 64 * WORDS), shift=st.integers(0, 2))
def test_a_range_is_copied_word_by_word(numbers, low, high, shift):
    target = np.zeros(WORDS + shift, np.uint64)
    bits.add_range(target, bitset(numbers), low, high, shift)
    expected = [64 * shift + n for n in sorted(numbers) if low <= n < high]
    assert bits.numbers(target).tolist() == expected


@given(word=st.integers(0, 2**64 - 1))
def test_the_processors_instructions(word):
    assert bits.popcount(np.uint64(word)) == word.bit_count()
    lowest = (word & -word).bit_length() - 1 if word else 64
    assert bits.lowest_bit(np.uint64(word)) == lowest


@given(seed=st.integers(0, 2**32), rows=st.integers(0, 4), count=st.integers(0, 200))
def test_packing_is_undone(seed, rows, count):
    flags = np.random.default_rng(seed).random((rows, count)) < 0.5
    packed = bits.pack(flags)
    assert packed.shape == (rows, -(-count // 64))
    assert packed.flags.c_contiguous
    unpacked = bits.unpack(packed)
    assert unpacked.dtype == np.bool_
    assert np.array_equal(unpacked[:, :count], flags)
    assert not unpacked[:, count:].any()
    assert np.array_equal(bits.pack(np.asfortranarray(flags)), packed)
    assert np.array_equal(bits.numbers(packed), np.flatnonzero(unpacked))


def test_bitsets_of_lanes_laid_flat_hold_block_numbers():
    lanes = np.zeros((2, WORDS), np.uint64)
    bits.add(lanes[1], 70)
    assert bits.has(lanes.reshape(-1), 64 * WORDS + 70)
    assert bits.numbers(lanes).tolist() == [64 * WORDS + 70]
