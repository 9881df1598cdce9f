"""The ratio estimator against plain arithmetic and against its promise."""

import numpy as np
import pytest

from hmsim.simulate.estimate import ratio_estimate


def test_a_sample_of_everything_has_no_error():
    sampled, known = np.array([2.0, 3.0]), np.array([1.0, 2.0])
    assert ratio_estimate(sampled, known, 3.0, 2) == (5.0, 0.0)


def test_a_constant_ratio_is_exact():
    known = np.array([1.0, 2.0, 5.0])
    estimate = ratio_estimate(1.7 * known, known, 100.0, 60)
    assert estimate.time_s == pytest.approx(170.0)
    assert estimate.ci95_s == pytest.approx(0.0, abs=1e-9)


def test_one_group_gives_no_interval():
    estimate = ratio_estimate(np.array([3.0]), np.array([2.0]), 20.0, 10)
    assert estimate.time_s == 30.0
    assert np.isnan(estimate.ci95_s)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(5)
    known = rng.uniform(1, 2, 4000)
    truth = known * rng.normal(1.5, 0.2, known.size)
    covered = 0
    for _ in range(400):
        chosen = rng.choice(known.size, 24, replace=False)
        estimate = ratio_estimate(truth[chosen], known[chosen], known.sum(), known.size)
        covered += abs(estimate.time_s - truth.sum()) <= estimate.ci95_s
    assert 0.91 <= covered / 400 <= 0.985
