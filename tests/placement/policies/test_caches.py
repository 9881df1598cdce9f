"""Policies of the caching literature against their rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import rules
from tests.placement.policies.agreement import CASES, agree, capacities, case, seeds, tokens

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
    sequences = 3 if many else 1
    policy = {"buffer": buffer}
    agree("hisparse", policy, rules.HiSparse(buffer), Shared(workload, sequences), rates, capacity)


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
