"""What policies say of themselves, and how they are named."""

import pytest

from hmsim.errors import InputError
from hmsim.placement.policies.api import BasePolicy
from hmsim.simulate.policies import POLICIES, make_policy

FLOORS = {"unlimited", "authors-unlimited"}
WITH_FORESIGHT = {
    "page", "lookahead", "sa", "belady", "dual", "authors-initonly", "authors-reactive",
    "authors-page", "authors-lookahead1", "authors-sa",
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_says_what_it_is(name):
    policy = make_policy(name)
    assert isinstance(policy, BasePolicy)
    assert policy.name == name
    assert policy.is_schedule == (name not in FLOORS)
    assert (policy.foresight or policy.ahead_tokens > 0) == (name in WITH_FORESIGHT)
    expected = "pooled" if name.startswith("authors-") else "variant"
    assert policy.bound_kind == ("own" if name == "unlimited" else expected)


def test_a_policy_is_called_what_the_command_calls_it():
    name = "examples.my_policy:PromoteSome"
    assert make_policy(name, allow=True).name == name
    assert make_policy("mine", {"policy": name}, allow=True).name == "mine"


def test_what_is_no_policy_is_refused():
    with pytest.raises(InputError, match=r"is no subclass of hmsim's Policy"):
        make_policy("collections:OrderedDict", allow=True)
