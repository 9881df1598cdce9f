"""A sweep small enough for tests, and pools that need no processes."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hmsim.sweep import worker

TEXT = """
title = "small"

[base]
system = "gh200-paper"

[base.workload]
model = "llama-3.1-8b-paper"
tokens = [40, 44]
layers = 2

[base.policies]
names = ["static", "reactive"]

[base.replay]
fidelity = "analytic"

[base.bound]
method = "split"

[axes.sparsity]
key = "workload.sparsity"
values = [0.4, 0.6, 0.4]

[axes.capacity]
key = "system.hbm.capacity"
values = ["8 GB", "16.001 GB"]
"""  # 0.4 twice: the same points; 8 GB do not hold the weights


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "small.toml"
    path.write_text(text)
    return path


class Here:
    """Runs each task at once, in this process."""

    window = 2

    def __init__(self):
        self.ran = 0

    def submit(self, function, *arguments):
        self.ran += 1
        future = Future()
        future.set_result(function(*arguments))
        return future

    def renew(self):
        pass

    def stop(self, at_once):
        pass


class Dying(Here):
    """Loses a worker, and all that is in flight, at each of the given submissions."""

    def __init__(self, at):
        super().__init__()
        self.at = at
        self.flight = []
        self.renewed = 0

    def submit(self, function, *arguments):
        self.ran += 1
        future = Future()
        if self.ran in self.at:
            future.set_exception(BrokenProcessPool("a worker died"))
        else:
            future.set_result(function(*arguments))
        return future

    def renew(self):
        self.renewed += 1


class Interrupting(Here):
    """Ctrl-C comes while the third task is being submitted."""

    def submit(self, function, *arguments):
        if self.ran == 2:
            raise KeyboardInterrupt
        return super().submit(function, *arguments)


class Answering(Here):
    """Answers with numbers made of the configuration; runs nothing."""

    def submit(self, function, *arguments):
        assert function is worker.run
        spec, allow_plugins = arguments
        assert not allow_plugins
        numbers = {"time_s": spec.workload.sparsity, "gap": 0.0}
        report = {
            "policies": {name: dict(numbers) for name in spec.policies.names},
            "bound": {"time_s": 1.0, "method": "split"},
            "wall_s": 0.0,
        }
        self.ran += 1
        future = Future()
        future.set_result({"report": report})
        return future
