"""What is counted of a step's pieces is what is counted of the extents that they stand for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.memory.device import Extents
from hmsim.memory.sampling import survey
from hmsim.memory.sampling_kernel import Learner
from hmsim.simulate import extents_kernel as kernel
from hmsim.simulate.tally_kernel import MOST_PERIOD, tally_of, tally_pieces


def learner_of(channels: int, stripe: int, burst: int, hashed: int = 0) -> Learner:
    """As far as counting goes."""
    none, table = np.zeros(1, np.int64), np.zeros((1, 1))
    values = dict.fromkeys(Learner._fields, 0) | dict.fromkeys(Learner._fields[:11], none)
    values |= {"known": table, "work": table}
    values |= {"channels": channels, "stripe": stripe, "burst": burst, "hashed": hashed}
    values |= {name: np.zeros(channels, np.int64) for name in ("bursts", "rises")}
    return Learner(**values)


@pytest.mark.nojit
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    channels=st.sampled_from([1, 2, 3, 8, 32, 96]),
    stripe=st.integers(6, 12),
    burst=st.integers(4, 6),
    size=st.one_of(st.integers(1, 5000), st.integers(1, 64).map(lambda n: n << 10)),
    frames=st.integers(1, 60),  # so that some follow each other
    base=st.sampled_from([0, 1, 3 << 20]),
)
def test_a_tally_is_a_count_of_extents(seed, channels, stripe, burst, size, frames, base):
    rng = np.random.default_rng(seed)
    layout = kernel.Layout(
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.uint64), np.zeros(1, np.int64),
        base, size,
    )  # fmt: skip
    learner = learner_of(channels, stripe, burst)
    tally = tally_of(learner, base, size, frames)
    around = channels << stripe
    assert bool(len(tally.blocks)) == (around // math.gcd(around, size) <= MOST_PERIOD)
    if not len(tally.blocks):
        return
    extra = np.zeros(3, np.int64)
    for _ in range(2):  # the second finds clean work space
        n, others = int(rng.integers(1, 80)), int(rng.integers(0, 5))
        pieces = kernel.Pieces.empty(n + others, others)
        blocks = 2 * rng.integers(0, frames, n) + rng.integers(0, 2, n)
        which = rng.permutation(n + others)
        pieces.item[:] = np.append(blocks, ~np.arange(others))[which]
        pieces.address[:] = rng.integers(0, base + frames * size, others)
        pieces.size[:] = rng.choice([0, 1, 33, 1 << 20, size], others)
        pieces.write[:] = rng.integers(0, 2, others)
        pieces.filled[:] = n + others, others
        extents = Extents(*np.zeros((3, n + others), np.int64))
        kernel.expand(layout, pieces, extents, np.zeros(n + others + 1, np.int64))
        learner.bursts[:] = extra[:] = 0
        assert tally_pieces(layout, pieces, tally, learner, extra)
        seen = survey(extents, channels, stripe, burst)
        assert learner.bursts.tolist() == seen.bursts.tolist()
        assert extra.tolist() == [seen.written, seen.runs, seen.visits]


def test_extents_are_counted_where_frames_do_not_repeat_soon():
    assert len(tally_of(learner_of(96, 11, 5), 0, 16384, 10**6).blocks) == 2 * 12
    assert not len(tally_of(learner_of(96, 11, 5), 0, 1001, 10**6).blocks)
    assert not len(tally_of(learner_of(96, 11, 5, hashed=1), 0, 16384, 10**6).blocks)
    assert not len(tally_of(learner_of(96, 11, 5), 0, 16384, 1 << 40).blocks)
