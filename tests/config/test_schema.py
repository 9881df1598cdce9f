"""`hmsim schema`: what it accepts is what hmsim accepts, and every key says what it means."""

import importlib.util
import json
import tomllib
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim import units
from hmsim.cli import main
from hmsim.config.base import PRESETS
from hmsim.config.run import RunSpec
from hmsim.config.schema import FILES, json_schema

ROOT = Path(__file__).parents[2]
SHIPPED = {
    "system": sorted((PRESETS / "system").glob("*.toml")),
    "memory": sorted((PRESETS / "memory").glob("*.toml")),
    "model": sorted((PRESETS / "model").glob("*.toml")),
    "workload": sorted((ROOT / "workloads").glob("*.toml")),
    "targets": sorted((ROOT / "workloads" / "targets").glob("*.toml")),
    "sweep": [ROOT / "scripts" / "design_space.toml"],
}
SHIPPED["run"] = [
    path for path in SHIPPED["workload"] if "system" in tomllib.loads(path.read_text())
]
FILES_OF = [(kind, path) for kind, paths in SHIPPED.items() for path in paths]


@cache
def validator(kind):
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(("kind", "path"), FILES_OF, ids=[f"{k}-{p.stem}" for k, p in FILES_OF])
def test_what_is_shipped_is_valid(kind, path):
    data = tomllib.loads(path.read_text())
    validator(kind).validate(data)
    validator(None).validate(data)


def test_every_kind_has_a_shipped_file():
    assert set(SHIPPED) == set(FILES)
    assert all(SHIPPED.values())


RUN = {"system": {"preset": "gh200-96gb"}, "workload": {"tokens": [10, 20]}}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        RUN | {"sytem": "gh200-96gb"},
        RUN | {"system": "gh200-97gb"},
        RUN | {"system": {"preset": "gh200-96gb", "hbm": {"capacty": "24 GB"}}},
        RUN | {"system": {"preset": "gh200-96gb", "hbm": {"capacity": "24 GB/s"}}},
        RUN | {"system": {"hbm": {"capacity": "24 GB"}}},
        RUN | {"workload": {"tokens": [10]}},
        RUN | {"workload": {"tokens": [10, 20], "sparsity": 1.0}},
        RUN | {"replay": {"fidelity": "runs"}},
        RUN | {"bound": {"time": "3 parsecs"}},
    ],
)
def test_what_is_wrong_is_refused(wrong):
    assert validator("run").is_valid(RUN)
    assert not validator("run").is_valid(wrong)


@given(
    st.sampled_from(list(units.UNITS)),
    st.one_of(
        st.from_regex(
            r"\s*[-+]?[0-9_.]{1,4}(e[-+]?[0-9])?\s*(GB|GiB|GB/s|ns|µs|Hz|kB|B|m)?\s*", fullmatch=True
        ),
        st.text("0123456789.eEinf_ GBkis/", max_size=8),
    ),
)  # fmt: skip
def test_the_pattern_of_a_quantity_is_what_is_parsed(kind, text):
    try:
        parsed = units.parse(text, kind) is not None
    except ValueError:
        parsed = False
    found = jsonschema.Draft202012Validator({"pattern": units.pattern(kind)}).is_valid(text)
    assert found == parsed


def test_every_key_says_what_it_means():
    """`required` and default stand in the schema anyway; a meaning must be written."""
    silent = [
        f"{name}.{key}"
        for kind in FILES
        for name, table in json_schema(kind)["$defs"].items()
        for key, value in table.get("properties", {}).items()
        if not value.get("description", "").endswith(".")
    ]
    assert not silent


def test_a_default_in_the_schema_is_the_models():
    tables = json_schema("run")["$defs"]
    assert tables["WorkloadSpec"]["properties"]["block_tokens"]["default"] == 1
    assert tables["WorkloadSpec"]["properties"]["block_tokens"]["unit"] == "tokens"
    assert "default" not in tables["WorkloadSpec"]["properties"]["trace"]
    assert set(tables["RunSpec"]["properties"]) == set(RunSpec.model_fields)


def test_the_command_prints_it(capsys):
    assert main(["schema", "run"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema("run")
    assert main(["schema"]) == 0
    assert len(json.loads(capsys.readouterr().out)["anyOf"]) == len(FILES)
    assert main(["schema", "rum"]) == 2
    assert "did you mean 'run'?" in capsys.readouterr().err


def test_the_page_of_all_keys_is_made_from_the_schema():
    script = ROOT / "scripts" / "configuration_page.py"
    spec = importlib.util.spec_from_file_location("configuration_page", script)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run scripts/configuration_page.py"
