"""Which blocks of the prompt are in HBM before step 0."""

import numpy as np
import pytest

import hmsim
from hmsim.bits import numbers
from hmsim.config.enumerations import PROMPTS
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.placement.driver import EMPTY
from hmsim.placement.policies import make
from hmsim.placement.policies.prompt import ordered_prompt
from hmsim.workload import open_workload
from tests.placement.taken import RATES


@pytest.fixture(scope="module")
def workload():
    """Two sequences a layer, whose blocks lie in slots in turn."""
    return open_workload(WorkloadSpec(
        kind="scores", model="gpt2", layers=2, block_tokens=4, tokens=(200, 220), copies=2,
        scores={"budget": 80, "slow": 1.0, "flicker": 0.3},
    ))  # fmt: skip


def ranked(workload, order):
    """The prompt's blocks in that order, one by one."""
    slots = workload.geometry.slots
    there = numbers(workload.prompt).tolist()
    place = {}  # block: lane, sequence, position
    for block in there:
        _, sequence, position = (int(each[0]) for each in workload.locate(np.array([block])))
        place[block] = (block // slots, sequence, position)
    if order == "oldest":
        return sorted(there, key=lambda block: (block % slots, block // slots))
    read = set()
    for steps in workload.chunks():
        for row in range(steps.rows):
            if steps.token[row] == steps.token[0]:
                lane = steps.lane[row]
                read |= {lane * slots + slot for slot in numbers(steps.bits[row][None])}
        break

    def key(block):
        lane, sequence, position = place[block]
        newer = sum(place[other][:2] == (lane, sequence) and place[other][2] > position
                    for other in there)  # fmt: skip
        return (order == "scored" and block not in read, newer, block)

    return sorted(there, key=key)


@pytest.mark.parametrize("order", PROMPTS)
def test_it_is_filled_in_order(workload, order):
    expected = ranked(workload, order)
    for most in (0, 1, 7, len(expected) // 2, len(expected), len(expected) + 9):
        found = numbers(ordered_prompt(workload, most, order))
        assert found.tolist() == sorted(expected[:most])


def begun(workload, name, prompt, count=30):
    """Blocks in HBM before step 0."""
    shape = workload.geometry
    capacity = shape.resident_bytes + count * shape.block_bytes
    run = make(name).start(workload, float(capacity), RATES, "text", prompt=prompt)
    return numbers(run._state.resident)


@pytest.mark.parametrize("name", ["static", "reactive", "lfu", "online-dual", "belady", "sa"])
def test_policies_begin_with_it(workload, name):
    for order in PROMPTS:
        assert begun(workload, name, order).tolist() == sorted(ranked(workload, order)[:30])
    assert begun(workload, name, EMPTY).size == 0


@pytest.mark.parametrize("name", ["interleaved", "hisparse"])
def test_policies_whose_rule_says_it_keep_to_their_own(workload, name):
    own = begun(workload, name, "oldest").tolist()
    assert own
    assert [begun(workload, name, order).tolist() for order in PROMPTS] == [own] * 3
    assert begun(workload, name, EMPTY).size == 0


def test_another_order_is_refused(workload):
    with pytest.raises(InputError, match="prompt: 'newest' is not one of oldest, recent, scored"):
        begun(workload, "static", "newest")


def test_a_run_has_a_key_for_it():
    table = {
        "system": {"preset": "gh200-paper", "hbm": {"capacity": "249 MB"}},
        "workload": {"model": "gpt2", "layers": 2, "tokens": [2000, 2004], "sparsity": 0.1},
        "replay": {"fidelity": "analytic"},
    }
    times = []
    for order in PROMPTS:
        policies = {"names": ["static"], "prompt": order}
        result = hmsim.run(table | {"policies": policies})
        times.append(result.total("static", "total_time_s"))
        assert result.total("static", "gap") >= 0  # bounds place the prompt freely
    assert len(set(times)) == 3
    assert times[2] <= times[0]
    with pytest.raises(InputError, match=r"policies.prompt: .*'oldest', 'recent' or 'scored'"):
        hmsim.run(table | {"policies": {"names": ["static"], "prompt": "newest"}})
