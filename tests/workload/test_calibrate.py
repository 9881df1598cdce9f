"""The calibrator on a small case, and every ready spec against its published ranges."""

from pathlib import Path

import pytest
import tomli_w

from hmsim.config.base import load, read_toml
from hmsim.config.calibration import CalibrationSpec
from hmsim.errors import InputError
from hmsim.workload.calibrate import achieved, calibrate, trial_of
from hmsim.workload.open import load_spec

WORKLOADS = Path(__file__).parents[2] / "workloads"
READY = sorted(path.name for path in (WORKLOADS / "targets").glob("*.toml"))

SMALL = {
    "workload": {
        "kind": "scores", "model": "gpt2", "block_tokens": 16, "tokens": [4000, 4100],
        "scores": {"budget": 640, "flicker": 1.0, "flicker_steps": 4, "dense_layers": 1},
    },
    "fit": {
        "parameters": {"scores.flicker": [0.05, 3.0], "scores.flicker_steps": [1, 8]},
        "layers": 1, "steps": 40, "evaluations": 40,
    },
    "targets": {"overlap": 0.85, "union.12": [0.9, 1.0]},
}  # fmt: skip


def write(folder, **changes):
    path = folder / "targets.toml"
    path.write_text(tomli_w.dumps(SMALL | changes))
    return path


def test_a_target_is_met_and_the_spec_of_full_size_keeps_the_rest(tmp_path):
    seen = []
    found = calibrate(write(tmp_path), lambda count, best: seen.append((count, best)))
    assert [met for *_, met in found.rows] == [True, True]
    assert found.rows[0][1] == pytest.approx((0.8415, 0.8585))
    assert isinstance(found.fitted["scores.flicker_steps"], int)
    assert found.spec.tokens == (4000, 4100)
    assert found.spec.scores.dense_layers == 1
    assert found.spec.scores.flicker == found.fitted["scores.flicker"]
    assert seen == sorted(seen, key=lambda pair: (pair[0], -pair[1]))
    again = load_spec(read_toml(_write_text(tmp_path, found.as_toml())), "again")
    assert again == found.spec


def _write_text(folder, text):
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def test_what_cannot_be_met_is_reported_as_missed(tmp_path):
    found = calibrate(write(tmp_path, targets={"overlap": 0.85, "density": 0.9}))
    assert [met for *_, met in found.rows][1] is False
    assert "missed" in found.format_table()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"targets": {"overlop": 0.8}}, "targets.overlop: no statistic; did you mean 'overlap'"),
        ({"targets": {"union.99": 0.8}}, "targets.union.99: known: 1, 2, 3"),
        ({"targets": {"union": 0.8}}, "targets.union: known: 1"),
        ({"fit": {"parameters": {"scores.flickr": [0, 1]}}}, "flickr: unknown key; did you mean"),
        ({"fit": {"parameters": {"scores.flicker": [2, 1]}}}, "scores.flicker: the range must"),
        ({"fit": {"parameters": {"scores.flicker": [-2, -1]}}}, "flicker: -1"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        calibrate(write(tmp_path, **changes))


def test_calibration_needs_one_context_length(tmp_path):
    requests = {"synthetic": {"count": 3}}
    workload = {key: value for key, value in SMALL["workload"].items() if key != "tokens"}
    with pytest.raises(InputError, match=r"workload.tokens: calibration needs"):
        calibrate(write(tmp_path, workload=workload | {"requests": requests}))


@pytest.mark.parametrize("name", READY)
def test_a_ready_spec_has_its_published_statistics(name):
    """The committed spec, cut to the size of the calibrator's trials, at another seed."""
    targets = load(CalibrationSpec, read_toml(WORKLOADS / "targets" / name), name)
    spec = load_spec(read_toml(WORKLOADS / name), name).model_copy(update={"seed": 77})
    assert spec.source
    trial = trial_of(spec, targets.fit, name)
    found = achieved(trial, targets.targets, WORKLOADS)
    for statistic, (low, high) in targets.targets.items():
        assert 0.99 * low <= found[statistic] <= 1.01 * high, statistic
