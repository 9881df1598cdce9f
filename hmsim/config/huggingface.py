"""Model presets from a Hugging Face `config.json`."""

import json
from pathlib import Path
from typing import Any

from hmsim.config.base import load
from hmsim.config.model import LlmModel
from hmsim.errors import InputError

# What our fields are called there, by family; the first that is present counts.
NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocab": ("vocab_size",),
}
EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts")
ACTIVE = ("num_experts_per_tok", "experts_per_token")
UNGATED = {"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "gpt_bigcode"}
QUANTISED = {"fp8": 1.0, "mxfp4": 0.53125, "awq": 0.5, "gptq": 0.5}  # bytes a weight
DTYPES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}


def from_hf(path: Path) -> LlmModel:
    """The model that the `config.json` at `path` describes.

    Raises InputError for a file that is missing, no JSON, or lacks a field that sizes need.
    """
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected an object")
    config = config.get("text_config", config)  # of models that also see
    fields: dict[str, Any] = {name: _first(config, keys) for name, keys in NAMES.items()}
    if fields["ffn"] is None and isinstance(fields["hidden"], int):
        fields["ffn"] = 4 * fields["hidden"]
    for name in ("layers", "hidden", "heads", "vocab"):
        if fields[name] is None:
            raise InputError(f"{path}: {' or '.join(NAMES[name])} is missing")
    fields |= _attention(config) | _experts(config, fields["ffn"])
    fields |= {
        "title": str(config.get("_name_or_path") or path.parent.name or path.stem),
        "source": path.name,
        "gated": config.get("model_type") not in UNGATED,
        "tied_embeddings": bool(config.get("tie_word_embeddings", True)),
        "element_bytes": _element_bytes(config),
    }
    return load(LlmModel, {k: v for k, v in fields.items() if v is not None}, str(path))


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((config[key] for key in keys if config.get(key) is not None), None)


def _attention(config: dict[str, Any]) -> dict[str, Any]:
    """Latent attention and sliding windows."""
    fields: dict[str, Any] = {}
    if config.get("kv_lora_rank"):
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        rank, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
        nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
        query = config.get("q_lora_rank")
        key_size = heads * (nope + rope)
        queries = hidden * query + query * key_size if query else hidden * key_size
        latent = hidden * (rank + rope) + rank * heads * (nope + value)
        fields["latent"] = rank + rope
        fields["attention_parameters"] = queries + latent + heads * value * hidden
        fields["kv_heads"] = None
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        kinds = config.get("layer_types") or ["sliding_attention"]
        if "sliding_attention" in kinds:
            fields["window"] = config["sliding_window"]
            fields["window_layers"] = "alternate" if "full_attention" in kinds else "all"
    return fields


def _experts(config: dict[str, Any], ffn: Any) -> dict[str, Any]:
    count, active = _first(config, EXPERTS), _first(config, ACTIVE)
    if not count or not active:
        return {}
    width = config.get("moe_intermediate_size") or ffn
    return {
        "experts": {
            "count": count,
            "active": active,
            "ffn": width,
            "shared_ffn": (config.get("n_shared_experts") or 0) * width,
            "dense_layers": config.get("first_k_dense_replace") or 0,
        }
    }


def _element_bytes(config: dict[str, Any]) -> float:
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method in QUANTISED:
        return QUANTISED[method]
    return DTYPES.get(str(_first(config, ("torch_dtype", "dtype"))), 2.0)
