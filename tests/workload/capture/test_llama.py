"""The forward pass against one that goes token by token, head by head."""

import numpy as np
import pytest

from hmsim.workload.capture.llama import cache_shape, forward
from tests.oracles.llama import SHAPE, random_llama, run

TOKENS = np.random.default_rng(7).integers(0, SHAPE.vocabulary, 19)


@pytest.mark.parametrize("cuts", [[19], [1] * 19, [8, 1, 1, 9]])
def test_any_cut_of_the_tokens_gives_the_logits_of_one_at_a_time(cuts):
    model = random_llama()
    expected, _ = run(model, TOKENS)
    cache = np.zeros(cache_shape(SHAPE, TOKENS.size), np.float32)
    at = 0
    for cut in cuts:
        logits = forward(model, TOKENS[at : at + cut], at, cache)
        at += cut
        np.testing.assert_allclose(logits, expected[at - 1], rtol=2e-4, atol=2e-4)


def test_what_is_shown_is_the_attention():
    model = random_llama(3)
    _, expected = run(model, TOKENS)
    cache = np.zeros(cache_shape(SHAPE, TOKENS.size), np.float32)
    forward(model, TOKENS[:-1], 0, cache)
    seen = {}

    def look(layer, query, keys, weights):
        seen[layer] = query.reshape(-1, SHAPE.channels), keys.copy(), weights.copy()

    forward(model, TOKENS[-1:], TOKENS.size - 1, cache, look)
    assert sorted(seen) == list(range(SHAPE.layers))
    for layer, (query, keys, weights) in seen.items():
        real = expected[-1][layer]
        np.testing.assert_allclose(query * SHAPE.channels**0.5, real["query"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(keys.swapaxes(0, 1), real["keys"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(weights.reshape(SHAPE.heads, -1), real["mass"], atol=1e-4)


def test_transformers_agrees():
    """An independent program, where it is installed. It turns channels i and i + D / 2 together."""
    torch = pytest.importorskip("torch", reason="needs hmsim[capture]")
    transformers = pytest.importorskip("transformers", reason="needs hmsim[capture]")
    model = random_llama(5)
    config = transformers.LlamaConfig(
        vocab_size=SHAPE.vocabulary, hidden_size=SHAPE.width, intermediate_size=SHAPE.inner,
        num_hidden_layers=SHAPE.layers, num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.groups, head_dim=SHAPE.channels, rms_norm_eps=SHAPE.epsilon,
        rope_theta=100.0, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    other = transformers.LlamaForCausalLM(config).eval()
    halves = np.concatenate([np.arange(0, SHAPE.channels, 2), np.arange(1, SHAPE.channels, 2)])
    across, kv = SHAPE.heads * SHAPE.channels, SHAPE.groups * SHAPE.channels
    weights = {"model.embed_tokens": model.embedding, "model.norm": model.norm,
               "lm_head": model.head}  # fmt: skip
    for number, layer in enumerate(model.layers):
        query, key, value = np.split(layer.query_key_value, [across, across + kv])
        gate, up = np.split(layer.gate_up, 2)
        query, key = (
            part.reshape(-1, SHAPE.channels, SHAPE.width)[:, halves].reshape(part.shape)
            for part in (query, key)
        )
        for name, part in {
            "input_layernorm": layer.attention_norm, "self_attn.q_proj": query,
            "self_attn.k_proj": key, "self_attn.v_proj": value,
            "self_attn.o_proj": layer.attention_out, "post_attention_layernorm": layer.inner_norm,
            "mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": layer.down,
        }.items():  # fmt: skip
            weights[f"model.layers.{number}.{name}"] = part
    other.load_state_dict({f"{k}.weight": torch.from_numpy(v) for k, v in weights.items()})
    with torch.no_grad():
        expected = other(torch.from_numpy(TOKENS[None])).logits[0, -1].numpy()
    cache = np.zeros(cache_shape(SHAPE, TOKENS.size), np.float32)
    np.testing.assert_allclose(forward(model, TOKENS, 0, cache), expected, rtol=1e-3, atol=1e-3)
