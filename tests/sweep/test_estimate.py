"""The estimate of a dry run: by counts of every part of the work, and it runs nothing."""

import pytest

from hmsim.config.run import resolve
from hmsim.sweep import estimate as module
from hmsim.sweep.estimate import estimate
from hmsim.workload.generator import Generated

CONFIG = {
    "system": {"preset": "gh200-paper", "hbm": {"capacity": "16.1 GB"}},
    "workload": {"model": "llama-3.1-8b-paper", "tokens": [4000, 4199], "layers": 16},
    "policies": {"names": ["static", "reactive"]},
    "replay": {"fidelity": "analytic"},
    "bound": {"method": "split"},
}
STEPS, POLICIES, SLOTS = 200 * 16, 2, 4224  # 4199 tokens, in whole words of 64


def seconds(*changes: str) -> float:
    return estimate(resolve(CONFIG, list(changes), "test")).seconds


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch):
    def chunks(self):
        raise AssertionError("a dry run generates nothing")

    monkeypatch.setattr(Generated, "chunks", chunks)


def test_it_counts_steps_words_and_policies():
    words = STEPS * SLOTS // 64 * (1 + POLICIES)
    expected = module.RUN_SECONDS + STEPS * module.STEP_SECONDS * POLICIES
    assert seconds() == pytest.approx(expected + words * module.WORD_SECONDS, rel=1e-12)


def test_a_bound_costs_what_its_pairs_do_up_to_a_most():
    extra = seconds("bound.method=dual") - seconds()
    pairs = min(STEPS * SLOTS, module.MOST_PAIRS)
    assert extra == pytest.approx(module.BOUND_SECONDS + module.PAIR_SECONDS * pairs, rel=1e-9)
    # Replays have a bound of their own.
    replay = ("replay.fidelity=burst",)
    both = seconds("bound.method=dual", *replay) - seconds(*replay)
    assert both == pytest.approx(2 * extra, rel=1e-9)


def test_replays_cost_what_their_bytes_do():
    run, burst = (
        seconds(f"replay.fidelity={fidelity}") - seconds() for fidelity in ("run", "burst")
    )
    rates = module.REPLAY_BYTES_PER_SECOND
    assert burst / run == pytest.approx(rates["run"] / rates["burst"], rel=1e-6)
    block_bytes = 16 * 1024
    groups = module.SAMPLED_GROUPS
    assert run == pytest.approx(POLICIES * groups * SLOTS / 2 * block_bytes / rates["run"])
    # Where a sample is asked for, by its period: every group measured has one before it.
    often = seconds("replay.fidelity=run", "replay.sample=20") - seconds()
    assert often / run == pytest.approx((2 * STEPS // 20) / groups)
