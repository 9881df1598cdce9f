"""`hmsim plot` as a user calls it."""

import json

import numpy as np
import pytest

from hmsim.cli import main
from tests.oracles import small_results


def test_plot_every_source(tmp_path, capsys):
    result = small_results.result(tmp_path)
    sweep = small_results.sweep(tmp_path)
    replay = tmp_path / "slow.json"
    replay.write_text(json.dumps(small_results.replay(0.5)))
    spec = tmp_path / "spec.toml"
    spec.write_text('[workload]\ntokens = [40, 55]\nlayers = 2\nmodel = "llama-3.1-8b-paper"\n')
    for source, kind, *options in (
        (result.path, "timeline", "--policy", "static"),
        (result.path, "speedup", "--against", "reactive"),
        (
            sweep,
            "sweep-line",
            "--x",
            "sparsity",
            "--y",
            "total_time_s",
            "--at",
            "capacity=16.001e9",
        ),
        (sweep / "sweep.h5", "sweep-heatmap", "--value", "speedup"),
        (replay, "lost-cycles"),
        (spec, "overlap"),
    ):
        figure = tmp_path / "figures" / f"{kind}.png"
        call = ["plot", str(source), "--kind", kind, "-o", str(figure), *options]
        assert main(call) == 0, capsys.readouterr().err
        assert figure.stat().st_size > 5000


def test_lost_cycles_of_a_run(tmp_path, capsys):
    result = small_results.burst_result(tmp_path)
    figure = tmp_path / "lost.svg"
    call = ["plot", str(result.path), "--kind", "lost-cycles", "-o", str(figure)]
    assert main(call) == 0, capsys.readouterr().err
    assert "static, DRAM" in figure.read_text()
    ticks, seconds = result.steps("bus_ticks"), result.steps("replay_time_s")
    replayed = ~np.isnan(seconds)
    assert replayed.any()
    assert np.array_equal(replayed, ticks[:, :, 0, 0] >= 0)
    # The parts add up to all of the buses' time in the step, but where computing takes longer.
    whole = ticks[replayed].sum(axis=-1)
    for m, side in enumerate(("hbm", "dram")):
        tick, buses = (result.attributes[f"{side}_{key}"] for key in ("tick_s", "data_buses"))
        assert (whole[:, m] % buses == 0).all()
        assert whole[:, m] / buses * tick == pytest.approx(seconds[replayed], abs=tick)
    analytic = small_results.result(tmp_path, "analytic.h5")
    call = ["plot", str(analytic.path), "--kind", "lost-cycles", "-o", str(figure)]
    assert main(call) == 2
    assert "no step went through the memory kernels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["x.h5", "--kind", "bandwith", "-o", "a.png"], "did you mean 'bandwidth'"),
        (["x.h5", "-o", "a.png"], "--kind: missing"),
        (["x.h5", "--kind", "gap", "-o", "a.gif"], "figures are"),
        (["x.h5", "--kind", "gap", "-o", "a.png"], "cannot be read: No such file"),
        (["x.h5", "y.h5", "--kind", "gap", "-o", "a.png"], "draws one, not 2"),
        (["x.h5", "--kind", "gap", "--policy", "a", "-o", "a.png"], "goes with timeline"),
        (["x.json", "--kind", "lost-cycles", "-o", "a.png"], "cannot be read"),
        (["x", "--kind", "sweep-line", "-o", "a.png"], "no directory of a sweep"),
        (["x", "--kind", "sweep-line", "--at", "a", "-o", "a.png"], "AXIS=VALUE"),
    ],
)
def test_wrong_calls(tmp_path, monkeypatch, capsys, call, said):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *call]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
