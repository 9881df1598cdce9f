"""Random 64-bit words without a state to carry: hashes of a key and a number, for kernels.

A draw is a pure function of its key, so that lanes, blocks and steps can be made in any order and
by any number of threads. The hash is the finaliser of splitmix64 (Steele, Lea, Flood: Fast
splittable pseudorandom number generators, OOPSLA 2014).
"""

import numpy as np

from hmsim.jit import record_inlined

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's increment: 2^64 over the golden ratio, odd


@record_inlined
def mix(word):
    """The finaliser of splitmix64: a bijection of uint64 whose output looks random."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@record_inlined
def random_word(key, number):
    """The `number`-th word of splitmix64 from the uint64 state `key` on: uniform, uint64."""
    return mix(key + np.uint64(number) * GOLDEN)


@record_inlined
def random_below(key, number, bound):
    """A uniform integer in 0 .. bound - 1, bound below 2**32 (bias below bound / 2**32)."""
    return np.int64(
        ((random_word(key, number) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)
    )
