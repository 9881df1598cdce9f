"""Bytes of a weight, module by module, from a config's types and its quantisation."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from hmsim.config.huggingface.keys import Keys
from hmsim.errors import InputError

TYPES = {
    "float32": 4.0, "float": 4.0, "float16": 2.0, "half": 2.0, "bfloat16": 2.0,
    "float8_e4m3fn": 1.0, "float8_e5m2": 1.0, "int8": 1.0,
}  # fmt: skip
SCALE_BITS = 16  # of a group of integers, in the formats that keep it as a half

TABLES = ("quantization_config", "quantization")
# Keys that hold the names of modules which stay as they are.
EXCLUDED = ("modules_to_not_convert", "llm_int8_skip_modules", "ignore", "ignored_layers",
            "exclude_modules", "exclude", "skip_modules")  # fmt: skip
# Of no effect on the bytes of a weight or of KV.
HARMLESS = (
    "quant_method", "version", "backend", "desc_act", "static_groups", "true_sequential",
    "damp_percent", "model_name_or_path", "model_file_base_name", "checkpoint_format", "meta",
    "activation_scheme", "fmt", "scale_fmt", "quantization_status", "global_compression_ratio",
    "format", "sparsity_config", "transform_config", "producer", "do_fuse", "use_exllama",
    "exllama_config", "fuse_max_seq_len", "modules_to_fuse", "version_fuse", "dataset",
    "tokenizer", "is_marlin_format", "cache_block_outputs", "pad_token_id", "max_input_length",
    "module_name_preceding_first_block", "batch_size", "model_seqlen",
    "use_cuda_fp16", "bnb_4bit_compute_dtype", "_load_in_4bit", "_load_in_8bit",
    "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight", "llm_int8_threshold",
    "bnb_4bit_quant_storage", "zero_point_dtype", "iters", "autoround_version", "lr",
    "minmax_lr", "enable_minmax_tuning", "enable_norm_bias_tuning", "enable_quanted_input",
    "gradient_accumulate_steps", "low_gpu_mem_usage", "nsamples", "scale_dtype", "seqlen",
    "train_bs", "amp", "data_type", "packing_format", "act_bits", "act_group_size", "act_sym",
    "act_dynamic", "act_data_type", "batch_dim", "export", "algo_config", "softmax_quant_spec",
    "pack_method", "custom_mode", "observer", "linear_class", "quantization_mode", "mse", "hyb_act",
    "pre_quantized",
    "producer_version", "activation_scale_ub", "dequantize", "use_rms_norm", "rms_norm_eps",
)  # fmt: skip


class Scheme(NamedTuple):
    """How weights and KV are kept."""

    plain: float  # bytes of a weight that is not quantised
    kv: float | None  # bytes of an element of KV; None: not said
    bytes_of: Callable[[tuple[str, ...], bool], float]  # of a module, by its names; an expert's?


def scheme(config: Keys, outer: Keys) -> Scheme:
    """The scheme of a config; what stands at the level of a wrapper, `outer`, holds too.

    Raises InputError for a method, or a key of one, that is not known.
    """
    plain = _type(config, outer)
    found = [(k, name) for name in TABLES for k in (config, outer) if k.data.get(name)]
    config.get(*TABLES, "compression_config")
    if not found:
        if outer.data.get("compression_config") or config.data.get("compression_config"):
            raise InputError(f"{config.where}: compression_config: not supported")
        return Scheme(plain, None, lambda names, expert: plain)
    where, name = found[0]
    table = where.table(name)
    method = table.text("quant_method")
    if method is None and table.get("quant_algo", "quantization") is not None:
        method = "modelopt"
    if method is None and {"bits", "group_size"} <= table.data.keys():
        method = "mlx"
    if method is None or method not in METHODS:
        raise table.wrong("quantization_config.quant_method", method, ", ".join(sorted(METHODS)))
    table.get(*HARMLESS)
    inner = table.table("quantization")  # one more level, in files beside a config
    excluded = _excluded(table) + _excluded(inner)
    kv = _kv(table) or _kv(inner)
    bytes_in = METHODS[method](table)

    def bytes_of(names: tuple[str, ...], expert: bool) -> float:
        if any(matches(pattern, name) for pattern in excluded for name in names):
            return plain
        found = bytes_in(names, expert)
        return plain if found is None else found

    return Scheme(plain, kv, bytes_of)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern of a quantisation config means the module of this name.

    `re:` opens a regular expression, `*` stands for anything; else the name, or a part of it
    between dots, is meant.
    """
    if pattern.startswith("re:"):
        return re.match(pattern[3:], name) is not None
    if "*" in pattern:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")
    return f".{pattern}." in f".{name}."


def _type(config: Keys, outer: Keys) -> float:
    for keys in (config, outer):
        kind = keys.get("dtype", "torch_dtype")
        if kind is not None:
            name = str(kind).removeprefix("torch.")
            if name == "auto":
                continue
            if name not in TYPES:
                raise keys.wrong(keys.name_of("dtype", "torch_dtype"), kind, ", ".join(TYPES))
            return TYPES[name]
    return 2.0


def _excluded(table: Keys) -> list[str]:
    found: list[str] = []
    for name in EXCLUDED:
        value = table.get(name)
        if value is None:
            continue
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise table.wrong(f"quantization_config.{name}", value, "a list of module names")
        for each in value:
            if each.startswith("re:"):
                try:
                    re.compile(each[3:])
                except re.error:
                    raise table.wrong(f"quantization_config.{name}", each, "a pattern") from None
        found += value
    return found


def _kv(table: Keys) -> float | None:
    """Bytes of an element of KV, where the config says how the cache is kept."""
    algorithm = table.text("kv_cache_quant_algo", "kv_cache_quant_method")
    if algorithm is not None:
        known = {"FP8": 1.0, "NVFP4": 0.5625, "INT8": 1.0}
        if algorithm.upper() not in known:
            raise table.wrong(
                "quantization_config.kv_cache_quant_algo", algorithm, ", ".join(known)
            )
        return known[algorithm.upper()]
    given = table.get("kv_cache_scheme", "kv_cache_quant_config")
    if given is None or given == {}:
        return None
    name = table.name_of("kv_cache_scheme", "kv_cache_quant_config")
    if isinstance(given, dict) and "num_bits" in given:
        bits = given["num_bits"]
        if isinstance(bits, int) and not isinstance(bits, bool) and 1 <= bits <= 16:
            return bits / 8
    raise table.wrong(name, given, "a table with num_bits")


Method = Callable[[tuple[str, ...], bool], float | None]


def _everywhere(size: float) -> Method:
    """Every linear layer, and neither embeddings nor the output projection."""

    def bytes_in(names: tuple[str, ...], expert: bool) -> float | None:
        return None if names[0].split(".")[-1] in ("lm_head", "embed_tokens") else size

    return bytes_in


def _grouped(table: Keys, zero_points: bool) -> Method:
    """Integers of `bits`, with a scale (and a zero point) a group."""
    if table.given("dynamic") or table.given("extra_config") or table.given("layer_config"):
        raise InputError(
            f"{table.where}: quantization_config: layers with bits of their own are not supported"
        )
    bits = table.count("bits", "w_bit", "nbits", "weight_bits", "num_bits")
    if bits is None:
        raise InputError(f"{table.where}: quantization_config.bits is missing")
    group = table.get("group_size", "q_group_size")
    extra = 0.0
    if group is not None and group != -1:
        size = table.need("group_size", "q_group_size")
        extra = (SCALE_BITS + (bits if zero_points else 0)) / size
    if table.flag("lm_head"):
        raise InputError(f"{table.where}: quantization_config.lm_head: true is not supported")
    return _everywhere((bits + extra) / 8)


def _awq(table: Keys) -> Method:
    return _grouped(table, table.get("zero_point") is not False)


def _gptq(table: Keys) -> Method:
    table.get("sym")
    return _grouped(table, True)


def _auto_round(table: Keys) -> Method:
    return _grouped(table, table.get("sym") is not True)


def _hqq(table: Keys) -> Method:
    """Integers with a scale and a zero point a group, of 16 bits each."""
    inner = table.table("quant_config").table("weight_quant_params")
    said = inner if inner.data else table
    bits = said.count("nbits", "bits")
    if bits is None:
        raise InputError(f"{table.where}: quantization_config: no nbits in weight_quant_params")
    size = said.count("group_size") if said.get("group_size") is not None else None
    said.get("axis", "channel_wise")
    return _everywhere((bits + (2 * SCALE_BITS / size if size else 0)) / 8)


def _mlx(table: Keys) -> Method:
    """Integers with a scale and a bias a group, both halves; embeddings too."""
    if table.text("mode") not in (None, "affine"):
        raise table.wrong("quantization.mode", table.get("mode"), "'affine'")
    own = [name for name, value in table.data.items() if isinstance(value, (dict, bool))]
    if own:
        raise InputError(f"{table.where}: quantization.{own[0]}: bits of its own: not supported")
    size = (table.need("bits") + 2 * SCALE_BITS / table.need("group_size")) / 8
    return lambda names, expert: size


def _fp8(table: Keys) -> Method:
    """A byte a weight, and a 4-byte scale a block."""
    block = table.get("weight_block_size")
    if block is None:
        return _everywhere(1.0)
    try:
        rows, columns = (int(each) for each in block)
        return _everywhere(1.0 + 4 / (rows * columns))
    except (TypeError, ValueError, ZeroDivisionError):
        raise table.wrong("quantization_config.weight_block_size", block, "two numbers") from None


def _bitsandbytes(table: Keys) -> Method:
    four, eight = table.flag("load_in_4bit"), table.flag("load_in_8bit")
    if four and not eight:
        table.get("bnb_4bit_quant_type")
        # A 4-byte scale for 64 weights; with double quantisation a byte, and 4 bytes for 256.
        scale = 8 / 64 + 32 / (64 * 256) if table.flag("bnb_4bit_use_double_quant") else 32 / 64
        return _everywhere((4 + scale) / 8)
    if eight and not four:
        table.get("bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
        return _everywhere(1.0)
    raise InputError(f"{table.where}: quantization_config: load_in_4bit or load_in_8bit is missing")


def _mxfp4(table: Keys) -> Method:
    """Experts only: 4 bits, and a byte of scale for 32 of them."""
    return lambda names, expert: 0.53125 if expert else None


def _modelopt(table: Keys) -> Method:
    algorithm = table.text("quant_algo")
    inner = table.table("quantization")
    if algorithm is None:
        algorithm = inner.text("quant_algo")
    table.get("config_groups")
    sizes = {"FP8": 1.0, "FP8_PER_CHANNEL_PER_TOKEN": 1.0, "INT8_SQ": 1.0, "W8A16": 1.0,
             "FP8_PB_WO": 1.0, "MXFP8": 1.03125}  # fmt: skip
    group = table.count("group_size") or inner.count("group_size")
    if algorithm == "NVFP4" or algorithm == "NVFP4_AWQ":
        return _everywhere((4 + 8 / (group or 16)) / 8)
    if algorithm in ("W4A16_AWQ", "W4A8_AWQ"):
        return _everywhere((4 + SCALE_BITS / (group or 128)) / 8)
    if algorithm not in sizes:
        raise table.wrong(
            "quantization_config.quant_algo", algorithm, ", ".join([*sizes, "NVFP4", "W4A16_AWQ"])
        )
    return _everywhere(sizes[algorithm])


def _compressed_tensors(table: Keys) -> Method:
    groups = table.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise table.wrong("quantization_config.config_groups", groups, "a table of groups")
    found: list[tuple[list[str], float | None]] = []
    for name, group in groups.items():
        where = f"quantization_config.config_groups.{name}"
        if not isinstance(group, dict):
            raise table.wrong(where, group, "a table")
        targets, weights = group.get("targets"), group.get("weights")
        if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
            raise table.wrong(f"{where}.targets", targets, "a list of names")
        found.append((targets, _compressed(table, f"{where}.weights", weights)))

    def bytes_in(names: tuple[str, ...], expert: bool) -> float | None:
        if names[0].split(".")[-1] == "embed_tokens":
            return None
        for targets, size in found:
            if "Linear" in targets or any(matches(t, n) for t in targets for n in names):
                return None if names[0] == "lm_head" and "Linear" not in targets else size
        return None

    # The output projection is a Linear too, which nearly every config excludes; those that name
    # none of their exclusions leave it alone as the quantisers do.
    if not any(table.data.get(name) for name in EXCLUDED):
        return lambda names, expert: None if names[0] == "lm_head" else bytes_in(names, expert)
    return bytes_in


def _compressed(table: Keys, where: str, weights: Any) -> float | None:
    """Bytes of a weight of a group of compressed-tensors."""
    if weights is None:
        return None
    if not isinstance(weights, dict):
        raise table.wrong(where, weights, "a table")
    bits, group = weights.get("num_bits"), weights.get("group_size")
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 16:
        raise table.wrong(f"{where}.num_bits", bits, "a number of bits")
    extra = 0.0
    if group is not None and group != -1:
        if isinstance(group, bool) or not isinstance(group, int) or group < 1:
            raise table.wrong(f"{where}.group_size", group, "a number of weights")
        scale = 8 if weights.get("type") == "float" and bits == 4 else SCALE_BITS
        extra = (scale + (0 if weights.get("symmetric", True) else bits)) / group
    return (bits + extra) / 8


def _quark(table: Keys) -> Method:
    whole = table.get("global_quant_config")
    weight = whole.get("weight") if isinstance(whole, dict) else None
    if table.given("layer_quant_config"):
        raise InputError(f"{table.where}: quantization_config.layer_quant_config: not supported")
    kinds = {"fp8_e4m3": 8, "int8": 8, "fp4": 4, "int4": 4, "uint4": 4}
    kind = weight.get("dtype") if isinstance(weight, dict) else None
    if not isinstance(weight, dict) or kind not in kinds:
        raise table.wrong("quantization_config.global_quant_config", kind, ", ".join(kinds))
    group = weight.get("group_size")
    scale = 8 if weight.get("scale_format") == "e8m0" else SCALE_BITS
    extra = scale / group if isinstance(group, int) and group > 0 else 0.0
    return _everywhere((kinds[kind] + extra) / 8)


METHODS: dict[str, Callable[[Keys], Method]] = {
    "awq": _awq,
    "gptq": _gptq,
    "gptq_marlin": _gptq,
    "auto-round": _auto_round,
    "intel/auto-round": _auto_round,
    "mlx": _mlx,
    "hqq": _hqq,
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "compressed-tensors": _compressed_tensors,
    "quark": _quark,
    "experts_int8": lambda table: lambda names, expert: 1.0 if expert else None,
    "eetq": lambda table: _everywhere(1.0),
    "bitnet": lambda table: _everywhere(0.25),
}
