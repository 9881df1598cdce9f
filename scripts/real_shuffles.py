"""Which property of a real selection policies react to: `python scripts/real_shuffles.py`.

The traces of pages in workloads/real/ are shuffled, each in a way that keeps some of their properties
and destroys another, and run as by scripts/real_gaps.py. The gaps go to results/real/shuffles.csv.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_gaps import POLICIES, ROOT, gaps, system_of

from hmsim.bits import pack, unpack
from hmsim.workload.steps import I64, Steps, Workload
from hmsim.workload.trace import TraceWorkload, save
from hmsim.workload.view import View

Flags = NDArray[np.bool_]  # [tokens, layers, blocks]
NAMES = ("argparse-pages-1024", "persuasion-pages-1024")
BLOCK = 16  # tokens: what is moved in time is moved by whole blocks, so that ages stay
PIECE = 96  # tokens
SEED = 1
BOUND_SECONDS = 5  # a minute's bound is 0.2 points higher


class Other(View):
    """A workload with other reads."""

    def __init__(self, whole: Workload, read: Flags):
        super().__init__(whole, whole.geometry.steps, whole.prompt)
        self._bits = pack(read.reshape(-1, read.shape[2]))

    def chunks(self) -> Iterator[Steps]:
        """The steps of the whole workload, with the reads given."""
        for chunk in self._whole.chunks():
            bits = self._bits[chunk.first : chunk.first + chunk.rows]
            reads = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
            yield chunk._replace(bits=bits, reads=reads)


def main() -> None:
    rows = []
    for name in NAMES:
        trace = TraceWorkload(ROOT / f"workloads/real/{name}.h5")
        system = system_of(trace)
        for what, read in shuffles(trace):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "shuffled.h5"
                save(Other(trace, read), path)
                found = gaps({"trace": str(path)}, system, BOUND_SECONDS)
            rows.append([name, what, *(f"{found[policy]:.4f}" for policy in POLICIES)])
    with open(ROOT / "results/real/shuffles.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trace", "shuffled", *POLICIES])
        table.writerows(rows)


def shuffles(trace: Workload) -> Iterator[tuple[str, Flags]]:
    read = np.concatenate([unpack(chunk.bits) for chunk in trace.chunks()])
    read = read.reshape(-1, trace.geometry.lanes, read.shape[1]).astype(bool)
    tokens, layers, _ = read.shape
    rng, now = np.random.default_rng(SEED), np.arange(tokens)
    by_layer = [read[:, layer] for layer in range(layers)]
    yield "as it is", read
    shifts = BLOCK * rng.integers(0, tokens // BLOCK, layers)
    moved = [at_times(one, (now + s) % tokens) for one, s in zip(by_layer, shifts, strict=True)]
    yield "each layer at another time", np.stack(moved, axis=1)
    pieces = rng.permutation(tokens // PIECE)[:, None] * PIECE + np.arange(PIECE)
    moved = [at_times(one, pieces.reshape(-1)) for one in by_layer]
    yield f"pieces of {PIECE} tokens in another order", np.stack(moved, axis=1)
    moved = [elsewhere(one, rng) for one in by_layer]
    yield "visits of one token to blocks at random", np.stack(moved, axis=1)


def at_times(read: Flags, time: I64) -> Flags:
    """Flags [tokens, blocks] as they are at other times, at the same ages."""
    out = np.zeros_like(read)
    for now, then in enumerate(time):
        later = now // BLOCK - int(then) // BLOCK  # blocks that are there now and were not then
        if later >= 0:
            out[now, later:] = read[then, : read.shape[1] - later]
        else:
            out[now, :later] = read[then, -later:]
    return out


def elsewhere(read: Flags, rng: np.random.Generator) -> Flags:
    """Flags [tokens, blocks] with the stays of one token at blocks that are not read, at random."""
    edge = np.zeros((1, read.shape[1]), np.bool_)
    brief = read & ~np.concatenate([edge, read[:-1]]) & ~np.concatenate([read[1:], edge])
    out = read & ~brief
    newest = [int(np.flatnonzero(row)[-1]) for row in read]  # it is always among those read
    for now, count in enumerate(brief.sum(axis=1)):
        free = np.flatnonzero(~out[now, : newest[now] + 1])
        out[now, rng.choice(free, min(count, free.size), replace=False)] = True
    return out


if __name__ == "__main__":
    main()
