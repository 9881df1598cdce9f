"""The table of steps: what every part of hmsim takes of a workload, whole or in pieces.

A *step* is one (token, layer) pair, or one whole token where layers are not told apart. Blocks
(of the KV cache: `tokens_per_block` tokens of one layer and sequence) are known by three indices:

    lane   a set of blocks that a step can read: all that a step reads, appends to and gives birth
           to is in the step's own lane. Lanes are the layers, or there is one lane for everything.
    slot   a block's place in its lane, its own for ever: 0 .. slots - 1, slots a multiple of 64.
    word   64 neighbouring slots, one uint64: slot s is bit s % 64 of word s // 64.

          slot     0   1   2        63    64  65           127   128
                 +---------------------+---------------------+----
       lane 0    | 1   0   1  ...   0  | 0   1    ...     1  |  ...      bit = 1: read, or alive,
                 +---------------------+---------------------+----             or in HBM, as the
       lane 1    | 0   0   1  ...   1  | 1   1    ...     0  |  ...            bitset may say
                 +---------------------+---------------------+----
                         word 0                word 1

A block's global number is lane * slots + slot. A step's read set is one such row: as compact as a
list of block numbers at a density of 1/64 and up to 32 times smaller above it, and policies work
at 64 blocks an instruction.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

CHUNK_BYTES = 12 << 20  # of a chunk's bitsets: enough to hide Python, little enough to be cached


class Geometry(NamedTuple):
    """Sizes of a workload.

    Attributes:
        steps: Number of steps.
        lanes: Number of lanes: the layers, or 1 where all blocks share one.
        slots: Slots of a lane, a multiple of 64. Not every slot need ever hold a block.
        block_bytes: Bytes of a block.
        tokens_per_block: Tokens of a block.
        layers: Layers of the model that are decoded.
        sequences: Number of sequences.
        resident_bytes: Bytes of weights and state that occupy HBM throughout.
    """

    steps: int
    lanes: int
    slots: int
    block_bytes: int
    tokens_per_block: int
    layers: int
    sequences: int
    resident_bytes: float

    @property
    def words(self) -> int:
        """Words of a lane's bitset, 64 slots each."""
        return self.slots // 64


class Steps(NamedTuple):
    """Consecutive steps `first .. first + K - 1`; K = `rows`.

    What a step appends and which blocks die before it are ragged, in compressed sparse rows (CSR):
    the entries of row k are `x[offset[k] : offset[k + 1]]`. Offsets begin at 0 and end at the
    number of entries, in every table: `slice` and `join` see to it, so that a slice is a table like
    any other and nobody asks where it comes from.

    All arrays are C-contiguous and never written to again. Kernels take a table as it is.

    Attributes:
        first: Number of row 0, counted from the workload's beginning.
        lane: int64 [K], the lane that the step reads and appends to.
        token: int64 [K], the token step, counted from 0 or as the model counts; non-decreasing.
        bits: uint64 [K, words], the slots of the lane that are read.
        reads: int64 [K], the number of bits set.
        append_offset: int64 [K + 1], where each row's appends begin and end.
        append_slot: int64 [appends], slots of the step's lane that are appended to, ascending in a
            row.
        append_bytes: int64 [appends], bytes appended.
        append_born: int64 [appends], 1 where this append is the block's birth.
        death_offset: int64 [K + 1], where each row's deaths begin and end.
        death_block: int64 [deaths], global numbers of blocks that exist no more from that step on.
        hbm_bytes: float64 [K], bytes of other HBM reads (weights).
        compute_s: float64 [K], seconds that the step takes at least.
    """

    first: int
    lane: I64
    token: I64
    bits: U64
    reads: I64
    append_offset: I64
    append_slot: I64
    append_bytes: I64
    append_born: I64
    death_offset: I64
    death_block: I64
    hbm_bytes: F64
    compute_s: F64

    @property
    def rows(self) -> int:
        """How many steps there are, K."""
        return len(self.lane)

    @property
    def append_row(self) -> I64:
        """The row of every append, int64 [appends]."""
        return np.repeat(np.arange(self.rows), np.diff(self.append_offset))

    @property
    def death_row(self) -> I64:
        """The row of every death, int64 [deaths]."""
        return np.repeat(np.arange(self.rows), np.diff(self.death_offset))

    def append_block(self, slots: int) -> I64:
        """The block of every append.

        Args:
            slots: Slots of a lane.

        Returns:
            Global block numbers, int64 [appends].
        """
        return self.lane[self.append_row] * slots + self.append_slot

    def slice(self, first: int, last: int) -> "Steps":
        """Some rows as a table of their own.

        Args:
            first: The first of them; 0 <= first <= last.
            last: One past the last of them; last <= K.

        Returns:
            Views of these arrays, but for the offsets where they have to be counted anew.
        """
        if (first, last) == (0, self.rows):
            return self
        appends, append_offset = _entries(self.append_offset, first, last)
        deaths, death_offset = _entries(self.death_offset, first, last)
        return Steps(
            first=self.first + first,
            lane=self.lane[first:last],
            token=self.token[first:last],
            bits=self.bits[first:last],
            reads=self.reads[first:last],
            append_offset=append_offset,
            append_slot=self.append_slot[appends],
            append_bytes=self.append_bytes[appends],
            append_born=self.append_born[appends],
            death_offset=death_offset,
            death_block=self.death_block[deaths],
            hbm_bytes=self.hbm_bytes[first:last],
            compute_s=self.compute_s[first:last],
        )

    @staticmethod
    def join(parts: Sequence["Steps"]) -> "Steps":
        """One table of tables that follow each other.

        Args:
            parts: The tables, one at least.

        Returns:
            The table. Where all parts but one are empty it is that one itself.
        """
        filled = [part for part in parts if part.rows] or list(parts[:1])
        if len(filled) == 1:
            return filled[0]
        columns: dict[str, Any] = {"first": filled[0].first}
        for name in Steps._fields[1:]:
            column = [getattr(part, name) for part in filled]
            columns[name] = _offsets(column) if name.endswith("_offset") else np.concatenate(column)
        return Steps(**columns)

    @staticmethod
    def empty(words: int) -> "Steps":
        """The table of no steps.

        Args:
            words: Words of a lane's bitset.

        Returns:
            The table.
        """
        none, offset, no_seconds = np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0)
        bits = np.zeros((0, words), np.uint64)
        return Steps(
            0,
            none,
            none,
            bits,
            none,
            offset,
            none,
            none,
            none,
            offset,
            none,
            no_seconds,
            no_seconds,
        )

    def without_bits(self) -> "Steps":
        """The same steps with bitsets of no words: what of them a whole run has memory for."""
        return self._replace(bits=np.zeros((self.rows, 0), np.uint64))

    def without_blocks(self) -> "Steps":
        """The same steps with neither bitsets nor appends nor deaths."""
        nothing = Steps.empty(0)
        offset = np.zeros(self.rows + 1, np.int64)
        return self.without_bits()._replace(
            append_offset=offset,
            append_slot=nothing.append_slot,
            append_bytes=nothing.append_bytes,
            append_born=nothing.append_born,
            death_offset=offset,
            death_block=nothing.death_block,
        )


class Workload(Protocol):
    """A re-iterable, deterministic source of steps.

    Attributes:
        title: A name for people.
        toml: The spec that makes it again, as TOML; empty where there is none.
        seed: Of its randomness.
    """

    title: str
    toml: str
    seed: int

    @property
    def geometry(self) -> Geometry:
        """Its sizes."""
        ...

    @property
    def prompt(self) -> U64:
        """The blocks alive before step 0: bitsets, uint64 [lanes, words]."""
        ...

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        """Where blocks belong.

        Args:
            block: Global block numbers (lane * slots + slot), int64 [n].

        Returns:
            Layer, sequence, and position in the sequence of each block, all int64 [n]; -1 for what
            is not known, such as of slots that never hold a block.
        """
        ...

    def chunks(self) -> Iterator[Steps]:
        """All steps, in tables of whole tokens, none of them empty.

        It may be called any number of times and always yields the same steps. The sizes of the
        tables are the source's own choice and say nothing.

        Yields:
            The tables, in order.
        """
        ...


def group_starts(token: I64, barrier: str) -> I64:
    """Rows at which barrier groups start, for rows of whole tokens."""
    if barrier == "layer":
        return np.arange(len(token), dtype=np.int64)
    return np.flatnonzero(np.diff(token, prepend=token[0] - 1)).astype(np.int64)


def within(lengths: I64) -> I64:
    """0 .. n - 1 for every length n, in a row."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)


def _entries(offset: I64, first: int, last: int) -> tuple[slice, I64]:
    """Where the entries of rows first .. last - 1 are, and the rows' own offsets."""
    rows = offset[first : last + 1]
    return slice(int(rows[0]), int(rows[-1])), (rows - rows[0] if rows[0] else rows)


def _offsets(parts: Sequence[I64]) -> I64:
    """Offsets of rows one after another, from those of each part."""
    ends = np.cumsum([part[-1] for part in parts])
    return np.concatenate(
        [parts[0], *(p[1:] + end for p, end in zip(parts[1:], ends, strict=False))]
    )
