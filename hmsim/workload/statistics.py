"""Statistics of a workload, as the literature on sparse attention reports them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hmsim.units import show_bytes
from hmsim.workload import statistics_kernel, trace_kernel
from hmsim.workload.steps import F64, I64, Steps, Workload

WINDOW = 32  # steps that the union curve looks back
STRIDE = 8  # every so many steps of a lane count for it
BUFFERS = (0.02, 0.05, 0.1, 0.2, 0.4)  # sizes, as a share of a layer's blocks alive at most
MULTIPLES = (1.0, 1.5, 2.0, 4.0)  # and of a layer's mean read set
TOP = (0.01, 0.05, 0.1, 0.2, 0.5)
SAMPLED_LANES = 4
SAMPLED_READS = 1 << 21  # of each sampled lane, from the first step on


@dataclass(frozen=True)
class Statistics:
    """What `measure` finds. Shares are of reads; a share that cannot be told is NaN.

    The hit rates, reuse distances and popularity come from a sample: evenly spaced lanes, their
    first `SAMPLED_READS` reads.

    Attributes:
        steps: Number of steps.
        tokens: Number of token steps.
        layers: Number of layers.
        sequences: Number of sequences.
        blocks: Blocks that ever live.
        prompt_blocks: Blocks alive before step 0.
        block_bytes: Bytes of a block.
        reads: Blocks read, in all steps.
        appended_bytes: Bytes appended, in all steps.
        weight_bytes: Bytes of weights and index read, in all steps.
        peak_blocks: Blocks alive at once, at most.
        density: Share of the blocks alive that a step reads, the mean over steps.
        overlap: Share of a read set that the lane's read set before holds.
        overlap_by_layer: The same for each layer, float64 [layers].
        adjacent_overlap: Share of a read set that the layer before holds, in the same token.
        union: Share of a read set that the last 1, 2, ... together hold, float64 [WINDOW].
        working_set: Blocks read in 2, 3, ... consecutive steps of a lane, float64 [WINDOW].
        top_share: Share of the reads that go to the most read blocks, float64 [TOP].
        lru: Hit rate of an LRU buffer of each size, float64 [BUFFERS].
        belady: The best possible hit rate of the same buffers, float64 [BUFFERS].
        lru_multiple: Hit rate of an LRU buffer of multiples of a read set, float64 [MULTIPLES].
        belady_multiple: The best possible one of the same, float64 [MULTIPLES].
        reuse: Reads at LRU stack distance 0, 1, 2..3, 4..7, ..., and at last first reads; int64
            [n].
    """

    steps: int
    tokens: int
    layers: int
    sequences: int
    blocks: int
    prompt_blocks: int
    block_bytes: int
    reads: int
    appended_bytes: int
    weight_bytes: float
    peak_blocks: int
    density: float
    overlap: float
    overlap_by_layer: F64
    adjacent_overlap: float
    union: F64
    working_set: F64
    top_share: F64
    lru: F64
    belady: F64
    lru_multiple: F64
    belady_multiple: F64
    reuse: I64

    def as_json(self) -> dict[str, Any]:
        """Plain data: curves are keyed by their abscissa, and what cannot be told is None."""
        plain = {k: _finite(v) for k, v in vars(self).items() if not isinstance(v, np.ndarray)}
        return plain | {
            "overlap_by_layer": _plain(self.overlap_by_layer),
            "union": dict(enumerate(_plain(self.union), 1)),
            "working_set": dict(enumerate(_plain(self.working_set), 2)),
            "top_share": keyed(TOP, self.top_share),
            "lru": keyed(BUFFERS, self.lru),
            "belady": keyed(BUFFERS, self.belady),
            "lru_multiple": keyed(MULTIPLES, self.lru_multiple),
            "belady_multiple": keyed(MULTIPLES, self.belady_multiple),
            "reuse": dict(zip(self._reuse_labels(), self.reuse.tolist(), strict=True)),
        }

    def format_table(self) -> str:
        """Two columns for a terminal."""
        per_step = self.reads / self.steps
        rows = [
            ("steps", f"{self.steps:,} ({self.tokens:,} tokens, {self.layers} layers)"),
            ("sequences", f"{self.sequences:,}"),
            ("blocks", f"{self.blocks:,} of {show_bytes(self.block_bytes)}"),
            ("  before step 0", f"{self.prompt_blocks:,}"),
            ("  alive at most", f"{self.peak_blocks:,}: {self._size(self.peak_blocks)}"),
            ("read", f"{self.reads:,} blocks: {self._size(self.reads)}"),
            ("  a step", f"{per_step:,.1f} blocks: {self._size(per_step)}"),
            ("  of those alive", _percent(self.density)),
            ("appended", show_bytes(self.appended_bytes)),
            ("weights read", show_bytes(self.weight_bytes)),
            ("overlap, next step", _percent(self.overlap)),
            ("  by layer", _range(self.overlap_by_layer)),
            ("overlap, adjacent layers", _percent(self.adjacent_overlap)),
            ("union of last 1, 4, 12, 16, 32", _list(self.union[[0, 3, 11, 15, 31]])),
            ("working set, 2, 5, 16, 33 steps", _counts(self.working_set[[0, 3, 14, 31]])),
            (f"reads by top {_shares(TOP)}", _list(self.top_share)),
            (f"LRU buffer of {_shares(BUFFERS)}", _list(self.lru)),
            ("  best possible", _list(self.belady)),
            (f"LRU buffer of {_times(MULTIPLES)} a read set", _list(self.lru_multiple)),
            ("  best possible", _list(self.belady_multiple)),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def _size(self, blocks: float) -> str:
        return show_bytes(blocks * self.block_bytes)

    def _reuse_labels(self) -> list[str]:
        starts = [0, *(1 << i for i in range(self.reuse.size - 2))]
        return [*map(str, starts), "first"]


def measure(
    workload: Workload,
    progress: Callable[[int], None] | None = None,
    lanes: int = SAMPLED_LANES,
) -> Statistics:
    """Statistics of a workload, as the literature on sparse attention reports them, in one pass.

    Best possible hit rates are Belady's (IBM Systems Journal 5, 1966), with bypass.

    Args:
        workload: What is measured.
        progress: Called with the number of steps done so far.
        lanes: Of how many lanes, evenly chosen, hit rates, reuse and top shares are taken, at most.

    Returns:
        The statistics; `format_table()` prints them, `as_json()` gives plain data.
    """
    shape = workload.geometry
    slide = _Slide(shape.lanes, shape.words)
    sample = _Sample(shape.lanes, shape.slots, lanes)
    alive = int(np.bitwise_count(workload.prompt).sum(dtype=np.int64))
    prompt = blocks = peak = alive
    reads = appended = tokens = 0
    weights = density = 0.0
    last_token = None
    for chunk in workload.chunks():
        slide.add(chunk)
        sample.add(chunk)
        born = np.add.reduceat(np.append(chunk.append_born, 0), chunk.append_offset[:-1])
        born[np.diff(chunk.append_offset) == 0] = 0
        levels = alive + np.cumsum(born - np.diff(chunk.death_offset))
        alive, peak = int(levels[-1]), max(peak, int(levels.max()))
        blocks += int(born.sum())
        reads += int(chunk.reads.sum())
        appended += int(chunk.append_bytes.sum())
        weights += float(chunk.hbm_bytes.sum())
        density += float((chunk.reads * shape.lanes / np.maximum(levels, 1)).sum())
        changes = np.count_nonzero(np.diff(chunk.token))
        tokens += changes + (chunk.token[0] != last_token)
        last_token = chunk.token[-1]
        if progress is not None:
            progress(chunk.first + chunk.reads.size)
    lru, belady, reuse = sample.buffers(peak / shape.lanes)
    shares = len(BUFFERS)
    return Statistics(
        steps=shape.steps,
        tokens=int(tokens),
        layers=shape.layers,
        sequences=shape.sequences,
        blocks=blocks,
        prompt_blocks=prompt,
        block_bytes=shape.block_bytes,
        reads=reads,
        appended_bytes=appended,
        weight_bytes=weights,
        peak_blocks=peak,
        density=density / shape.steps,
        overlap=_ratio(*slide.own.sum(axis=0)),
        overlap_by_layer=_ratios(slide.own),
        adjacent_overlap=_ratio(*slide.near.sum(axis=0)),
        union=_ratios(slide.curve[:, :2]),
        working_set=_ratios(slide.curve[:, 2:]),
        top_share=sample.top_share(),
        lru=lru[:shares],
        belady=belady[:shares],
        lru_multiple=lru[shares:],
        belady_multiple=belady[shares:],
        reuse=reuse,
    )


class _Slide:
    """Read sets against the last ones of their lane and of the lane before."""

    def __init__(self, lanes: int, words: int) -> None:
        self.past = np.zeros((lanes, WINDOW, words), np.uint64)
        self.filled = np.zeros(lanes, np.int64)
        self.latest = np.zeros(lanes, np.int64)
        self.curve = np.zeros((WINDOW, 4), np.int64)
        self.own = np.zeros((lanes, 2), np.int64)
        self.near = np.zeros((lanes, 2), np.int64)

    def add(self, chunk: Steps) -> None:
        statistics_kernel.slide(
            chunk.bits, chunk.lane, chunk.token, chunk.reads, STRIDE, self.past, self.filled,
            self.latest, self.curve, self.own, self.near,
        )  # fmt: skip


class Accesses(NamedTuple):
    """One lane's reads, blocks renumbered 0 .. blocks - 1 within the lane.

    Attributes:
        offset: Where the reads of each step begin and end, int64 [steps + 1].
        block: What is read, int64 [reads].
        number: The workload's numbers of these blocks, int64 [blocks], ascending.
    """

    offset: I64
    block: I64
    number: I64

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return self.number.size

    def sizes(self, alive: float) -> I64:
        """Blocks that buffers of BUFFERS, then of MULTIPLES, hold; of `alive` blocks of the lane."""
        mean = self.block.size / (self.offset.size - 1)
        wanted = np.array([*(b * alive for b in BUFFERS), *(m * mean for m in MULTIPLES)])
        return np.clip(np.rint(wanted).astype(np.int64), 1, self.blocks)


def sampled_reads(workload: Workload) -> list[Accesses]:
    """The reads of a few lanes from the first step on, of which `measure` takes its hit rates."""
    sample = _Sample(workload.geometry.lanes, workload.geometry.slots)
    for chunk in workload.chunks():
        sample.add(chunk)
        if not any(sample.room.values()):
            break
    return list(sample.accesses())


class _Sample:
    """The reads of a few lanes from the first step on: step by step, by slot within a step."""

    def __init__(self, lanes: int, slots: int, most: int = SAMPLED_LANES) -> None:
        count = min(lanes, most)
        chosen = [(2 * i + 1) * lanes // (2 * count) for i in range(count)]
        self.number = np.arange(slots)
        self.lists: dict[int, list[I64]] = {lane: [] for lane in chosen}
        self.lengths: dict[int, list[I64]] = {lane: [] for lane in chosen}
        self.room = dict.fromkeys(chosen, SAMPLED_READS)

    def add(self, chunk: Steps) -> None:
        for lane, room in self.room.items():
            rows = np.flatnonzero(chunk.lane == lane)
            fits = rows[np.cumsum(chunk.reads[rows]) <= room]
            found = np.empty(int(chunk.reads[fits].sum()), np.int64)
            zeros = np.zeros(fits.size, np.int64)
            trace_kernel.unpack(chunk.bits[fits], zeros, self.number, found)
            self.lists[lane].append(found)
            self.lengths[lane].append(chunk.reads[fits])
            self.room[lane] = room - found.size if fits.size == rows.size else 0

    def accesses(self) -> Iterator[Accesses]:
        for lane, parts in self.lists.items():
            known, block = np.unique(np.concatenate(parts), return_inverse=True)
            lengths = np.concatenate(self.lengths[lane])
            if block.size:
                number = lane * self.number.size + known
                yield Accesses(np.append(0, np.cumsum(lengths)), block, number)

    def top_share(self) -> F64:
        top, total = np.zeros(len(TOP)), 0
        for reads in self.accesses():
            counts = np.sort(np.bincount(reads.block))[::-1]
            ends = [max(1, round(share * counts.size)) for share in TOP]
            top += np.cumsum(counts)[np.array(ends) - 1]
            total += reads.block.size
        return _over(top, total)

    def buffers(self, alive: float) -> tuple[F64, F64, I64]:
        """Hit rates under LRU and at best, of BUFFERS then MULTIPLES, and the reuse distances.

        `alive`: blocks that a lane has, of which BUFFERS are shares.
        """
        lru = np.zeros(len(BUFFERS) + len(MULTIPLES), np.int64)
        belady = np.zeros_like(lru)
        reuse, total = np.zeros(2, np.int64), 0
        for reads in self.accesses():
            histogram = np.zeros(reads.blocks + 1, np.int64)
            statistics_kernel.stack_distances(reads.offset, reads.block, reads.blocks, histogram)
            sizes = reads.sizes(alive)
            lru += np.cumsum(histogram[:-1])[sizes - 1]
            statistics_kernel.belady_hits(reads.offset, reads.block, reads.blocks, sizes, belady)
            reuse = _merge(reuse, _octaves(histogram))
            total += reads.block.size
        return _over(lru, total), _over(belady, total), reuse


def _octaves(histogram: I64) -> I64:
    """Distances 0, 1, 2..3, 4..7, ... of a histogram by distance, its last entry kept last."""
    starts = np.array([0, *(1 << i for i in range(max(histogram.size - 2, 0).bit_length()))])
    return np.append(np.add.reduceat(histogram[:-1], starts), histogram[-1])


def _merge(a: I64, b: I64) -> I64:
    """Sum of two octave histograms of any length."""
    if a.size < b.size:
        a, b = b, a
    total = a.copy()
    total[: b.size - 1] += b[:-1]
    total[-1] += b[-1]
    return total


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _ratios(pairs: I64) -> F64:
    return np.array([_ratio(part, whole) for part, whole in pairs])


def _over(parts: I64 | F64, whole: float) -> F64:
    return parts / whole if whole else np.full(parts.size, np.nan)


def keyed(keys: tuple[float, ...], values: F64) -> dict[str, float | None]:
    """Plain data: values by abscissa, and None for what cannot be told."""
    return dict(zip(map(str, keys), _plain(values), strict=True))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


def _plain(values: F64) -> list[float | None]:
    return [_finite(float(value)) for value in values]


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def _list(shares: F64) -> str:
    return ", ".join(map(_percent, shares))


def _counts(values: F64) -> str:
    return ", ".join("-" if np.isnan(value) else f"{value:,.0f}" for value in values)


def _range(shares: F64) -> str:
    known = shares[~np.isnan(shares)]
    return f"{_percent(known.min())} .. {_percent(known.max())}" if known.size else "-"


def _shares(values: tuple[float, ...]) -> str:
    return ", ".join(f"{100 * value:g}" for value in values) + " %"


def _times(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values) + " x"
