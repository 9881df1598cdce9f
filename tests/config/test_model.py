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
        ("llama-2-13b", 20 * KIB, 13.0e9),
        ("llama-2-70b", 4 * KIB, 69.0e9),
        ("llama-3.1-70b", 4 * KIB, 70.6e9),
        ("llama-3.1-405b", 4 * KIB, 405.9e9),
        ("mistral-7b", 4 * KIB, 7.25e9),
        ("mixtral-8x7b", 4 * KIB, 46.7e9),
        ("qwen2.5-7b", 2 * KIB, 7.62e9),
        ("qwen2.5-72b", 4 * KIB, 72.7e9),
        ("qwen3-30b-a3b", 2 * KIB, 30.5e9),
        ("deepseek-v3", 2 * 576, 671e9),
        ("gpt-oss-120b", 2 * KIB, 116.8e9),
    ],
)
def test_published_sizes(name, kv_bytes, parameters):
    given = model(name)
    assert given.kv_bytes == kv_bytes
    per_parameter = 2 if given.resident_bytes else given.element_bytes
    assert given.resident / per_parameter == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize(
    ("name", "active"),
    [("mixtral-8x7b", 12.9e9), ("qwen3-30b-a3b", 3.3e9), ("deepseek-v3", 37e9)],
)
def test_one_token_reads_its_active_experts(name, active):
    """Published active parameters, which count the input embeddings too."""
    given = model(name)
    read = given.weights_step() * given.layers / given.element_bytes
    assert read + given.vocab * given.hidden == pytest.approx(active, rel=0.03)


def test_a_large_batch_comes_to_read_nearly_every_expert():
    given = model("qwen3-30b-a3b")
    assert given.weights_step(8) > 1.5 * given.weights_step()
    everything = given.weights_step(10_000) * given.layers
    assert everything == pytest.approx(given.resident, rel=0.03)


def test_windowed_layers_alternate():
    given = model("gpt-oss-120b")
    assert [given.layer_window(layer) for layer in range(4)] == [128, None, 128, None]
    assert model("llama-3.1-8b").layer_window(0) is None


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
