"""The forecast of a dry run: from short runs, counted by a clock that tests can foresee."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from hmsim.config.run import resolve
from hmsim.config.sweep import sweep_of
from hmsim.sweep import estimate, forecast, probe, worker
from hmsim.sweep.coordinator import plan_of
from hmsim.sweep.estimate import Reckoned, chosen, reckon, seconds_of, wall_seconds
from hmsim.sweep.points import Task
from hmsim.workload.first import First
from hmsim.workload.open import open_workload

CONFIG = {
    "system": {"preset": "gh200-paper", "hbm": {"capacity": "16.1 GB"}},
    "workload": {"model": "llama-3.1-8b-paper", "tokens": [4000, 4199], "layers": 16},
    "policies": {"names": ["static", "reactive"]},
    "replay": {"fidelity": "analytic"},
    "bound": {"method": "split"},
}
REQUESTS = (
    "workload={model='llama-3.1-8b-paper', layers=2, block_tokens=16, requests={steps=4000, batch=2,"
    " synthetic={count=50, prompt_median=64}}}"
)


def spec(*changes: str):
    return resolve(CONFIG, list(changes), "test")


def reckoned(*changes: str) -> float:
    run = spec(*changes)
    return reckon(run, open_workload(run.workload).geometry)


def test_the_formula_grows_with_tokens_policies_bounds_and_replays():
    plain = reckoned()
    assert reckoned("workload.tokens=[4000, 4399]") > 1.5 * plain
    assert reckoned("policies.names=['static', 'reactive', 'lfu']") > plain
    assert reckoned("bound.method=dual") > plain
    run, burst = (reckoned(f"replay.fidelity={fidelity}") for fidelity in ("run", "burst"))
    assert plain < run < burst
    assert reckoned("replay.fidelity=burst", "replay.sample=20") > burst


class Clock:
    """Runs take what a rule says: so much at all, so much a step, and a group replayed by bursts."""

    def __init__(self, monkeypatch, fixed: float, step: float, group: float = 0.0):
        self.fixed, self.step, self.group = fixed, step, group
        self.now, self.steps = 0.0, 0
        monkeypatch.setattr(probe, "execute", self.execute)
        monkeypatch.setattr(probe.time, "process_time", lambda: self.now)

    def execute(self, spec, path, allow_plugins=False, workload=None):
        steps = sum(chunk.rows for chunk in workload.chunks())
        assert steps == workload.geometry.steps
        self.steps += steps
        group = 1 if spec.latency.barrier == "layer" else workload.geometry.lanes
        groups, period = steps // group, spec.replay.sample
        measured = -(-groups // period) if period else min(groups, 64)
        measured = 0 if spec.replay.fidelity == "analytic" else measured
        replayed = min(groups, 2 * measured) if spec.replay.fidelity == "burst" else 0
        self.now += self.fixed + self.step * steps + self.group * replayed
        return SimpleNamespace(outcomes=[SimpleNamespace(sampled_steps=measured * group)])


@pytest.mark.parametrize("changes", [(), (REQUESTS,)], ids=["tokens", "requests"])
@pytest.mark.parametrize("fixed", [0.01, 0.4])
def test_what_grows_by_the_step_is_told_from_what_does_not(monkeypatch, fixed, changes):
    clock, run = Clock(monkeypatch, fixed, 2e-2), spec(*changes)
    steps = open_workload(run.workload).geometry.steps
    found = probe.probe(run)
    assert found.seconds == pytest.approx(fixed + 2e-2 * steps, rel=0.25)
    assert clock.steps < steps / 2


def test_a_short_run_is_run_in_full(monkeypatch):
    Clock(monkeypatch, 1.0, 1e-5)
    assert probe.probe(spec()).seconds == pytest.approx(1.0 + 1e-5 * 3200)


@pytest.mark.parametrize("group", [0.05, 4.0])
@pytest.mark.parametrize("sample", [0, 1, 50])
@pytest.mark.parametrize("barrier", ["layer", "token"])
def test_replays_by_bursts_count_by_the_group(monkeypatch, group, sample, barrier):
    clock = Clock(monkeypatch, 0.01, 1e-2, group)
    run = spec("replay.fidelity=burst", f"replay.sample={sample}", f"latency.barrier={barrier}")
    clock.execute(run, None, workload=open_workload(run.workload))
    whole, clock.now = clock.now, 0.0
    assert probe.probe(run).seconds == pytest.approx(whole, rel=0.3)
    assert clock.now < whole if group > 1 else True


def test_the_first_steps_are_those_of_the_whole():
    whole = open_workload(spec(REQUESTS).workload)
    rows = [row for chunk in whole.chunks() for row in zip(chunk.token, chunk.reads, strict=True)]
    for wanted in (1, 3, 1000, len(rows), len(rows) + 5):
        first = First(whole, wanted)
        got = [row for each in first.chunks() for row in zip(each.token, each.reads, strict=True)]
        assert got == rows[: len(got)]
        assert len(got) == first.geometry.steps == min(wanted + wanted % 2, len(rows))  # two layers


def runs(seconds: list[float]) -> list[Reckoned]:
    task = Task(spec(), {})
    return [Reckoned(task, (i / (len(seconds) - 1),), each) for i, each in enumerate(seconds)]


def test_runs_of_all_lengths_are_probed():
    assert sorted(chosen(runs([3.0, 1.0, 2.0]), 4)) == [0, 1, 2]
    assert chosen(runs([float(9 - i) for i in range(10)]), 4) == [9, 6, 3, 0]


def test_runs_in_between_take_after_their_neighbours():
    found = seconds_of(runs([1.0] * 5), {0: 2.0, 4: 8.0})
    assert (found[0], found[4]) == (2.0, 8.0)
    assert 2.0 < found[1] < found[2] < found[3] < 8.0
    assert found[2] == pytest.approx(4.0)
    assert seconds_of(runs([1.0, 2.0]), {}) == [1.0, 2.0]


def test_a_sweep_takes_at_least_its_longest_run():
    assert wall_seconds([1.0] * 10, 2) == 5.0
    assert wall_seconds([1.0, 9.0], 2) == 9.0
    assert wall_seconds([], 2) == 0.0


class Answers:
    """A pool whose workers say what a table has."""

    window = 8

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def submit(self, function, spec, allow_plugins):
        assert function is worker.probe
        self.asked.append(spec)
        future: Future = Future()
        future.set_result(self.answer(spec))
        return future

    def renew(self):
        raise AssertionError

    def stop(self, at_once):
        assert not at_once


def told(axes: dict, answer, **base):
    plan = plan_of(sweep_of({"base": CONFIG | base, "axes": axes}, Path(), "test"), "test")
    pool = Answers(answer)
    return forecast.forecast(plan, lambda: pool, 2, lambda _: None), pool


def test_points_that_share_a_run_share_its_seconds():
    axes = {"policy": {"key": "policies.names", "values": ["static", "reactive"]},
            "drift": {"key": "workload.drift", "values": [0.1, 0.2, 0.1]}}  # fmt: skip
    found, pool = told(axes, lambda _: worker.Probed(probe.Probe(6.0, 0.5), "", 20.0, 10.0))
    assert len(pool.asked) == 2  # 0.1 twice
    assert sorted(found.seconds.values()) == [6.0] * 4  # twelve seconds a run: half the processor
    assert found.wall_s == pytest.approx(12.0 + 1.0, abs=0.1)  # two jobs; loading
    assert found.bytes == estimate.SWEEP_BYTES + 4 * (estimate.POINT_BYTES + estimate.POLICY_BYTES)


def test_what_fails_and_what_is_not_counted_is_said():
    axes = {"asked": {"key": "bound.gap", "values": [0.1]}}
    found, pool = told(axes, lambda _: worker.Probed(None, "no such file", 1.0, 1.0),
                       bound={"method": "dual", "time": "30 s"})  # fmt: skip
    assert len(found.seconds) == len(pool.asked) == 1
    assert found.errors == {}
    assert found.notes == [
        "a point that was tried failed: no such file",
        "the search for bounds of a given gap, at most 30 s a point, is not counted",
    ]


def test_a_workload_that_cannot_be_opened_is_an_error_of_its_point():
    axes = {"trace": {"key": "workload", "values": [{"trace": "missing.h5"}]}}
    found, pool = told(axes, None)
    assert (pool.asked, found.seconds) == ([], {})
    assert [error.partition(":")[0] for error in found.errors.values()] == ["missing.h5"]


def test_the_search_for_a_gap_is_not_probed(monkeypatch):
    seen = []
    clock = Clock(monkeypatch, 0.01, 1e-3)

    def execute(run, *given, **named):
        seen.append(run.bound.gap)
        return clock.execute(run, *given, **named)

    monkeypatch.setattr(probe, "execute", execute)
    probe.probe(spec("bound.method=dual", "bound.gap=0.01", "workload.tokens=[40, 41]"))
    assert set(seen) == {0.0}
