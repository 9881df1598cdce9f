"""What a workload is to the rest of hmsim: a geometry and a stream of chunks of steps.

A *step* is one (token, layer) pair, or one whole token where layers are not told apart. Blocks (KV
pages) live in *lanes*: all blocks that a step can read are in the step's lane (the layer, usually),
at a *slot* of that lane that is theirs for ever. A step's read set is a bitset over its lane's
slots, which is as compact as a list of block numbers at a density of 1/64 and up to 32 times
smaller above it, and lets policies work at 64 blocks an instruction.

A block's global number is `lane * slots + slot`.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

CHUNK_BYTES = 12 << 20  # of a chunk's bitsets: enough to hide Python, little enough to be cached


class Geometry(NamedTuple):
    """Sizes of a workload. `words` = 64-bit words of one lane's bitset."""

    steps: int
    lanes: int
    slots: int  # per lane, a multiple of 64; not every slot need ever hold a block
    block_bytes: int
    tokens_per_block: int
    layers: int
    sequences: int
    resident_bytes: float  # weights that occupy HBM throughout

    @property
    def words(self) -> int:
        return self.slots // 64


class Chunk(NamedTuple):
    """Consecutive steps `first .. first + K - 1` of whole tokens, K >= 1.

    All arrays are C-contiguous, writable and never reused.

    Ragged data are CSR: the entries of row k are `x[offset[k] : offset[k + 1]]`.
    """

    first: int
    lane: I64  # [K]
    token: I64  # [K] token step, counted from 0 or as the model counts; non-decreasing
    bits: U64  # [K, words] bit s % 64 of word s // 64: slot s of the lane is read
    reads: I64  # [K] number of bits set
    append_offset: I64  # [K + 1]
    append_slot: I64  # slots (of the step's lane) appended to, ascending
    append_bytes: I64
    append_born: I64  # 1 where this append is the block's birth
    death_offset: I64  # [K + 1]
    death_block: I64  # global numbers of blocks that exist no more from this step on
    hbm_bytes: F64  # [K] other HBM reads (weights)
    compute_s: F64  # [K] compute floor, seconds


class Workload(Protocol):
    """A re-iterable, deterministic source of chunks.

    `chunks()` may be called any number of times and always yields the same steps; the sizes of the
    chunks are the source's own choice and say nothing. `prompt` holds the blocks that exist before
    step 0.
    """

    title: str
    toml: str  # the spec that makes it again
    seed: int

    @property
    def geometry(self) -> Geometry: ...

    @property
    def prompt(self) -> U64:
        """Bitsets [lanes, words] of the blocks alive before step 0."""
        ...

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        """Layer, sequence and position in its sequence of each of these block numbers."""
        ...

    def chunks(self) -> Iterator[Chunk]: ...


def group_starts(token: I64, barrier: str) -> I64:
    """Rows at which barrier groups start, for rows of whole tokens."""
    if barrier == "layer":
        return np.arange(len(token), dtype=np.int64)
    return np.flatnonzero(np.diff(token, prepend=token[0] - 1)).astype(np.int64)
