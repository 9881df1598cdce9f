"""Feed-forward blocks of every layer: widths, experts, and which layers have them."""

from typing import Any, NamedTuple

from hmsim.config.huggingface.attention import NOTHING
from hmsim.config.huggingface.families import Family
from hmsim.config.huggingface.keys import Keys
from hmsim.errors import InputError

WIDTH = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "dim_ff", "d_ff",
         "block_ff_dim")  # fmt: skip
COUNT = ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts",
         "num_routed_experts")  # fmt: skip
ACTIVE = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts",
          "moe_topk", "moe_k", "moe_top_k", "num_selected_experts", "moe_router_topk")  # fmt: skip
EXPERT_WIDTH = ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size",
                "expert_intermediate_size", "ffn_hidden_size")  # fmt: skip
SHARED_COUNT = ("n_shared_experts", "num_shared_experts", "num_shared_expert",
                "moe_num_shared_experts")  # fmt: skip
SHARED_WIDTH = ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                "shared_intermediate_size", "share_expert_dim",
                "shared_experts_intermediate_size")  # fmt: skip


class FeedForward(NamedTuple):
    """One layer's block: a plain width, or experts with what every token passes through."""

    ffn: int
    experts: int = 0
    active: int = 0
    width: int = 0
    shared: int = 0
    hidden: int | None = None  # width that experts work at, where not the model's
    router: int = 0  # parameters


def feed_forward(keys: Keys, family: Family, hidden: int, kinds: list[str]) -> list[FeedForward]:
    """The block of every layer."""
    layers = len(kinds)
    inner = keys.table("ffn_config")
    if family.ffn == "none":
        keys.get(*WIDTH)
        return [FeedForward(0)] * layers
    table = inner if inner.get(*COUNT) is not None else keys
    count = table.counts(layers, *COUNT, least=0)
    shared_width = keys.counts(layers, *SHARED_WIDTH, least=0)
    if count is None or max(count) <= 1:
        if family.dense_is_shared and shared_width is not None:
            keys.get(*WIDTH, *ACTIVE)
            return [FeedForward(width) for width in shared_width]
        keys.get(*COUNT, *ACTIVE, *EXPERT_WIDTH)
        plain = _widths(keys, inner, family, hidden, layers)
        return _only_where(kinds, family, [FeedForward(width) for width in plain])
    active = table.counts(layers, *ACTIVE)
    if active is None:
        raise InputError(
            f"{keys.where}: {' or '.join(ACTIVE[:2])} is missing, of {count[0]} experts"
        )
    sparse = _sparse(keys, family, kinds)
    llama4 = family.experts == "llama4"
    own = table.counts(layers, *EXPERT_WIDTH)
    if own is None or all(sparse):
        plain = keys.counts(layers, *WIDTH, least=0) or own or []
    else:
        plain = _widths(keys, inner, family, hidden, layers)
    if own is None and not plain:
        raise InputError(f"{keys.where}: {' or '.join(EXPERT_WIDTH[:2])} is missing")
    width = own or plain
    dense = keys.counts(layers, "intermediate_size_mlp", "dense_intermediate_size") or plain
    shares = keys.counts(layers, *SHARED_COUNT, least=0)
    given = shared_width is not None
    shared_width = shared_width or width
    shares = shares or ([1] * layers if given or llama4 else [0] * layers)
    shared = [n * w for n, w in zip(shares, shared_width, strict=True)]
    if family.beside_experts != "none":
        beside = plain if family.beside_experts == "ffn" else [hidden] * layers
        shared = [a + b for a, b in zip(shared, beside, strict=True)]
    latent = keys.count("moe_latent_size", "routed_expert_hidden_size")
    gate = hidden if family.shared_gate else 0
    extra = 2 * hidden * latent if latent else 0
    found = []
    for i in range(layers):
        if not sparse[i]:
            found.append(FeedForward(dense[i]))
            continue
        if active[i] > count[i]:
            raise InputError(
                f"{keys.where}: {table.name_of(*ACTIVE)}: {active[i]} of {count[i]} experts"
            )
        router = hidden * count[i] + gate + extra
        found.append(FeedForward(0, count[i], active[i], width[i], shared[i], latent, router))
    return _only_where(kinds, family, found)


def _only_where(kinds: list[str], family: Family, blocks: list[FeedForward]) -> list[FeedForward]:
    """Of families whose layers are a mixer or a feed-forward block, never both."""
    if family.layout != "hybrid_override_pattern":
        return blocks
    return [
        block if kind == NOTHING else FeedForward(0)
        for kind, block in zip(kinds, blocks, strict=True)
    ]


def _widths(keys: Keys, inner: Keys, family: Family, hidden: int, layers: int) -> list[int]:
    if family.ffn == "openelm":
        return _openelm(keys, hidden, layers)
    given = keys.counts(layers, *WIDTH, least=0)
    if given is None:
        given = inner.counts(layers, *WIDTH)
    ratio = keys.number("expansion_ratio") or family.ffn_multiple
    if given is None and ratio is not None:
        given = [int(ratio * hidden)] * layers
    if given is None:
        raise InputError(f"{keys.where}: {' or '.join(WIDTH[:3])} is missing")
    if family.ffn == "lfm2" and keys.flag("block_auto_adjust_ff_dim"):
        scale = keys.number("block_ffn_dim_multiplier") or 1
        multiple = keys.need("block_multiple_of")
        given = [-(-int(scale * (2 * width // 3)) // multiple) * multiple for width in given]
    if family.ffn_scale is not None:
        given = [int(width * family.ffn_scale) for width in given]
    return given


def _openelm(keys: Keys, hidden: int, layers: int) -> list[int]:
    multiple = keys.get("ffn_multipliers")
    each = keys.per_layer(layers, "ffn_multipliers") if isinstance(multiple, list) else None
    divisor = keys.need("ffn_dim_divisor")
    widths = []
    for factor in each or [multiple] * layers:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < 1e6:
            raise keys.wrong("ffn_multipliers", factor, "positive numbers")
        rounded = int(factor * hidden + divisor / 2) // divisor * divisor
        widths.append(rounded + divisor if rounded < 0.9 * factor * hidden else rounded)
    return widths


def _sparse(keys: Keys, family: Family, kinds: list[str]) -> list[bool]:
    """Which layers have experts: all but those that a key takes out."""
    layers = len(kinds)
    found = [True] * layers
    if family.layout == "hybrid_override_pattern":
        pattern = keys.get("hybrid_override_pattern", "layers_block_type", "layer_types")
        return [each in ("E", "moe") for each in pattern]
    kinds_of = keys.per_layer(layers, "mlp_layer_types")
    if kinds_of is not None:
        if set(kinds_of) - {"sparse", "dense"}:
            raise keys.wrong("mlp_layer_types", kinds_of, "'sparse' or 'dense' a layer")
        keys.get("first_k_dense_replace", "moe_layer_freq")
        return [kind == "sparse" for kind in kinds_of]
    named = keys.get("moe_layers", "moe_layers_enum")
    if named:
        named = _numbers(keys, named)
        keys.get("interleave_moe_layer_step")
        return [i in named for i in range(layers)]

    def only(keep: Any) -> None:
        for i in range(layers):
            found[i] = found[i] and bool(keep(i))

    step = keys.count("interleave_moe_layer_step")
    if step:
        only(lambda i: (i + 1) % step == 0)
    first = keys.count(
        "first_k_dense_replace", "num_dense_layers", "moe_layer_num_skipped", least=0
    )
    only(lambda i: i >= (first or 0))
    freq = keys.get("moe_layer_freq")
    if isinstance(freq, list):
        each = keys.per_layer(layers, "moe_layer_freq") or []
        only(lambda i: each[i])
    elif freq is not None:
        every = keys.need("moe_layer_freq")
        only(lambda i: i % every == 0)
    step = keys.count("decoder_sparse_step", "moe_layer_frequency", least=0)
    if step is not None:
        only(lambda i: step and (i + 1) % step == 0)
    plain = keys.numbers("mlp_only_layers") or []
    only(lambda i: i not in plain)
    period = keys.count("expert_layer_period")
    if period:
        offset = keys.count("expert_layer_offset", least=0) or 0
        only(lambda i: i % period == offset)
    interval = keys.count("moe_layer_interval")
    if interval:
        start = keys.count("moe_layer_start_index", least=0) or 0
        end = keys.get("moe_layer_end_index")
        end = layers - 1 if end in (None, -1) else keys.count("moe_layer_end_index", least=0)
        only(lambda i: (i + 1) % interval == 0 and start <= i <= end)
    return found


def _numbers(keys: Keys, named: Any) -> list[int]:
    """Layer numbers of a list, or of text with commas."""
    if isinstance(named, str):
        named = named.split(",")
    try:
        return [int(each) for each in named]
    except (TypeError, ValueError):
        raise keys.wrong("moe_layers", named, "layer numbers") from None
