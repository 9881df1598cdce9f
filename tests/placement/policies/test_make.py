"""Policies by name: what is built, and what is refused."""

import pytest

from hmsim.errors import InputError
from hmsim.placement import policies


def test_unknown_policies_name_the_nearest():
    with pytest.raises(InputError, match="did you mean 'reactive'"):
        policies.make("reactiv")
    with pytest.raises(InputError, match="cannot be imported"):
        policies.make("no.such.module:Thing", allow=True)
    with pytest.raises(InputError, match=r"policies\.options\.static"):
        policies.make("static", {"window": 3})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("interleaved", {"share": 1.5}, "policy interleaved: share: 1.5: from 0 to 1"),
        ("slack", {"stretch": -1}, "policy slack: stretch: -1: from 0 up"),
        ("ema", {"weight": 0.0}, "policy ema: weight: 0.0: from 0.001 to 0.999"),
        ("s3-fifo", {"small": 1.5}, "policy s3-fifo: small: 1.5: from 0 to 1"),
        ("lirs", {"cold": -0.1}, "policy lirs: cold: -0.1: from 0 to 1"),
        ("working-set", {"window": 0}, "policy working-set: window: 0: a whole number from 1 to"),
        ("hisparse", {"buffer": 0}, "policy hisparse: buffer: 0: a whole number of tokens from 1"),
        ("online-dual", {"memory": 1}, "policy online-dual: memory: 1: from 2 to 1000"),
        ("online-dual", {"horizon": 1}, "policy online-dual: horizon: 1: from 2 to 1000"),
        ("online-dual", {"caution": -1}, "policy online-dual: caution: -1: from 0 to 100"),
        ("lookahead", {"window": 0}, "policy lookahead: window: 0: a whole number from 1 to 4096"),
        ("lookahead", {"share": 2}, "policy lookahead: share: 2: from 0 to 1"),
        ("sa", {"longest": 0}, "policy sa: longest: 0: a whole number from 1 to 4096"),
        ("belady", {"window": 2.5}, "policy belady: window: 2.5: a whole number from 1 to 4096"),
    ],
)
def test_bad_parameters_name_the_key_and_what_is_allowed(name, options, message):
    with pytest.raises(InputError, match=message):
        policies.make(name, options)
