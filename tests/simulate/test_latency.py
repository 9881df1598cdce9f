"""One latency model for a whole run: its bound, its policies, its replays and their bound."""

import json

import numpy as np
import pytest

from hmsim.cli import main
from hmsim.config.enumerations import BARRIERS, VARIANTS
from hmsim.config.run import resolve
from hmsim.placement.latency import TABLE, pin_rates
from hmsim.simulate.ran import bounds_of
from hmsim.simulate.run import execute
from hmsim.workload import open_workload

RUN = {
    "system": "gh200-paper",
    "workload": {
        "model": {
            "layers": 3, "kv_bytes_per_token_layer": 16384, "weight_bytes_step": 3e5,
            "resident_bytes": 1,
        },
        "tokens": [200, 215], "sparsity": 0.6, "drift": 0.9, "block_tokens": 1,
    },
    "policies": {"names": ["unlimited", "static", "reactive", "authors-static", "slack"]},
    "replay": {"sample": 1},
}  # fmt: skip
CHANGES = ["system.hbm.capacity=2 MB"]


def run(*changes, path=None):
    spec = resolve(RUN, [*CHANGES, *changes], "run")
    return spec, execute(spec, path)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_no_replay_undercuts_the_bound_of_its_copies_at_the_pins(variant, barrier):
    """Every group is replayed, so that the replayed time is no estimate."""
    from hmsim.bound import quick_bound

    spec, ran = run(f"latency.variant={variant}", f"latency.barrier={barrier}")
    rates = pin_rates(spec.system)
    workload = open_workload(spec.workload)
    copies = TABLE[variant].copies
    least = quick_bound(workload, rates, spec.system.hbm.capacity, copies, barrier).bound_s
    assert ran.bounds.rigorous_s == pytest.approx(max(least, ran.bounds.rigorous_split_s))
    for outcome in ran.outcomes:
        assert outcome.replay.time_s >= bounds_of(ran.bounds, outcome)[1]


def test_the_bound_of_a_replay_knows_the_capacity():
    _, ran = run()
    assert ran.bounds.rigorous_s > 1.2 * ran.bounds.rigorous_split_s
    _, ran = run("bound.method=split")
    assert ran.bounds.rigorous_s == ran.bounds.rigorous_split_s


@pytest.mark.parametrize(("variant", "through"), [("text", False), ("inclusive", True)])
def test_inclusive_copies_are_written_through_filled_on_read_and_dropped(
    variant, through, tmp_path
):
    import h5py

    some_room = "system.hbm.capacity=10.2 MB"  # the prompt fits, and some of what is born
    change = f"latency.variant={variant}"
    run(change, some_room, "policies.names=['reactive']", path=tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        appends, promotions, demotions = (
            file[name][0].sum(axis=0)
            for name in ("append_write_bytes", "promotion_bytes", "demotion_bytes")
        )
    born = 16 * 3 * 16384  # a block of one token, in each layer at each step
    assert appends.sum() == (born + appends[0] if through else born)
    assert 0 < appends[0] < born
    assert (appends[1] == born) == through
    assert promotions[0] > 0
    assert promotions[1] == (0 if through else promotions[0])
    assert (demotions == 0).all() == through


def test_replays_of_the_two_kinds_of_copies_differ():
    times = {
        variant: run(f"latency.variant={variant}")[1].outcomes[2].replay.time_s
        for variant in VARIANTS
    }
    assert times["inclusive"] < 0.95 * times["exclusive"]
    # Moves are the same, and so are the traffics of one kind of copies, but for split reads.
    assert times["text"] == times["exclusive"]


def test_a_bound_of_a_run_takes_the_runs_latency_model_gap_and_time(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(resolve(RUN | {"bound": {"gap": 0.3}}, CHANGES, "run").as_toml())

    def bound(*options):
        assert main(["bound", str(path), "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["variant"], found["barrier"], found["bound_s"]

    change = ("--set", "latency.variant=inclusive", "--set", "latency.barrier=token")
    assert bound()[:2] == ("text", "layer")
    assert bound(*change)[:2] == ("inclusive", "token")
    assert bound(*change, "--variant", "code")[:2] == ("code", "token")
    assert bound(*change)[2] == bound("--variant", "inclusive", "--barrier", "token")[2]


def test_a_bound_of_a_run_stops_at_the_runs_gap_or_time(tmp_path, monkeypatch):
    from hmsim import bound as room

    asked = []

    def noted(*call, **options):
        asked.append((options["gap"], options["time_s"]))
        return room.BoundResult(1.0, 1.0, 0.0, "dual", "text", "layer", 1, 1.0, [], [], None)

    monkeypatch.setattr(room, "bound", noted)
    path = tmp_path / "run.toml"
    for table, options, expected in (
        ({}, [], (0.01, None)),
        ({"gap": 0.2, "time": 3}, [], (0.2, 3.0)),
        ({"gap": 0.2, "time": 3}, ["--gap", "0.1", "--time", "2"], (0.1, 2.0)),
        ({"gap": 0.2}, ["--gap", "0"], (0.0, None)),
    ):
        path.write_text(resolve(RUN | {"bound": table}, [], "run").as_toml())
        assert main(["bound", str(path), *options]) == 0
        assert asked.pop() == expected


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("bound.variant=text", "bound.variant: moved to latency.variant"),
        ("replay.barrier=layer", "replay.barrier: moved to latency.barrier"),
        ("latency.variant=txt", "latency.variant: "),
    ],
)
def test_wrong_and_old_keys_end_a_bound_in_one_line(change, line, tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(resolve(RUN, [], "run").as_toml())
    assert main(["bound", str(path), "--set", change]) == 2
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_sample_serves_the_prices_of_several_models():
    from hmsim.bound import quick_prices, quick_sample
    from hmsim.placement.latency import analytic_rates

    spec = resolve(RUN, CHANGES, "run")
    workload, rates = open_workload(spec.workload), analytic_rates(spec.system)
    sample = quick_sample(workload)
    for variant in VARIANTS:
        call = (workload, rates, spec.system.hbm.capacity, variant)
        shared, alone = quick_prices(*call, sample=sample), quick_prices(*call)
        np.testing.assert_array_equal(shared[1].capacity, alone[1].capacity)
