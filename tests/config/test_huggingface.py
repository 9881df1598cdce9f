"""`config.json` files of public models: KV to the byte, parameters against published totals.

`tests/references/models/shapes.json` holds the keys that decide sizes of over a hundred public
configs, as facts, with the KV bytes that follow from heads, widths and layers, and the parameters
that model cards or checkpoints state.
"""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmsim.config.base import load
from hmsim.config.huggingface import Refused, from_hf, read_config
from hmsim.config.huggingface.families import families
from hmsim.config.huggingface.quantisation import matches
from hmsim.config.model import LlmModel, as_toml, model
from hmsim.errors import InputError, InputWarning

SHAPES = json.loads((Path(__file__).parents[1] / "references/models/shapes.json").read_text())
LLAMA = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "vocab_size": 128256,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_70B = LLAMA | {
    "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64,
    "intermediate_size": 28672,
}  # fmt: skip
GEMMA3 = {
    "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360,
    "num_attention_heads": 16, "num_hidden_layers": 48, "num_key_value_heads": 8,
    "sliding_window": 1024,
}  # fmt: skip


def write(folder, config):
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def read(folder, config):
    """The model and what was in doubt."""
    return read_config(write(folder, config))


def test_there_are_enough_shapes():
    assert len(SHAPES) >= 60
    assert len({shape["config"]["model_type"] for shape in SHAPES}) >= 60


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["name"])
def test_public_models(tmp_path, shape):
    found, doubts = read(tmp_path, shape["config"])
    told = found.describe()
    assert told["kv_bytes_per_token"] == shape["kv_bytes_per_token"]
    assert told["parameters"] == pytest.approx(shape["parameters"], rel=0.01)
    windows = Counter(told["window_by_layer"])
    assert windows == dict(shape.get("windows", [[0, found.layers]]))
    if "state_bytes_per_sequence" in shape:
        assert told["state_bytes_per_sequence"] == shape["state_bytes_per_sequence"]
    known = {"index_head_dim", "cla_share_factor", "num_kv_shared_layers"}
    assert set(doubts) <= known | {"num_nextn_predict_layers"}
    assert load(LlmModel, tomllib.loads(as_toml(found)), "printed") == found


@pytest.mark.parametrize(
    "name",
    ["gpt2", "llama-2-7b", "llama-2-70b", "llama-3.1-8b", "llama-3.1-405b", "mixtral-8x7b",
     "qwen2.5-7b", "qwen2.5-72b", "qwen3-30b-a3b", "deepseek-v3", "qwen3-8b", "qwen3-32b",
     "qwen3-235b-a22b", "gpt-oss-20b", "gpt-oss-120b", "gemma-3-27b", "llama-4-maverick",
     "kimi-k2", "glm-4.5", "glm-5", "minimax-m2", "mistral-small-24b"],
)  # fmt: skip
def test_it_gives_the_preset(tmp_path, name):
    config = next(shape["config"] for shape in SHAPES if shape["name"] == name)
    found, preset = read(tmp_path, config).model, model(name)
    ours, theirs = found.describe(), preset.describe()
    for key in ("kv_bytes_by_layer", "window_by_layer", "sparse_by_layer", "state_bytes_by_layer"):
        assert ours[key] == theirs[key]
    assert found.parameters == pytest.approx(preset.parameters, rel=0.01)
    assert found.active_parameters == pytest.approx(preset.active_parameters, rel=0.01)


def test_windows_stand_in_the_right_layers(tmp_path):
    five_to_one = read(tmp_path, GEMMA3).model
    assert [five_to_one.layer_window(i) for i in range(6)] == [1024] * 5 + [None]
    assert five_to_one.pattern == "5 window, plain"
    gemma2 = read(tmp_path, GEMMA3 | {"model_type": "gemma2", "sliding_window": 4096}).model
    assert [gemma2.layer_window(i) for i in range(3)] == [4096, None, 4096]
    late = LLAMA | {
        "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 32768,
        "max_window_layers": 21,
    }  # fmt: skip
    assert read(tmp_path, late).model.describe()["window_by_layer"] == [0] * 21 + [32768] * 11
    off = read(tmp_path, late | {"use_sliding_window": False}).model
    assert not off.windowed
    chunked = {"model_type": "llama4_text", "num_hidden_layers": 8, "num_local_experts": 16}
    assert read(tmp_path, chunked).model.describe()["window_by_layer"] == [8192, 8192, 8192, 0] * 2
    types = ["full_attention"] * 3 + ["sliding_attention"] * 29
    given = LLAMA | {"model_type": "mistral", "sliding_window": 64, "layer_types": types}
    assert read(tmp_path, given).model.describe()["window_by_layer"] == [0] * 3 + [64] * 29


def test_defaults_of_the_class_apply_where_a_config_is_silent(tmp_path):
    sparse = {"model_type": "gemma3", "text_config": GEMMA3, "torch_dtype": "bfloat16"}
    found = read(tmp_path, sparse).model
    assert (found.vocab, found.head_dim, found.kv_bytes) == (262208, 256, 8192)
    # A key that is given as null has no value, whatever the class says.
    assert read(tmp_path, {"model_type": "mistral"}).model.windowed
    assert not read(tmp_path, {"model_type": "mistral", "sliding_window": None}).model.windowed
    named = {"architectures": ["Gemma2ForCausalLM"]}
    assert read(tmp_path, named).model.kv_bytes == 4096


def test_layers_without_kv(tmp_path):
    blocks = [
        {"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": 2.625}},
        {"attention": {"no_op": True, "n_heads_in_group": None}, "ffn": {"ffn_mult": 1.3125}},
        {"attention": {"n_heads_in_group": 16}, "ffn": {"no_op": True}},
    ]
    nas = {
        "model_type": "nemotron-nas", "hidden_size": 8192, "num_attention_heads": 64,
        "num_hidden_layers": 3, "num_key_value_heads": None, "intermediate_size": None,
        "vocab_size": 1000, "block_configs": blocks,
    }  # fmt: skip
    found = read(tmp_path, nas).model
    assert [layer.kv_bytes for layer in found.by_layer] == [4096, 0, 2048]
    widths = [layer.parameters for layer in found.by_layer]
    assert widths[1] == 3 * 8192 * 7168  # 2 * 1.3125 * 8192 / 3, to the next multiple of 256
    assert widths[2] == 8192 * 64 * 128 * 2 + 8192 * 4 * 128 * 2


SIZES = [  # quantisation, element bytes of a linear layer, GB resident
    (LLAMA, {"quant_method": "fp8"}, 1.0, 9.08),
    (LLAMA, {"quant_method": "fp8", "weight_block_size": [128, 128]}, 1 + 4 / 128**2, 9.08),
    (LLAMA, {"quant_method": "bitsandbytes", "load_in_4bit": True}, 0.5625, 6.03),
    (LLAMA, {"quant_method": "bitsandbytes", "load_in_8bit": True}, 1.0, 9.08),
    (LLAMA, {"quant_method": "modelopt", "quant_algo": "NVFP4"}, 0.5625, 6.03),
    (LLAMA_70B, {"quant_method": "awq", "bits": 4, "group_size": 128}, 0.51953125, 39.8),
    (LLAMA_70B, {"quant_method": "gptq", "bits": 4, "group_size": 128}, 0.51953125, 39.8),
    (
        LLAMA,
        {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": {
                "num_bits": 4, "group_size": 128, "type": "int"}}}},
        0.515625,
        5.7,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("base", "quantisation", "element", "resident"), SIZES)
def test_quantisation(tmp_path, base, quantisation, element, resident):
    for config in (
        base | {"quantization_config": quantisation},
        {"model_type": "llava", "text_config": base, "quantization_config": quantisation},
    ):
        found = read(tmp_path, config).model
        assert found.element_bytes == pytest.approx(element, rel=1e-12)
        assert found.embedding_element_bytes == 2.0  # embeddings stay as they are
        assert found.resident == pytest.approx(resident * 1e9, rel=0.005)


def test_excluded_modules_keep_their_type(tmp_path):
    def quantised(**keys):
        return read(tmp_path, LLAMA | {"quantization_config": {"quant_method": "fp8"} | keys}).model

    assert quantised().attention_element_bytes is None
    attention = quantised(modules_to_not_convert=["lm_head", "self_attn"])
    assert (attention.attention_element_bytes, attention.element_bytes) == (2.0, 1.0)
    half = quantised(ignored_layers=["re:.*down_proj"])
    assert half.element_bytes == pytest.approx(4 / 3)
    first = quantised(modules_to_not_convert=["model.layers.0.mlp", "model.layers.31.mlp"])
    sizes = [layer.fixed_bytes for layer in first.by_layer]
    assert sizes[0] == sizes[31] > sizes[1] == sizes[30]


def test_only_experts_are_mxfp4(tmp_path):
    config = next(shape["config"] for shape in SHAPES if shape["name"] == "gpt-oss-120b")
    for method in (config["quantization_config"], {"quant_method": "mxfp4"}):
        found = read(tmp_path, config | {"quantization_config": method}).model
        assert found.experts.element_bytes == 0.53125
        assert found.element_bytes == 2.0
        assert found.weights_step() == pytest.approx(138.9e6, rel=1e-3)
        assert found.resident == pytest.approx(65.2e9, rel=1e-3)


def test_the_type_of_the_cache(tmp_path):
    scheme = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    modelopt = {"quant_method": "modelopt", "quant_algo": "NVFP4"} | scheme
    assert read(tmp_path, LLAMA | {"quantization_config": modelopt}).model.kv_bytes == 2048
    assert read(tmp_path, LLAMA).model.kv_bytes == 4096


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("lm_head", "lm_head", True),
        ("self_attn", "model.layers.3.self_attn.q_proj", True),
        ("model.layers.1", "model.layers.11.mlp.up_proj", False),
        ("model.layers.*.self_attn", "model.layers.3.self_attn.q_proj", False),
        ("model.layers.*.self_attn*", "model.layers.3.self_attn.q_proj", True),
        ("*mlp*", "model.layers.3.mlp.up_proj", True),
        ("re:.*q_proj", "model.layers.3.self_attn.q_proj", True),
        ("re:q_proj", "model.layers.3.self_attn.q_proj", False),
    ],
)
def test_patterns_of_modules(pattern, name, meant):
    assert matches(pattern, name) == meant


def test_what_is_missing_or_malformed_is_named(tmp_path):
    def refused(config, words):
        with pytest.raises(InputError, match=words) as error:
            read(tmp_path, config)
        assert "\n" not in str(error.value)

    refused({"hidden_size": 5}, "num_hidden_layers or n_layer or .* is missing")
    refused(LLAMA | {"num_hidden_layers": "many"}, "num_hidden_layers: 'many': expected a whole")
    refused(LLAMA | {"num_hidden_layers": 10**9}, "at most 100000 layers")
    refused(LLAMA | {"num_key_value_heads": [8, 8]}, "a list of 2 for 32 layers")
    refused(LLAMA | {"num_key_value_heads": 64}, "64 is above 32 heads")
    refused(LLAMA | {"quantization_config": ["x"]}, "quantization_config: .*expected a table")
    refused(LLAMA | {"quantization_config": {"quant_method": "aqlm"}}, "quant_method: 'aqlm'")
    refused(LLAMA | {"torch_dtype": "int3"}, "torch_dtype: 'int3'")
    refused(LLAMA | {"layer_types": ["x"] * 32}, "layer_types: 'x': not a known kind of layer")
    refused({"model_type": "zamba2"}, "model_type: 'zamba2': .*not supported")
    refused({"model_type": "llama", "text_config": 5} | {"num_hidden_layers": None}, "text_config")
    refused([], "expected an object")
    gptq = {"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*": {}}}
    refused(LLAMA | {"quantization_config": gptq}, "bits of their own are not supported")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        from_hf(tmp_path / "config.json")
    with pytest.raises(InputError, match="cannot be read"):
        from_hf(tmp_path / "none.json")


def test_a_key_that_decides_sizes_and_is_not_understood_is_named(tmp_path):
    odd = LLAMA | {"num_kv_heads_of_even_layers": 2}
    _, doubts = read(tmp_path, odd)
    assert "num_kv_heads_of_even_layers" in doubts
    with pytest.warns(InputWarning, match="num_kv_heads_of_even_layers: 2: not understood"):
        from_hf(write(tmp_path, odd))
    with pytest.raises(Refused, match="num_kv_heads_of_even_layers") as error:
        read(tmp_path, odd | {"model_type": "unheard_of"})
    assert list(error.value.reasons) == ["num_kv_heads_of_even_layers"]
    assert "model_type" in read(tmp_path, LLAMA | {"model_type": "unheard_of"}).warnings
    vision = {"model_type": "llava", "text_config": LLAMA, "vision_config": {"hidden_size": 1024}}
    assert list(read(tmp_path, vision).warnings) == ["vision_config"]
    # Keys of every file that say nothing of sizes pass without a word.
    harmless = {"rope_theta": 1e6, "bos_token_id": 1, "attention_dropout": 0.1, "use_cache": True}
    assert read(tmp_path, LLAMA | harmless).warnings == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 7}, "num_key_value_heads: 7 do not share 32 heads evenly"),
        ({"hidden_size": 4100}, "head_dim: missing, and 32 heads do not divide 4100"),
        (
            {"model_type": "deepseek_v3", "kv_lora_rank": None},
            "kv_lora_rank: missing: these models keep KV compressed",
        ),
        ({"quantization": {"bits": 4, "group_size": 64, "lm_head": {"bits": 8}}}, "lm_head"),
        ({"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}, "quantization.mode"),
        ({"model_type": "own", "sliding_window": 4096}, "sliding_window: 4096: not known of"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, LLAMA | changes)


def test_a_window_of_a_family_without_windows_is_warned_of(tmp_path):
    assert list(read(tmp_path, LLAMA | {"sliding_window": 4096}).warnings) == ["sliding_window"]
    off = {"sliding_window": 4096, "use_sliding_window": False}
    assert read(tmp_path, LLAMA | off).warnings == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_nextn_predict_layers", 1), ("mtp_num_hidden_layers", 2), ("use_mtp", True),
     ("num_mtp_modules", 3)],
)  # fmt: skip
def test_layers_of_multi_token_prediction_are_said_to_be_left_out(tmp_path, key, value):
    plain, found = read(tmp_path, LLAMA), read(tmp_path, LLAMA | {key: value})
    assert found.model == plain.model
    assert list(found.warnings) == [key]
    assert "multi-token prediction are left out" in found.warnings[key]
    assert read(tmp_path, LLAMA | {key: 0}).warnings == {}


def test_one_kv_head_by_another_name(tmp_path):
    santa = {
        "model_type": "gpt2", "n_embd": 2048, "n_layer": 24, "n_head": 16, "n_inner": 8192,
        "vocab_size": 49280, "n_positions": 2048, "attention_head_type": "multiquery",
    }  # fmt: skip
    found = read(tmp_path, santa)
    assert found.warnings == {}
    assert found.model.describe()["kv_bytes_per_token"] == 24 * 2 * 128 * 2
    assert found.model.parameters == pytest.approx(1.12e9, rel=0.01)


def test_experts_narrower_than_the_model_by_another_name(tmp_path):
    sparse = LLAMA | {
        "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2,
        "moe_intermediate_size": 512,
    }  # fmt: skip
    sizes = [
        read(tmp_path, sparse | {key: 1024}).model.by_layer[0].unit_parameters
        for key in ("moe_latent_size", "routed_expert_hidden_size")
    ]
    assert sizes == [3 * 1024] * 2


def test_quantisation_stands_in_more_than_one_place(tmp_path):
    plain = read(tmp_path, LLAMA).model
    half = {"nbits": 4, "group_size": 64, "axis": 1, "channel_wise": True}
    hqq = {"quant_method": "hqq", "quant_config": {"weight_quant_params": half},
           "skip_modules": ["lm_head"]}  # fmt: skip
    found = read(tmp_path, LLAMA | {"quantization_config": hqq})
    assert found.warnings == {}
    assert found.model.element_bytes == 4.5 / 8
    with pytest.raises(InputError, match="no nbits in weight_quant_params"):
        read(tmp_path, LLAMA | {"quantization_config": hqq | {"quant_config": {}}})
    # MLX: 4 bits, a scale and a bias of 16 bits each for 64 weights, embeddings too.
    mlx = read(tmp_path, LLAMA | {"quantization": {"bits": 4, "group_size": 64}})
    assert mlx.warnings == {}
    assert mlx.model.resident == pytest.approx(plain.resident * 4.5 / 16)
    inner = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    nested = read(tmp_path, LLAMA | {"quantization_config": {"quantization": inner}})
    assert nested.warnings == {}
    assert nested.model.describe()["kv_bytes_per_token"] == 65536
    assert nested.model.resident == pytest.approx((8.030e9 + 2 * 4096 * 128256), rel=1e-3)


def test_every_family_has_a_source_and_is_read_or_says_what_is_missing(tmp_path):
    for name, family in families().items():
        assert family.source
        said = ""
        try:
            read(tmp_path, {"model_type": name})
        except InputError as error:
            said = str(error)
        expected = "not supported" if family.refused else "missing|expected|^$"
        assert re.search(expected, said), name


VALUES = st.sampled_from(
    [None, 0, -1, 3, 2.5, 10**30, "", "x", True, [], [None], ["a"] * 4, {}, {"a": 1}]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_config_is_read_or_refused_in_one_line(tmp_path, data):
    """Whatever becomes of one key of a public config."""
    config = dict(data.draw(st.sampled_from(SHAPES))["config"])
    inner = next((name for name in ("text_config",) if name in config), None)
    table = dict(config[inner]) if inner else config
    table[data.draw(st.sampled_from(sorted(table)))] = data.draw(VALUES)
    said = ""
    try:
        found = read(tmp_path, config | {inner: table} if inner else table).model
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    if not said:
        assert load(LlmModel, tomllib.loads(as_toml(found)), "printed") == found
