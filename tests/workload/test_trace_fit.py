"""A spec fitted to a trace that a spec has made: what counts comes out again."""

import tomllib

import numpy as np
import pytest

from hmsim.cli import main
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload import open_workload, trace_fit
from hmsim.workload.open import load_spec
from hmsim.workload.statistics import measure
from hmsim.workload.trace import TraceWorkload, save
from hmsim.workload.trace_fit import Row, compare, fit_trace

AGES = [-4.0, -3.0, -2.0, -1.0, 0.0]


def spec(**changes):
    return WorkloadSpec(
        kind="scores", model="gpt2", layers=3, block_tokens=4, tokens=(400, 439),
        scores={"budget": 80, "slow": 1.0, "slow_steps": 40, "flicker": 0.4, "flicker_steps": 1,
                "popularity": 0.5, "ages": AGES, "burst": 0.6, "layer_correlation": 0.6},
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "made.h5"
    save(open_workload(spec()), path)
    return path


@pytest.fixture(scope="module")
def fit(path):
    told = []
    found = fit_trace(TraceWorkload(path), 12, told.append)
    assert sum(told) == found.evaluations <= 16
    return found


def test_the_spec_has_the_sizes_of_the_trace(path, fit):
    trace, made = TraceWorkload(path), open_workload(fit.spec)
    for name in ("steps", "layers", "block_bytes", "tokens_per_block", "sequences"):
        assert getattr(made.geometry, name) == getattr(trace.geometry, name)
    assert {int(n) for chunk in made.chunks() for n in chunk.reads} == {20}
    assert measure(made).weight_bytes == pytest.approx(measure(trace).weight_bytes, rel=0.01)


def test_it_moves_as_the_trace_does(path, fit):
    rows = {row.name: row for row in fit.rows}
    for name in ("overlap", "union.8", "lru_multiple.2.0", "newest_share.8"):
        assert rows[name].made == pytest.approx(rows[name].real, abs=0.08), name
    assert rows["overlap"].real == pytest.approx(measure(TraceWorkload(path)).overlap)
    assert sum(row.met for row in fit.rows) > 0.5 * len(fit.rows)


def test_blocks_of_every_age_are_read_as_often(path, fit):
    real = trace_fit._seen(TraceWorkload(path))
    made = trace_fit._seen(open_workload(fit.spec))
    np.testing.assert_allclose(made.ages, real.ages, atol=0.12)
    assert made.overlap == pytest.approx(real.overlap, abs=0.03)
    assert real.overlap == pytest.approx(measure(TraceWorkload(path)).overlap)


@pytest.mark.parametrize("size", [1, 4])
def test_ages_are_counted_as_the_process_counts_them(size):
    """Of blocks of single tokens too, where every step begins a block that cannot be read yet."""
    scores = {"budget": 40, "popularity": 0.0, "slow": 1.0, "ages": [-50.0, 99.0, 0.0, 50.0]}
    given = WorkloadSpec(kind="scores", model="gpt2", layers=2, block_tokens=size,
                         tokens=(400, 420), scores=scores)  # fmt: skip
    ages = trace_fit._seen(open_workload(given)).ages
    assert ages[:3].tolist() == [1.0, 0.0, 1.0]
    assert 0 < ages[3:].max() < 1  # of the others the rest of the budget


def test_the_best_so_far_is_kept_and_gone_on_from(path, fit):
    trace, kept = TraceWorkload(path), []
    better = fit_trace(trace, 1, start=fit.spec, keep=kept.append)
    assert kept == [better.spec]
    for name in trace_fit.PARAMETERS:
        assert getattr(better.spec.scores, name) == pytest.approx(
            getattr(fit.spec.scores, name), rel=1e-3
        ), name
    with pytest.raises(InputError, match="kind churn: only one of kind scores"):
        fit_trace(trace, 1, start=WorkloadSpec(model="gpt2", tokens=(9, 12)))


def test_a_search_goes_down_to_the_least_squares():
    """Of a bent function, in the corner of what is allowed."""
    tried, off = [], []

    def residuals(x):
        if len(tried) == 40:
            raise trace_fit._Spent
        a, b, c = x
        tried.append(x)
        off.append(np.array([10 * (a - 0.3), 5 * (b - a**2), 3 * (np.exp(c) - 0.9)]))
        return off[-1]

    with pytest.raises(trace_fit._Spent):
        trace_fit._descend(residuals, np.array([0.9, 0.8, 0.1]))
    best = min(range(40), key=lambda k: off[k] @ off[k])
    np.testing.assert_allclose(tried[best], [0.3, 0.09, 0.0], atol=1e-3)
    assert all(((x >= 0) & (x <= 1)).all() for x in tried)


def test_a_trace_against_itself_is_met(path):
    assert all(row.met for row in compare(TraceWorkload(path), TraceWorkload(path)))
    assert not Row("overlap", 0.8, 0.84, 0.03).met


def test_the_command_writes_a_spec_that_loads(path, tmp_path, capsys):
    output = tmp_path / "like.toml"
    assert main(["workload", "calibrate", str(path), "--evaluations", "2", "-o", str(output)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("statistic")
    assert "met, after" in out.splitlines()[-1]
    table = tomllib.loads(output.read_text())["workload"]
    assert table["scores"]["budget"] == 80
    load_spec({"workload": table}, "like.toml")


def test_bad_calls_are_refused(path, tmp_path, capsys):
    for arguments, said in (
        ([str(path), "--evaluations", "0"], "--evaluations: 1 or more"),
        ([str(tmp_path / "no.h5")], "no.h5"),
        ([str(path), "--start", str(tmp_path / "no.toml")], "no.toml"),
    ):
        assert main(["workload", "calibrate", *arguments]) == 2
        assert said in capsys.readouterr().err
    targets = tmp_path / "t.toml"
    targets.write_text("[workload]\n")
    assert main(["workload", "calibrate", str(targets), "--evaluations", "3"]) == 2
    assert "says its own, fit.evaluations" in capsys.readouterr().err
    assert main(["workload", "calibrate", str(targets), "--start", str(targets)]) == 2
    assert "says its own, [workload]" in capsys.readouterr().err


def test_a_batch_or_no_prompt_cannot_be_fitted():
    batch = open_workload(spec(copies=2))
    with pytest.raises(InputError, match="one sequence, decoded layer by layer"):
        fit_trace(batch)
    short = open_workload(spec().model_copy(update={"tokens": (400, 402)}))
    with pytest.raises(InputError, match="needs a prompt and 4 tokens or more"):
        fit_trace(short)
