"""What comes with hmsim is found by name, from a checkout and from a wheel."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hmsim
from hmsim.cli import main
from hmsim.config import catalogue
from hmsim.config.base import load
from hmsim.config.run import load_run
from hmsim.config.sweep import sweep_of
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(path.stem for path in (ROOT / "workloads").glob("*.toml"))


def test_the_list_has_every_file_and_says_which_run(capsys):
    assert main(["workload", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == NAMES
    for name, entry in found.items():
        changes = [] if entry["is_run"] else ["system=gh200-96gb"]
        assert load_run(catalogue.find(name), changes).workload.title == entry["title"]
    assert main(["workload", "list"]) == 0
    said = capsys.readouterr().out
    assert "quest-2048          Quest, 2048 of 128K tokens, Llama-3.1-8B; to run it, add" in said


def test_commands_and_calls_take_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--set", "workload.tokens=[64,66]", "--set", "workload.layers=2"]
    assert main(["run", "paper-60", *few, "--fidelity", "analytic", "--policy", "static"]) == 0
    assert (tmp_path / "out" / "paper-60.h5").exists()
    assert main(["workload", "generate", "paper-60", *few, "-o", "t.h5"]) == 0
    assert main(["workload", "info", "paper-60", *few]) == 0
    assert main(["bound", "paper-60", *few, "--time", "1"]) == 0
    capsys.readouterr()
    assert hmsim.open_workload("nosa-4096").title.startswith("NOSA")
    assert next(hmsim.steps("nosa-4096")).number == 0
    sweep = {"base": "paper-60", "axes": {"seed": {"key": "workload.seed", "values": [1]}}}
    assert sweep_of(sweep, tmp_path, "sweep").base["system"]["preset"] == "gh200-paper"


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert catalogue.find("quest-2048") == str(ROOT / "workloads" / "quest-2048.toml")
    (tmp_path / "quest-2048").write_text("")
    assert catalogue.find("quest-2048") == "quest-2048"
    assert catalogue.find("./paper-60") == "./paper-60"
    assert catalogue.find("none.toml") == "none.toml"
    assert catalogue.find("none.toml", tmp_path / "sub") == str(tmp_path / "sub" / "none.toml")
    with pytest.raises(InputError, match=r"quest-2049: no such file, .* mean 'quest-2048'\?"):
        catalogue.find("quest-2049")


@pytest.mark.slow
def test_a_wheel_carries_them(tmp_path):
    """The very files of the checkout; and an installed package finds them."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for folder in ("workloads", "examples"):
        inside = tmp_path / "site" / "hmsim" / "catalogue" / folder
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".toml", ".py"):
                assert (inside / path.relative_to(ROOT / folder)).read_bytes() == path.read_bytes()
    code = "import sys; from hmsim.cli import main; sys.exit(main(['workload', 'list']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert str(tmp_path / "site" / "hmsim" / "catalogue" / "examples") in done.stdout


def test_every_spec_of_the_catalogue_is_one():
    for entry in catalogue.entries():
        data = catalogue.read_toml(entry.path)
        assert load(WorkloadSpec, data["workload"], entry.name)
