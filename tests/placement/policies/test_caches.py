"""Policies of the caching literature against their rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.placement.latency import DEMOTED, HITS, RESIDENT, Rates
from tests.oracles import rules
from tests.oracles.random_workloads import random_blocks
from tests.placement.policies.agreement import (
    CASES,
    agree,
    capacities,
    case,
    counts_of,
    seeds,
    tokens,
)

pytestmark = pytest.mark.nojit


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens)
def test_sieve(seed, capacity, rows):
    workload, rates = case(seed, rows, blocks=30)
    agree("sieve", {}, rules.Sieve(), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, small=st.sampled_from([0.0, 0.1, 0.3, 1]))
def test_s3_fifo(seed, capacity, rows, small):
    workload, rates = case(seed, rows, blocks=30, steps=40)
    agree("s3-fifo", {"small": small}, rules.S3Fifo(small), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=st.integers(0, 30), rows=tokens)
def test_arc(seed, capacity, rows):
    workload, rates = case(seed, rows, blocks=70, steps=60)
    agree("arc", {}, rules.Arc(), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, cold=st.sampled_from([0.01, 0.4, 0.7, 1]))
def test_lirs(seed, capacity, rows, cold):
    workload, rates = case(seed, rows, blocks=30, steps=40)
    agree("lirs", {"cold": cold}, rules.Lirs(cold), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, window=st.integers(1, 4))
def test_working_set(seed, capacity, rows, window):
    workload, rates = case(seed, rows, blocks=30)
    agree("working-set", {"window": window}, rules.WorkingSet(window), workload, rates, capacity)


@CASES
@given(seed=seeds, capacity=capacities, rows=tokens, buffer=st.integers(1, 12), many=st.booleans())
def test_hisparse(seed, capacity, rows, buffer, many):
    """Blocks of two tokens, of one sequence or three, whose slots lie in turn."""
    workload, rates = case(seed, rows, blocks=30)
    workload, options = Shared(workload, 3 if many else 1), {"buffer": buffer}
    agree("hisparse", options, rules.HiSparse(buffer), workload, rates, capacity)
    rule = rules.HiSparsePressure(buffer)
    agree("hisparse-pressure", options, rule, workload, rates, 2 * capacity)


def test_a_whole_request_becomes_a_buffer_when_a_place_is_needed():
    """Three requests of eight blocks and two places: with the third newborn the last request yields."""
    blocks = random_blocks(np.random.default_rng(1), 6, 27, lanes=1, births=False)
    birth, append = np.full(27, -1), np.zeros((27, 6), np.int64)
    birth[24:], append[24:, 1:4] = [1, 2, 3], 8 * np.eye(3, dtype=np.int64)
    read = np.zeros((27, 6), bool)
    read[2] = True  # the oldest block of the last request
    workload = blocks._replace(number=np.arange(27), birth=birth, append=append, read=read)
    options, rates = {"buffer": 2}, Rates(9.0, 4.0, 3.0, 3.5)
    counts = counts_of("hisparse-pressure", options, Shared(workload, 3), 26, rates)
    assert counts[:, DEMOTED].tolist() == [0, 0, 6, 1, 0, 0]
    assert counts[:, RESIDENT].tolist() == [24, 25, 26, 21, 20, 20]
    assert np.all(counts[:, HITS] == 1)


class Shared:
    """A workload whose slots belong to several sequences in turn."""

    def __init__(self, workload, sequences):
        self._workload, self._sequences = workload, sequences

    def __getattr__(self, name):
        return getattr(self._workload, name)

    @property
    def geometry(self):
        return self._workload.geometry._replace(sequences=self._sequences)

    def locate(self, block):
        lane, slot = np.divmod(block, self._workload.slots)
        return lane, slot % self._sequences, slot // self._sequences
