"""The scores process against a plain evaluation of its definition, block by block."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.config.base import load
from hmsim.config.model import model
from hmsim.config.workload import ScoresSpec, WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload import open_workload
from hmsim.workload.batch import alike, schedule
from hmsim.workload.requests import Requests
from hmsim.workload.scores import Scores
from hmsim.workload.scores_kernel import LEVELS

MASK = 2**64 - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def random(key, block, number):
    return mix((key + block * 0xD1342543DE82EF95 + number * 0xA0761D6478BD642F) & MASK)


class Reference:
    """The definition: every score from nothing, all blocks sorted."""

    def __init__(self, scores: Scores, spec: ScoresSpec):
        self.scores, self.process, self.spec = scores, scores.process, spec

    def draw(self, deviation, tail, keys, block, number):
        total = 0.0
        for share, key in zip(self.process.shared, keys, strict=True):
            if share > 0:
                x = random(key, block, number)
                four = sum((x >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
                total += share * ((four - 131070) / 37836.95)
        scale = deviation / math.sqrt(1 + 6 * tail + 15 * tail * tail)
        return scale * total * (1 + tail * total * total)

    def redrawn(self, period, key, block, n):
        """How often a block was redrawn: count the turns one by one."""
        group = block // period
        random = (group + key) * 0x9E3779B97F4A7C15 & MASK
        offset = (random >> 32) * period >> 32
        turns = [m for m in range(n + 1) if group * period + (m - offset) % period == block]
        return len(turns) if period > 1 else n + 1

    def burst(self, keys, block, n):
        """By how much the flicker was larger when the block was redrawn last."""
        p = self.process
        if p.burst == 0:
            return 1.0
        drawn = n
        while self.redrawn(p.flicker_steps, keys[0], block, drawn - 1) == self.redrawn(
            p.flicker_steps, keys[0], block, n
        ):
            drawn -= 1
        total = 0.0
        for common, key in (
            (self.spec.burst_common, keys[0]),
            (1 - self.spec.burst_common, keys[1]),
        ):
            x = random(key ^ 0xABCC5167CCAD925F, drawn // p.burst_steps, 0)
            four = sum((x >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
            total += common**0.5 * (four - 131070) / 37836.95
        return math.exp(p.burst * total)

    def level(self, lane, keys, block, n, blocks):
        p = self.process
        score = 0.0
        for share, key in zip(p.shared, keys, strict=True):
            if share > 0:
                score -= share * (math.log(((random(key, block, 0) >> 11) + 0.5) / 2**53) + 1)
        score = p.popularity * (score + self.spec.popularity_tail * (score**2 - 1))
        parts = range(self.spec.slow_parts)
        variances = [self.spec.slow_fall**part for part in parts]
        for part in parts:
            period = max(round(self.spec.slow_steps / self.spec.slow_ratio**part), 1)
            deviation = self.spec.slow * math.sqrt(variances[part] / sum(variances))
            number = self.redrawn(period, keys[0], block, n)
            score += self.draw(deviation, 0.0, keys, block, 2 * number + 2 + (part << 40))
        number = self.redrawn(p.flicker_steps, keys[0], block, n)
        flicker = self.scores.flicker[lane] * self.burst(keys, block, n)
        score += self.draw(flicker, self.spec.flicker_tail, keys, block, 2 * number + 1)
        doublings = int(math.log2(blocks - block))
        ages = self.spec.ages
        score -= ages[min(doublings, len(ages) - 1)] if ages else self.spec.recency * doublings
        return min(max(int((score - p.low) * p.scale), 0), LEVELS - 1)

    def chosen(self, lane, head, sequence, past, size):
        """Pages that a head group chooses when `past` tokens are past."""
        p = self.process
        everyone = mix((p.seed * 0x9E3779B97F4A7C15 + sequence) & MASK)
        phase = 0
        if p.phase_steps:
            phase = past // p.phase_steps
            begin = (random(everyone, phase, 0) >> 33) % p.phase_steps
            phase += past % p.phase_steps >= begin
        everyone = mix(everyone + phase & MASK)
        layer = mix(everyone + lane + 1 & MASK)
        band = mix((everyone ^ 0x8CB92BA72F3D8DD7) + lane // p.band_layers & MASK)
        keys = (everyone, layer, mix(layer + head + 1 & MASK), band)
        blocks = -(-past // size)
        candidates = range(p.sink, max(p.sink, self.tail(past, lane, size)))
        levels = {block: self.level(lane, keys, block, past, blocks) for block in candidates}
        ranked = sorted(candidates, key=lambda block: (-levels[block], -block))
        if self.spec.mass is not None:
            weights = [int(self.scores.weight[levels[block]]) for block in ranked]
            target = math.ceil(self.spec.mass * sum(weights))
            count = next(
                (i for i in range(len(weights)) if sum(weights[:i]) >= target), len(ranked)
            )
            return set(ranked[:count])
        quota = self.scores.quota[blocks] - min(p.sink, blocks) - (blocks - candidates.stop)
        return set(ranked[: max(quota, 0)])

    def tail(self, past, lane, size):
        window = int(self.scores.window[lane])
        return max(past - window, 0) // size if window else -(-past // size)

    def reads(self, lane, sequence, past, size):
        p = self.process
        blocks = -(-past // size)
        then = past - past % p.reselect
        read = set(range(min(p.sink, blocks))) | set(range(self.tail(past, lane, size), blocks))
        for head in range(p.heads):
            read |= self.chosen(lane, head, sequence, then, size)
        return read


def locals_of(plan, s, bits):
    """Local blocks of sequence s that are set in a lane's row."""
    slots = set(np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist())
    return {
        block
        for run in range(plan.run_offset[s], plan.run_offset[s + 1])
        for block in range(plan.run_block[run], plan.run_end[run])
        if block + 64 * plan.run_shift[run] in slots
    }


rules = st.one_of(
    st.fixed_dictionaries({"budget": st.sampled_from([32, 48, 80])}),
    st.fixed_dictionaries({"keep": st.floats(0.05, 1)}),
    st.fixed_dictionaries({"mass": st.floats(0.05, 1), "spread": st.floats(0.2, 2)}),
)
processes = st.fixed_dictionaries(
    {},
    optional={
        "sink": st.sampled_from([0, 16]),
        "window": st.sampled_from([0, 5, 16]),
        "popularity": st.floats(0, 2),
        "popularity_tail": st.floats(0, 2),
        "slow": st.floats(0, 1),
        "slow_steps": st.integers(1, 40),
        "slow_parts": st.integers(1, 3),
        "slow_ratio": st.floats(1.5, 8),
        "slow_fall": st.floats(0.2, 3),
        "flicker": st.floats(0, 1),
        "flicker_tail": st.floats(0, 1),
        "flicker_steps": st.integers(1, 9),
        "ages": st.lists(st.floats(-1, 1), min_size=1, max_size=8),
        "burst": st.floats(0, 1),
        "burst_steps": st.integers(1, 5),
        "burst_common": st.floats(0, 1),
        "layer_spread": st.floats(0, 1),
        "band_layers": st.integers(1, 2),
        "band_correlation": st.floats(0, 1),
        "phase_steps": st.integers(0, 20),
        "reselect": st.integers(1, 5),
        "heads": st.integers(1, 3),
        "layer_correlation": st.floats(0, 1),
        "head_correlation": st.floats(0, 1),
    },
)


@pytest.mark.nojit
@settings(max_examples=10 if numba.config.DISABLE_JIT else 60, deadline=None)
@given(rules, processes, st.integers(80, 200), st.sampled_from([1, 4, 16]), st.integers(0, 2**62))
def test_every_step_is_what_the_definition_says(rule, process, first, size, seed):
    spec = load(ScoresSpec, rule | process, "test")
    plan = alike(first, first + 9, 2, size)
    scores = Scores(plan, model("gpt2"), 2, spec, seed)
    reference = Reference(scores, spec)
    bits = np.zeros((10, 2, plan.slots // 64), np.uint64)
    reads = np.zeros((10, 2), np.int64)
    scores.fill(bits[:4], reads[:4], 0)
    scores.fill(bits[4:], reads[4:], 4)
    for t in (0, 1, 3, 4, 9):
        for lane in range(2):
            expected = [reference.reads(lane, s, first + t, size) for s in range(2)]
            for s in range(2):
                assert locals_of(plan, s, bits[t, lane]) == expected[s], (t, lane, s)
            assert reads[t, lane] == sum(map(len, expected))


def spec(**changes):
    scores = {
        "budget": 256, "sink": 16, "window": 64, "slow": 0.5, "slow_steps": 50,
        "flicker": 0.3, "flicker_steps": 20, "recency": 0.1,
    }  # fmt: skip
    scores |= changes
    return WorkloadSpec(
        kind="scores", model="gpt2", layers=3, block_tokens=16, tokens=(2000, 2060), copies=3,
        scores={key: value for key, value in scores.items() if value is not None},
    )  # fmt: skip


def rows(workload):
    return np.concatenate([chunk.bits for chunk in workload.chunks()])


@pytest.mark.parametrize(
    "changes",
    [{}, {"flicker_steps": 1}, {"slow_steps": 1},
     {"slow_parts": 3, "flicker_tail": 0.2, "burst": 0.5, "burst_common": 0.3},
     {"phase_steps": 15}, {"reselect": 7},
     {"mass": 0.5, "budget": None}],
    ids=str,
)  # fmt: skip
def test_any_step_alone_is_the_same_as_in_sequence(changes):
    workload = open_workload(spec(**changes))
    expected = rows(workload).reshape(61, 3, -1)
    for step in (0, 17, 60, 33):
        alone = np.zeros((1, *expected.shape[1:]), np.uint64)
        workload.select().fill(alone, np.zeros((1, 3), np.int64), step)
        np.testing.assert_array_equal(alone[0], expected[step])


def test_the_same_whatever_the_threads(monkeypatch):
    expected = rows(open_workload(spec()))
    for threads in (1, 3):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        np.testing.assert_array_equal(rows(open_workload(spec())), expected)


def test_every_sequence_reads_its_budget():
    for chunk in open_workload(spec()).chunks():
        assert set(chunk.reads.tolist()) == {3 * 256 // 16}


@pytest.mark.nojit
def test_streaming_reads_sink_and_window_and_dense_everything():
    base = {"model": "gpt2", "layers": 2, "block_tokens": 16, "tokens": (1000, 1010)}
    streaming = WorkloadSpec(kind="streaming", streaming={"sink": 16, "window": 100}, **base)
    for past, row in zip(
        np.repeat(np.arange(1000, 1011), 2), rows(open_workload(streaming)), strict=True
    ):
        expected = {0} | set(range((past - 100) // 16, -(-past // 16)))
        assert set(np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))) == expected
    for chunk in open_workload(WorkloadSpec(kind="dense", **base)).chunks():
        assert set(chunk.reads.tolist()) == {63, 64}


@pytest.mark.parametrize(("size", "sink"), [(1, 4), (3, 6), (16, 16)])
def test_streaming_without_a_table_keeps_the_blocks_of_four_tokens(size, sink):
    base = {"model": "gpt2", "layers": 1, "block_tokens": size, "tokens": (3000, 3000)}
    given = WorkloadSpec(kind="streaming", streaming={"sink": sink, "window": 1024}, **base)
    found = rows(open_workload(WorkloadSpec(kind="streaming", **base)))
    np.testing.assert_array_equal(found, rows(open_workload(given)))
    if size > 1:
        wrong = WorkloadSpec(kind="streaming", streaming={"sink": size + 1}, **base)
        with pytest.raises(InputError, match=r"workload\.streaming\.sink: .* no multiple"):
            open_workload(wrong)


@pytest.mark.nojit
def test_windowed_and_dense_layers_of_a_model():
    windowed = model("gpt2").model_copy(update={"window": 32, "window_layers": "alternate"})
    plan = alike(1000, 1000, 1, 16)
    scores = Scores(plan, windowed, 5, ScoresSpec(budget=64, dense_layers=2), 1)
    bits, reads = np.zeros((1, 5, plan.slots // 64), np.uint64), np.zeros((1, 5), np.int64)
    scores.fill(bits, reads, 0)
    assert reads.tolist() == [[3, 63, 3, 4, 3]]


@pytest.mark.nojit
def test_seats_are_used_again_without_leaking_scores():
    """A sequence reads the same whether its seat was someone else's before or not."""
    lengths = [500, 600, 400, 700]

    def run(outputs):
        requests = Requests(
            np.zeros(4), np.array(lengths), np.array(outputs), [[] for _ in lengths]
        )
        plan = schedule(requests, 16, 2, 12)
        scores = Scores(plan, model("gpt2"), 1, ScoresSpec(budget=64, flicker=0.5), 3)
        bits = np.zeros((plan.steps, 1, plan.slots // 64), np.uint64)
        scores.fill(bits, np.zeros((plan.steps, 1), np.int64), 0)
        return plan, bits

    plan, bits = run([3, 12, 5, 5])
    fresh, again = run([3, 12, 5, 5]), run([3, 12, 5, 5])
    np.testing.assert_array_equal(fresh[1], again[1])
    assert plan.seat.tolist() == [0, 1, 0, 0]
    reference = Reference(Scores(plan, model("gpt2"), 1, ScoresSpec(budget=64, flicker=0.5), 3),
                          ScoresSpec(budget=64, flicker=0.5))  # fmt: skip
    for s in range(4):
        for t in range(plan.start[s], plan.stop[s]):
            past = int(plan.prompt[s] + t - plan.start[s])
            assert locals_of(plan, s, bits[t, 0]) == reference.reads(0, s, past, 16)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"budget": 250}, "workload.scores.budget: 250 tokens are no multiple of block_tokens, 16"),
        ({"sink": 10}, "workload.scores.sink: 10 tokens are no multiple of block_tokens, 16"),
        ({"budget": 4096}, "budget: 4096 tokens are more than the longest context, 2061"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, complaint):
    with pytest.raises(InputError, match=complaint):
        open_workload(spec(**changes))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({}, "give one of budget"),
        ({"budget": 64, "mass": 0.5}, "give one of budget"),
        ({"budget": 64, "window": 100}, "sink and window are above the budget"),
        ({"budget": 64, "heads": 2, "streaming_heads": 3}, "streaming_heads is above heads"),
        ({"budget": 64, "popularty": 1}, "popularty: unknown key; did you mean 'popularity'"),
    ],
)
def test_contradictory_scores_are_refused(table, complaint):
    with pytest.raises(InputError, match=complaint):
        load(ScoresSpec, table, "spec")
