"""`sa`: its annealing, and that it is the `lookahead` which that found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.placement import policies
from hmsim.placement.latency import VARIANTS, Groups, variant_traffic
from hmsim.placement.policies.sa import anneal
from tests.placement.policies.agreement import case, counts_of, seeds

pytestmark = pytest.mark.nojit


def test_annealing_finds_the_bottom_of_a_valley():
    """A smooth bowl with ripples; the same seed gives the same search."""

    def bowl(window, share):
        tried.append((window, share))
        return 10 + abs(window - 9) + 20 * abs(share - 0.4) + 0.3 * (window % 2)

    tried = []
    found = anneal(bowl, longest=16, seed=3)
    assert found[:2] in {(8, 0.4), (9, 0.4), (10, 0.4)}
    assert found.time_s == bowl(*found[:2])
    tried.pop()
    assert len(tried) == len(set(tried)) == found.tried
    assert all(1 <= window <= 16 and 0 <= share <= 1 for window, share in tried)
    assert anneal(bowl, longest=16, seed=3) == found


@settings(max_examples=10, deadline=None)
@given(seed=seeds, capacity=st.integers(1, 12), variant=st.sampled_from(VARIANTS))
def test_sa_is_the_best_lookahead_that_it_found(seed, capacity, variant):
    workload, rates = case(seed, 2, blocks=30)
    policy = policies.make("sa", {"longest": 4, "tokens": 5})
    policy.variant = variant
    found = policy.search(workload, capacity, rates)
    options = {"window": found.window, "share": found.share}
    tokens = int((workload.token < 5).sum())

    def seconds(options):
        counts = counts_of("lookahead", options, workload, capacity, rates, variant)[:tokens]
        other = workload.hbm_bytes[:tokens], workload.compute_s[:tokens]
        groups = Groups(*other, np.arange(tokens))
        return variant_traffic(counts, groups, workload.block_bytes, rates, variant).time_s.sum()

    assert found.time_s == pytest.approx(seconds(options))
    assert found.time_s <= seconds({"window": 1, "share": 1.0}) * (1 + 1e-12)
    annealed = counts_of("sa", {"longest": 4, "tokens": 5}, workload, capacity, rates, variant)
    assert np.array_equal(
        annealed, counts_of("lookahead", options, workload, capacity, rates, variant)
    )
