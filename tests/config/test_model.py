"""Model presets: sizes that follow from the architecture, against published totals."""

import tomllib

import pytest

from hmsim.config.base import load, preset_names
from hmsim.config.model import LlmModel, as_toml, model
from hmsim.errors import InputError

KIB = 1024


@pytest.mark.parametrize("name", preset_names("model"))
def test_every_preset_loads_names_its_source_and_survives_its_toml(name):
    given = model(name)
    assert given.source
    assert given.kv_bytes > 0
    assert 0 < given.weights_step() * given.layers <= given.resident
    assert load(LlmModel, tomllib.loads(as_toml(given)), name) == given


@pytest.mark.parametrize(
    ("name", "kv_bytes", "parameters"),
    [
        ("gpt2", 3 * KIB, 124e6),
        ("llama-2-7b", 16 * KIB, 6.74e9),
        ("llama-3.1-8b", 4 * KIB, 8.03e9),
        ("llama-3.1-8b-paper", 16 * KIB, 8e9),
    ],
)
def test_published_sizes(name, kv_bytes, parameters):
    assert model(name).kv_bytes == kv_bytes
    assert model(name).resident / 2 == pytest.approx(parameters, rel=0.01)


def test_the_papers_weights_step_by_step():
    assert model("llama-3.1-8b-paper").weights_step() == 162_889_728
    assert model("llama-3.1-8b").weights_step() * 32 == pytest.approx(2 * 7.5e9, rel=0.01)


def test_a_model_without_its_sizes_is_refused():
    with pytest.raises(InputError, match="m: give ffn, heads, hidden, vocab, or all of"):
        load(LlmModel, {"layers": 3, "resident_bytes": 5}, "m")
    with pytest.raises(InputError, match="m: kv_head: unknown key; did you mean 'kv_heads'"):
        load(LlmModel, {"layers": 3, "kv_head": 5}, "m")
    with pytest.raises(InputError, match="did you mean 'llama-2-7b'"):
        model("llama-2-7")
