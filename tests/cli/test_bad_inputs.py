"""Every kind of wrong input ends in one line and exit code 2, and leaves every file as it was."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from hmsim.cli import main
from hmsim.config.base import read_toml
from hmsim.errors import InputError

RUN = """
system = { preset = "gh200-96gb", hbm.capacity = "16.061 GB" }
[workload]
model = "llama-3.1-8b"
layers = 2
block_tokens = 16
tokens = [256, 258]
[policies]
names = ["static"]
[replay]
fidelity = "analytic"
[bound]
method = "split"
"""


LEVELS = {  # what is stray, and where
    "policies.options.sttaic": "no such policy runs",
    "policies.options.static.bogus": "unknown option",
    "replay.bogus": "unknown key",
    "fit.bogus": "unknown key",
    "system.link.bogus": "unknown key",
}
COMMANDS = (
    "workload info run.toml", "workload generate run.toml -o o.h5", "bound run.toml",
    "workload export run.toml --to csv -o o.csv", "measure run.toml",
)  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a run, its trace and a plain trace, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(RUN)
    (tmp_path / "plain.txt").write_text("LD 0x40\nST 64\n")
    assert main(["workload", "generate", "run.toml", "-o", "trace.h5"]) == 0
    return tmp_path


def refused(call, folder, capsys) -> str:
    """The one line that a wrong call is answered with."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(call) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("hmsim: ")]
    assert len(lines) == 1
    assert said.err.splitlines()[-1] == lines[0]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return lines[0]


CAPTURE = "workload capture {} --text run.toml --prompt 1 --decode 1 --rule {} -o t2.h5"


@pytest.mark.parametrize(
    "call",
    [
        "run run.toml -o run.toml",
        "run run.toml -o ./run.toml",
        "run run.toml -o x.png --plot x.png",
        "run run.toml --plot run.toml/x.png",
        "run traced.toml -o trace.h5",
        "workload generate run.toml -o run.toml",
        "workload export trace.h5 --to csv -o trace.h5",
        "workload export trace.h5 --to csv -o taken",
        "workload import plain.txt --from ramulator -o plain.txt",
        "replay plain.txt --memory hbm3-6400 --commands plain.txt",
        "workload capture plain.txt --text run.toml --prompt 1 --decode 1 --rule tokens,budget=1 "
        "-o run.toml",
        "run run.toml -o /dev/null",
        "run run.toml -o link.h5",
        "plot trace.h5 --kind reuse -o link.png",
        "workload generate run.toml -o .",
    ],
)
def test_outputs_replace_no_input_and_nothing_that_is_no_plain_file(here, call, capsys):
    table = RUN[RUN.index("model") : RUN.index("[policies]")]
    (here / "traced.toml").write_text(RUN.replace(table, 'trace = "trace.h5"\n'))
    (here / "taken.meta.json").write_text('{"title": "a thesis"}')
    for name in ("link.h5", "link.png"):
        (here / name).symlink_to(here / "run.toml")
    refused(call.split(), here, capsys)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("run run.toml --set policies.options.lookahaed.window=1", "policies.options.lookahaed"),
        ("run run.toml --set policies.options.lookahead.window=1", "no such policy runs"),
        ("run run.toml --set policies.names=[]", "policies.names"),
        ('run run.toml --set policies.names=["static","static"]', "there twice"),
        ("run run.toml --set system.preset=3", "expected the name of a preset"),
        ("run run.toml --set system.hbm.row_policy=close", "row_policy"),
        ("run run.toml --set system.hbm.mapping=foo", "system.hbm.mapping"),
        ("run run.toml --set system.dram.refresh=never", "refresh"),
        ("run run.toml --set workload.layers=true", "true is not a number"),
        ("run run.toml --set workload.tokens=[true,5]", "true is not a number"),
        ("run run.toml --set workload.reach=nan", "reach"),
        ("run run.toml --set workload.layers=1" + "0" * 30, "64 bits"),
        ("run run.toml --set workload.layers=" + "9" * 5000, "layers"),
        ("run run.toml --set " + "a." * 3000 + "b=1", "none is so deep"),
        ("run run.toml --set workload.layers=1000000000", "of memory"),
        ("run run.toml --set workload.copies=1000000000", "of memory"),
        ("run /dev/zero", "is a device"),
        ("replay /dev/zero --memory hbm3-6400", "is a device"),
        ("bound run.toml --set systemx=1", "systemx"),
        ("workload generate run.toml -o t2.h5 --set seed=3", "seed: unknown key"),
        ("workload import plain.txt --from ramulator -o p --set foo=1", "foo"),
        (CAPTURE.format("smolm2", "tokens,budget=1"), "no model known by name; did you mean"),
        (
            CAPTURE.format("plain.txt", "token,budget=1"),
            "'token' is no rule; known: tokens,budget=",
        ),
        (CAPTURE.format("plain.txt", "tokens,budget=0"), "budget"),
        (CAPTURE.format("plain.txt", "tokens,budget=1") + " --temperature -1", "--temperature"),
        (CAPTURE.format("plain.txt", "tokens,budget=1") + " --decode 0", "--decode"),
        ("workload export trace.h5 --to csv -o x --rate -1", "rate"),
        ("workload export trace.h5 --to csv -o x --rate 0", "rate"),
        ("workload export trace.h5 --to csv -o x --rate 5kg", "--rate 5kg"),
        ("workload export trace.h5 --to csv -o x --every -1", "every"),
        ("workload export trace.h5 --to csv -o x --every 0", "every"),
    ],
)
def test_nonsense_is_named(here, call, said, capsys):
    assert said in refused(call.split(), here, capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 100_000, "nested too deep"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ('a = "\udcff"', "not a text file"),
        ("[wrokload]\n" + RUN, "did you mean 'workload'"),
        ("seed = 3\n" + RUN, "seed"),
    ],
)
def test_files_of_any_kind(here, text, said, capsys):
    (here / "bad.toml").write_bytes(text.encode(errors="surrogateescape"))
    assert said in refused(["workload", "info", "bad.toml"], here, capsys)


def test_archives_cut_short(here, capsys):
    np.savez(here / "s.npz", scores=np.zeros((4, 2, 24)))
    whole = (here / "s.npz").read_bytes()
    call = ["workload", "import", "s.npz", "--from", "matrix", "-o", "t.h5", "--set",
            "matrix.budget=4"]  # fmt: skip
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        (here / "s.npz").write_bytes(whole[:size])
        assert "s.npz" in refused(call, here, capsys)


def test_accesses_of_impossible_sizes(here, capsys):
    (here / "a.csv").write_text("time_ps,op,address,size\n1,R,0,100000000000000\n")
    call = ["workload", "import", "a.csv", "--from", "csv", "-o", "t.txt"]
    assert "line 2" in refused(call, here, capsys)


def test_models_and_replays_that_are_no_such_thing(here, capsys):
    for text in (
        "[" * 100_000,
        "[]",
        "9" * 5000,
        '{"bus_ticks": 3}',
        '{"bus_ticks": {"data": -1}}',
    ):
        (here / "x.json").write_text(text)
        refused(["presets", "--from-hf", "x.json"], here, capsys)
        refused(["plot", "x.json", "--kind", "lost-cycles", "-o", "f.png"], here, capsys)


def test_titles_are_text_in_figures_and_in_what_is_stored(here, capsys):
    for k, title in enumerate(("$$", "$x_{", "\x7f", "\U0001f600", "<b>&", '"\\')):
        (here / "t.toml").write_text(tomli_w.dumps({"title": title}) + RUN, encoding="utf-8")
        figure = f"f.{('png', 'svg', 'pdf')[k % 3]}"
        assert main(["run", "t.toml", "-o", "r.h5", "--plot", figure]) == 0
        capsys.readouterr()
        assert main(["info", "r.h5", "--config"]) == 0
        (here / "again.toml").write_text(capsys.readouterr().out, encoding="utf-8")
        assert read_toml("again.toml")["title"] == title
        assert main(["run", "again.toml"]) == 0


def test_what_is_unexpected_is_one_line_too(here, capsys, monkeypatch):
    from hmsim.simulate import run as engine

    def broken(*_, **__):
        raise ZeroDivisionError("a fault\nof ours")

    monkeypatch.setattr(engine, "execute", broken)
    assert main(["run", "run.toml"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("hmsim: unexpected error: ZeroDivisionError: a fault of ours")
    assert said.count("\n") == 1
    assert main(["run", "run.toml", "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_read_toml_says_so_too(tmp_path):
    path = Path(tmp_path / "x.toml")
    path.write_text("a = 1")
    assert read_toml(path) == {"a": 1}
    with pytest.raises(InputError, match="is a device"):
        read_toml("/dev/zero")


@pytest.mark.parametrize("key", ["system.outstanding", "replay.outstanding"])
def test_more_bytes_than_can_be_counted(here, capsys, key):
    call = ["run", "run.toml", "--set", f"{key}=1e300"]
    assert f"{key}: 1e+300" in refused(call, here, capsys)


@pytest.mark.parametrize("key", LEVELS)
@pytest.mark.parametrize("call", COMMANDS)
def test_a_stray_key_at_any_level_is_an_error_in_every_command(here, capsys, call, key):
    """Also in tables that the command has no use for."""
    data = tomllib.loads(RUN) | {"fit": {"parameters": {"sparsity": [0.1, 0.2]}}}
    *tables, stray = key.split(".")
    table = data
    for name in tables:
        table = table.setdefault(name, {})
    table[stray] = {} if stray == "sttaic" else 1
    (here / "run.toml").write_text(tomli_w.dumps(data))
    line = refused(call.split(), here, capsys)
    assert key.removeprefix("system.") in line
    assert LEVELS[key] in line
