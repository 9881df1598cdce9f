"""Where a model's file is named by its path: relative to the file that names it."""

import pytest

from hmsim.config.model import as_toml, model
from hmsim.config.run import load_run
from hmsim.config.sweep import load_sweep
from hmsim.errors import InputError
from hmsim.sweep.folder import Folder
from hmsim.workload.iterate import steps

RUN = """
[system]
preset = "gh200-96gb"
[workload]
model = "models/mine.toml"
layers = 2
block_tokens = 16
tokens = [64, 65]
"""


@pytest.fixture
def run(tmp_path):
    """A run's file in a folder of its own, with its models beside it."""
    (tmp_path / "runs/models").mkdir(parents=True)
    for name in ("gpt2", "gemma-3-12b"):
        (tmp_path / f"runs/models/{name}.toml").write_text(as_toml(model(name)))
    (tmp_path / "runs/models/mine.toml").write_text(as_toml(model("qwen3-30b-a3b")))
    path = tmp_path / "runs/run.toml"
    path.write_text(RUN)
    return path


def test_in_a_run(run, monkeypatch):
    assert load_run(run).workload.model == model("qwen3-30b-a3b")
    monkeypatch.chdir(run.parent / "models")
    changed = load_run("../run.toml", ["workload.model=./gpt2.toml"])  # of the current folder
    assert changed.workload.model == model("gpt2")
    with pytest.raises(InputError, match=r"workload.model: .*none.toml: cannot be read"):
        load_run(run, ["workload.model=none.toml"])
    found = list(steps(run))
    assert len(found) == 4


def test_the_resolved_run_holds_the_model_itself(run):
    whole = load_run(run)
    again = run.parent / "again.toml"
    again.write_text(whole.as_toml())
    (run.parent / "models/mine.toml").unlink()
    assert load_run(again).workload.model == whole.workload.model


def test_in_a_sweep(run, tmp_path):
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(
        'base = "runs/run.toml"\n'
        '[axes."workload.model"]\n'
        'values = ["runs/models/gpt2.toml", "gpt2", "runs/models/gemma-3-12b.toml"]\n'
        '[axes.both.zip]\n"workload.seed" = [1, 2]\n'
    )
    found = load_sweep(sweep)
    models = tmp_path / "runs/models"
    assert found.base["workload"]["model"] == str(models / "mine.toml")
    values = found.axes["workload.model"].values
    assert values == [str(models / "gpt2.toml"), "gpt2", str(models / "gemma-3-12b.toml")]
    with Folder(tmp_path / "deep/out", found, False):
        pass
    assert load_sweep(tmp_path / "deep/out/sweep.toml")[1:] == found[1:]  # wherever it is told from
    sweep.write_text(sweep.read_text() + '[set]\n"workload.model" = "runs/models/gpt2.toml"\n')
    assert load_sweep(sweep).base["workload"]["model"] == str(models / "gpt2.toml")
