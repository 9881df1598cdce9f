"""Each policy is held against the bound that it names, and a time below a bound is an error."""

import math

import pytest

import hmsim
from hmsim.cli import main
from hmsim.errors import ProgramError
from hmsim.simulate import certify, ran
from hmsim.simulate.estimate import Estimate
from tests.oracles import small_results

BOUNDS = certify.Bounds(4.0, 3.0, 2.0, 1.0, 1.5)


def outcome(**changes):
    base = {
        "name": "p", "is_schedule": True, "bound_kind": "variant", "foresight": False,
        "time_s": 5.0, "demand_bytes": 10e9, "hbm_bytes": 6e9, "kv_bytes": 4e9,
        "kv_hbm_bytes": 1e9, "migrated_bytes": 0.0, "reads": 8, "hits": 2, "late_s": 1.0,
        "late_bytes": 5e9, "sampled_steps": 0,
        "replay": None, "replay_is_whole": False,
    }  # fmt: skip
    return ran.Outcome(**base | changes)


@pytest.mark.parametrize(
    ("kind", "expected"), [("variant", (4.0, 2.0)), ("own", (5.0, 1.5)), ("pooled", (3.0, 1.0))]
)
def test_a_policy_is_held_against_the_bound_that_it_names(kind, expected):
    assert ran.bounds_of(BOUNDS, outcome(bound_kind=kind)) == expected


def test_achievable_is_never_above_a_schedule_that_the_run_has_seen():
    """On real attention the search was beaten by every policy of its own table."""
    slow, fast = outcome(time_s=7.0), outcome(time_s=4.5)
    floors = outcome(time_s=1.0, is_schedule=False), outcome(time_s=2.0, bound_kind="pooled")
    assert ran.achievable_of(8.9, [slow, fast, *floors]) == 4.5
    assert ran.achievable_of(4.1, [slow, fast, *floors]) == 4.1
    assert ran.achievable_of(4.1, []) == 4.1


def test_aliases_are_what_they_stand_for():
    """The alias of `unlimited` used to have a gap of -580 %, and this `unlimited` none at all."""
    config = small_results.CONFIG | {
        "policies": {
            "names": ["static", "free", "unlimited"],
            "options": {"free": {"policy": "unlimited"}, "unlimited": {"policy": "static"}},
        }
    }
    result = hmsim.run(config)
    policies = result.report()["policies"]
    assert policies["free"]["bound_kind"] == "own"
    assert policies["free"]["gap"] == 0
    assert policies["free"]["time_s"] < policies["static"]["time_s"]
    assert policies["unlimited"] == policies["static"]
    assert policies["static"]["gap"] > 0
    # Nor is a floor the fastest policy, whatever its name.
    assert "free" not in result.plot.timeline().get_title(loc="left")


def test_totals_are_the_definitions():
    totals = ran.totals_of(outcome(), BOUNDS, token_steps=10, tokens=40)
    assert totals["tokens_per_s"] == 8
    assert (totals["tpot_s"], totals["sequence_tokens_per_s"]) == (0.5, 2)
    assert totals["aggregate_bandwidth_GBps"] == 2
    assert totals["hbm_read_share"] == 0.6
    assert (totals["kv_hit_rate"], totals["kv_hbm_read_share"]) == (0.25, 0.25)
    assert totals["gap"] == pytest.approx(0.2)
    assert math.isnan(totals["replay_gap"])


def test_a_sample_cannot_take_less_than_is_proven():
    sampled = ran.totals_of(outcome(replay=Estimate(1.9, 0.2)), BOUNDS, 1, 1)
    assert (sampled["replay_total_time_s"], sampled["replay_gap"]) == (2.0, 0.0)
    whole = outcome(replay=Estimate(1.9, 0.0), replay_is_whole=True)
    with pytest.raises(ProgramError, match=r"replay of policy p: 1\.9 s is below the bound of 2 s"):
        ran.totals_of(whole, BOUNDS, 1, 1)


@pytest.mark.parametrize("time_s", [3.9, math.nan, 0.0])
def test_a_time_below_its_bound_is_an_error(time_s):
    with pytest.raises(ProgramError, match="below the bound"):
        ran.gap("policy p", time_s, 4.0)
    assert ran.gap("policy p", 4.0 * (1 - 1e-12), 4.0) == 0
    assert ran.gap("policy p", 0.0, 0.0) == 0


def test_the_command_says_so_in_one_line_and_prints_no_figure(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.toml"
    path.write_text(
        'system = "gh200-paper"\n[workload]\nmodel = "llama-3.1-8b-paper"\nlayers = 2\n'
        'tokens = [40, 44]\n[replay]\nfidelity = "analytic"\n[bound]\nmethod = "split"\n'
    )
    right = certify.Certifier.bounds
    wrong = lambda self: right(self)._replace(analytic_s=1e9)  # noqa: E731
    monkeypatch.setattr(certify.Certifier, "bounds", wrong)
    assert main(["run", str(path), "-o", str(tmp_path / "r.h5"), "--policy", "static"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "error of the program: policy static:" in printed.err
    assert not (tmp_path / "r.h5").exists()
