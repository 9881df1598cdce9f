"""Bitsets: sets of small numbers as arrays of uint64 words.

Number i is bit i % 64 of word i // 64 (`hmsim/workload/steps.py` shows lanes, slots and words). As
the slots of a lane are a multiple of 64, bitsets [lanes, words] laid flat are one bitset over
global block numbers.

`pack`, `unpack` and `numbers` are for NumPy code. The others are for kernels; `popcount` and
`lowest_bit` are the processor's own instructions, through LLVM.
"""

import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from hmsim.jit import inlined, record_inlined, record_kernel

_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def pack(flags: ArrayLike) -> NDArray[np.uint64]:
    """Bitsets [..., words] of flags [..., n], of which what is not 0 is in the set."""
    packed = np.packbits(np.asarray(flags), axis=-1, bitorder="little")
    words = np.zeros((*packed.shape[:-1], -(-packed.shape[-1] // 8)), np.uint64)
    words.view(np.uint8)[..., : packed.shape[-1]] = packed
    return words


def unpack(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Flags [..., 64 * words] of bitsets [..., words]."""
    whole = np.ascontiguousarray(bits).view(np.uint8)
    return np.unpackbits(whole, axis=-1, bitorder="little").view(np.bool_)


def numbers(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """What a bitset of any shape, laid flat, holds: ascending."""
    return np.flatnonzero(unpack(bits.reshape(-1)))


@record_inlined
def has(bits, number):
    """Whether `number` is in the set of bits U64[words]."""
    return (bits[number >> 6] >> np.uint64(number & 63)) & _ONE != 0


@record_inlined
def add(bits, number):
    """Put `number` into the set of bits U64[words]."""
    bits[number >> 6] |= _ONE << np.uint64(number & 63)


@record_inlined
def remove(bits, number):
    """Take `number` out of the set of bits U64[words]."""
    bits[number >> 6] &= ~(_ONE << np.uint64(number & 63))


@record_inlined
def assign(into, source):
    """Make an array like another, word by word: for `into[:] = source` Numba would compile what
    words its error for arrays of two lengths, which takes longer than most kernels."""
    for w in range(len(into)):
        into[w] = source[w]


@record_inlined
def mask(word, low, high):
    """Which bits of the word numbered `word` stand for numbers low .. high - 1."""
    if low >= word * 64 + 64 or high <= word * 64:
        return np.uint64(0)
    bits = _ALL
    if low > word * 64:
        bits = bits << np.uint64(low - word * 64)
    if high < word * 64 + 64:
        bits &= _ALL >> np.uint64(word * 64 + 64 - high)
    return bits


@record_kernel
def cardinality(bits):
    """How many numbers are in the set of bits U64[words]."""
    total = np.int64(0)
    for word in bits:
        total += popcount(word)
    return total


@record_kernel
def add_range(bits, source, low, high, shift):
    """Add the numbers low .. high - 1 that are in `source` to `bits`, `shift` words further on."""
    for w in range(low >> 6, (high + 63) >> 6):
        bits[w + shift] |= source[w] & mask(w, low, high)


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def popcount(word):
        """Number of bits set in a uint64."""
        return int(word).bit_count()

    def lowest_bit(word):
        """Index of the lowest bit set in a uint64; 64 for zero."""
        word = int(word)
        return (word & -word).bit_length() - 1 if word else 64

else:

    @intrinsic
    def _ctpop(typingctx, word):
        def codegen(context, builder, signature, args):
            return builder.ctpop(args[0])

        return types.uint64(types.uint64), codegen

    @intrinsic
    def _cttz(typingctx, word):
        def codegen(context, builder, signature, args):
            return builder.cttz(args[0], cgutils.false_bit)

        return types.uint64(types.uint64), codegen

    @inlined
    def popcount(word):
        """Number of bits set in a uint64."""
        return types.int64(_ctpop(word))  # type: ignore[call-arg]

    @inlined
    def lowest_bit(word):
        """Index of the lowest bit set in a uint64; 64 for zero."""
        return types.int64(_cttz(word))  # type: ignore[call-arg]
