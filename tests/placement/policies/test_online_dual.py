"""`online-dual` against its rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.placement.latency import HITS, PROMOTED, READS, Rates
from hmsim.placement.policies import classes_kernel as learned
from tests.oracles import rules
from tests.oracles.online_dual import OnlineDual
from tests.oracles.random_workloads import random_blocks
from tests.placement.policies.agreement import agree, capacities, case, counts_of, seeds, tokens

pytestmark = pytest.mark.nojit
variants = st.sampled_from(["text", "code", "exclusive", "inclusive"])


@settings(max_examples=12, deadline=None)
@given(
    seed=seeds, capacity=capacities, rows=tokens, variant=variants,
    caution=st.sampled_from([0.0, 0.5, 3.0]), memory=st.sampled_from([2, 5.5, 16]),
)  # fmt: skip
def test_online_dual(seed, capacity, rows, variant, caution, memory):
    workload, rates = case(seed, rows, blocks=30, steps=30)
    options = {"caution": caution, "memory": memory, "horizon": 8}
    agree("online-dual", options, OnlineDual(**options), workload, rates, capacity, variant)


@settings(max_examples=4, deadline=None)
@given(seed=seeds, capacity=capacities, words=st.integers(257, 600), variant=variants)
def test_residents_of_a_wide_lane_are_weighed_by_turns(seed, capacity, words, variant):
    workload, rates = case(seed, 3, blocks=30, steps=20)
    rng, slots = np.random.default_rng(seed), 64 * words
    spread = rng.permuted(np.tile(np.arange(slots), (workload.lanes, 1)), axis=1)
    lane, slot = np.divmod(workload.number, workload.slots)
    workload = workload._replace(slots=slots, number=lane * slots + spread[lane, slot])
    agree("online-dual", {"horizon": 8}, OnlineDual(horizon=8), workload, rates, capacity, variant)


@settings(max_examples=6, deadline=None)
@given(seed=seeds, variant=st.sampled_from(["text", "exclusive"]))
def test_what_an_idle_dram_could_read_is_left_to_it(seed, variant):
    """All blocks fit into HBM, and all of them are read at every visit."""
    workload, _ = case(seed, 3, blocks=60, steps=40, lanes=2)
    step, lane = np.arange(40), workload.number // workload.slots
    alive = (step >= workload.birth[:, None]) & (step < workload.death[:, None])
    workload = workload._replace(read=alive & (lane[:, None] == workload.lane))
    rates, options = Rates(9.0, 4.0, 3.0, 3.5), {"caution": 0.3}
    agree("online-dual", options, OnlineDual(**options), workload, rates, 60, variant)
    game = rules.Game(workload, 60, rates, variant)
    game.play(OnlineDual(**options))
    assert any(step.read - here for here, step in zip(game.before, game.steps, strict=True))


@pytest.mark.parametrize("variant", ["text", "exclusive"])
def test_what_every_visit_reads_from_dram_is_in_hbm_after_a_few(variant):
    """Of twenty blocks HBM begins with the ten that are never read, and 40 visits read the others."""
    blocks = random_blocks(np.random.default_rng(1), 40, 20, lanes=1, births=False)
    read = np.repeat(np.arange(20) >= 10, 40).reshape(20, 40)
    workload = blocks._replace(number=np.arange(20), read=read)
    counts = counts_of("online-dual", {}, workload, 10, Rates(400.0, 20.0, 20.0, 10.0), variant)
    assert np.all(counts[10:, HITS] >= 8)


def test_blocks_find_room_at_birth_where_those_before_them_were_read():
    """Each visit bears a block that eight visits read, beside twelve old ones; HBM holds 24 blocks."""
    steps, old = 120, 40
    blocks = random_blocks(np.random.default_rng(1), steps, old + steps, lanes=1, births=False)
    number = np.arange(old + steps)
    birth = np.where(number < old, -1, number - old)
    age = np.arange(steps) - birth[:, None]
    read = (birth[:, None] >= 0) & (age >= 0) & (age < 8) | (number < 12)[:, None]
    append = np.where(age == 0, blocks.block_bytes, 0)
    workload = blocks._replace(
        number=number, birth=birth, death=np.full(old + steps, steps), read=read, append=append,
        slots=192,
    )  # fmt: skip
    counts = counts_of("online-dual", {}, workload, 24, Rates(4000.0, 50.0, 50.0, 20.0))
    last = counts[60:-1]
    assert last[:, HITS].sum() >= 0.95 * last[:, READS].sum()
    assert last[:, PROMOTED].sum() <= 0.1 * len(last)  # nothing had to be read from DRAM first


@pytest.mark.parametrize("memory", [2.0, 20.0, 1000.0])
def test_blocks_that_are_not_read_grow_older_at_the_rate_of_their_age(memory):
    tables = learned.next_kinds(memory)
    weight = np.repeat([1 - 1 / learned.RARE, 1 / learned.RARE], learned.TURNS) / learned.TURNS
    for c in range(learned.NEW):
        age = c % learned.AGES
        rounding = 0.5 / learned.TURNS if learned.LASTS[age] <= learned.TURNS else 0.0
        older = weight @ (tables[:, 0, c] % learned.AGES != age)
        assert older == pytest.approx(1 / learned.LASTS[age], rel=1e-9, abs=rounding)
        assert np.all(tables[:, 1, c] % learned.AGES == 0)
