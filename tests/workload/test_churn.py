"""The churn process against its rules, drawn sets against uniformity, streams against threads."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.workload import WorkloadSpec
from hmsim.workload import churn_kernel, open_workload


def sets(workload):
    """Every step's (lane, read set), and the number of reads that each chunk claims."""
    for chunk in workload.chunks():
        for lane, bits, reads in zip(chunk.lane, chunk.bits, chunk.reads, strict=True):
            read = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
            assert read.size == reads
            yield int(lane), set(read.tolist())


def spec(**changes):
    return WorkloadSpec(**({"model": "gpt2", "tokens": (200, 240), "layers": 3} | changes))


@pytest.mark.nojit
@settings(max_examples=40, deadline=None)
@given(
    first=st.integers(1, 300),
    steps=st.integers(1, 40),
    block_tokens=st.sampled_from([1, 3, 16]),
    sparsity=st.floats(0, 0.99),
    drift=st.floats(0, 1),
    reach=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_every_step_obeys_the_rule(first, steps, block_tokens, sparsity, drift, reach, seed):
    workload = open_workload(
        spec(
            tokens=(first, first + steps - 1), layers=2, block_tokens=block_tokens,
            sparsity=sparsity, drift=drift, reach=reach, seed=seed,
        )
    )  # fmt: skip
    th = min(1.0, (1 - sparsity) + reach * sparsity)
    before: dict[int, set[int]] = {}
    for step, (lane, read) in enumerate(sets(workload)):
        pages = -(-(first + step // 2) // block_tokens)  # those of the past tokens
        k = round((1 - sparsity) * (pages - 1))
        oldest = int((1 - th) * (pages - 1))
        assert len(read) == k
        assert all(page < pages for page in read)
        last = before.get(lane, set())
        assert all(page >= oldest for page in read - last)
        left, stayed = last - read, last & read
        assert len(left) <= int(drift * k)
        if left and stayed:
            assert max(left) < min(stayed)  # the oldest leave
        before[lane] = read


@pytest.mark.nojit
def test_first_sets_are_independent_of_each_other():
    first = [read for _, read in sets(open_workload(spec(tokens=(200, 200))))]
    assert first[0] != first[1] != first[2] != first[0]
    other = [read for _, read in sets(open_workload(spec(tokens=(200, 200), seed=2)))]
    assert first[0] != other[0]


@pytest.mark.parametrize("count", [3, 60, 75])  # one by one; mostly in bulk; nearly all
def test_additions_are_uniform(count):
    """Each free page is added equally often: chi-square at 4 standard deviations."""
    base = np.zeros(3, np.uint64)
    taken = [70, 71, 100, 130]
    for page in taken:
        base[page // 64] |= np.uint64(1 << (page % 64))
    low, high = 65, 145
    hits = np.zeros(192)
    trials = 3000
    for trial in range(trials):
        chosen = base.copy()
        added, _ = churn_kernel._add(chosen, base, low, high, count, np.uint64(trial * 977), 1)
        members = np.unpackbits(chosen.view(np.uint8), bitorder="little")
        assert added == count == members.sum() - len(taken)
        hits += members
    free = [page for page in range(low, high) if page not in taken]
    assert hits.sum() == hits[free].sum() + len(taken) * trials
    p = count / len(free)
    chi = ((hits[free] - trials * p) ** 2 / (trials * p * (1 - p))).sum()
    assert abs(chi - len(free)) < 4 * np.sqrt(2 * len(free))


@pytest.mark.nojit
def test_all_free_pages_are_added_when_fewer_are_left_than_asked_for():
    base = np.zeros(2, np.uint64)
    base[0] = np.uint64(0xFF)
    chosen = base.copy()
    added, _ = churn_kernel._add(chosen, base, 4, 100, 1000, np.uint64(1), 1)
    assert added == 92
    assert int(chosen[0]) == 2**64 - 1
    assert int(chosen[1]) == 2**36 - 1


@pytest.mark.nojit
def test_the_same_whatever_the_threads_and_however_often(monkeypatch):
    workload = open_workload(spec(tokens=(2000, 2020), drift=0.9, layers=7))
    results = []
    for threads in (1, 3, 7, 1):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        results.append(np.concatenate([chunk.bits for chunk in workload.chunks()]))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_one_layer_alone_is_the_same_as_among_many():
    many = [read for lane, read in sets(open_workload(spec(layers=5))) if lane == 0]
    alone = [read for _, read in sets(open_workload(spec(layers=1)))]
    assert many == alone


def test_the_total_of_the_papers_reads():
    n = range(31299, 31299 + 40)
    workload = open_workload(spec(model="llama-3.1-8b-paper", tokens=(n[0], n[-1]), layers=32))
    reads = sum(int(chunk.reads.sum()) for chunk in workload.chunks())
    assert reads == sum(32 * round(0.4 * (n - 1)) for n in n)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "first", "seconds", "tolerance"),
    [(0.1, 31299, 165.315, 0.002), (0.9, 31346, 122.304, 0.005)],
)
def test_static_placement_takes_as_long_as_the_paper_says(drift, first, seconds, tolerance):
    """The authors' static rule, written out here: 23 GiB filled with the oldest tokens."""
    workload = open_workload(
        spec(
            model="llama-3.1-8b-paper", tokens=(first, first + 10238), layers=32, sparsity=0.6,
            drift=drift, reach=0.95,
        )
    )  # fmt: skip
    entry = 16384
    usable = int((23 * 2**30 - 16e9) // entry) - 1
    resident = np.zeros((32, workload.geometry.slots), np.uint8)
    resident[:, : usable // 32] = 1
    resident[: usable % 32, usable // 32] = 1
    bits = np.packbits(resident, axis=1, bitorder="little").view(np.uint64)
    total = 0.0
    for chunk in workload.chunks():
        demand = chunk.hbm_bytes + chunk.reads * entry
        hits = np.bitwise_count(chunk.bits & bits[chunk.lane]).sum(axis=1, dtype=np.int64)
        share = np.minimum(4900 / 5350, (chunk.hbm_bytes + hits * entry) / demand)
        slow = np.maximum((1 - share) * demand / 450e9, entry / 50e9)
        total += np.maximum(share * demand / 4900e9, slow).sum()
    assert total == pytest.approx(seconds, rel=tolerance)
