"""The worked example of a user's policy."""

import json
from pathlib import Path

from hmsim.cli import main


def test_the_example_runs_from_the_command_line(tmp_path, monkeypatch, capsys):
    """The template that the README points to, named as a user would."""
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root / "examples")
    config = str(root / "workloads/paper-60.toml")
    code = main(
        ["run", config, "--set", "workload.tokens=[2000, 2005]",
         "--set", "workload.sparsity=0.5", "--set", "system.hbm.capacity=16.5GB",
         "--fidelity", "analytic", "--json", "--policy", "static",
         "--policy", "my_policy:PromoteSome",
         "--output", str(tmp_path / "out.h5"), "--plot", str(tmp_path / "out.png")]
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)["policies"]
    assert code == 0
    assert found["my_policy:PromoteSome"]["migrated_bytes"] > 0 == found["static"]["migrated_bytes"]
