"""Every key of the configuration is read by something: a key that is ignored is a defect.

For each model of the schema, WHERE names the files that read its fields. A field counts as read
where one of them says `.field` (or the field's name in quotes, where it is looked up by name). The
check is of the source, so it cannot tell that a value has an effect; the tests of each room do.
"""

import ast
import re
from pathlib import Path

import pytest

from hmsim.config.schema import FILES, models_of

PACKAGE = Path(__file__).parents[2] / "hmsim"

# Who reads a model's fields, as files or rooms of the package.
WHERE = {
    "RunSpec": ["simulate", "results", "cli/run.py"],
    "SystemSpec": ["simulate", "placement/latency.py", "config/system.py", "memory/measure.py"],
    "Gpu": ["memory/measure.py"],
    "Cpu": ["memory/measure.py"],
    "MemorySide": ["memory/device.py", "simulate", "placement", "config/system.py"],
    "LinkSpec": ["memory/superchip.py", "placement/latency.py", "memory/energy.py"],
    "WorkloadSpec": ["workload/open.py", "simulate/run.py"],
    "RequestsSpec": ["workload/open.py"],
    "SyntheticRequests": ["workload/requests.py"],
    "ScoresSpec": ["workload/scores.py"],
    "StreamingSpec": ["workload/open.py"],
    "MatrixSpec": ["workload/open.py", "workload/matrix.py"],
    "LlmModel": ["config/model.py", "workload"],
    "LayerKeys": ["config/model.py"],
    "Experts": ["config/model.py"],
    "PoliciesSpec": ["simulate"],
    "LatencySpec": ["simulate", "cli/bound.py"],
    "ReplaySpec": ["simulate"],
    "BoundSpec": ["simulate"],
    "OutputSpec": ["cli/run.py"],
    "SweepSpec": ["config/sweep.py"],
    "AxisSpec": ["sweep/axes.py"],
    "Between": ["sweep/axes.py"],
    "Sides": ["sweep/axes.py"],
    "Design": ["sweep/axes.py"],
    "MemorySpec": ["memory", "config/memory.py"],
    "Organization": ["memory", "config/memory.py"],
    "Timing": ["memory/timing.py"],
    "Refresh": ["memory/timing.py"],
    "EnergySpec": ["memory/energy.py"],
    "JoulesSpec": ["simulate"],
    "CalibrationSpec": ["workload/calibrate.py"],
    "FitSpec": ["workload/calibrate.py"],
}

# Keys for people: `hmsim presets` and `hmsim info --config` show them, nothing computes with them.
SHOWN = {"source", "standard"}

WORD = re.compile(r"\w+")


def models():
    found = []
    for model in FILES.values():
        found += [each for each in models_of(model) if each not in found]
    return found


def names_read(files):
    """Attributes that the files load, and the words of short strings: names, sums of names."""
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(WORD.findall(node.value) if len(node.value) < 60 else ())
    return found


def files_of(place):
    path = PACKAGE / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def test_every_model_is_known():
    assert {model.__name__ for model in models()} == set(WHERE)


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_key_is_read(model):
    read = names_read(file for place in WHERE[model.__name__] for file in files_of(place))
    ignored = set(model.model_fields) - read - SHOWN
    assert not ignored, f"{model.__name__}: validated, and read nowhere in {WHERE[model.__name__]}"


def test_an_ignored_key_is_found():
    """The test itself: a field that nothing reads does not pass."""
    read = names_read(files_of("workload"))
    assert "sparsity" in read
    assert "no_such_key_anywhere" not in read
