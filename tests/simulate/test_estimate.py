"""The regression estimator against plain arithmetic and against its promise."""

import numpy as np
import pytest

from hmsim.simulate.estimate import regression_estimate


def ratio(sampled, known, total, groups):
    """With the analytic time alone known, and every group drawn alike."""
    sampled, known = np.array(sampled), np.stack([known, np.ones(len(known))], axis=1)
    weight = np.full(len(sampled), groups / len(sampled))
    return regression_estimate(sampled, weight, known, np.array([total, groups]))


def test_a_sample_of_everything_has_no_error():
    assert ratio([2.0, 3.0], [1.0, 2.0], 3.0, 2) == (5.0, 0.0)


def test_a_constant_ratio_is_exact():
    known = np.array([1.0, 2.0, 5.0])
    estimate = ratio(1.7 * known, known, 100.0, 60)
    assert estimate.time_s == pytest.approx(170.0)
    assert estimate.ci95_s == pytest.approx(0.0, abs=1e-9)


def test_few_samples_are_scaled_by_their_ratio():
    """As in Cochran's textbook: 2.776 is Student's quantile of four degrees of freedom."""
    sampled, known = np.array([3.0, 2.0, 5.0, 4.0, 4.0]), np.array([2.0, 1.0, 4.0, 2.0, 3.0])
    estimate = ratio(sampled, known, 90.0, 40)
    assert estimate.time_s == pytest.approx(18 / 12 * 90)
    error = np.sqrt((1 - 5 / 40) * ((sampled - 1.5 * known) ** 2).sum() / (5 * 4)) / 2.4 * 90
    assert estimate.ci95_s == pytest.approx(2.7764451 * error)


def test_one_group_gives_no_interval():
    estimate = ratio([3.0], [2.0], 20.0, 10)
    assert estimate.time_s == 30.0
    assert np.isnan(estimate.ci95_s)


def test_groups_without_time_tell_nothing():
    assert all(map(np.isnan, ratio([1.0, 2.0], [0.0, 0.0], 5.0, 9)))


def test_what_is_known_of_every_group_explains_its_time():
    rng = np.random.default_rng(1)
    known = np.stack([rng.uniform(1, 2, 900), np.ones(900), rng.exponential(3e6, 900)], axis=1)
    truth = known @ [1.1, 0.3, 2e-7]
    chosen = rng.choice(900, 24, replace=False)
    weight = np.full(24, 900 / 24)
    found = regression_estimate(truth[chosen], weight, known[chosen], known.sum(axis=0))
    assert found.time_s == pytest.approx(truth.sum(), rel=1e-9)
    assert found.ci95_s == pytest.approx(0.0, abs=1e-6 * truth.sum())


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(5)
    known = np.stack([rng.uniform(1, 2, 4000), np.ones(4000), rng.exponential(1, 4000)], axis=1)
    truth = known[:, 0] * rng.normal(1.5, 0.2, 4000) + 0.5 * known[:, 2]
    stands_for = np.repeat([20.0, 60.0], [1000, 3000])  # two rates
    covered = []
    for _ in range(400):
        chosen = np.flatnonzero(rng.random(4000) < 1 / stands_for)
        found = regression_estimate(
            truth[chosen], stands_for[chosen], known[chosen], known.sum(axis=0)
        )
        covered.append(abs(found.time_s - truth.sum()) <= found.ci95_s)
    assert 0.91 <= np.mean(covered) <= 0.985
