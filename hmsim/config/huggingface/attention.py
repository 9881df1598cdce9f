"""Attention of every layer: heads, what KV they leave, which tokens they see, their weights."""

from typing import Any, NamedTuple

from hmsim.config.huggingface.families import Family
from hmsim.config.huggingface.keys import Keys
from hmsim.errors import InputError

FULL, WINDOW, MIXER, BOTH, NOTHING = "full", "window", "mixer", "both", "nothing"

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads",
         "num_attention_heads_per_layer", "attention_heads")  # fmt: skip
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads", "kv_n_heads",
            "num_attention_groups", "num_key_value_heads_per_layer", "num_query_groups")  # fmt: skip
WINDOWS = ("sliding_window", "sliding_window_size", "attention_window_size", "window_size")
PATTERN = ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers")
LAYER_TYPES = ("layer_types", "layers_block_type")

# What families call the kinds of layers.
TYPES = {
    "full_attention": FULL, "attention": FULL, "global": FULL, "global_attention": FULL,
    "full": FULL, "*": FULL,
    "sliding_attention": WINDOW, "local": WINDOW, "local_attention": WINDOW, "sliding": WINDOW,
    "chunked_attention": WINDOW, "hybrid_sliding": WINDOW,
    "linear_attention": MIXER, "mamba": MIXER, "mamba2": MIXER, "conv": MIXER, "recurrent": MIXER,
    "M": MIXER,
    "mlp": NOTHING, "moe": NOTHING, "-": NOTHING, "E": NOTHING,
}  # fmt: skip


class Attention(NamedTuple):
    """One layer's attention. `matrices`: parameters by the name of the module."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    latent: int | None
    window: int
    matrices: dict[str, int]


def layout(keys: Keys, family: Family, layers: int) -> list[str]:
    """What stands before the feed-forward block of every layer: FULL, WINDOW, MIXER, ..."""
    types = keys.get(*LAYER_TYPES)
    if types is not None and family.layout != "block_types":
        found = []
        for each in keys.per_layer(layers, *LAYER_TYPES) or []:
            if not isinstance(each, str) or each not in TYPES:
                raise InputError(
                    f"{keys.where}: {keys.name_of(*LAYER_TYPES)}: {each!r}: not a known kind of layer"
                )
            found.append(TYPES[each])
        keys.get("full_attention_interval", "attn_layer_period", "attn_layer_offset", *PATTERN,
                 "hybrid_override_pattern", "max_window_layers", "full_attn_idxs",
                 "attn_layer_indices", "attn_type_list", "no_rope_layers", "layer_group_size",
                 "no_rope_layer_interval", "window_pattern", "hybrid_layer_pattern")  # fmt: skip
        return found
    mixers = _mixers(keys, family, layers)
    return mixers if mixers is not None else _windowed(keys, family, layers)


def _mixers(keys: Keys, family: Family, layers: int) -> list[str] | None:
    """Layouts of families that mix attention with layers that keep a state instead of KV."""
    every = range(layers)
    match family.layout:
        case None:
            return None
        case "mixer":
            return [MIXER] * layers
        case "parallel":
            return [BOTH] * layers
        case "full_attention_interval":
            period = keys.need("full_attention_interval")
            return [MIXER if (i + 1) % period else FULL for i in every]
        case "attn_layer_period":
            period, offset = (
                keys.need("attn_layer_period"),
                keys.count("attn_layer_offset", least=0),
            )
            return [FULL if i % period == (offset or 0) else MIXER for i in every]
        case "layer_group_size":
            period = keys.need("layer_group_size")
            return [MIXER if (i + 1) % period else FULL for i in every]
        case "attn_layer_indices" | "full_attn_idxs":
            full = keys.numbers(family.layout)
            if full is None:
                raise InputError(f"{keys.where}: {family.layout} or layer_types is missing")
            return [FULL if i in full else MIXER for i in every]
        case "linear_attn_config":
            inner = keys.table("linear_attn_config")
            full, linear = inner.numbers("full_attn_layers"), inner.numbers("kda_layers")
            if (
                full is None
                or linear is None
                or sorted(full + linear) != list(range(1, layers + 1))
            ):
                raise InputError(
                    f"{keys.where}: linear_attn_config: expected full_attn_layers and "
                    f"kda_layers that name each of the layers 1 .. {layers} once"
                )
            return [FULL if i + 1 in full else MIXER for i in every]
        case "attn_type_list":
            kinds = keys.per_layer(layers, "attn_type_list")
            if kinds is None or any(kind not in (0, 1) for kind in kinds):
                raise InputError(
                    f"{keys.where}: attn_type_list or layer_types: expected 0 (linear) or 1 a layer"
                )
            return [FULL if kind else MIXER for kind in kinds]
        case "hybrid_override_pattern":
            text = keys.text("hybrid_override_pattern")
            if text is None or len(text) != layers or set(text) - set("M*-E"):
                raise InputError(
                    f"{keys.where}: hybrid_override_pattern: expected {layers} of M, *, - and E"
                )
            return [TYPES[each] for each in text]
        case "block_types":
            types = keys.get("block_types")
            if not isinstance(types, list) or not types or set(types) - {"recurrent", "attention"}:
                raise keys.wrong("block_types", types, "a list of 'recurrent' and 'attention'")
            window = keys.count(*WINDOWS)
            local = WINDOW if window else FULL
            return [MIXER if types[i % len(types)] == "recurrent" else local for i in every]


def _windowed(keys: Keys, family: Family, layers: int) -> list[str]:
    """Layouts of attention only: which layers see a window."""
    every, rule = range(layers), family.windows
    if rule == "none":
        return [FULL] * layers
    if rule == "no_rope_layers":
        if keys.count("attention_chunk_size") is None:
            return [FULL] * layers
        rope = keys.get("no_rope_layers")
        if rope:
            rope = keys.per_layer(layers, "no_rope_layers")
        else:
            period = keys.need("no_rope_layer_interval")
            rope = [(i + 1) % period for i in every]
        return [WINDOW if each else FULL for each in rope]
    # Not every family has the switch; where it is, and off, no layer is windowed.
    off = keys.flag("use_sliding_window") is False
    if off or keys.count(*WINDOWS) is None:
        keys.get(*PATTERN, "max_window_layers")
        return [FULL] * layers
    windowed: list[Any]
    match rule:
        case "all":
            first = keys.count("max_window_layers", least=0)
            windowed = [first is None or i >= first for i in every]
        case "alternate":
            windowed = [i % 2 == 0 for i in every]
        case "from_max_window_layers":
            first = keys.count("max_window_layers", least=0) or 0
            windowed = [i >= first for i in every]
        case "pattern":
            windowed = _pattern(keys, layers)
        case "global_first":
            period = keys.need("window_pattern")
            windowed = [i % period for i in every]
        case "attention_types":
            types = keys.get("attention_types")
            try:
                kinds = [kind for each, count in types for kind in list(each) * count]
            except (TypeError, ValueError):
                raise keys.wrong("attention_types", types, "a list of [kinds, count]") from None
            if len(kinds) < layers or set(kinds) - {"global", "local"}:
                raise keys.wrong(
                    "attention_types", types, f"'global' or 'local' of {layers} layers"
                )
            windowed = [kind == "local" for kind in kinds[:layers]]
        case "hybrid_layer_pattern":
            given = keys.per_layer(layers, "hybrid_layer_pattern")
            if given is None:
                raise InputError(f"{keys.where}: hybrid_layer_pattern or layer_types is missing")
            windowed = given
    if family.last_layer_full:
        windowed[-1] = False
    return [WINDOW if each else FULL for each in windowed]


def _pattern(keys: Keys, layers: int) -> list[bool]:
    """Every n-th layer is global; or as letters, L and G, repeated."""
    period = keys.get(*PATTERN)
    if isinstance(period, str):
        if not period or set(period) - set("LG"):
            raise keys.wrong(keys.name_of(*PATTERN), period, "a number, or letters L and G")
        return [period[i % len(period)] == "L" for i in range(layers)]
    n = keys.count(*PATTERN)
    return [bool(n and (i + 1) % n) for i in range(layers)]


def attention(keys: Keys, family: Family, hidden: int, kinds: list[str]) -> list[Attention | None]:
    """The attention of every layer; None where there is none."""
    layers = len(kinds)
    window = keys.count(*WINDOWS) if WINDOW in kinds else None
    chunk = keys.count("attention_chunk_size") if WINDOW in kinds else None
    if WINDOW in kinds and not (window or chunk):
        raise InputError(f"{keys.where}: sliding_window: missing, though some layers see a window")
    if not any(kind in (FULL, WINDOW, BOTH) for kind in kinds):
        keys.get(*HEADS, *KV_HEADS, "head_dim")
        return [None] * layers
    heads = keys.counts(layers, *HEADS)
    if heads is None:
        raise InputError(f"{keys.where}: {' or '.join(HEADS[:4])} is missing")
    latent = keys.count("kv_lora_rank", least=0)
    if not latent and family.defaults.get("kv_lora_rank"):
        raise InputError(f"{keys.where}: kv_lora_rank: missing: these models keep KV compressed")
    if latent:
        plain: Any = _latent(keys, family, hidden, heads[0])
        if len(set(heads)) > 1:
            raise keys.wrong(keys.name_of(*HEADS), heads, "one number with kv_lora_rank")
        full = [plain] * layers
    else:
        full = _grouped(keys, family, hidden, heads, kinds)
    # Of no effect where layers say what they are, or a switch is off; else it is warned of, or refused.
    ruled = family.windows != "none" or family.layout is not None
    if ruled or keys.get(*LAYER_TYPES) or keys.flag("use_sliding_window") is False:
        keys.get(*WINDOWS, "attention_chunk_size")
    return [
        None
        if kind in (MIXER, NOTHING)
        else each._replace(window=(window or chunk or 0) if kind == WINDOW else 0)
        for kind, each in zip(kinds, full, strict=True)
    ]


def _grouped(
    keys: Keys, family: Family, hidden: int, heads: list[int], kinds: list[str]
) -> list[Attention]:
    """Heads with K and V of their own or shared by groups."""
    layers = len(heads)
    kv_heads = _kv_heads(keys, family, heads)
    width = keys.count("head_dim", "attention_head_dim", "kv_channels", least=0) or None
    value = keys.count("v_head_dim", least=0) or None
    # Windowed layers, or global ones, may have numbers of their own.
    own = {
        WINDOW: (keys.count("swa_num_attention_heads"), keys.count("swa_num_key_value_heads"),
                 keys.count("swa_head_dim"), keys.count("swa_v_head_dim")),
        FULL: (None, keys.count("num_global_key_value_heads"), keys.count("global_head_dim"), None),
    }  # fmt: skip
    k_is_v = bool(keys.flag("attention_k_eq_v"))
    low_rank = keys.count("share_q_dim")
    gate = family.query_gate and keys.flag("attn_output_gate") is not False
    index = _index(keys, family, hidden)
    found = []
    for i in range(layers):
        of = own.get(kinds[i], (None,) * 4)
        h, kv = of[0] or heads[i], of[1] or kv_heads[i]
        d = of[2] or width or hidden // h
        v = of[3] or (value if of[2] is None else None) or d
        name = keys.name_of(*KV_HEADS)
        if kv > h:
            raise InputError(f"{keys.where}: {name}: {kv} is above {h} heads")
        if h % kv:
            raise InputError(f"{keys.where}: {name}: {kv} do not share {h} heads evenly")
        if not (of[2] or width) and hidden % h:
            raise InputError(
                f"{keys.where}: head_dim: missing, and {h} heads do not divide {hidden}"
            )
        query = hidden * h * d if low_rank is None else low_rank * (hidden + h * d)
        matrices = {
            "q_proj": query * (2 if gate else 1),
            "k_proj": hidden * kv * d,
            "v_proj": 0 if k_is_v and kinds[i] == FULL else hidden * kv * v,
            "o_proj": h * v * hidden,
        } | index
        found.append(Attention(h, kv, d, v, None, 0, matrices))
    return found


def _kv_heads(keys: Keys, family: Family, heads: list[int]) -> list[int]:
    layers = len(heads)
    inner = keys.table("attn_config")
    one = keys.flag("multi_query") or keys.text("attention_head_type") == "multiquery"
    if family.kv == "falcon" and not keys.flag("new_decoder_architecture"):
        keys.get(*KV_HEADS)
        return [1] * layers if one else heads
    grouped = keys.flag("multi_query_attention")
    groups = keys.counts(layers, "multi_query_group_num")
    if groups is not None and grouped is not False:
        return groups
    given = keys.counts(layers, *KV_HEADS)
    if given is None:
        given = inner.counts(layers, *KV_HEADS)
    kind = inner.text("attn_type")
    if given is not None and kind != "multihead_attention":
        return given
    if kind == "grouped_query_attention":
        raise InputError(f"{keys.where}: attn_config.kv_n_heads: missing")
    if kind not in (None, "multihead_attention", "multiquery_attention"):
        raise inner.wrong("attn_config.attn_type", kind, "multihead, multiquery or grouped_query")
    return [1] * layers if one or grouped or kind == "multiquery_attention" else heads


def _latent(keys: Keys, family: Family, hidden: int, heads: int) -> Attention:
    """Multi-head latent attention: one compressed vector a token, shared by all heads."""
    keys.get(*KV_HEADS, "head_dim", "qk_head_dim")
    rank, rope = keys.need("kv_lora_rank"), keys.count("qk_rope_head_dim", least=0)
    if rope is None:
        raise InputError(f"{keys.where}: qk_rope_head_dim is missing")
    nope = keys.need("qk_nope_head_dim")
    value = keys.count("v_head_dim")
    if value is None and family.value_dim_of_hidden:
        value = hidden // heads
    if value is None:
        raise InputError(f"{keys.where}: v_head_dim is missing, which kv_lora_rank needs")
    query, width = keys.count("q_lora_rank", least=0), heads * (nope + rope)
    queries = (
        {"q_a_proj": hidden * query, "q_b_proj": query * width}
        if query
        else {"q_proj": hidden * width}
    )
    matrices = queries | {
        "kv_a_proj_with_mqa": hidden * (rank + rope),
        "kv_b_proj": rank * heads * (nope + value),
        "o_proj": heads * value * hidden,
    }
    matrices |= _index(keys, family, hidden)
    return Attention(heads, heads, nope + rope, value, rank + rope, 0, matrices)


def _index(keys: Keys, family: Family, hidden: int) -> dict[str, int]:
    """What chooses the tokens that sparse attention reads."""
    if not family.index:
        return {}
    heads, width = keys.need("index_n_heads"), keys.need("index_head_dim")
    query = keys.count("q_lora_rank", least=0) or hidden
    return {
        "indexer.wq_b": query * heads * width,
        "indexer.wk": hidden * width,
        "indexer.weights_proj": hidden * heads,
    }
