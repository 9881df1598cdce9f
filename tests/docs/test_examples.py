"""The documentation's examples run as they stand, page by page, in one directory."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hmsim
from hmsim.cli import main
from hmsim.placement.policies import BUILT_IN, make

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


LIBRARIES = ["memory-library.md", "workload-library.md"]
SLOW = pytest.param("bound-library.md", marks=pytest.mark.slow)


@pytest.mark.parametrize("page", [*LIBRARIES, SLOW])
def test_library_pages_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for language, text in blocks(page):
        assert language == "python"
        exec(compile(text, f"docs/{page}", "exec"), space)


def test_what_is_said_of_a_real_trace(monkeypatch, capsys):
    """The page on real attention, but for what needs a model or minutes."""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs/real-attention.md").read_text()
    (example,) = [code for language, code in blocks("real-attention.md") if language == "python"]
    exec(compile(example, "docs/real-attention.md", "exec"), space := {})
    out = capsys.readouterr().out
    assert "64: 69.1 %" in out
    assert "| reads of the newest 64 blocks | 69.1 % |" in text
    assert "512: 44.2 %" in out
    assert "| still read after 16, 128, 512 tokens | 77.4, 67.2, 44.2 % |" in text
    assert space["trace"].geometry.layers == 30


def test_policy_of_its_page(tmp_path, monkeypatch):
    """The page quotes the example, which keeps every sequence to its buffer."""
    source = (ROOT / "examples" / "hot_buffer.py").read_text()
    found = blocks("policies.md")
    assert all(text in source for language, text in found if language == "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "hot_buffer.py").write_text(source)
    (config,) = [text for _, text in found if NAMED.match(text)]
    (tmp_path / "buffers.toml").write_text(config)
    (command,) = [text.strip() for language, text in found if language == "sh"]
    assert main(shlex.split(command)[1:]) == 0
    result = hmsim.Result.open("buffers.h5")
    block_bytes = 16 * 4096  # tokens of a block, KV of a token and layer
    mine = "hot_buffer:HotBuffer"
    resident = result.steps("resident_bytes")[result.policies.index(mine)]
    assert resident.max() <= 3 * 4 * 16 * block_bytes  # layers, sequences, places
    assert result.total(mine, "migrated_bytes") > 0


def test_the_options_of_the_policies_page_are_taken():
    (config, *_) = [text for language, text in blocks("policies.md") if language == "toml"]
    policies = tomllib.loads(config)["policies"]
    far = make("far", policies["options"]["far"])
    assert (far.name, far.ahead_tokens) == ("far", 20)


def test_every_policy_is_described():
    text = (ROOT / "docs" / "policies.md").read_text()
    assert all(f"`{name}`" in text for name in BUILT_IN if not name.startswith("authors-"))


def test_links_lead_somewhere():
    """Within the documentation, and from the texts at the top of the repository."""
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.slow
def test_sweep_of_the_second_page(here, capsys):
    (text,) = [text for language, text in blocks("sweeps.md") if language == "toml"]
    (here / "second.toml").write_text(text)
    assert main(["sweep", "second.toml", "--dry-run"]) == 0
    assert "12 points, 12 different runs" in capsys.readouterr().out


@pytest.mark.slow
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
