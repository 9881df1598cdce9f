"""Statistics against plain definitions on small workloads."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.workload import WorkloadSpec
from hmsim.workload import open_workload, statistics, statistics_kernel
from hmsim.workload.statistics import measure

pytestmark = pytest.mark.nojit

streams = st.lists(st.sets(st.integers(0, 11), max_size=8), min_size=1, max_size=25)


def flat(steps):
    """Steps as CSR, ascending within a step."""
    offset = np.cumsum([0, *map(len, steps)])
    return offset, np.array([b for step in steps for b in sorted(step)], np.int64)


def lru_hits(steps, size):
    """A list of blocks by recency, cut to the buffer's size after every step."""
    stack, hits = [], 0
    for step in steps:
        hits += len(step & set(stack[:size]))
        for b in sorted(step):
            if b in stack:
                stack.remove(b)
            stack.insert(0, b)
    return hits


def best_hits(steps, size):
    """Exhaustive search over what the buffer keeps after every step."""
    best = {frozenset(): 0}
    for step in steps:
        after: dict[frozenset[int], int] = {}
        for kept, hits in best.items():
            hits += len(step & kept)
            pool = kept | step
            for keep in itertools.combinations(pool, min(size, len(pool))):
                after[frozenset(keep)] = max(after.get(frozenset(keep), 0), hits)
        best = after
    return max(best.values())


@settings(max_examples=150, deadline=None)
@given(streams)
def test_stack_distances_are_what_lru_buffers_of_every_size_hit(steps):
    offset, block = flat(steps)
    histogram = np.zeros(13, np.int64)
    statistics_kernel.stack_distances(offset, block, 12, histogram)
    assert histogram.sum() == block.size
    assert histogram[12] == len(set().union(*steps))
    for size in range(1, 13):
        assert histogram[:size].sum() == lru_hits(steps, size)


def test_stack_distances_survive_renumbering_of_time():
    rng = np.random.default_rng(3)
    steps = [set(rng.integers(0, 12, 6).tolist()) for _ in range(900)]
    offset, block = flat(steps)
    histogram = np.zeros(13, np.int64)
    statistics_kernel.stack_distances(offset, block, 12, histogram)
    assert histogram[:5].sum() == lru_hits(steps, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=1, max_size=8))
def test_belady_is_the_best_there_is(steps):
    offset, block = flat(steps)
    sizes = np.arange(6)
    hits = np.zeros(6, np.int64)
    statistics_kernel.belady_hits(offset, block, 5, sizes, hits)
    assert hits.tolist() == [best_hits(steps, size) for size in range(6)]


@settings(max_examples=60, deadline=None)
@given(streams, st.integers(1, 12))
def test_belady_is_never_below_lru(steps, size):
    offset, block = flat(steps)
    hits = np.zeros(1, np.int64)
    statistics_kernel.belady_hits(offset, block, 12, np.array([size]), hits)
    assert hits[0] >= lru_hits(steps, size)


def spec(**changes):
    base = {"model": "gpt2", "layers": 3, "tokens": (100, 160), "drift": 0.5, "sparsity": 0.7}
    return WorkloadSpec(**(base | changes))


def read_sets(workload):
    """[lane][token] sets of slots."""
    lanes = [[] for _ in range(workload.geometry.lanes)]
    for chunk in workload.chunks():
        for lane, bits in zip(chunk.lane, chunk.bits, strict=True):
            read = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
            lanes[lane].append(set(read.tolist()))
    return lanes


def test_overlaps_and_curves_by_definition():
    workload = open_workload(spec())
    found = measure(workload)
    lanes = read_sets(workload)
    pairs = [(a, b) for lane in lanes for a, b in itertools.pairwise(lane)]
    overlap = sum(len(a & b) for a, b in pairs) / sum(len(b) for _, b in pairs)
    assert found.overlap == pytest.approx(overlap)
    near = [(a, b) for x, y in itertools.pairwise(lanes) for a, b in zip(x, y, strict=True)]
    adjacent = sum(len(a & b) for a, b in near) / sum(len(b) for _, b in near)
    assert found.adjacent_overlap == pytest.approx(adjacent)
    assert (found.union.size, found.working_set.size) == (32, 32)  # 1 to 32 steps looked back
    for w in range(statistics.WINDOW):
        rows = [
            (set().union(*lane[t - w - 1 : t]), lane[t])
            for lane in lanes
            for t in range(0, len(lane), statistics.STRIDE)
            if t > w
        ]
        covered = sum(len(a & b) for a, b in rows) / sum(len(b) for _, b in rows)
        assert found.union[w] == pytest.approx(covered)
        assert found.working_set[w] == pytest.approx(np.mean([len(a | b) for a, b in rows]))


def test_counts_and_bytes_add_up():
    workload = open_workload(spec(block_tokens=16))
    found = measure(workload)
    entry = 3072
    assert (found.steps, found.tokens, found.layers, found.sequences) == (183, 61, 3, 1)
    assert found.prompt_blocks == 3 * 7
    assert found.blocks == found.peak_blocks == 3 * 11
    assert found.appended_bytes == 183 * entry
    assert found.reads == sum(len(read) for lane in read_sets(workload) for read in lane)
    assert found.weight_bytes == pytest.approx(183 * 2 * (12 * 7_077_888 + 50257 * 768) / 12, 1e-3)


def test_the_whole_sample_gives_the_hit_rates_of_its_lanes(monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLED_READS", 500)
    workload = open_workload(spec(layers=2))
    found = measure(workload)
    hits = np.zeros(2)
    for lane in read_sets(workload):
        steps = []
        while sum(map(len, steps)) + len(lane[len(steps)]) <= 500:
            steps.append(lane[len(steps)])
        size = round(0.4 * found.peak_blocks / 2)
        hits += [lru_hits(steps, size), sum(map(len, steps))]
    assert found.lru[statistics.BUFFERS.index(0.4)] == pytest.approx(hits[0] / hits[1])


def test_the_report_is_json_and_a_table():
    found = measure(open_workload(spec(tokens=(100, 101), layers=1)))
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert plain["adjacent_overlap"] is None  # one layer has no neighbour
    assert plain["union"]["16"] is None
    assert sum(plain["reuse"].values()) == found.reads
    lines = found.format_table().splitlines()
    assert lines[0].split() == ["steps", "2", "(2", "tokens,", "1", "layers)"]
    assert all(len(line) < 100 for line in lines)
