"""Hit rates of policies' buffers against plain ones, block by block."""

import json

import numpy as np
import pytest

from hmsim.config.workload import WorkloadSpec
from hmsim.placement.hit_rates import NAMES, hit_rates
from hmsim.workload import open_workload
from hmsim.workload.statistics import BUFFERS, MULTIPLES, measure


@pytest.fixture(scope="module", params=[1, 2], ids=["one sequence", "two"])
def case(request):
    """A workload, its statistics and its hit rates."""
    spec = WorkloadSpec(
        kind="scores", model="gpt2", layers=2, block_tokens=4, tokens=(200, 260),
        copies=request.param, scores={"budget": 80, "slow": 1.0, "flicker": 0.3},
    )  # fmt: skip
    workload = open_workload(spec)
    found = measure(workload)
    return workload, found, hit_rates(workload, found.peak_blocks / 2)


def lanes(workload):
    """By lane, the blocks read in each step."""
    found = [[] for _ in range(workload.geometry.lanes)]
    for chunk in workload.chunks():
        for lane, bits in zip(chunk.lane, chunk.bits, strict=True):
            found[lane].append(
                np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
            )
    return [[set(step.tolist()) for step in steps] for steps in found]


def lru_hits(steps, size):
    """A list of blocks, the least recently used first; what a step uses is not let go in it."""
    kept, hits = [], 0
    for step in steps:
        used = sorted(step & set(kept))
        kept, hits = [block for block in kept if block not in step] + used, hits + len(used)
        for block in sorted(step.difference(used)):
            if len(kept) == size:
                if kept[0] in step:
                    break
                kept.pop(0)
            kept.append(block)
    return hits


def working_set_hits(steps, size):
    """What the last eight steps used stays; what finds no place does not come in."""
    kept, hits = set(), 0
    for t, step in enumerate(steps):
        hits += len(step & kept)
        kept &= set().union(*steps[max(0, t - 7) : t + 1])
        kept |= set(sorted(step - kept)[: size - len(kept)])
    return hits


def test_buffers_hit_as_often_as_plain_ones(case):
    workload, found, rates = case
    by_policy = rates.by_policy
    reads, alive, sequences = lanes(workload), found.peak_blocks / 2, workload.geometry.sequences
    total = sum(len(step) for steps in reads for step in steps)
    hits = {"working-set": np.zeros(9), "hisparse": np.zeros(9)}
    for steps in reads:
        mean = sum(map(len, steps)) / len(steps)
        sizes = [*(round(b * alive) for b in BUFFERS), *(round(m * mean) for m in MULTIPLES)]
        sizes = [min(size, len(set().union(*steps))) for size in sizes]
        hits["working-set"] += [working_set_hits(steps, size) for size in sizes]
        if sequences == 1:
            hits["hisparse"] += [lru_hits(steps, size) for size in sizes]
    assert by_policy["working-set"].tolist() == (hits["working-set"] / total).tolist()
    if sequences == 1:
        assert by_policy["hisparse"].tolist() == (hits["hisparse"] / total).tolist()


def test_none_hits_more_often_than_the_best(case):
    _, found, rates = case
    best = np.concatenate([found.belady, found.belady_multiple])
    assert list(rates.by_policy) == list(NAMES)
    for each in rates.by_policy.values():
        assert np.all(each <= best)
        assert each[-1] > 0.5


def test_they_are_json_and_a_table(case):
    rates = case[2]
    plain = json.loads(json.dumps(rates.as_json(), allow_nan=False))["hit_rates"]
    assert plain["sieve"]["share"]["0.1"] == rates.by_policy["sieve"][BUFFERS.index(0.1)]
    assert (
        plain["arc"]["multiple"]["2.0"]
        == rates.by_policy["arc"][len(BUFFERS) + MULTIPLES.index(2.0)]
    )
    head, *rows = rates.format_table().splitlines()
    assert "2 sets" in head
    assert len(rows) == len(NAMES)
    assert {len(row) for row in rows} == {len(head)}
