"""Configurations: units, presets with sources, changes, and errors of one clear line."""

import tomllib
from pathlib import Path

import pytest

from hmsim import units
from hmsim.config.base import PRESETS
from hmsim.config.run import load_run, resolve
from hmsim.config.system import load_system
from hmsim.errors import InputError

RUN = {
    "system": "gh200-paper",
    "workload": {"model": "gpt2", "tokens": [20, 30], "layers": 2},
}
CATALOGUE = Path(__file__).parents[2] / "workloads"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("24 GB", "bytes", 24e9),
        ("23GiB", "bytes", 23 * 2**30),
        ("450 GB/s", "bytes/s", 450e9),
        ("18.75 ns", "seconds", 18.75e-9),
        ("1.6 GHz", "hertz", 1.6e9),
        ("1e3", "bytes", 1e3),
        (7, "bytes", 7.0),
        ("inf", "bytes", float("inf")),
    ],
)
def test_quantities(text, kind, value):
    assert units.parse(text, kind) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "kind"), [("24 GB/s", "bytes"), ("24 gb", "bytes"), ("x", "bytes"), (True, "bytes"),
                       ("3 GB", "seconds"), ("nan", "bytes"), ("", "bytes")],
)  # fmt: skip
def test_wrong_quantities(text, kind):
    with pytest.raises(ValueError, match=r"."):
        units.parse(text, kind)


def test_a_preset_and_keys_over_it():
    spec = resolve(RUN, ["system.hbm.capacity=23GiB", "system.link.read_bandwidth=400 GB/s"], "x")
    paper = load_system("gh200-paper")
    assert spec.system.hbm.capacity == 23 * 2**30
    assert spec.system.link.read_bandwidth == 400e9
    assert spec.system.dram == paper.dram
    assert paper.hbm.analytic_bandwidth == 4900e9
    assert paper.hbm.pin_bandwidth == pytest.approx(4915.2e9)


def test_a_resolved_configuration_describes_the_same_run():
    spec = resolve(RUN, ["policies.names=['static']"], "x")
    again = resolve(tomllib.loads(spec.as_toml()), [], "x")
    assert again == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("system.hbm.capcity=1GB", "did you mean 'capacity'"),
        ("workload.sparsty=0.5", "did you mean 'sparsity'"),
        ("workload.sparsity=1", "sparsity"),
        ("workload.sparsity=-0.1", "sparsity"),
        ("system.hbm.bandwidth=0", "above zero"),
        ("system.hbm.bandwidth=-3 GB/s", "above zero"),
        ("system.hbm.capacity=24 GB/s", "does not measure bytes"),
        ("system=gh100", "did you mean"),
        ("latency.variant=txt", "text"),
        ("latency.barrier=step", "token"),
        ("bound.variant=text", "bound.variant: moved to latency.variant"),
        ("replay.barrier=token", "replay.barrier: moved to latency.barrier"),
        ("replay.copies=inclusive", "replay.copies: .* follow from latency.variant"),
        ("nothing", "write KEY=VALUE"),
        ("system.hbm.memory=hbm3-6401", "did you mean 'hbm3-6400'"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(change, message):
    with pytest.raises(InputError, match=message) as error:
        resolve(RUN, [change], "run.toml")
    assert "\n" not in str(error.value)


def test_missing_and_malformed_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_run(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(InputError, match="not valid TOML"):
        load_run(tmp_path / "bad.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(InputError, match="system: missing"):
        load_run(tmp_path / "empty.toml")


@pytest.mark.parametrize("path", sorted(PRESETS.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_number_of_a_preset_has_a_source(path):
    def check(table, where, inherited):
        source = table.get("source") or inherited
        if any(isinstance(value, (int, float)) for value in table.values()):
            assert source, f"{where} holds numbers and no source"
        for key, value in table.items():
            if isinstance(value, dict):
                check(value, f"{where}.{key}", source)

    data = tomllib.loads(path.read_text())
    assert data.get("source"), path
    check(data, path.stem, None)


@pytest.mark.parametrize("path", sorted(CATALOGUE.glob("*.toml")), ids=lambda path: path.stem)
def test_the_catalogue_is_valid(path):
    data = tomllib.loads(path.read_text())
    if "system" in data:
        assert load_run(path).policies.names
    else:
        from hmsim.workload.open import load_spec

        load_spec(data, str(path))
