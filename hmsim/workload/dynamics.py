"""How a selection moves: what stays and for how long, by age, by layer, and in bursts.

What `statistics` says of a workload is what the literature reports. Two workloads that agree in it
may still move differently, and policies then rank differently on them; this says how.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hmsim import machine
from hmsim.errors import InputError
from hmsim.workload import dynamics_kernel
from hmsim.workload.steps import F64, I64, U64, Workload

LAGS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # tokens
AGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # newest blocks
AWAY = (1, 2, 4, 8, 16)  # layers
BUFFERS = (1.0, 1.5, 2.0, 3.0)  # of a layer's mean read set: buffers whose misses are counted
BUFFER = 2.0  # the one of them whose bursts are looked at
PEAK = 0.1  # of a mean read set: misses beyond it are a peak
SHARE = 0.3  # of all blocks: a buffer that layers share
FAR = 128  # newest blocks, beyond which one is far
LEARNT = 64  # tokens from which the best blocks are taken
BEST = 0.3  # share of the blocks that these are


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
        shared_misses: Share of the reads that miss an LRU buffer of SHARE of all blocks, which layers
            share; it is empty at first, and holds the blocks that are born. This is what an HBM of
            that size misses.
        shared_peaks: Of those misses, the share of the reads that are beyond PEAK of a mean read set
            at their step.
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
    shared_misses: float
    shared_peaks: float
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
            (f"misses of LRU, {100 * SHARE:g} % of all blocks",
             f"{_percent(self.shared_misses)}; {_percent(self.shared_peaks)} in peaks"),
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
        workload: Steps of single layers, of one sequence; it is held in memory as a whole, a bit a
            block and step.

    Returns:
        The dynamics; `format_table()` prints them, `as_json()` gives plain data.

    Raises:
        InputError: It has several sequences, or steps of no layer, or is too large.
    """
    shape = workload.geometry
    if shape.sequences != 1 or shape.lanes != shape.layers:
        raise InputError(f"{workload.title}: how a selection moves is measured of one sequence, "
                         "layer by layer")  # fmt: skip
    machine.need_memory(shape.steps * shape.slots // 4, f"{workload.title}: every step's reads")
    read = _reads(workload)
    tokens, layers, words = read.bits.shape
    mean = read.counts.mean(axis=0)
    total = int(read.counts.sum())
    overlap = _common(read.bits[:-1], read.bits[1:]) / np.maximum(read.counts[1:], 1)
    by_buffer = np.zeros((len(BUFFERS), tokens, layers), np.int64)
    dynamics_kernel.recent(read.bits, _sizes(np.outer(BUFFERS, mean)), by_buffer)
    misses = by_buffer[BUFFERS.index(BUFFER)]
    of_most, of_all = np.zeros((2, tokens, layers), np.int64)
    dynamics_kernel.frequent(read.bits, _sizes(BUFFER * mean), of_most)
    last = np.full((layers, words * 64), -1, np.int64)
    size = round(SHARE * layers * read.blocks)
    dynamics_kernel.shared(read.bits, read.prompt, size, last, of_all)
    ages, stays = np.zeros(read.blocks, np.int64), np.zeros(tokens + 1, np.int64)
    learnt = np.zeros((2, layers, words * 64), np.int64)
    shifted, entering = np.zeros((2, 2), np.int64)
    dynamics_kernel.visits(
        read.bits, read.newest, FAR, LEARNT, ages, stays, learnt, shifted, entering
    )
    return Dynamics(
        persistence=np.array([_persistence(read, lag) for lag in LAGS]),
        slash=_ratio(shifted[0], read.counts[:-1].sum()),
        mirror=_ratio(shifted[1], read.counts[:-1].sum()),
        newest_share=np.array([ages[:age].sum() / total for age in AGES]),
        first_block=float(np.mean(read.bits[:, :, 0] & np.uint64(1))),
        one_step_stays=_ratio(stays[1], stays.sum()),
        mean_stay=_ratio(total, stays.sum()),
        overlap_spread=float(overlap.mean(axis=0).std()) if tokens > 1 else np.nan,
        overlap_away=np.array([_across(read, away) for away in AWAY]),
        far_entering=_ratio(*entering),
        lru_misses=by_buffer.sum(axis=(1, 2)) / total,
        lfu_misses=float(of_most.sum() / total),
        shared_misses=float(of_all.sum() / total),
        shared_peaks=_peaks(of_all, read),
        miss_peaks=_peaks(misses, read),
        miss_spread=_ratio(misses.mean(axis=0).std(), misses.mean()),
        miss_dispersion=_ratio(misses.var(), misses.mean()),
        miss_memory=_memory(misses.sum(axis=1)),
        miss_common=_ratio(misses.sum(axis=1).var(), misses.var(axis=0).sum()),
        best_caught=_caught(*learnt[:, :, : read.blocks]) if tokens > LEARNT else np.nan,
    )


class _Reads(NamedTuple):
    """Every read, and what is alive."""

    bits: U64  # [tokens, layers, words] bitsets over positions
    counts: I64  # [tokens, layers]
    newest: I64  # [tokens] position of the newest block
    blocks: int  # of a layer, in the end
    prompt: int  # of them, before the first token


def _reads(workload: Workload) -> _Reads:
    shape = workload.geometry
    position = workload.locate(np.arange(shape.lanes * shape.slots))[2].reshape(shape.lanes, -1)
    if (position[:, 1:] < position[:, :-1])[position[:, 1:] >= 0].any():
        raise InputError(f"{workload.title}: blocks that are not in the order of their positions")
    prompt = int(np.bitwise_count(workload.prompt[0]).sum())
    bits, newest, oldest = [], [], prompt - 1
    for chunk in workload.chunks():
        bits.append(chunk.bits)
        born = np.add.reduceat(np.append(chunk.append_born, 0), chunk.append_offset[:-1])
        born[np.diff(chunk.append_offset) == 0] = 0
        first = chunk.lane == 0
        newest.append(oldest + np.cumsum(born[first]))
        oldest = int(newest[-1][-1])
    whole = np.concatenate(bits).reshape(-1, shape.lanes, shape.words)
    return _Reads(
        bits=whole,
        counts=np.bitwise_count(whole).sum(axis=2, dtype=np.int64),
        newest=np.concatenate(newest),
        blocks=oldest + 1,
        prompt=prompt,
    )


def _common(a: U64, b: U64) -> I64:
    """[tokens, layers] blocks that are in both."""
    return np.bitwise_count(a & b).sum(axis=2, dtype=np.int64)


def _persistence(read: _Reads, lag: int) -> float:
    if lag >= read.counts.shape[0]:
        return np.nan
    return _ratio(_common(read.bits[:-lag], read.bits[lag:]).sum(), read.counts[:-lag].sum())


def _across(read: _Reads, away: int) -> float:
    if away >= read.counts.shape[1]:
        return np.nan
    same = _common(read.bits[:, :-away], read.bits[:, away:])
    return _ratio(same.sum(), read.counts[:, away:].sum())


def _sizes(blocks: F64) -> I64:
    return np.maximum(1, np.rint(blocks)).astype(np.int64)


def _peaks(misses: I64, read: _Reads) -> float:
    beyond = np.maximum(misses - PEAK * read.counts.mean(axis=0), 0)
    return float(beyond.sum() / read.counts.sum())


def _memory(misses: I64) -> float:
    """Correlation of misses from token to token."""
    if misses.size < 2:
        return np.nan
    moved = misses - misses.mean()
    return _ratio((moved[1:] * moved[:-1]).mean(), misses.var())


def _caught(early: I64, later: I64) -> float:
    """Share of the later reads, [layers, blocks], that each layer's best of the early ones catch."""
    best = max(1, round(BEST * early.shape[1]))
    chosen = np.argsort(-early, axis=1, kind="stable")[:, :best]
    return _ratio(np.take_along_axis(later, chosen, axis=1).sum(), later.sum())


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else np.nan


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
