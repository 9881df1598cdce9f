"""The estimate of a dry run: within a small factor of the truth, and it runs nothing."""

import time

from hmsim.config.run import resolve
from hmsim.simulate import run as engine
from hmsim.sweep.estimate import estimate

CONFIG = {
    "system": {"preset": "gh200-paper", "hbm": {"capacity": "16.1 GB"}},
    "workload": {"model": "llama-3.1-8b-paper", "tokens": [4000, 4199], "layers": 16},
    "policies": {"names": ["static", "reactive"]},
    "replay": {"fidelity": "analytic"},
    "bound": {"method": "split"},
}


def test_estimate_is_of_the_right_size():
    spec = resolve(CONFIG, [], "test")
    engine.execute(spec, None, lambda _: None)  # compiles
    began = time.process_time()
    engine.execute(spec, None, lambda _: None)
    took = time.process_time() - began
    assert took / 10 < estimate(spec).seconds < took * 10


def test_more_work_takes_longer():
    def seconds(*changes: str) -> float:
        return estimate(resolve(CONFIG, list(changes), "test")).seconds

    least = seconds()
    assert seconds("workload.tokens=[4000, 4999]") > 2 * least
    assert seconds("policies.names=['static', 'reactive', 'lfu', 'ema']") > least
    assert seconds("bound.method=dual") > least
    assert seconds("replay.fidelity=run") < seconds("replay.fidelity=burst")
