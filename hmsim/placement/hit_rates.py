"""Hit rates by size of the buffers that policies keep: the policies themselves on sampled reads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmsim.bits import pack
from hmsim.placement.driver import EMPTY
from hmsim.placement.latency import HITS, READS, Rates
from hmsim.placement.policies import make
from hmsim.workload.statistics import BUFFERS, MULTIPLES, Accesses, keyed, sampled_reads
from hmsim.workload.steps import F64, I64, U64, Geometry, Steps, Workload
from hmsim.workload.windows import windows

NAMES = ("hisparse", "working-set", "arc", "s3-fifo", "sieve", "lirs")
ROWS = 256  # steps in a table


class _Reads:
    """A lane's reads as a workload of their own: all its blocks exist, and nothing is appended."""

    title, toml, seed = "reads", "", 0

    def __init__(self, reads: Accesses, of: Workload) -> None:
        self._reads, self._of = reads, of
        slots = -(-reads.blocks // 64) * 64
        shape = of.geometry
        self.geometry = Geometry(
            reads.offset.size - 1, 1, slots, 1, shape.tokens_per_block, 1, shape.sequences, 0.0
        )

    @property
    def prompt(self) -> U64:
        return pack((np.arange(self.geometry.slots) < self._reads.blocks)[None, :])

    def locate(self, block: I64) -> tuple[I64, I64, I64]:
        known = np.flatnonzero(block < self._reads.blocks)
        lane, sequence, position = np.full((3, block.size), -1)
        _, sequence[known], position[known] = self._of.locate(self._reads.number[block[known]])
        lane[known] = 0
        return lane, sequence, position

    def chunks(self) -> Iterator[Steps]:
        offset, block = self._reads.offset, self._reads.block
        for first in range(0, self.geometry.steps, ROWS):
            last = min(first + ROWS, self.geometry.steps)
            reads = np.diff(offset[first : last + 1])
            flags = np.zeros((reads.size, self.geometry.slots), bool)
            row = np.repeat(np.arange(reads.size), reads)
            flags[row, block[offset[first] : offset[last]]] = True
            none, ends = np.zeros(0, np.int64), np.zeros(reads.size + 1, np.int64)
            yield Steps(
                first, np.zeros(reads.size, np.int64), np.arange(first, last), pack(flags), reads,
                ends, none, none, none, ends, none, np.zeros(reads.size), np.zeros(reads.size),
            )  # fmt: skip


@dataclass(frozen=True)
class HitRates:
    """What `hit_rates` finds.

    Attributes:
        by_policy: Shares of reads that hit buffers of BUFFERS, then MULTIPLES; NaN without reads.
    """

    by_policy: dict[str, F64]

    def as_json(self) -> dict[str, Any]:
        """Plain data: by policy, by `share` of the blocks alive or `multiple` of a read set."""
        count = len(BUFFERS)
        return {
            "hit_rates": {
                name: {
                    "share": keyed(BUFFERS, rates[:count]),
                    "multiple": keyed(MULTIPLES, rates[count:]),
                }
                for name, rates in self.by_policy.items()
            }
        }

    def format_table(self) -> str:
        """A row for each policy, for a terminal."""
        heads = [*(f"{100 * share:g} %" for share in BUFFERS), *(f"{m:g} sets" for m in MULTIPLES)]
        rows = ["hit rates by buffer".ljust(20) + "".join(f"{head:>9}" for head in heads)]
        for name, rates in self.by_policy.items():
            rows.append(f"  {name:<18}" + "".join(f"{100 * rate:>7.1f} %" for rate in rates))
        return "\n".join(rows)


def hit_rates(
    workload: Workload, alive: float, progress: Callable[[int], None] | None = None
) -> HitRates:
    """Hit rates of the buffers that policies keep, on the reads that `workload info` samples.

    A buffer is empty at first and has one lane to itself. `hisparse` gives every sequence its share
    of it; the other policies have the options that they have unless given others.

    Args:
        workload: Whose reads.
        alive: Blocks that a lane has, of which BUFFERS are shares.
        progress: Called with the number of policies done so far.

    Returns:
        The hit rates; `format_table()` prints them, `as_json()` gives plain data.
    """
    sample = [(_Reads(reads, workload), reads.sizes(alive)) for reads in sampled_reads(workload)]
    found = {}
    for done, name in enumerate(NAMES, 1):
        hits, total = np.zeros(len(BUFFERS) + len(MULTIPLES)), 0
        for reads, sizes in sample:
            counts = np.array([_counts(name, reads, int(size)) for size in sizes])
            hits += counts[:, 1]
            total += int(counts[0, 0])
        found[name] = hits / total if total else np.full(hits.size, np.nan)
        if progress is not None:
            progress(done)
    return HitRates(found)


def _counts(name: str, reads: _Reads, size: int) -> I64:
    """Reads and hits of a policy whose HBM holds `size` blocks and is empty at first."""
    shape = reads.geometry
    options: dict[str, Any] = {}
    if name == "hisparse":
        options["buffer"] = max(1, size // shape.sequences) * shape.tokens_per_block
    policy = make(name, options)
    rates = Rates(1.0, 1.0, 1.0, 1.0)
    run = policy.start(reads, float(size), rates, "inclusive", prompt=EMPTY)
    total = np.zeros(2, np.int64)
    for window in windows(reads, 0):
        total += run.advance(window)[0][:, [READS, HITS]].sum(axis=0)
    return total
