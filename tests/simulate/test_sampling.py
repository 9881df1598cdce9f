"""Which groups are replayed: one of each stretch, and as many as the error asked for needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.simulate.sampling import LEAST, Sampling


def drawn(sampling, groups, windows):
    """The groups measured in windows whose ends are given; all take the same time."""
    known, found, played = np.ones((groups, 2)), [], []
    for first, last in zip([0, *windows], [*windows, groups], strict=True):
        replayed, measured = sampling.draw(last - first)
        taken = replayed[measured]
        sampling.add(known[first:last], taken, np.ones(len(taken)))
        found += (first + taken).tolist()
        played += (first + replayed).tolist()
    assert played == sorted({*found, *(each - 1 for each in found if each > 0)})
    return found


@given(groups=st.integers(1, 3000), period=st.integers(1, 400), seed=st.integers(0, 9),
       data=st.data())  # fmt: skip
def test_one_of_each_stretch_is_drawn_wherever_windows_end(groups, period, seed, data):
    ends = sorted(data.draw(st.sets(st.integers(1, max(1, groups - 1)), max_size=5)))
    ends = ends if groups > 1 else []
    found = drawn(Sampling(groups, period, 0.005, seed), groups, ends)
    assert found == drawn(Sampling(groups, period, 0.005, seed), groups, [])
    assert [each // period for each in found] == list(range(-(-groups // period)))
    if period == 1:
        assert found == list(range(groups))


@pytest.mark.parametrize("groups", [1, LEAST, 2 * LEAST - 1])
def test_a_short_run_is_replayed_whole(groups):
    assert drawn(Sampling(groups, 0, 0.005, 1), groups, []) == list(range(groups))


def test_no_error_takes_every_group():
    assert len(drawn(Sampling(5000, 0, 0.0, 1), 5000, [100])) == 5000


def test_groups_that_are_alike_are_drawn_seldom():
    found = drawn(Sampling(64_000, 0, 0.005, 1), 64_000, list(range(4000, 64_000, 4000)))
    assert LEAST <= len(found) <= 2 * LEAST


def test_a_stretch_is_no_longer_than_memory_allows():
    sampling = Sampling(6400, 0, 1e-9, 1, most=50)
    rng = np.random.default_rng(0)
    for _ in range(16):
        replayed, measured = sampling.draw(400)
        taken = replayed[measured]
        assert len(replayed) <= 102  # and one of the stretch before
        sampling.add(np.ones((400, 2)), taken, rng.uniform(1, 2, len(taken)))


def population(seed):
    """Times of 6,400 groups, hard to tell from what is known: bursts of moves, and a slow drift."""
    rng = np.random.default_rng(seed)
    busy = np.repeat(rng.random(200) < 0.3, 32) * rng.exponential(1, 6400)
    known = np.stack([1 + 0.3 * busy, np.ones(6400), busy], axis=1)
    return known, known[:, 0] * rng.normal(1.1, 0.04, 6400) + 0.02 * np.sin(np.arange(6400) / 900)


@pytest.mark.parametrize("error", [0.005, 0.02])
def test_the_interval_is_as_asked_for_and_holds(error):
    known, seconds = population(3)
    covered, count, half = [], [], []
    for seed in range(200):
        sampling = Sampling(6400, 0, error, seed)
        for first in range(0, 6400, 400):
            replayed, measured = sampling.draw(400)
            taken = replayed[measured]
            sampling.add(known[first : first + 400], taken, seconds[first + taken])
        found = sampling.estimate()
        half.append(found.ci95_s / found.time_s)
        covered.append(abs(found.time_s - seconds.sum()) <= found.ci95_s)
        count.append(sampling.measured)
    assert 0.9 <= np.mean(covered) <= 0.99
    assert np.mean(np.array(half) <= error) >= 0.95
    assert max(half) <= 1.1 * error
    assert np.median(count) < 1000
