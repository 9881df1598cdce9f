"""A sweep from end to end in this process: what is run, recorded, retried and written."""

import csv
import json

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hmsim
from hmsim.config.run import load_run
from hmsim.config.sweep import load_sweep
from hmsim.errors import InputError
from hmsim.results import summary
from hmsim.simulate import run as engine
from hmsim.sweep import estimate
from hmsim.sweep.coordinator import plan_of, sweep_into
from hmsim.sweep.folder import Folder, read_journal
from tests.sweep.toy_sweep import TEXT, Answering, Dying, Here, Interrupting, write


def sweep(tmp_path, pool, *, resume=False, text=TEXT):
    path = write(tmp_path, text)
    spec = load_sweep(path)
    with Folder(tmp_path / "out", spec, resume) as folder:
        return sweep_into(folder, plan_of(spec, str(path)), spec, lambda: pool, lambda _: None)


def test_every_point_is_what_a_run_gives(tmp_path):
    pool = Here()
    swept = sweep(tmp_path, pool)
    assert (swept.points, swept.computed, pool.ran) == (6, 4, 4)  # two points are twice there
    assert len(swept.failures) == 2
    assert all("weights" in failure.error for failure in swept.failures)
    assert len(swept.notes) == 1
    assert swept.notes[0].startswith("layers: 2 of the model's 32 are decoded")
    assert sweep(tmp_path, pool, resume=True).notes == swept.notes

    data = hmsim.open_sweep(tmp_path / "out")
    assert dict(data.sizes) == {"sparsity": 3, "capacity": 2, "policy": 2}
    assert data.capacity.attrs["units"] == "byte"
    assert data.total_time_s.attrs["units"] == "s"
    assert (data.attrs["complete"], data.attrs["failed"]) == (1, 3)
    assert np.isnan(data.total_time_s.sel(capacity=8e9)).all()
    # A point is the run that its directory says how to repeat.
    spec = load_run(
        tmp_path / "out/base.toml", ["workload.sparsity=0.6", "system.hbm.capacity=16.001 GB"]
    )
    report = summary.as_dict(engine.execute(spec, None).record)
    for policy, numbers in report["policies"].items():
        found = data.sel(sparsity=0.6, capacity=16.001e9, policy=policy)
        own = summary.flat_policy(numbers)
        assert own["bound_kind"] == found["bound_kind"]
        for key in own.keys() - {"bound_kind"}:
            assert float(found[key]) == own[key], key
    for key, value in summary.flat(report).items():
        if isinstance(value, float) and key != "wall_s":
            assert float(data[key].sel(sparsity=0.6, capacity=16.001e9)) == value, key

    with (tmp_path / "out/sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert sum(row["error"] == "" for row in rows) == 6
    for row in rows:
        at = {"capacity": float(row["capacity"]), "policy": row["policy"]}
        found = data.isel(sparsity=0 if row["sparsity"] == "0.4" else 1).sel(at)
        assert row["total_time_s"] == "" or float(row["total_time_s"]) == float(found.total_time_s)


FAILING = TEXT.replace('"static", ', '"static", "authors-sa", ').replace(
    "layers = 2", "layers = 2\nblock_tokens = 2"
)


def test_nothing_is_said_of_models_that_are_decoded_whole(tmp_path):
    whole = TEXT.replace("layers = 2", "layers = 32").replace('"8 GB", ', "")
    assert sweep(tmp_path, Here(), text=whole).notes == []
    size = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    told = estimate.SWEEP_BYTES + 2 * (estimate.POINT_BYTES + 2 * estimate.POLICY_BYTES)
    assert told / 2 < size < 2 * told  # what --dry-run says


def test_a_failing_policy_fails_alone(tmp_path):
    """The founding authors' strategies take blocks of one token."""
    swept = sweep(tmp_path, Here(), text=FAILING)
    assert len(swept.failures) == 4  # two of all policies, as their weights do not fit
    lines = [failure.error for failure in swept.failures if "weights" not in failure.error]
    assert len(lines) == 2
    assert all("authors-sa" in line for line in lines)
    data = hmsim.open_sweep(tmp_path / "out").sel(capacity=16.001e9).isel(sparsity=[0, 1])
    assert list(data.policy.values) == ["static", "reactive"]
    assert np.isfinite(data.total_time_s).all()
    assert ["authors-sa" in str(each) for each in data.error.values] == [True, True]
    # And as an axis, where each policy is a point of its own.
    axis = (
        FAILING[: FAILING.index("[axes.sparsity]")].replace(
            "[base.replay]",
            """
[axes.policy]
key = "policies.names"
values = ["static", "authors-sa", "reactive"]

[base.replay]""",
        )
        + '[axes.capacity]\nkey = "system.hbm.capacity"\nvalues = ["16.001 GB"]\n'
    )
    (tmp_path / "axis").mkdir()
    swept = sweep(tmp_path / "axis", Here(), text=axis)
    assert [failure.changes["policies.names"] for failure in swept.failures] == [["authors-sa"]]
    data = hmsim.open_sweep(tmp_path / "axis" / "out").isel(capacity=0)
    assert np.isfinite(data.total_time_s.values).tolist() == [True, False, True]


def test_resuming_runs_what_failed_and_nothing_else(tmp_path):
    sweep(tmp_path, Here())
    pool = Here()
    swept = sweep(tmp_path, pool, resume=True)
    assert (swept.known, pool.ran, len(swept.failures)) == (2, 2, 2)


def test_interrupted_sweep_keeps_what_it_has_and_goes_on(tmp_path):
    swept = sweep(tmp_path, Interrupting())
    assert (swept.finished, swept.computed) == (False, 2)
    assert hmsim.open_sweep(tmp_path / "out").attrs["complete"] == 0
    pool = Here()
    swept = sweep(tmp_path, pool, resume=True)
    assert swept.finished
    assert hmsim.open_sweep(tmp_path / "out").attrs["missing"] == 0


def test_tasks_in_flight_with_a_dying_worker_are_run_again(tmp_path):
    pool = Dying(at={2, 5})
    swept = sweep(tmp_path, pool)
    assert pool.renewed == 2
    assert len(swept.failures) == 2  # those of 8 GB only
    entries = list(read_journal(tmp_path / "out"))
    assert len({entry["hash"] for entry in entries}) == len(entries) == 4


def test_a_task_that_always_ends_its_worker_is_recorded(tmp_path):
    swept = sweep(tmp_path, Dying(at=range(3, 100)))
    assert {"worker process died" in failure.error for failure in swept.failures} == {True, False}
    assert swept.finished


def test_torn_last_line_does_not_count(tmp_path):
    sweep(tmp_path, Answering())
    journal = tmp_path / "out/points.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    pool = Answering()
    sweep(tmp_path, pool, resume=True)
    assert pool.ran == 1
    assert journal.read_bytes() == whole


def test_policy_axis_takes_the_place_of_the_policy_dimension(tmp_path):
    text = TEXT[: TEXT.index("[axes.sparsity]")] + (
        '[axes.who]\nkey = "policies.names"\nvalues = ["static", "reactive", "unlimited"]\n'
        '[axes.sparsity]\nkey = "workload.sparsity"\nvalues = [0.25, 0.75]\n'
    )
    pool = Answering()
    sweep(tmp_path, pool, text=text)
    assert pool.ran == 2
    data = hmsim.open_sweep(tmp_path / "out")
    assert data.total_time_s.dims == ("who", "sparsity")
    assert (data.total_time_s.sel(sparsity=0.75) == 0.75).all()
    # Figures are told which dimension that is, whatever policies it is over.
    drawn = hmsim.plot.sweep_line(data.drop_sel(who="static"), x="sparsity", y="total_time_s")
    labels = [line.get_label() for line in drawn.lines]
    plt.close("all")
    assert labels == ["reactive", "unlimited"]
    with pytest.raises(InputError, match="needs the policy static"):
        hmsim.plot.sweep_line(data.drop_sel(who="static"), x="sparsity", y="speedup")


def test_a_dataset_of_an_older_hmsim_is_refused(tmp_path):
    sweep(tmp_path, Answering())
    with h5py.File(tmp_path / "out/sweep.h5", "a") as file:
        del file.attrs["policy_dimension"]
    with pytest.raises(InputError, match="older hmsim"):
        hmsim.open_sweep(tmp_path / "out")


def test_zipped_axes_and_designs_have_their_keys_as_coordinates(tmp_path):
    text = TEXT[: TEXT.index("[axes.sparsity]")] + (
        '[axes.pair]\nzip = { "workload.sparsity" = [0.25, 0.75], "workload.seed" = [3, 4] }\n'
    )
    sweep(tmp_path, Answering(), text=text)
    data = hmsim.open_sweep(tmp_path / "out")
    assert data.pair.values.tolist() == [0, 1]
    assert data.coords["workload.seed"].values.tolist() == [3, 4]
    assert (data.total_time_s == data.coords["workload.sparsity"]).all()


def test_open_sweep_of_a_killed_sweep_gives_what_is_finished(tmp_path):
    sweep(tmp_path, Answering())
    for name in ("sweep.h5", "sweep.csv"):
        (tmp_path / "out" / name).unlink()
    assert hmsim.open_sweep(tmp_path / "out").attrs["missing"] == 0


def test_directory_of_another_sweep(tmp_path):
    sweep(tmp_path, Answering())
    with pytest.raises(InputError, match="another sweep"):
        sweep(tmp_path, Answering(), resume=True, text=TEXT.replace("0.6", "0.7"))
    with pytest.raises(InputError, match="--resume"):
        sweep(tmp_path, Answering())


def test_directory_of_other_things(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(InputError, match="other files"):
        sweep(tmp_path, Answering())


def test_two_sweeps_in_one_directory_at_once(tmp_path):
    spec = load_sweep(write(tmp_path))
    with (
        Folder(tmp_path / "out", spec, False),
        pytest.raises(InputError, match="at work"),
        Folder(tmp_path / "out", spec, True),
    ):
        pass


def test_dataset_of_a_newer_version(tmp_path):
    import h5py

    sweep(tmp_path, Answering())
    with h5py.File(tmp_path / "out/sweep.h5", "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(InputError, match="newer"):
        hmsim.open_sweep(tmp_path / "out")
    with pytest.raises(InputError, match="no directory of a sweep"):
        hmsim.open_sweep(tmp_path)


def test_journal_is_plain_json_lines(tmp_path):
    sweep(tmp_path, Answering())
    lines = (tmp_path / "out/points.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"hash", "changes", "report"}] * 4


def test_a_journal_is_read_up_to_what_is_no_entry(tmp_path):
    """By every command that reads one; a sweep goes on from there."""
    sweep(tmp_path, Answering())
    journal = tmp_path / "out/points.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for torn in (b'{"hash": 3}\n', b"[" * 5000 + b"\n", b"\x00\xff\n", b'{"hash": "a", "cha'):
        journal.write_bytes(b"".join(lines[:2]) + torn + b"".join(lines[2:]))
        assert hmsim.open_sweep(tmp_path / "out").attrs["missing"] > 0
        pool = Answering()
        sweep(tmp_path, pool, resume=True)
        assert pool.ran == 2
        assert sorted(journal.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_sweep_file_of_the_users_own_is_no_sweeps_directory(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sweep.toml").write_text(TEXT)
    with pytest.raises(InputError, match="that no sweep has made"):
        sweep(tmp_path, Answering(), resume=True)
    assert (tmp_path / "out/sweep.toml").read_text() == TEXT
