"""What the arguments of commands name: workloads and systems."""

import pytest

from hmsim.cli.inputs import open_source, system_of
from hmsim.errors import InputError

SPEC = '[workload]\nmodel = "gpt2"\nlayers = 2\ntokens = [20, 24]\n'


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return str(path)


def test_a_spec_may_be_changed_and_a_trace_may_not(spec, tmp_path):
    assert open_source(spec, []).geometry.steps == 10
    assert open_source(spec, ["workload.layers=3"]).geometry.steps == 15
    with pytest.raises(InputError, match="has nothing to change"):
        open_source(str(tmp_path / "t.h5"), ["workload.layers=3"])


def test_a_system_comes_from_a_preset_a_file_or_the_run(spec, tmp_path):
    preset = system_of("gh200-paper", ["system.hbm.capacity=20GB"], "t.h5")
    assert preset.hbm.capacity == 20e9
    run = tmp_path / "run.toml"
    run.write_text('system = "gh200-paper"\n' + SPEC)
    assert system_of(None, ["system.hbm.capacity=20GB"], str(run)) == preset
    table = tmp_path / "system.toml"
    table.write_text('preset = "gh200-paper"\n[hbm]\ncapacity = "20 GB"\n')
    assert system_of(str(table), [], "t.h5") == preset
    with pytest.raises(InputError, match="a trace file has none"):
        system_of(None, [], "t.h5")
    with pytest.raises(InputError, match="hbm"):
        system_of(None, [], spec)
