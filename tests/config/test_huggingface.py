"""`config.json` files, reduced to the fields that matter, against the presets made by hand."""

import json

import pytest

from hmsim.config.huggingface import from_hf
from hmsim.config.model import model
from hmsim.errors import InputError

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "vocab_size": 128256,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
CONFIGS = {
    "llama-3.1-8b": LLAMA,
    "gpt2": {
        "model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257,
    },
    "mixtral-8x7b": LLAMA | {
        "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8,
        "num_experts_per_tok": 2, "sliding_window": None,
    },
    "qwen2.5-7b": LLAMA | {
        "model_type": "qwen2", "num_hidden_layers": 28, "hidden_size": 3584, "vocab_size": 152064,
        "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
        "sliding_window": 131072, "use_sliding_window": False,
    },
    "qwen3-30b-a3b": LLAMA | {
        "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "head_dim": 128,
        "vocab_size": 151936, "num_key_value_heads": 4, "intermediate_size": 6144,
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
    },
    "deepseek-v3": LLAMA | {
        "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168,
        "vocab_size": 129280, "num_attention_heads": 128, "num_key_value_heads": 128,
        "intermediate_size": 18432, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128, "v_head_dim": 128, "q_lora_rank": 1536, "n_routed_experts": 256,
        "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "n_shared_experts": 1,
        "first_k_dense_replace": 3, "quantization_config": {"quant_method": "fp8"},
    },
    "gpt-oss-120b": LLAMA | {
        "model_type": "gpt_oss", "num_hidden_layers": 36, "hidden_size": 2880, "head_dim": 64,
        "vocab_size": 201088, "num_attention_heads": 64, "intermediate_size": 2880,
        "num_local_experts": 128, "num_experts_per_tok": 4, "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
        "quantization_config": {"quant_method": "mxfp4"},
    },
}  # fmt: skip


def write(folder, config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_it_gives_the_preset(tmp_path, name):
    found, preset = from_hf(write(tmp_path, CONFIGS[name])), model(name)
    assert found.kv_bytes == preset.kv_bytes
    assert found.resident / found.element_bytes == preset.resident / preset.element_bytes
    for batch in (1, 16):
        ours, theirs = (m.weights_step(batch) / m.element_bytes for m in (found, preset))
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert [found.layer_window(i) for i in range(2)] == [preset.layer_window(i) for i in range(2)]


def test_what_is_missing_or_malformed_is_named(tmp_path):
    with pytest.raises(InputError, match="num_hidden_layers or n_layer or num_layers is missing"):
        from_hf(write(tmp_path, {"hidden_size": 5}))
    with pytest.raises(InputError, match="layers: 'many'"):
        from_hf(write(tmp_path, LLAMA | {"num_hidden_layers": "many"}))
    with pytest.raises(InputError, match="expected an object"):
        from_hf(write(tmp_path, []))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        from_hf(tmp_path / "config.json")
    with pytest.raises(InputError, match="cannot be read"):
        from_hf(tmp_path / "none.json")
