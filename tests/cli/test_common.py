"""What commands share: one JSON object, and progress that can be interrupted."""

import json

import numpy as np

from hmsim import progress as module
from hmsim.cli.common import print_json
from hmsim.progress import Progress


def test_what_is_no_number_becomes_null(capsys):
    print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": (1, {"d": "x"}), 3: None})
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": None, "b": [1.5, None], "c": [1, {"d": "x"}], "3": None}


def test_a_bar_appears_only_once_work_takes_long(capsys, monkeypatch):
    with Progress(10, " steps", "run") as progress:
        progress(5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "QUIET_SECONDS", -1.0)
    with Progress(0, " steps", "run") as progress:
        progress.begin(10)
        progress.tell("first")
        progress(4)
        progress.tell("second")
        progress(6)
    said = capsys.readouterr().err
    assert "10.0/10.0" in said
    assert said.index("first") < said.index("second")


def test_numpy_numbers_are_numbers(capsys):
    print_json({"a": np.float64(1.5), "b": np.int64(3), "c": np.arange(2), "d": np.float64("nan")})
    assert json.loads(capsys.readouterr().out) == {"a": 1.5, "b": 3, "c": [0, 1], "d": None}
