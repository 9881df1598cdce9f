"""How a selection moves: what stays and for how long, by age, by layer, and in bursts.

What `statistics` says of a workload is what the literature reports. Two workloads that agree in it
may still move differently, and policies then rank differently on them; this says how.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmsim import machine
from hmsim.bits import unpack
from hmsim.errors import InputError
from hmsim.workload.steps import F64, I64, Workload

LAGS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # tokens
AGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # newest blocks
AWAY = (1, 2, 4, 8, 16)  # layers
BUFFERS = (1.0, 1.5, 2.0, 3.0)  # of a layer's mean read set: buffers whose misses are counted
BUFFER = 2.0  # the one of them whose bursts are looked at
PEAK = 0.1  # of a mean read set: misses beyond it are a peak
FAR = 128  # newest blocks, beyond which one is far
LEARNT = 64  # tokens from which the best blocks are taken
BEST = 0.3  # share of the blocks that these are
_BOOLS = NDArray[np.bool_]


@dataclass(frozen=True)
class Dynamics:
    """What `measure_dynamics` finds; means over layers and tokens. What cannot be told is NaN.

    Attributes:
        persistence: Share of a read set that is read LAGS tokens later too, float64 [LAGS].
        slash: Share of a read set whose next block (one later in the sequence) is read at the next
            token.
        mirror: The same share of the block before. Movement with the text has slash above mirror.
        newest_share: Share of the reads that go to the AGES newest blocks, float64 [AGES].
        first_block: Share of the read sets that hold the sequence's first block.
        one_step_stays: Share of the stays (reads of a block at consecutive tokens) of one token.
        mean_stay: How many tokens a stay lasts.
        overlap_spread: Standard deviation over layers of the share of a read set that the one of
            the token before holds.
        overlap_away: Share of a read set that the layer so many before holds, float64 [AWAY].
        far_entering: Of the reads of other than the FAR newest blocks, the share whose block was not
            read at the token before.
        lru_misses: Share of the reads that miss an LRU buffer of BUFFERS read sets, a layer each;
            first reads are none. float64 [BUFFERS].
        lfu_misses: The same share of the blocks read most often so far, BUFFER read sets of them.
        miss_peaks: Share of the reads that are misses of the LRU buffer of BUFFER read sets beyond
            PEAK of a mean read set at their step.
        miss_spread: Of the share of reads that miss that buffer in a layer: the standard deviation
            over layers over the mean.
        miss_dispersion: Of the misses of an LRU buffer of BUFFER read sets a layer: the variance of
            how many there are at a step over their mean.
        miss_memory: The correlation from token to token of how many misses all layers have.
        miss_common: The variance of how many misses all layers have at a token over the sum of the
            layers' own variances: 1 where bursts of layers have nothing to do with each other.
        best_caught: Share of the later reads that go to those BEST of each layer's blocks that were
            read most in the first LEARNT tokens.
    """

    persistence: F64
    slash: float
    mirror: float
    newest_share: F64
    first_block: float
    one_step_stays: float
    mean_stay: float
    overlap_spread: float
    overlap_away: F64
    far_entering: float
    lru_misses: F64
    lfu_misses: float
    miss_peaks: float
    miss_spread: float
    miss_dispersion: float
    miss_memory: float
    miss_common: float
    best_caught: float

    def as_json(self) -> dict[str, Any]:
        """Plain data: curves are keyed by their abscissa, and what cannot be told is None."""
        keys: dict[str, tuple[float, ...]] = {"persistence": LAGS, "newest_share": AGES,
                                              "overlap_away": AWAY, "lru_misses": BUFFERS}  # fmt: skip
        return {
            name: dict(zip(map(str, keys[name]), map(_plain, value), strict=True))
            if name in keys
            else _plain(value)
            for name, value in vars(self).items()
        }

    def format_table(self) -> str:
        """Two columns for a terminal."""

        def curve(keys: tuple[float, ...], values: F64) -> str:
            return ", ".join(f"{k:g}: {_percent(v)}" for k, v in zip(keys, values, strict=True))

        rows = [
            ("still read after, tokens", curve(LAGS[1::2], self.persistence[1::2])),
            ("next block at the next token", f"{_percent(self.slash)}; mirror {_percent(self.mirror)}"),
            ("reads of the newest blocks", curve(AGES[::2], self.newest_share[::2])),
            ("steps that read the first block", _percent(self.first_block)),
            ("stays", f"{self.mean_stay:.2f} tokens; {_percent(self.one_step_stays)} last one"),
            ("overlap, spread over layers", f"{self.overlap_spread:.3f}"),
            ("overlap with layers away", curve(AWAY, self.overlap_away)),
            (f"reads beyond {FAR} blocks that enter", _percent(self.far_entering)),
            ("misses of LRU, x a read set", curve(BUFFERS, self.lru_misses)),
            (f"misses of the most read, {BUFFER:g} x", _percent(self.lfu_misses)),
            (f"misses of LRU, {BUFFER:g} x a read set",
             f"{_percent(self.miss_peaks)} in peaks, spread over layers {self.miss_spread:.2f}, "
             f"dispersion {self.miss_dispersion:.2f}, memory {self.miss_memory:.2f}, "
             f"common to layers {self.miss_common:.2f}"),
            (f"best {100 * BEST:g} % of {LEARNT} tokens later catch", _percent(self.best_caught)),
        ]  # fmt: skip
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def measure_dynamics(workload: Workload) -> Dynamics:
    """How the selection of one sequence moves.

    Args:
        workload: Steps of single layers, of one sequence; it is held in memory as a whole, a byte
            a block and step.

    Returns:
        The dynamics; `format_table()` prints them, `as_json()` gives plain data.

    Raises:
        InputError: It has several sequences, or steps of no layer, or is too large.
    """
    shape = workload.geometry
    if shape.sequences != 1 or shape.lanes != shape.layers:
        raise InputError(f"{workload.title}: how a selection moves is measured of one sequence, "
                         "layer by layer")  # fmt: skip
    machine.need_memory(6 * shape.steps * shape.slots, f"{workload.title}: every step's reads")
    read, newest = _reads(workload)
    tokens = read.shape[0]
    counts = read.sum(axis=2, dtype=np.int64)
    overlap = _overlap(read[:-1], read[1:]) / np.maximum(counts[1:], 1)
    by_buffer = _misses(read, counts.mean(axis=0))
    misses = by_buffer[BUFFERS.index(BUFFER)]
    peaks = np.maximum(misses - PEAK * counts.mean(axis=0), 0)
    started, stays = _stays(read)
    total = float(counts.sum())
    return Dynamics(
        persistence=np.array([_mean_overlap(read, lag) for lag in LAGS]),
        slash=_shifted(read[:-1, :, :-1], read[1:, :, 1:], counts[:-1]),
        mirror=_shifted(read[:-1, :, 1:], read[1:, :, :-1], counts[:-1]),
        newest_share=np.array([_newest(read, newest, age) / total for age in AGES]),
        first_block=float(read[:, :, 0].mean()),
        one_step_stays=_ratio(started[1], started.sum()),
        mean_stay=stays,
        overlap_spread=float(overlap.mean(axis=0).std()) if tokens > 1 else np.nan,
        overlap_away=np.array([_across(read, counts, away) for away in AWAY]),
        far_entering=_far_entering(read, newest),
        lru_misses=by_buffer.sum(axis=(1, 2)) / total,
        lfu_misses=float(_misses_of_most(read, counts.mean(axis=0)).sum() / total),
        miss_peaks=float(peaks.sum() / total),
        miss_spread=_ratio(misses.mean(axis=0).std(), misses.mean()),
        miss_dispersion=_ratio(misses.var(), misses.mean()),
        miss_memory=_memory(misses.sum(axis=1)),
        miss_common=_ratio(misses.sum(axis=1).var(), misses.var(axis=0).sum()),
        best_caught=_caught(read),
    )


def _reads(workload: Workload) -> tuple[_BOOLS, I64]:
    """Flags [tokens, layers, blocks] in the order of the sequence, and each token's newest block."""
    shape = workload.geometry
    position = workload.locate(np.arange(shape.lanes * shape.slots))[2].reshape(shape.lanes, -1)
    if (position[:, 1:] < position[:, :-1])[position[:, 1:] >= 0].any():
        raise InputError(f"{workload.title}: blocks that are not in the order of their positions")
    read, alive = [], workload.prompt.copy()
    oldest = int(np.bitwise_count(alive[0]).sum()) - 1
    newest = []
    for chunk in workload.chunks():
        read.append(unpack(chunk.bits))
        born = np.add.reduceat(np.append(chunk.append_born, 0), chunk.append_offset[:-1])
        born[np.diff(chunk.append_offset) == 0] = 0
        first = chunk.lane == 0
        newest.append(oldest + np.cumsum(born[first]))
        oldest = int(newest[-1][-1])
    flags = np.concatenate(read).reshape(-1, shape.lanes, shape.slots)
    return flags[:, :, : oldest + 1], np.concatenate(newest)


def _overlap(a: _BOOLS, b: _BOOLS) -> I64:
    """[tokens, layers] blocks that are in both."""
    return np.count_nonzero(a & b, axis=2)


def _mean_overlap(read: _BOOLS, lag: int) -> float:
    if lag >= read.shape[0]:
        return np.nan
    return _ratio(np.count_nonzero(read[:-lag] & read[lag:]), np.count_nonzero(read[:-lag]))


def _shifted(before: _BOOLS, after: _BOOLS, counts: I64) -> float:
    return _ratio(np.count_nonzero(before & after), int(counts.sum()))


def _newest(read: _BOOLS, newest: I64, blocks: int) -> int:
    """Reads of the newest `blocks` blocks."""
    position = np.arange(read.shape[2])
    near = (newest[:, None] - position < blocks) & (position <= newest[:, None])
    return int(np.count_nonzero(read & near[:, None]))


def _stays(read: _BOOLS) -> tuple[I64, float]:
    """How many stays lasted 0, 1, 2, ... tokens, and their mean; also those cut off at the ends."""
    edge = np.zeros((1, *read.shape[1:]), np.bool_)
    padded = np.concatenate([edge, read, edge])
    changed = np.moveaxis(padded[1:] != padded[:-1], 0, 2)
    at = np.nonzero(changed)[2]
    lengths = at[1::2] - at[0::2]
    return np.bincount(lengths, minlength=2), float(lengths.mean()) if lengths.size else np.nan


def _across(read: _BOOLS, counts: I64, away: int) -> float:
    if away >= read.shape[1]:
        return np.nan
    same = np.count_nonzero(read[:, :-away] & read[:, away:])
    return _ratio(same, int(counts[:, away:].sum()))


def _misses(read: _BOOLS, mean: F64) -> I64:
    """Misses of LRU buffers of BUFFERS mean read sets, but for first reads: [buffers, tokens, layers].

    They are updated after each token, in order of position.
    """
    tokens, layers, blocks = read.shape
    sizes = np.maximum(1, np.rint(np.outer(BUFFERS, mean))).astype(np.int64)
    used = np.full((layers, blocks), -1, np.int64)
    misses = np.zeros((len(BUFFERS), tokens, layers), np.int64)
    for token in range(tokens):
        rank = _ranks(used)
        rank[~read[token] | (used < 0)] = -1  # not asked for, or a first read
        misses[:, token] = np.count_nonzero(rank >= sizes[:, :, None], axis=2)
        used = np.where(read[token], token * blocks + np.arange(blocks), used)
    return misses


def _misses_of_most(read: _BOOLS, mean: F64) -> I64:
    """Reads, but for first ones, of blocks that are not among those read most so far, the newest of
    equals first: [tokens, layers]."""
    tokens, layers, blocks = read.shape
    size = np.maximum(1, np.rint(BUFFER * mean)).astype(np.int64)
    count = np.zeros((layers, blocks), np.int64)
    misses = np.zeros((tokens, layers), np.int64)
    for token in range(tokens):
        rank = _ranks(count * blocks + np.arange(blocks))
        missed = read[token] & (count > 0) & (rank >= size[:, None])
        misses[token] = np.count_nonzero(missed, axis=1)
        count += read[token]
    return misses


def _ranks(value: I64) -> I64:
    """How many blocks of its layer have a greater value, of each [layers, blocks]."""
    order = np.argsort(-value, axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(value.shape[1])[None], axis=1)
    return rank


def _far_entering(read: _BOOLS, newest: I64) -> float:
    far = newest[1:, None] - np.arange(read.shape[2]) >= FAR
    there = read[1:] & far[:, None]
    return _ratio(np.count_nonzero(there & ~read[:-1]), np.count_nonzero(there))


def _memory(misses: I64) -> float:
    """Correlation of misses from token to token."""
    if misses.size < 2:
        return np.nan
    moved = misses - misses.mean()
    return _ratio((moved[1:] * moved[:-1]).mean(), misses.var())


def _caught(read: _BOOLS) -> float:
    if read.shape[0] <= LEARNT:
        return np.nan
    best = max(1, round(BEST * read.shape[2]))
    early = read[:LEARNT].sum(axis=0, dtype=np.int64)
    chosen = np.argsort(-early, axis=1, kind="stable")[:, :best]
    later = read[LEARNT:].sum(axis=0, dtype=np.int64)
    return _ratio(np.take_along_axis(later, chosen, axis=1).sum(), later.sum())


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else np.nan


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
