"""Families of models: what a `model_type` means beyond the keys that its `config.json` gives."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from hmsim.config.base import Strict

Layout = Literal[
    "full_attention_interval", "attn_layer_period", "attn_layer_indices", "full_attn_idxs",
    "linear_attn_config", "attn_type_list", "hybrid_override_pattern", "block_types",
    "layer_group_size", "parallel", "mixer",
]  # fmt: skip
Windows = Literal[
    "none", "all", "alternate", "pattern", "global_first", "from_max_window_layers", "attention_types",
    "no_rope_layers", "hybrid_layer_pattern",
]  # fmt: skip
Mixer = Literal["gated_delta", "kda", "lightning", "mamba", "mamba2", "rglru", "short_conv", "rwkv"]


class Family(Strict):
    """One row of `families.toml`. `defaults` are those of the family's configuration class."""

    source: str
    like: str | None = None  # the row whose keys hold where this one's own are silent
    refused: str | None = None  # why the family cannot be read
    defaults: dict[str, Any] = {}
    gated: bool = True  # three matrices a feed-forward block, else two
    ffn_multiple: float | None = None  # of the hidden size, where no width is given
    ffn_scale: float | None = None  # of the width that is given
    ffn: Literal["given", "none", "lfm2", "openelm"] = "given"
    positions: str | None = None  # the key with the number of learned position embeddings
    windows: Windows = "none"  # which layers see a window only, where `layer_types` does not say
    last_layer_full: bool = False  # whatever the pattern
    layout: Layout | None = None  # which layers keep KV, likewise
    mixer: Mixer | None = None  # what the layers without KV are
    kv: Literal["keys", "falcon", "blocks"] = "keys"  # where the number of KV heads stands
    query_gate: bool = False  # attention has an output gate as wide as its queries
    value_dim_of_hidden: bool = False  # of latent attention: hidden over heads, if not given
    index: bool = False  # sparse attention chooses by an index of its own
    shared_gate: bool = False  # of the shared expert
    experts: Literal["keys", "llama4"] = "keys"
    beside_experts: Literal["none", "ffn", "hidden"] = "none"  # a dense block of that width
    dense_is_shared: bool = False  # without experts, the shared width is the plain one
    harmless: list[str] = []  # keys that decide neither KV nor weights here


@cache
def families() -> dict[str, Family]:
    """Every row by its `model_type`, with what it takes over from the row that it is like."""
    rows = tomllib.loads((Path(__file__).parent / "families.toml").read_text())
    found: dict[str, Family] = {}

    def row(name: str) -> dict[str, Any]:
        own = rows[name]
        base = row(own["like"]) if "like" in own else {}
        defaults = base.get("defaults", {}) | own.get("defaults", {})
        return base | own | {"defaults": defaults}

    for name in rows:
        found[name] = Family.model_validate(row(name))
    return found


def family_of(model_type: str) -> Family | None:
    """The family of a `model_type`; None where it is not known."""
    known = families()
    return known.get(model_type) or known.get(f"{model_type}_text")


def type_of(architecture: str) -> str | None:
    """The `model_type` that a class name such as LlamaForCausalLM belongs to."""
    stem = architecture.partition("For")[0].removesuffix("Model").removesuffix("LMHead").lower()
    return next((name for name in families() if name.replace("_", "").lower() == stem), None)


GENERIC = Family(source="the keys that most families share")
