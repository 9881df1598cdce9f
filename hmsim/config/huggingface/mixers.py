"""Layers that keep a state of fixed size instead of KV: linear attention, Mamba and their kin."""

from collections.abc import Callable
from typing import NamedTuple

from hmsim.config.huggingface.families import Family
from hmsim.config.huggingface.keys import Keys
from hmsim.errors import InputError

STATE_TYPES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
CONVOLUTION = ("linear_conv_kernel_dim", "short_conv_kernel_size", "mamba_d_conv", "conv_kernel",
               "conv1d_width", "conv_L_cache")  # fmt: skip


class Mixer(NamedTuple):
    """Parameters of one layer by module, and elements of state that a sequence keeps."""

    matrices: dict[str, int]
    recurrent: int
    convolution: int  # inputs of the short convolution that precedes


def mixer(keys: Keys, family: Family, hidden: int) -> tuple[dict[str, int], float]:
    """Parameters by module, and bytes of state a sequence, of a layer without KV.

    The state is kept at 2 B an element, its recurrent part as `mamba_ssm_dtype` says, if it does.
    """
    if family.mixer is None:
        raise InputError(
            f"{keys.where}: layer_types: holds layers without KV, of a kind that is not known "
            f"for model_type {keys.get('model_type')!r}"
        )
    found = MIXERS[family.mixer](keys, hidden)
    kind = keys.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype")
    if kind not in (None, "auto", *STATE_TYPES):
        raise keys.wrong("mamba_ssm_dtype", kind, ", ".join(STATE_TYPES))
    return found.matrices, found.recurrent * STATE_TYPES.get(kind or "", 2.0) + (
        found.convolution * 2.0
    )


def _gated_delta(keys: Keys, hidden: int) -> Mixer:
    heads, values = keys.need("linear_num_key_heads"), keys.need("linear_num_value_heads")
    width, value_width = keys.need("linear_key_head_dim"), keys.need("linear_value_head_dim")
    key, value, taps = heads * width, values * value_width, keys.need(*CONVOLUTION)
    channels = 2 * key + value
    matrices = {
        "linear_attn.in_proj_qkvz": hidden * (2 * key + 2 * value),
        "linear_attn.in_proj_ba": hidden * 2 * values,
        "linear_attn.conv1d": channels * taps,
        "linear_attn.out_proj": value * hidden,
    }
    return Mixer(matrices, values * width * value_width, channels * (taps - 1))


def _kda(keys: Keys, hidden: int) -> Mixer:
    inner = keys.table("linear_attn_config")
    heads = inner.count("num_heads") or keys.need("linear_num_heads")
    width = inner.count("head_dim") or keys.need("linear_head_dim")
    taps = inner.count("short_conv_kernel_size") or keys.need(*CONVOLUTION)
    inner.get("kda_layers", "full_attn_layers")
    all_heads = heads * width
    matrices = {
        "self_attn.q_proj": hidden * all_heads,
        "self_attn.k_proj": hidden * all_heads,
        "self_attn.v_proj": hidden * all_heads,
        "self_attn.o_proj": hidden * all_heads,
        "self_attn.conv1d": 3 * all_heads * taps,
        "self_attn.f_proj": hidden * width + width * all_heads,
        "self_attn.g_proj": hidden * width + width * all_heads,
        "self_attn.b_proj": hidden * heads,
    }
    return Mixer(matrices, heads * width * width, 3 * all_heads * (taps - 1))


def _lightning(keys: Keys, hidden: int) -> Mixer:
    heads = keys.need("num_attention_heads")
    width = keys.count("head_dim") or hidden // heads
    all_heads = heads * width
    matrices = {
        "self_attn.qkv_proj": 3 * hidden * all_heads,
        "self_attn.output_gate": hidden * all_heads,
        "self_attn.out_proj": all_heads * hidden,
    }
    return Mixer(matrices, heads * width * width, 0)


def _mamba(keys: Keys, hidden: int) -> Mixer:
    expand = keys.number("mamba_expand", "expand") or 2
    inner = keys.count("intermediate_size" if keys.get("state_size") else "mamba_d_inner")
    inner = inner or int(expand * hidden)
    state, taps = keys.need("mamba_d_state", "state_size"), keys.need(*CONVOLUTION)
    given = keys.get("mamba_dt_rank", "time_step_rank")
    rank = -(-hidden // 16)
    if given not in (None, "auto"):
        rank = keys.need("mamba_dt_rank", "time_step_rank")
    matrices = {
        "mamba.in_proj": 2 * hidden * inner,
        "mamba.conv1d": inner * taps,
        "mamba.x_proj": inner * (rank + 2 * state),
        "mamba.dt_proj": rank * inner,
        "mamba.A_log": inner * state,
        "mamba.out_proj": inner * hidden,
    }
    return Mixer(matrices, inner * state, inner * (taps - 1))


def _mamba2(keys: Keys, hidden: int) -> Mixer:
    heads = keys.need("mamba_n_heads", "mamba_num_heads", "num_heads")
    width = keys.get("mamba_d_head", "mamba_head_dim", "head_dim")
    inner = keys.count("mamba_d_ssm")
    if width in (None, "auto"):
        expand = keys.number("mamba_expand", "expand") or 2
        inner = inner or int(expand * hidden)
        width = inner // heads
    else:
        keys.get("mamba_expand", "expand")
        width = keys.need("mamba_d_head", "mamba_head_dim", "head_dim")
        inner = heads * width
    groups = keys.count("mamba_n_groups", "mamba_ngroups", "n_groups") or 1
    state = keys.need("mamba_d_state", "ssm_state_size", "state_size")
    taps, channels = keys.need(*CONVOLUTION), inner + 2 * groups * state
    matrices = {
        "mamba.in_proj": hidden * (inner + channels + heads),
        "mamba.conv1d": channels * taps,
        "mamba.out_proj": inner * hidden,
    }
    return Mixer(matrices, heads * width * state, channels * (taps - 1))


def _rglru(keys: Keys, hidden: int) -> Mixer:
    width, taps = keys.count("lru_width") or hidden, keys.need(*CONVOLUTION)
    matrices = {
        "temporal_block.linear_x": hidden * width,
        "temporal_block.linear_y": hidden * width,
        "temporal_block.linear_out": width * hidden,
        "temporal_block.conv_1d": width * taps,
        "temporal_block.rg_lru": 2 * width * width // keys.need("num_attention_heads"),
    }
    return Mixer(matrices, width, width * (taps - 1))


def _short_conv(keys: Keys, hidden: int) -> Mixer:
    taps = keys.need(*CONVOLUTION)
    matrices = {
        "conv.in_proj": 3 * hidden * hidden,
        "conv.conv": hidden * taps,
        "conv.out_proj": hidden * hidden,
    }
    return Mixer(matrices, 0, hidden * (taps - 1))


def _rwkv(keys: Keys, hidden: int) -> Mixer:
    width = keys.count("attention_hidden_size") or hidden
    matrices = {
        "attention.key": hidden * width,
        "attention.value": hidden * width,
        "attention.receptance": hidden * width,
        "attention.output": hidden * width,
        "feed_forward.receptance": hidden * hidden,
    }
    return Mixer(matrices, 3 * width + 2 * hidden, 0)


MIXERS: dict[str, Callable[[Keys, int], Mixer]] = {
    "gated_delta": _gated_delta,
    "kda": _kda,
    "lightning": _lightning,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "rglru": _rglru,
    "short_conv": _short_conv,
    "rwkv": _rwkv,
}
