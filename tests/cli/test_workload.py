"""`hmsim workload` as a user calls it."""

import gzip
import json

import pytest

from hmsim.cli import main

SPEC = """
[workload]
model = "gpt2"
layers = 2
tokens = [60, 80]
sparsity = 0.6
"""
SYSTEM = ["--system", "gh200-paper", "--set", "system.hbm.capacity=247.3 MB"]


@pytest.fixture
def trace(tmp_path):
    """A small trace file."""
    (tmp_path / "spec.toml").write_text(SPEC)
    path = tmp_path / "t.h5"
    assert main(["workload", "generate", str(tmp_path / "spec.toml"), "-o", str(path)]) == 0
    return path


def test_info_of_a_trace_and_of_its_spec_agree(trace, capsys):
    capsys.readouterr()
    for source in (trace, trace.with_name("spec.toml")):
        assert main(["workload", "info", str(source), "--json"]) == 0
    first, second = capsys.readouterr().out.split("\n}\n{")
    assert json.loads(first + "}") == json.loads("{" + second)


def test_info_has_hit_rates_of_buffers_where_asked(trace, capsys):
    assert main(["workload", "info", str(trace), "--buffers"]) == 0
    assert "hit rates by buffer" in capsys.readouterr().out
    assert main(["workload", "info", str(trace), "--buffers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hit_rates"]["hisparse"]["multiple"]["4.0"] <= found["belady_multiple"]["4.0"]


@pytest.mark.parametrize("policy", ["static", "reactive"])
@pytest.mark.parametrize(
    "form", ["ramulator", "ramulator-rw", "dramsim3", "dramsys", "gem5", "csv"]
)
def test_exports_hold_at_most_what_was_estimated(trace, tmp_path, capsys, form, policy):
    out = tmp_path / "out"
    call = ["workload", "export", str(trace), "--to", form, "-o", str(out), *SYSTEM,
            "--steps", "4:20", "--every", "3", "--policy", policy]  # fmt: skip
    assert main([*call, "--estimate"]) == 0
    assert not out.exists()
    assert main(call) == 0
    assert out.stat().st_size > 0
    told = capsys.readouterr().err.splitlines()
    limit = int(told[-2].split()[2].replace(",", ""))
    written = int(told[-1].split()[1].replace(",", ""))
    assert 0 < written <= limit
    assert json.loads((tmp_path / "out.meta.json").read_text())


def test_an_export_goes_back_in_as_plain_addresses(trace, tmp_path, capsys):
    packets = tmp_path / "t.gz"
    call = ["workload", "export", str(trace), "--to", "gem5", "-o", str(packets), *SYSTEM]
    assert main([*call, "--steps", "0:2", "--tier", "dram"]) == 0
    assert gzip.decompress(packets.read_bytes())[:4] == b"gem5"
    plain = tmp_path / "t.trace"
    assert main(["workload", "import", str(packets), "--from", "gem5", "-o", str(plain)]) == 0
    capsys.readouterr()
    assert main(["replay", str(plain), "--memory", "lpddr5x-8533", "--channels", "32",
                 "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["requests"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["workload", "export", "TRACE", "--to", "ramulat", "-o", "OUT"], "ramulator"),
        (["workload", "export", "TRACE", "--to", "csv", "-o", "OUT", "--steps", "5"], "FIRST:LAST"),
        (["workload", "export", "TRACE", "--to", "csv", "-o", "OUT", "--policy", "x"], "unknown"),
        (["workload", "import", "TRACE", "--from", "mooncake", "-o", "OUT"], "TRACE"),
        (["workload", "generate", "TRACE.toml", "-o", "OUT"], "cannot be read"),
        (["workload", "info", "TRACE", "--set", "workload.seed=3"], "--set"),
    ],
)
def test_mistakes_end_in_one_line_exit_2_and_nothing_written(
    trace, tmp_path, capsys, arguments, message
):
    capsys.readouterr()
    before = sorted(tmp_path.iterdir())
    call = [part.replace("TRACE", str(trace)).replace("OUT", str(tmp_path / "out"))
            for part in arguments]  # fmt: skip
    assert main(call) == 2
    printed = capsys.readouterr()
    assert message.replace("TRACE", str(trace)) in printed.err
    assert "Traceback" not in printed.err
    assert sorted(tmp_path.iterdir()) == before
