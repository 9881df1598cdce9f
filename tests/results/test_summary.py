"""The table and the JSON object: one of each, from a record."""

import math

import pytest

from hmsim.results import summary
from hmsim.results.schema import TOTALS, Record


def record(**totals):
    """Of one policy or more, by lists; what is not given is missing."""
    size = len(next(iter(totals.values())))
    nothing = [math.nan] * size
    attributes = {
        "system": "a system", "fidelity": "run", "peak_bandwidth_GBps": 100.0, "wall_s": 2.5,
        "workload_steps": 10, "workload_warmup_steps": 0, "workload_layers": 2, "workload_sequences": 1,
        "bound_method": "split", "bound_variant": "text", "bound_barrier": "layer",
        "bound_time_s": 1.0, "bound_bandwidth_GBps": 50.0,
    }  # fmt: skip
    traits = {
        "is_schedule": [1] * size, "foresight": [0] * size, "bound_kind": ["variant"] * size,
    }  # fmt: skip
    policies = [f"p{k}" for k in range(size)]
    return Record(attributes, policies, dict.fromkeys(TOTALS, nothing) | totals, traits)


def test_a_column_without_numbers_is_left_out():
    head, rows = summary.as_rows(record(total_time_s=[1.0, 2.0], gap=[0.25, math.nan]))
    assert head == ["policy", "time s", "gap %"]
    assert rows == [["p0", "1.000", "25.00"], ["p1", "2.000", ""]]


@pytest.mark.parametrize("gap", [-1e-16, -1e-7, 0.0, 1e-9])
def test_what_rounds_to_zero_has_no_sign(gap):
    _, rows = summary.as_rows(record(gap=[gap]))
    assert rows == [["p0", "0.00"]]


def test_one_sample_alone_has_no_interval():
    _, rows = summary.as_rows(record(replay_total_time_s=[0.5]))
    assert rows == [["p0", "0.5000 ± ?"]]


def test_notes_say_where_no_kv_read_goes_to_hbm_and_what_took_how_long():
    notes = summary.notes(record(kv_hit_rate=[0.5, 0.5, 0.0], kv_hbm_read_share=[0.0, 0.5, 0.0]))
    assert "p0: HBM is so busy with weights that no KV read goes there" in notes
    assert notes[-1] == "the whole run took 2.5 s of wall time"


def test_the_fastest_without_foresight_has_a_certificate():
    run = record(total_time_s=[1.3, 1.25, 1.1, 0.9], bound_s=[1.0, 1.0, 1.0, 0.9])
    run.traits.update(foresight=[0, 0, 1, 0], is_schedule=[1, 1, 1, 0])
    found = [line for line in summary.notes(run) if line.startswith("certificate")]
    assert found == [
        "certificate: p1, without foresight, takes at most 25.00 % longer than the best schedule "
        "that there is"
    ]
    run.traits.update(foresight=[1, 1, 1, 0])
    assert not any(line.startswith("certificate") for line in summary.notes(run))


def test_notes_say_what_a_model_cut_short_keeps_in_hbm():
    cut = record(kv_hit_rate=[0.5])
    cut.attributes.update(workload_model_layers=32, workload_resident_bytes=16.06e9)
    assert (
        "layers: 2 of the model's 32 are decoded; the weights of all of them stay in HBM, 16.1 GB"
        in summary.notes(cut)
    )
    assert summary.as_dict(cut)["workload"]["model_layers"] == 32
    assert "model_layers" not in summary.as_dict(record(kv_hit_rate=[0.5]))["workload"]


@pytest.mark.parametrize(
    ("migrated", "cold", "token_steps", "said"),
    [
        (1.0, 0.2, 10, "too short for p0 (20 %): so much of the time is the start"),
        (1.0, math.nan, 1, "too short for p0: one token says how blocks come in, no more"),
        (1.0, 0.04, 10, None),
        (1.0, -0.3, 10, None),
        (0.0, 0.2, 10, None),  # nothing comes in
    ],
)
def test_notes_say_where_a_run_is_too_short(migrated, cold, token_steps, said):
    run = record(migrated_bytes=[migrated], cold_share=[cold])
    run.attributes["workload_token_steps"] = token_steps
    found = [line for line in summary.notes(run) if line.startswith("too short")]
    assert len(found) == (said is not None)
    assert all(line.startswith(said) for line in found)


def test_a_file_has_the_names_that_the_json_has():
    report = summary.as_dict(record(total_time_s=[1.0], gap=[0.5], replay_total_time_s=[2.0],
                                    replay_sampled_steps=[3.0]))  # fmt: skip
    policy = report["policies"]["p0"]
    assert policy["time_s"] == 1.0
    assert policy["replay"]["sampled_steps"] == 3
    flat = summary.flat_policy(policy)
    assert (flat["total_time_s"], flat["gap"], flat["replay_total_time_s"]) == (1.0, 0.5, 2.0)
    assert flat["bound_kind"] == "variant"
    assert summary.flat(report)["bound_time_s"] == 1.0
    assert "title" not in summary.flat(report)
