"""Models from a Hugging Face `config.json`: read rightly, or refused by the name of the key.

What keys mean in a family, and the defaults of its configuration class, is data (`families.toml`).
"""

import json
import math
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hmsim import files
from hmsim.config.base import load
from hmsim.config.huggingface.attention import (
    BOTH,
    LAYER_TYPES,
    MIXER,
    Attention,
    attention,
    layout,
)
from hmsim.config.huggingface.families import GENERIC, Family, families, family_of, type_of
from hmsim.config.huggingface.feedforward import COUNT, FeedForward, feed_forward
from hmsim.config.huggingface.harmless import HARMLESS, MODALITIES, PREDICTION
from hmsim.config.huggingface.keys import MOST_LAYERS, Keys
from hmsim.config.huggingface.mixers import mixer
from hmsim.config.huggingface.quantisation import Scheme, scheme
from hmsim.config.huggingface.shape import Told, shape
from hmsim.config.model import LlmModel
from hmsim.errors import InputError, InputWarning

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model", "n_embed", "model_dim", "dim_model")
VOCAB = ("padded_vocab_size", "vocab_size")
TIED = ("tie_word_embeddings", "share_input_output_layers")
# Where a model that also sees or hears keeps its language model's config.
INNER = ("text_config", "llm_config", "language_config", "thinker_config", "text_model_config",
         "language_model_config", "llm", "text_model")  # fmt: skip
# Names of keys that decide sizes, whatever the family.
DECIDES = re.compile(
    r"head|kv|layer|window|chunk|expert|moe|mamba|ssm|state|conv|lora|rank|latent|linear|attn"
    r"|attention|ffn|intermediate|hidden|inner|width|dim|size|block|pattern|share|group|sparse"
    r"|period|interval|freq|quant|bits|embed|vocab"
)


class Read(NamedTuple):
    """What was understood of a config, and what was not, by key."""

    model: LlmModel
    warnings: dict[str, str]


class Refused(InputError):
    """A config with a key that decides sizes and is not understood."""

    def __init__(self, where: str, reasons: dict[str, str]) -> None:
        key, reason = next(iter(reasons.items()))
        super().__init__(f"{where}: {key}: {reason}")
        self.reasons = reasons


def from_hf(path: Path) -> LlmModel:
    """The model that the `config.json` at `path` describes; an InputWarning a key in doubt.

    Raises InputError for a file that is missing, no JSON, lacks a key that sizes need, or has one
    that decides sizes and is not understood.
    """
    found = read_config(path)
    for key, reason in found.warnings.items():
        warnings.warn(f"{path}: {key}: {reason}", InputWarning, stacklevel=2)
    return found.model


def read_config(path: Path) -> Read:
    """The model of a `config.json`, and what of it is in doubt. Raises as `from_hf`."""
    config = files.read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected an object")
    doubts: dict[str, str] = {}
    inner, outer = _unwrapped(config, str(path), doubts)
    name = _model_type(inner, outer)
    family = family_of(name)
    if family is not None and family.refused:
        raise Refused(str(path), {"model_type": f"{name!r}: {family.refused}"})
    keys = Keys(inner, (family or GENERIC).defaults, str(path))
    keys.get("model_type")
    model = _model(keys, Keys(outer, {}, str(path)), family or GENERIC, path, doubts)
    _judge(keys, family, name, doubts)
    return Read(model, doubts)


def _unwrapped(
    config: dict[str, Any], where: str, doubts: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The language model's config and what surrounds it (nothing where there is no wrapper)."""
    outer: dict[str, Any] = {}
    while True:
        name = next((name for name in INNER if config.get(name) is not None), None)
        if name is None or any(config.get(each) is not None for each in LAYERS):
            break
        if not isinstance(config[name], dict):
            raise InputError(f"{where}: {name}: expected an object")
        outer = outer | {key: value for key, value in config.items() if key != name}
        config = config[name]
    for key in (*outer, *config):
        if key in MODALITIES and (outer | config).get(key):
            doubts[key] = "left out; the sizes are those of the language model alone"
    return config, outer


def _model_type(config: dict[str, Any], outer: dict[str, Any]) -> str:
    """By its own key, the name of its class, or that of the wrapper."""
    given = config.get("model_type")
    if isinstance(given, str) and given:
        return given
    for table in (config, outer):
        classes = table.get("architectures")
        if isinstance(classes, list) and classes and isinstance(classes[0], str):
            found = type_of(classes[0])
            if found is not None:
                return found
    given = outer.get("model_type")
    if isinstance(given, str) and f"{given}_text" in families():
        return f"{given}_text"
    return ""


def _model(keys: Keys, outer: Keys, family: Family, path: Path, doubts: dict[str, str]) -> LlmModel:
    blocks = keys.per_layer(_layers(keys), "block_configs") if family.kv == "blocks" else None
    layers, hidden = _layers(keys), keys.need(*HIDDEN)
    vocab = keys.need(*VOCAB)
    kinds = layout(keys, family, layers)
    if blocks is not None:
        attentions, forwards = _nas(keys, blocks, hidden)
    else:
        forwards = feed_forward(keys, family, hidden, kinds)
        attentions = attention(keys, family, hidden, kinds)
    _same_width(keys, hidden)
    state = mixer(keys, family, hidden) if {MIXER, BOTH} & set(kinds) else ({}, 0.0)
    told = scheme(keys, outer)
    extra, other, shared_kv = _extras(keys, layers, hidden)
    made = []
    for i, (kind, heads, block) in enumerate(zip(kinds, attentions, forwards, strict=True)):
        keeps = heads is not None and i < layers - shared_kv
        made.append(_layer(i, kind, heads, block, state, told, family, hidden, keeps, other))
    if shared_kv:
        doubts[keys.name_of("num_kv_shared_layers")] = (
            f"the last {shared_kv} layers keep no KV and read that of earlier ones; "
            "those reads are left out"
        )
    if family.index:
        doubts["index_head_dim"] = (
            "the keys of the index are not part of KV; what is read of them is a workload's "
            "index_bytes"
        )
    share = keys.count("cla_share_factor") or 1
    if keys.flag("use_cla") and share > 1:
        made = [each if i % share == 0 else each | {"kv_heads": 0} for i, each in enumerate(made)]
        doubts["cla_share_factor"] = (
            f"of every {share} layers one keeps KV, which the others read; their reads are left out"
        )
    embedding = (
        math.fsum(
            told.bytes_of((name, f"model.{name}", f"language_model.{name}"), False)
            for name in ("lm_head", "embed_tokens")
        )
        / 2
    )
    model: dict[str, Any] = {
        "title": str(keys.get("_name_or_path") or path.parent.name or path.stem),
        "source": path.name,
        "layers": layers,
        "hidden": hidden,
        "vocab": vocab,
        "gated": family.gated if keys.flag("ffn_with_glu") is None else keys.flag("ffn_with_glu"),
        "tied_embeddings": _tied(keys, outer),
        "positions": keys.count(family.positions) or 0 if family.positions else 0,
        "extra_parameters": extra,
        "embedding_element_bytes": embedding,
    }
    if told.kv is not None:
        model["kv_element_bytes"] = told.kv
    told_layers = [Told(kind, each) for kind, each in zip(kinds, made, strict=True)]
    return load(LlmModel, shape(model, told_layers), str(path))


def _layers(keys: Keys) -> int:
    blocks = keys.get(*LAYER_TYPES)
    if isinstance(blocks, list) and not any(keys.get(name) for name in LAYERS):
        return len(blocks)  # families that give the list only
    pattern = keys.get("hybrid_override_pattern")
    if isinstance(pattern, str) and pattern and keys.get(*LAYERS) is None:
        return len(pattern)
    layers = keys.need(*LAYERS)
    if layers > MOST_LAYERS:
        raise keys.wrong(keys.name_of(*LAYERS), layers, f"at most {MOST_LAYERS} layers")
    return layers


def _tied(keys: Keys, outer: Keys) -> bool:
    """Whether the output projection is the embedding; transformers' default is that it is."""
    own = next((keys.given(name) for name in TIED if keys.given(name) is not None), None)
    found = outer.given(TIED[0]) if own is None else own
    if found is None:
        found = keys.get(*TIED)
    if found is None:
        return True
    if not isinstance(found, bool):
        raise keys.wrong(TIED[0], found, "true or false")
    return found


def _same_width(keys: Keys, hidden: int) -> None:
    for name in ("word_embed_proj_dim", "embedding_size"):
        width = keys.count(name)
        if width is not None and width != hidden:
            raise keys.wrong(name, width, f"hidden_size, {hidden}: narrower ones are not supported")


def _extras(keys: Keys, layers: int, hidden: int) -> tuple[int, int, int]:
    """Embeddings a layer (Gemma 3n and its kin): parameters of the table, those of each layer's
    gates, and how many of the last layers use KV of others."""
    width = keys.count("hidden_size_per_layer_input", least=0) or 0
    if keys.given("hidden_size_per_layer_input") is None and keys.get(*COUNT):
        width = 0  # a default of the small dense models, which those with experts have no use for
    vocab = keys.count("vocab_size_per_layer_input", least=0) or 0
    table, gates = layers * width * vocab, 3 * hidden * width
    gates += 2 * hidden * (keys.count("laurel_rank", least=0) or 0)
    shared = keys.count("num_kv_shared_layers", least=0) or 0
    if shared >= layers:
        raise keys.wrong("num_kv_shared_layers", shared, f"fewer than {layers} layers")
    return table, gates, shared


def _nas(
    keys: Keys, blocks: list[Any], hidden: int
) -> tuple[list[Attention | None], list[FeedForward]]:
    """Layers of an architecture search: each with its own number of KV heads and width."""
    heads = keys.need("num_attention_heads")
    keys.get("num_key_value_heads", "intermediate_size")
    width = keys.count("head_dim") or hidden // heads
    attentions: list[Attention | None] = []
    forwards = []
    for i, block in enumerate(blocks):
        where = f"block_configs.{i}"
        if not isinstance(block, dict):
            raise keys.wrong(where, block, "a table")
        parts = keys.tables[where] = Keys(block, {}, keys.where, f"{where}.")
        own, ffn = parts.table("attention"), parts.table("ffn")
        if own.flag("replace_with_linear") or ffn.flag("replace_with_linear"):
            raise InputError(f"{keys.where}: {where}: replace_with_linear is not supported")
        sink = own.get("window_length", "num_sink_tokens", "sparsify", "unshifted_sink")
        if sink or own.flag("use_prefill_window_in_sink_attention") or own.flag("is_mamba"):
            raise InputError(f"{keys.where}: {where}.attention: windows are not supported")
        if own.flag("no_op"):
            own.get("n_heads_in_group")
            attentions.append(None)
        else:
            group = own.need("n_heads_in_group")
            kv = heads // group
            attentions.append(
                Attention(heads, kv, width, width, None, 0, {
                    "q_proj": hidden * heads * width, "k_proj": hidden * kv * width,
                    "v_proj": hidden * kv * width, "o_proj": heads * width * hidden,
                })
            )  # fmt: skip
        if ffn.flag("no_op"):
            ffn.get("ffn_mult", "intermediate_size")
            forwards.append(FeedForward(0))
            continue
        inner = ffn.count("intermediate_size")
        if inner is None:
            factor = ffn.number("ffn_mult")
            if factor is None:
                raise InputError(f"{keys.where}: {where}.ffn.ffn_mult is missing")
            inner = -(-int(2 * factor * hidden / 3) // 256) * 256
        forwards.append(FeedForward(inner))
    return attentions, forwards


def _layer(
    number: int, kind: str, heads: Attention | None, block: FeedForward,
    state: tuple[dict[str, int], float], told: Scheme, family: Family, hidden: int,
    keeps_kv: bool, other: int,
) -> dict[str, Any]:  # fmt: skip
    """One layer as keys of a model."""
    matrices = {f"self_attn.{name}": size for name, size in heads.matrices.items()} if heads else {}
    if kind in (MIXER, BOTH):
        matrices |= state[0]
    found: dict[str, Any] = {"attention_parameters": sum(matrices.values())}
    if heads is not None:
        found |= {"heads": heads.heads, "head_dim": heads.head_dim, "value_dim": heads.value_dim}
        found["kv_heads"] = heads.kv_heads if keeps_kv else 0
        if heads.latent is not None:
            found["latent"] = heads.latent
        found["window"] = heads.window
    else:
        found["kv_heads"] = 0
    if kind in (MIXER, BOTH):
        found["state_bytes"] = state[1]
    found["attention_element_bytes"] = _mean(
        (size, told.bytes_of(_names(number, name), False)) for name, size in matrices.items()
    )
    found["element_bytes"] = _mean(
        (1, told.bytes_of(_names(number, f"mlp.{name}"), False)) for name in MATRICES
    )
    found["ffn"] = block.ffn
    found["other_parameters"] = other
    if block.experts:
        one = _mean(
            (1, told.bytes_of(_names(number, f"mlp.experts.0.{name}"), True)) for name in MATRICES
        )
        share = _mean(
            (1, told.bytes_of(_names(number, f"mlp.shared_experts.{name}"), False))
            for name in MATRICES
        )
        found["experts"] = {
            "count": block.experts, "active": block.active, "ffn": block.width,
            "shared_ffn": block.shared, "router_parameters": block.router,
            "element_bytes": one, "shared_element_bytes": share,
        }  # fmt: skip
        if block.hidden is not None:
            found["experts"]["hidden"] = block.hidden
        found["element_bytes"] = share
    return found


MATRICES = ("gate_proj", "up_proj", "down_proj")
# Names of one module in different families, and of several that are one module there.
ALIASES = {
    "q_proj": ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv"),
    "k_proj": ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv"),
    "v_proj": ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv"),
    "gate_proj": ("gate_up_proj", "w1"),
    "up_proj": ("gate_up_proj", "w3"),
    "down_proj": ("w2",),
}
PARENTS = {
    "self_attn": ("self_attn", "self_attention", "attn", "attention"),
    "mlp": ("mlp", "feed_forward", "block_sparse_moe"),
    "shared_experts": ("shared_experts", "shared_expert", "shared_mlp"),
}
ROOTS = ("model.layers", "language_model.model.layers", "model.language_model.layers")


def _names(layer: int, module: str) -> tuple[str, ...]:
    """What a module of a layer may be called in a quantisation config."""
    *parents, last = module.split(".")
    paths = [""]
    for parent in parents:
        paths = [f"{path}.{name}" for path in paths for name in PARENTS.get(parent, (parent,))]
    leaves = (last, *ALIASES.get(last, ()))
    return tuple(
        f"{root}.{layer}{path}.{leaf}" for root in ROOTS for path in paths for leaf in leaves
    )


def _mean(sized: Iterable[tuple[int, float]]) -> float:
    """Bytes a weight, the mean over modules of (parameters, bytes)."""
    pairs = [(size, each) for size, each in sized if size]
    if len({each for _, each in pairs}) <= 1:
        return pairs[0][1] if pairs else 2.0
    return math.fsum(size * each for size, each in pairs) / sum(size for size, _ in pairs)


def _judge(keys: Keys, family: Family | None, name: str, doubts: dict[str, str]) -> None:
    """Warn of every key that nothing read, or refuse it: one that decides sizes, of a family that
    is not known."""
    refused: dict[str, str] = {}
    harmless = HARMLESS | set(family.harmless if family else ())
    for key, value in keys.not_understood().items():
        last = key.rpartition(".")[2]
        if last in harmless or key in doubts or last.endswith(("_token_id", "_dropout", "_pdrop")):
            continue
        if last in PREDICTION:
            doubts[key] = (
                f"{_short(value)}: layers of multi-token prediction are left out, weights and KV"
            )
            continue
        if family is None and DECIDES.search(last):
            refused[key] = (
                f"{_short(value)}: not known of model_type {name!r}, and may decide sizes"
            )
        else:
            doubts[key] = f"{_short(value)}: not understood, and left out"
    if refused:
        raise Refused(keys.where, refused)
    if family is None:
        doubts["model_type"] = (
            f"{name!r} is not known: read by the keys that most families share"
            if name
            else "missing: read by the keys that most families share"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
