"""What is counted of reads by lanes' accounts is what is counted of the extents that they stand for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.bits import pack
from hmsim.memory.device import Extents
from hmsim.memory.sampling import survey
from hmsim.memory.superchip_kernel import Chip, Link, Part
from hmsim.simulate import extents_kernel as kernel
from hmsim.simulate.ledger_kernel import Ledgers, count_reads, early_ranks, ledger_of
from hmsim.simulate.tally_kernel import MOST_PERIOD, tally_of, tally_pieces
from tests.simulate.test_tally import learner_of


def chip_of(stripe: int, burst: int, *channels: int) -> Chip:
    """As far as counting goes."""
    none = np.zeros(0, np.int64)
    parts = [
        Part(
            learner_of(n, stripe, burst), none, np.zeros(3, np.int64), none, 1, 1, 1, 1.0, 0.0, 1.0
        )
        for n in channels
    ]
    return Chip(*parts, Link(1.0, 1.0, 0.0, 1, 0, 0), np.zeros(1))


def near_order(rng: np.random.Generator, n: int) -> np.ndarray:
    """A permutation in which many a number follows the one before it, some soon after it."""
    return np.argsort(np.arange(n) + rng.choice([0.0, 3.0, 200.0]) * rng.random(n))


@pytest.mark.nojit
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    channels=st.tuples(st.sampled_from([1, 2, 3, 8, 96]), st.sampled_from([1, 5, 32])),
    stripe=st.integers(6, 12),
    burst=st.integers(4, 6),
    size=st.one_of(st.integers(1, 5000), st.integers(1, 64).map(lambda n: n << 10)),
    lanes=st.integers(1, 3),
    words=st.integers(1, 9),
    share=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    turnover=st.sampled_from([0.0, 0.02, 0.5]),
)
def test_accounts_are_a_count_of_extents(
    seed, channels, stripe, burst, size, lanes, words, share, turnover
):
    if max(each << stripe for each in channels) // math.gcd(1 << stripe, size) > MOST_PERIOD:
        return
    rng = np.random.default_rng(seed)
    slots, base = 64 * words, int(rng.choice([0, 1, 3 << 20]))
    blocks = lanes * slots
    frames = near_order(rng, blocks) % int(rng.integers(1, 2 * blocks)), near_order(rng, blocks)
    ints = np.zeros(lanes, np.int64)
    layout = kernel.Layout(*frames, np.zeros(blocks // 64, np.uint64), ints, base, size)
    chip = chip_of(stripe, burst, *channels)
    tallies = [tally_of(part.learner, base, size, blocks) for part in chip[:2]]
    of_each = [
        ledger_of(frame, early_ranks(frame), tally, part, lanes, words)
        for frame, tally, part in zip(frames, tallies, chip[:2], strict=True)
    ]
    ledgers = Ledgers(*of_each, ~np.zeros(words, np.uint64))
    read = rng.random((lanes, slots)) < share
    inside = rng.random((lanes, slots)) < rng.choice([0.0, 0.5, 1.0])
    for _ in range(6):
        lane = int(rng.integers(lanes))
        read[lane] ^= rng.random(slots) < turnover
        if rng.random() < 0.3:  # of any lane: ranks of those after it move
            inside[rng.integers(lanes), rng.integers(slots)] ^= True
        lanes_of = np.arange(lanes)
        placed = kernel.Placement(pack(inside), inside.sum(axis=1), lanes_of, lanes_of)
        hits = int((read[lane] & inside[lane]).sum())
        near = hits - int(rng.random() < 0.2)
        found = pieces_around(rng, layout, frames)
        whole = [kernel.Pieces(*(column.copy() for column in each)) for each in found]
        bits = pack(read[lane])
        kernel._reads(layout, bits, placed, lane, near, *whole)
        for part in chip[:2]:
            part.learner.bursts[:] = part.extra[:] = 0
        if not count_reads(layout, bits, placed, lane, near, ledgers, *found):
            assert near < hits
            continue
        assert near == hits
        for k, (part, got, all_) in enumerate(zip(chip[:2], found, whole, strict=True)):
            behind = int(rng.integers(base + blocks * size))
            for each in (got, all_):
                kernel.put(each, behind, size, 1)
            extents = expanded(layout, all_)
            together = tally_pieces(layout, got, tallies[k], part.learner, part.extra)
            ends = extents.address + extents.size
            meet = len(ends) > 2 and (ends[[0, -2]] == extents.address[[1, -1]]).any()
            assert together or meet
            if together:
                seen = survey(extents, channels[k], stripe, burst)
                assert part.learner.bursts.tolist() == seen.bursts.tolist()
                assert part.extra.tolist() == [seen.written, seen.runs, seen.visits]
            else:
                for each in tallies:
                    assert not each.blocks.any()


def pieces_around(rng, layout, frames):
    """For each memory, what comes before reads: sometimes up to where the first of them may begin."""
    made = []
    for frame in frames:
        pieces = kernel.Pieces.empty(len(frame) + 3, 3)
        end = int(layout.base + frame[rng.integers(min(3, len(frame)))] * layout.size)
        size = int(rng.integers(end + 1))
        kernel.put(pieces, end - size, size, 0)
        made.append(pieces)
    return made


def expanded(layout, pieces):
    n = pieces.filled[kernel.ITEMS]
    extents = Extents(*np.zeros((3, n), np.int64))
    kernel.expand(layout, pieces, extents, np.zeros(n + 1, np.int64))
    return extents
