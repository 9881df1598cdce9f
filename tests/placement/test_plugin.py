"""Policies of users' own: a file starts no code, and what is no policy is refused before it runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import hmsim
from hmsim.cli import main
from hmsim.errors import InputError
from hmsim.placement import policies
from hmsim.placement.policies import plugin

RUN = """
system = { preset = "gh200-96gb", hbm.capacity = "16.061 GB" }
[workload]
model = "llama-3.1-8b"
layers = 2
block_tokens = 16
tokens = [256, 258]
[replay]
fidelity = "analytic"
[bound]
method = "split"
[policies]
names = ["NAME"]
"""
GOOD = """
from pathlib import Path
Path("imported").touch()
from hmsim.placement.policies.api import Policy, policy_step

@policy_step
def step(now, hbm, own, moves):
    pass

class Mine(Policy):
    name = "mine-of-my-own"
    step = step
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module of a user's, which this process has not imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "run.toml").write_text(RUN.replace("NAME", "mine:Mine"))
    yield tmp_path
    for name in ("mine", "bad"):
        sys.modules.pop(name, None)
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


@pytest.mark.parametrize("name", ["subprocess:run", "mine:Mine", "os.path:join", "alias"])
def test_a_configuration_starts_no_code(here, capsys, name):
    text = RUN.replace("NAME", name)
    options = 'args = ["touch", "ran"]' if name != "alias" else 'policy = "mine:Mine"'
    (here / "sent.toml").write_text(f'{text}[policies.options."{name}"]\n{options}\n')
    (here / "sweep.toml").write_text(
        'base = "sent.toml"\n[axes.a]\nkey = "workload.sparsity"\nvalues = [0.5]\n'
    )
    for call in (["run", "sent.toml"], ["sweep", "sweep.toml", "-o", "out"],
                 ["sweep", "sweep.toml", "--dry-run"]):  # fmt: skip
        assert main(call) == 2
        said = capsys.readouterr().err
        assert "--allow-plugins" in said
        assert said.count("\n") == 1
    with pytest.raises(InputError, match="allow_plugins"):
        hmsim.run("sent.toml")
    assert not (here / "ran").exists()
    assert not (here / "imported").exists()


def test_naming_it_or_allowing_it_lets_it_run(here, capsys):
    (here / "plain.toml").write_text(RUN.replace("NAME", "static"))
    assert main(["run", "plain.toml", "--policy", "mine:Mine", "-o", "r.h5"]) == 0
    assert "mine:Mine" in capsys.readouterr().out
    assert main(["run", "run.toml", "--allow-plugins"]) == 0
    assert hmsim.run("run.toml", allow_plugins=True).policies == ["mine:Mine"]
    # A stored configuration is one that came from somewhere, too.
    capsys.readouterr()
    assert main(["info", "r.h5", "--config"]) == 0
    (here / "again.toml").write_text(capsys.readouterr().out)
    assert main(["run", "again.toml"]) == 2
    assert "--allow-plugins" in capsys.readouterr().err
    assert main(["run", "again.toml", "--allow-plugins"]) == 0


def test_the_command_looks_in_the_current_folder(here):
    """`hmsim`, not only `python -m hmsim`, whose first place to look that folder is."""
    script = Path(sys.executable).with_name("hmsim")
    if not script.exists():
        pytest.skip("hmsim is not installed as a command")
    call = [script, "run", "run.toml", "--policy", "mine:Mine"]
    done = subprocess.run(call, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mine:Mine" in done.stdout


BAD = {
    "no such module": ("", "cannot be imported"),
    "exit": ("import sys\nsys.exit()", "cannot be imported: SystemExit"),
    "fault": ("1 / 0", "cannot be imported: ZeroDivisionError"),
    "syntax": ("def", "cannot be imported: SyntaxError"),
    "nothing": ("x = 1", "no 'Mine' in bad; it has no policy"),
    "other": (GOOD.replace("class Mine", "class Mein"), "did you mean 'Mein'"),
    "function": ("def Mine(**k): raise SystemExit", "no subclass"),
    "class": ("class Mine:\n  def __init__(self): raise SystemExit", "no subclass"),
    "step": (GOOD.replace("    step = step", ""), "lacks a step"),
    "plain step": (GOOD.replace("@policy_step\n", ""), "lacks a step"),
    "far": (GOOD + "    ahead_tokens = 10**9\n", "ahead_tokens"),
    "init": (GOOD + "    def __init__(self): 1 / 0\n", "ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_policy_is_one_line(here, kind, capsys):
    text, said = BAD[kind]
    if text:
        (here / "bad.py").write_text(text)
    assert main(["run", "run.toml", "--policy", "bad:Mine", "-o", "r.h5"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (here / "r.h5").exists()


def test_finding_a_plug_in_imports_nothing(here):
    (here / "package").mkdir()
    (here / "package/__init__.py").write_text("raise SystemExit")
    (here / "package/inner.py").write_text("raise SystemExit")
    assert plugin.source("package.inner:X") == here / "package/inner.py"
    assert plugin.source("package.none:X") is None
    assert plugin.source("no.such:X") is None
    assert "package" not in sys.modules


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("static", {"window": 3}, "policies.options.static.window: unknown option; this policy"),
        ("lookahead", {"windw": 3}, "did you mean 'window'"),
        ("lookahead", {"window": True}, "true and false are no numbers"),
        ("lookahead", {"share": float("nan")}, "must be finite"),
        ("authors-lookahead1", {"share": "a"}, "authors-lookahead1"),
        ("static", {"policy": 3}, "a policy's name"),
        ("static", {"policy": "os.system"}, "unknown"),
    ],
)
def test_options_are_checked(name, options, said):
    with pytest.raises(InputError) as error:
        policies.make(name, options)
    assert said in str(error.value)


def with_step(text: str) -> str:
    return GOOD.replace("    pass\n", text)


STRANGE = {
    "one past the end": ("    moves.promote[0] = hbm.resident.size * 64\n    moves.count[0] = 1\n",
                         "step 0: moves block 128: blocks are numbered from 0 to 127"),
    "far away": ("    moves.promote[0] = 2**62\n    moves.count[0] = 1\n", "moves block 4611686"),
    "below zero": ("    moves.demote[0] = -1\n    moves.count[1] = 1\n", "moves block -1"),
    "no count": ("    moves.count[0] = -1\n", "step 0: says that it makes -1 moves"),
    "many": ("    moves.count[1] = 2**40\n", "step 0: says that it makes"),
    "residents": ("    hbm.resident[:] = np.uint64(2**64 - 1)\n", "which are read only"),
    "reads": ("    now.bits[now.row] = np.uint64(0)\n", "which are read only"),
    "used": ("    hbm.used[0] = 0\n", "which are read only"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGE)
def test_what_a_policy_answers_is_checked_and_what_it_sees_is_read_only(here, kind, capsys):
    text, said = STRANGE[kind]
    (here / "bad.py").write_text(f"import numpy as np\n{with_step(text)}")
    assert main(["run", "run.toml", "--policy", "bad:Mine", "-o", "r.h5"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("prompt(self, w, c, r): return None", "prompt: must be a writable"),
        ("prompt(self, w, c, r): return w.prompt[:1]", "prompt: must be a writable"),
        ("prompt(self, w, c, r): return w.prompt.astype(float)", "prompt: must be"),
        ("prompt(self, w, c, r): 1 / 0", "prompt: ZeroDivisionError"),
        ("own(self, g, c, r, x): return 3", "own: int, not an Own"),
        ("own(self, g, c, r, x): return Own(np.zeros(1), np.zeros(1), np.zeros(1))", "own: bits"),
    ],
)
def test_what_a_policy_brings_is_checked(here, method, said, capsys):
    head = "import numpy as np\nfrom hmsim.placement.step import Own\n"
    (here / "bad.py").write_text(f"{head}{GOOD}    def {method}\n")
    assert main(["run", "run.toml", "--policy", "bad:Mine"]) == 2
    assert said in capsys.readouterr().err
