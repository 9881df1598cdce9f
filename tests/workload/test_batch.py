"""Continuous batching case by case, and all that it makes against the rules of a trace."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.model import model
from hmsim.errors import InputError
from hmsim.workload.batch import schedule
from hmsim.workload.churn import Churn
from hmsim.workload.generator import Generated
from hmsim.workload.requests import MOONCAKE_BLOCK, Requests, read_requests
from hmsim.workload.trace import TraceWorkload, save

pytestmark = pytest.mark.nojit


def requests(prompt, output, arrival=None, hashes=None):
    return Requests(
        np.array(arrival or [0.0] * len(prompt), float),
        np.array(prompt, np.int64),
        np.array(output, np.int64),
        hashes or [[] for _ in prompt],
    )


def running(plan):
    """Sequences that decode at each step."""
    return [
        plan.active[plan.active_offset[t] : plan.active_offset[t + 1]].tolist()
        for t in range(plan.steps)
    ]


def test_a_place_that_falls_free_is_taken_at_once():
    plan = schedule(requests([5, 5, 5], [2, 4, 3]), 4, batch=2, steps=10)
    assert running(plan) == [[0, 1], [0, 1], [1, 2], [1, 2], [2]]
    assert plan.start.tolist() == [0, 0, 2]


def test_arrivals_are_paced_and_idle_time_is_skipped():
    plan = schedule(requests([5, 5, 5], [1, 2, 1], [0, 2.5, 99]), 4, 8, 10, step_time=1.0)
    assert running(plan) == [[0], [1], [1], [2]]


def test_one_that_follows_another_starts_after_its_end_and_its_wait():
    follows = requests([5, 5, 5, 5], [2, 1, 1, 1], [0, 0, 1.5, 2])._replace(
        after=np.array([-1, 0, -1, 1]), wait_s=np.array([0, 1.5, 0, 9])
    )
    # Untimed: the second when the first has ended, the third at once; with a clock of 1 s a step,
    # the second at 2 + 1.5 s and the fourth, idle until then, at 5 + 9 s.
    assert running(schedule(follows, 4, 8, 10)) == [[0, 1], [0], [2], [3]]
    plan = schedule(follows, 4, 8, 10, step_time=1.0)
    assert running(plan) == [[0], [0], [1], [2], [3]]
    assert plan.prompt.tolist() == [5, 5, 5, 5]
    assert running(schedule(follows, 4, batch=1, steps=10)) == [[0], [0], [1], [2], [3]]


def test_the_token_limit_holds_back_what_does_not_fit():
    plan = schedule(requests([6, 6, 2], [2, 2, 2]), 4, batch=8, steps=10, token_limit=12)
    assert running(plan) == [[0], [0], [1, 2], [1, 2]]
    with pytest.raises(InputError, match="token_limit: 7 is below the longest request, 8"):
        schedule(requests([6], [2]), 4, batch=8, steps=10, token_limit=7)


def test_equal_prefix_hashes_are_the_same_blocks():
    shared = requests([1200, 1100, 600], [2, 2, 2], hashes=[[1, 2, 3], [1, 2, 9], [7, 8]])
    plan = schedule(shared, 16, batch=3, steps=2)
    blocks = [slots_of(plan, s) for s in range(3)]
    both = 2 * MOONCAKE_BLOCK // 16
    assert blocks[0][:both] == blocks[1][:both]
    assert not set(blocks[0][both:]) & set(blocks[1][both:])
    assert not set(blocks[2]) & (set(blocks[0]) | set(blocks[1]))
    sequence, block = plan.owners()
    assert sequence[blocks[1]].tolist() == [0] * both + [1] * (len(blocks[1]) - both)
    assert block[blocks[1]].tolist() == list(range(len(blocks[1])))


def test_a_partly_shared_prefix_block_is_not_shared():
    plan = schedule(requests([700, 700], [1, 1], hashes=[[1, 2], [1, 2]]), 16, batch=2, steps=1)
    common = set(slots_of(plan, 0)) & set(slots_of(plan, 1))
    assert len(common) == MOONCAKE_BLOCK // 16


@st.composite
def alike_prompts(draw):
    """Prompts of tokens 0 and 1 that often begin alike, and the tokens behind a hash id."""
    size = draw(st.sampled_from([1, 3, 16, 48]))
    start = draw(st.lists(st.integers(0, 1), min_size=1, max_size=150))
    prompts = [
        start[: draw(st.integers(0, len(start)))] + draw(st.lists(st.integers(0, 1), max_size=9))
        for _ in range(draw(st.integers(1, 5)))
    ]
    return [prompt or [0] for prompt in prompts], size


@settings(max_examples=60, deadline=None)
@given(alike_prompts(), st.sampled_from([1, 4, 16, 64]))
def test_blocks_are_shared_just_where_all_that_lies_before_them_is_hashed_and_equal(
    tmp_path_factory, given_prompts, block_tokens
):
    """With any tokens behind an id and in a block, from a file whose ids are of contents alone."""
    prompts, size = given_prompts
    path = tmp_path_factory.mktemp("alike") / "requests"
    rows = [
        {
            "timestamp": 0,
            "input_length": len(tokens),
            "output_length": 2,
            "hash_ids": [
                "".join(map(str, tokens[i : i + size])) for i in range(0, len(tokens), size)
            ],
        }
        for tokens in prompts
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    plan = schedule(read_requests(path, hash_tokens=size), block_tokens, len(prompts), 2)
    slots = [slots_of(plan, s) for s in range(len(prompts))]
    for a, b in itertools.combinations(range(len(prompts)), 2):
        common = alike_until(prompts[a], prompts[b]) // size * size // block_tokens
        assert slots[a][:common] == slots[b][:common]
        assert not set(slots[a][common:]) & set(slots[b][common:])


def alike_until(one, other):
    """How many elements two lists begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def test_requests_without_arrivals_cannot_be_paced():
    untimed = requests([700], [1])._replace(timed=False)
    schedule(untimed, 16, batch=1, steps=1)
    with pytest.raises(InputError, match="step_time: paces arrivals, and these requests have none"):
        schedule(untimed, 16, batch=1, steps=1, step_time=0.1)


def slots_of(plan, s):
    return [
        int(block + 64 * plan.run_shift[run])
        for run in range(plan.run_offset[s], plan.run_offset[s + 1])
        for block in range(plan.run_block[run], plan.run_end[run])
    ]


@st.composite
def batches(draw):
    count = draw(st.integers(1, 7))
    prompt = draw(st.lists(st.integers(1, 1400), min_size=count, max_size=count))
    output = draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
    hashes = []
    for p in prompt:  # ids name whole prefixes, so equal ids follow equal ids
        branch = draw(st.lists(st.integers(0, 1), min_size=3, max_size=3))
        ids = [int("1" + "".join(map(str, branch[: i + 1])), 2) for i in range(3)]
        hashes.append(ids[: -(-p // MOONCAKE_BLOCK)])
    return requests(prompt, output, hashes=hashes)


@settings(max_examples=30, deadline=None)
@given(batches(), st.sampled_from([4, 16, 64]), st.integers(1, 4), st.integers(1, 40))
def test_what_a_batch_makes_is_a_legal_trace_that_reads_back(
    tmp_path_factory, given_requests, block_tokens, batch, steps
):
    gpt2 = model("gpt2")
    plan = schedule(given_requests, block_tokens, batch, steps)
    for s in range(plan.start.size):
        assert len(slots_of(plan, s)) == plan.blocks[s]
        assert all(slot % 64 == block % 64 for block, slot in enumerate(slots_of(plan, s)))
    workload = Generated(plan, lambda: Churn(plan, 2, 0.5, 0.3, 0.9, 1), gpt2, 2, "t", "", 1)
    path: Path = tmp_path_factory.mktemp("batch") / "t.h5"
    save(workload, path)
    again = TraceWorkload(path)  # refuses whatever breaks a rule
    for ours, theirs in zip(steps_of(workload), steps_of(again), strict=True):
        assert ours == theirs


def steps_of(workload):
    """Each step in terms that do not depend on how blocks are numbered."""

    def names(blocks):
        return sorted(zip(*(x.tolist() for x in workload.locate(blocks)), strict=True))

    slots = workload.geometry.slots
    for chunk in workload.chunks():
        for k in range(chunk.reads.size):
            read = np.flatnonzero(np.unpackbits(chunk.bits[k].view(np.uint8), bitorder="little"))
            append = slice(chunk.append_offset[k], chunk.append_offset[k + 1])
            dead = chunk.death_block[chunk.death_offset[k] : chunk.death_offset[k + 1]]
            base = int(chunk.lane[k]) * slots
            yield (
                int(chunk.token[k]),
                int(chunk.lane[k]),
                names(base + read),
                names(base + chunk.append_slot[append]),
                sorted(chunk.append_bytes[append].tolist()),
                int(chunk.append_born[append].sum()),
                names(dead),
                float(chunk.hbm_bytes[k]),
            )
