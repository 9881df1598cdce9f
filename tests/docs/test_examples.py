"""The documentation's examples run as they stand, page by page, in one directory."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hmsim
from hmsim.cli import main

ROOT = Path(__file__).parents[2]
HMSIM = Path(sys.executable).with_name("hmsim")  # the command itself, as a reader calls it
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w.-]+\.(?:toml|py))\n")


def blocks(page: str) -> list[tuple[str, str]]:
    return FENCE.findall((ROOT / "docs" / page).read_text())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory with the files that the first page makes."""
    monkeypatch.chdir(tmp_path)
    for _, text in blocks("index.md"):
        if named := NAMED.match(text):
            (tmp_path / named[1]).write_text(text)
    return tmp_path


@pytest.mark.slow
def test_first_page_from_top_to_bottom(here):
    space: dict = {}
    for language, text in blocks("index.md"):
        if NAMED.match(text):
            continue
        if language == "python":
            exec(compile(text, "docs/index.md", "exec"), space)
        elif language == "sh":
            for line in text.splitlines():
                command = shlex.split(line, comments=True)
                if command[0] == "hmsim":
                    done = subprocess.run(
                        [HMSIM, *command[1:]], capture_output=True, text=True, check=False
                    )
                    assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert 0 < space["gap"] < 1
    assert space["sweep"].sizes == {"capacity": 4, "sparsity": 2, "policy": 3}
    assert (here / "capacity.html").exists()
    assert (here / "promotions.csv").read_text().count("\n") == 1 + 8 * 32


def test_sweep_of_the_second_page(here, capsys):
    (text,) = [text for language, text in blocks("sweeps.md") if language == "toml"]
    (here / "second.toml").write_text(text)
    assert main(["sweep", "second.toml", "--dry-run"]) == 0
    assert "12 points, 12 different runs" in capsys.readouterr().out


def test_notebook_of_the_third_page(here):
    import matplotlib.pyplot as plt

    (text,) = [text for language, text in blocks("figures.md") if language == "python"]
    space: dict = {}
    exec(compile(text, "docs/figures.md", "exec"), space)
    assert space["left"].get_xlabel()
    plt.close("all")


def test_every_kind_of_figure_is_described():
    text = (ROOT / "docs" / "figures.md").read_text()
    assert all(f"`{kind}`" in text for kind in hmsim.plot.KINDS)


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweeps" / "index.html").exists()
