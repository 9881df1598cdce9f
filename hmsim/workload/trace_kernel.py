"""Lists of blocks to bitsets and back."""

import numpy as np

from hmsim.bits import add, lowest_bit
from hmsim.jit import kernel

_ONE = np.uint64(1)


@kernel
def pack(offset, block, slot, bits):
    """Set bit slot[b] of row k in bits U64[K, W] for each b of block[offset[k] : offset[k+1]]."""
    for k in range(bits.shape[0]):
        row = bits[k]
        for i in range(offset[k], offset[k + 1]):
            add(row, slot[block[i]])


@kernel
def unpack(bits, base, number, out):
    """List number[base[k] + s] for each bit s set in row k of bits U64[K, W], ascending."""
    n = 0
    for k in range(bits.shape[0]):
        for w in range(bits.shape[1]):
            word = bits[k, w]
            while word:
                out[n] = number[base[k] + w * 64 + lowest_bit(word)]
                n += 1
                word &= word - _ONE
