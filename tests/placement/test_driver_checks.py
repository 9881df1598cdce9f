"""The driver carries out what a policy answers only after looking at it."""

import re

import numpy as np
import pytest

from hmsim.errors import InputError
from hmsim.placement.driver import PolicyRun
from hmsim.placement.policies.api import Own, Policy, policy_step
from hmsim.workload.windows import windows
from tests.oracles.random_workloads import random_blocks, random_rates

BLOCKS = 2 * 128  # of two lanes of two words


@policy_step
def answer(now, hbm, own, moves):
    """Answer what `own.ints` says: step, promotions counted, demotions counted, block."""
    if now.step == own.ints[0]:
        moves.count[0], moves.count[1] = own.ints[1], own.ints[2]
        moves.promote[0] = moves.demote[0] = own.ints[3]


class Answers(Policy):
    """Says the same at one step, and nothing at others."""

    name = "answers"
    step = answer

    def __init__(self, *what):
        self._what = what

    def own(self, geometry, capacity, rates, resident):
        return Own(np.zeros((1, 1), np.uint64), np.array(self._what), np.zeros(1))


def run(policy):
    """The policy over a small workload; the error's text."""
    rng = np.random.default_rng(3)
    blocks = random_blocks(rng, steps=6, blocks=8, lanes=2)
    capacity = 4.0 * blocks.block_bytes + blocks.geometry.resident_bytes
    driven = PolicyRun(policy, blocks, capacity, random_rates(rng), "text", "layer")
    with pytest.raises(InputError) as told:
        for window in windows(blocks, 1):
            driven.advance(window)
    return str(told.value)


@pytest.mark.parametrize("block", [2**62, -1, -(2**63), BLOCKS, BLOCKS + 17])
@pytest.mark.parametrize("counts", [(1, 0), (0, 1)])
def test_a_number_that_is_no_block_is_named_before_anything_is_done_with_it(block, counts):
    text = run(Answers(1, *counts, block))
    assert (
        text
        == f"policy answers: step 1: moves block {block}: blocks are numbered from 0 to {BLOCKS - 1}"
    )


@pytest.mark.parametrize("counts", [(-1, 0), (0, -1), (BLOCKS + 1, 0), (0, 2**62)])
def test_a_count_that_is_none_is_refused(counts):
    assert re.fullmatch(
        r"policy answers: step 0: says that it makes -?\d+ moves", run(Answers(0, *counts, 0))
    )


@pytest.mark.parametrize(
    "line",
    [
        "hbm.resident[0, 0] = 0",
        "hbm.alive[:] = 0",
        "hbm.used[0] -= 1",
        "now.bits[now.row, 0] |= now.bits[now.row, 0]",
        "now.lanes_of[0] = 1",
    ],
)
def test_what_a_policy_sees_it_cannot_change(line):
    """Such a policy had a gap of -639 %: it wrote that everything is in HBM."""
    space = {}
    exec(f"def step(now, hbm, own, moves):\n    {line}", space)
    with pytest.raises(TypeError, match="read only"):
        policy_step(space["step"])


def test_a_step_that_does_not_compile_says_why_in_one_line():
    def step(now, hbm, own, moves):
        moves.count[0] = now.nothing

    with pytest.raises(TypeError, match=r"step does not compile: .*nothing") as told:
        policy_step(step)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "resident", [np.zeros((2, 1)), np.zeros(3, np.uint64), np.zeros((2, 3), np.uint64)]
)
def test_a_prompt_of_another_shape_or_type_is_refused(resident):
    policy = Answers(0, 0, 0, 0)
    policy.prompt = lambda workload, capacity, rates: resident
    blocks = random_blocks(np.random.default_rng(3), steps=6, blocks=8, lanes=2)
    with pytest.raises(
        InputError, match=r"policy answers: prompt: must be a writable, .* of uint64 of shape"
    ):
        PolicyRun(policy, blocks, 1e12, random_rates(np.random.default_rng(1)), "text", "layer")
