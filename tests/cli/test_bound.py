"""`hmsim bound` as a user calls it."""

import pytest

from hmsim.bound import Machine, bound, bound_over
from hmsim.cli import main
from hmsim.placement.latency import Rates
from hmsim.workload.trace import TraceWorkload
from tests.cli.calls import done, refused, told

SPEC = """
system = "gh200-paper"

[workload]
model = "gpt2"
layers = 2
tokens = [60, 72]
sparsity = 0.6
"""
SYSTEM = {
    "hbm.bandwidth": 4e12,
    "hbm.capacity": 247.3e6,
    "link.read_bandwidth": 3e11,
    "link.write_bandwidth": 2e11,
    "dram.bandwidth": 4e11,
}
SET = [part for key, value in SYSTEM.items() for part in ("--set", f"system.{key}={value}")]


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def trace(spec, capsys):
    path = spec.with_name("t.h5")
    done(capsys, "workload", "generate", spec, "-o", path)
    return path


@pytest.mark.parametrize("method", ["lp", "dual"])
def test_it_prints_what_the_library_finds(trace, capsys, method):
    found = told(capsys, "bound", trace, "--system", "gh200-paper", *SET, "--method", method)
    rates = Rates(4e12, 3e11, 2e11, 4e11)
    own = bound(TraceWorkload(trace), rates, 247.3e6, method=method)
    assert set(found) == {"bound_s", "achievable_s", "gap", "method", "variant", "barrier",
                          "iterations", "wall_s"}  # fmt: skip
    assert found["bound_s"] == own.bound_s
    assert found["achievable_s"] == own.achievable_s
    assert (found["method"], found["variant"], found["barrier"]) == (method, "text", "layer")


def test_the_least_energy(trace, spec, capsys):
    call = ("bound", trace, "--system", "gh200-paper", *SET, "--objective", "energy")
    found = told(capsys, *call)
    assert set(found) >= {"bound_J", "achievable_J", "gap"}
    assert "bound_s" not in found
    assert 0 < found["bound_J"] <= found["achievable_J"]
    assert "J\n" in done(capsys, *call)
    static = spec.with_name("static.toml")
    static.write_text(SPEC + '[energy]\ndata = "static"\n')
    less = told(capsys, "bound", static, *SET, "--objective", "energy")
    assert less["achievable_J"] < found["bound_J"]


def test_a_runs_file_names_its_system(spec, trace, capsys):
    own = told(capsys, "bound", spec, *SET, "--method", "lp")
    other = told(capsys, "bound", trace, "--system", "gh200-paper", *SET, "--method", "lp")
    assert own["bound_s"] == pytest.approx(other["bound_s"], rel=1e-9)


def test_the_table_names_the_gap(spec, capsys):
    shown = done(capsys, "bound", spec, *SET, "--method", "lp", "--variant", "exclusive",
                 "--barrier", "token")  # fmt: skip
    assert "certified gap" in shown
    assert "exclusive, barrier a token" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--system: a trace file has none"),
        (["--system", "gh200"], "no preset"),
        (["--system", "gh200-paper", "--gap", "2"], "gap: 2.0 must be at least 0 and below 1"),
        (["--system", "gh200-paper", "--time", "0"], "time: 0.0 seconds must be above zero"),
        (["--system", "gh200-paper", "--set", "system.hbm.capacity=1MB"], "capacity"),
        (["--system", "gh200-paper", "--set", "system.hbm.capacty=1MB"], "did you mean 'capacity'"),
        (["--system", "gh200-paper", "--variant", "texts"], "variant"),
        (["--system", "gh200-paper", "--method", "simplex"], "method"),
    ],
)
def test_mistakes(trace, capsys, arguments, message):
    assert message in refused(capsys, "bound", trace, *arguments)


def test_over_several_capacities(trace, capsys):
    call = ("bound", trace, "--system", "gh200-paper", *SET)
    found = told(capsys, *call, "--over", "system.hbm.capacity=247.2MB..247.4MB:3")
    rates = Rates(4e12, 3e11, 2e11, 4e11)
    machines = [Machine(rates, capacity) for capacity in (247.2e6, 247.3e6, 247.4e6)]
    own = bound_over(TraceWorkload(trace), machines)
    assert found["over"] == "system.hbm.capacity"
    assert [point["bound_s"] for point in found["points"]] == [each.bound_s for each in own]
    assert [point["achievable_s"] for point in found["points"]] == [
        each.achievable_s for each in own
    ]
    table = done(capsys, *call, "--over", "system.hbm.capacity=247.4MB,247.2MB").splitlines()
    assert [line.split()[0] for line in table] == ["system.hbm.capacity", "247.4MB", "247.2MB"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokens=3"], "write KEY=VALUES with a key of the system"),
        (["system.hbm.capacity"], "write KEY=VALUES"),
        (["system.hbm.capacity=24GB,,48GB"], "a value is empty"),
        (["system.hbm.capacity=24GB..48GB"], "after the colon, how many values: 1 to 1,000"),
        (["system.hbm.capacity=24GB..48GB:0"], "after the colon"),
        (["system.hbm.capacity=24GB..x:3"], "'x' is no number and no quantity"),
        (["system.hbm.capacity=24GB..48ns:3"], "do not measure the same"),
        (["system.hbm.capacty=24GB"], "did you mean 'capacity'"),
        (["system.hbm.capacity=1MB"], "capacity"),
        (["system.hbm.capacity=24GB", "--method", "lp"], "goes with --method dual only, not lp"),
        (["system.hbm.capacity=24GB", "--objective", "energy"], "--objective time only"),
    ],
)
def test_mistakes_in_over(trace, capsys, arguments, message):
    said = refused(capsys, "bound", trace, "--system", "gh200-paper", "--over", *arguments)
    assert message in said


def test_no_trace(tmp_path, capsys):
    said = refused(capsys, "bound", tmp_path / "none.h5", "--system", "gh200-paper")
    assert "cannot be read: No such file" in said


def test_methods_stand_in_order(trace, capsys):
    lp, dual = (
        told(capsys, "bound", trace, "--system", "gh200-paper", *SET, "--method", method)
        for method in ("lp", "dual")
    )
    assert 0.995 * lp["bound_s"] <= dual["bound_s"] <= lp["bound_s"] * (1 + 1e-9)
    assert dual["bound_s"] <= dual["achievable_s"] * (1 + 1e-9)


@pytest.mark.parametrize("command", [["bound"], ["workload", "info"]])
def test_it_says_that_the_weights_of_layers_left_out_stay(spec, capsys, command):
    assert main([*command, str(spec), *(SET if command == ["bound"] else [])]) == 0
    assert "layers: 2 of the model's 12 are decoded; the weights of all" in capsys.readouterr().err
