"""Language models as data: what decoding one token reads and keeps, layer by layer.

A preset gives the public architecture fields (those of a Hugging Face `config.json`), from which
the sizes follow; a size that is given directly wins over the derived one. Where layers differ,
`kinds` names what is different in each kind of layer and `pattern` says which layer is of which.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import tomli_w
from pydantic import Field, model_validator

from hmsim.config.base import (
    Bytes,
    BytesOrZero,
    Strict,
    counted,
    load,
    preset,
    preset_names,
    read_toml,
)
from hmsim.errors import InputError, did_you_mean

MOST = 2**48 - 1  # of anything that is counted
Count = Annotated[int, Field(ge=1, le=MOST)]
Elements = Annotated[int, counted("elements", 1, MOST)]
ElementsOrZero = Annotated[int, counted("elements", 0, MOST)]
Parameters = Annotated[int, counted("parameters", 0, MOST)]
LayersOrZero = Annotated[int, counted("layers", 0, MOST)]
ElementBytes = Annotated[float, Field(gt=0, le=16, json_schema_extra={"unit": "bytes"})]

OTHER_BYTES = 2.0  # of a parameter that no quantisation touches: routers, norms, biases
PLAIN = "plain"  # in a pattern: a layer that is as the model's own keys say
_RUN = re.compile(r"\s*(?:(\d+)\s+)?([A-Za-z][\w-]*)\s*")


class Experts(Strict):
    """The mixture-of-experts part of a model: `active` of `count` experts serve each token."""

    count: Count
    """Routed experts of a layer."""
    active: Count
    """Routed experts that serve a token."""
    ffn: Elements
    """Inner width of one expert."""
    shared_ffn: ElementsOrZero = 0
    """Inner width of what every token passes through."""
    dense_layers: LayersOrZero = 0
    """Layers, from the first, with the plain `ffn` instead of experts."""
    router_parameters: Parameters = 0
    """Parameters a layer of what chooses the experts; 2 bytes each, however weights are quantised."""
    hidden: Elements | None = None
    """Width that the experts work at; the model's unless given."""
    element_bytes: ElementBytes | None = None
    """Size of an expert's weight; the model's unless given."""
    shared_element_bytes: ElementBytes | None = None
    """Size of a weight of what every token passes through; the model's unless given."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.active > self.count:
            raise ValueError("experts.active is above experts.count")
        return self


class LayerKeys(Strict):
    """What may differ from layer to layer. Widths in elements, sizes in bytes."""

    heads: Count | None = None
    """Query heads of a layer."""
    kv_heads: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """Key and value heads of a layer, as many as query heads unless given; 0: the layer keeps no KV."""
    head_dim: Elements | None = None
    """Width of a head; `hidden / heads` unless given."""
    value_dim: Elements | None = None
    """Width of a head's V, where it is not `head_dim`."""
    latent: Elements | None = None
    """Multi-head latent attention: elements kept for each token and layer."""
    attention_parameters: Parameters | None = None
    """Parameters of a layer's attention, where they are not those of q, k, v and o."""
    window: Annotated[int, counted("tokens", 0, MOST)] | None = None
    """Tokens that a windowed layer can see; 0: all of them."""
    state_bytes: BytesOrZero | None = None
    """What a layer keeps for each sequence, whatever its length (Mamba and its kin)."""
    ffn: ElementsOrZero | None = None
    """Inner width of the feed-forward block."""
    sparse: bool | None = None
    """Whether experts serve the layer where the model has some; false: the plain `ffn`."""
    experts: Experts | None = None
    """Experts of each layer, in a mixture-of-experts model."""
    other_parameters: Parameters | None = None
    """Parameters of norms, biases and the like; 2 bytes each, however weights are quantised."""
    element_bytes: ElementBytes | None = None
    """Size of a weight."""
    attention_element_bytes: ElementBytes | None = None
    """Size of a weight of attention, where it is not that of the rest."""
    kv_bytes_per_token_layer: BytesOrZero | None = None
    """KV of one token in one layer, instead of what the shape says."""


class Layer(NamedTuple):
    """One layer, its sizes told. Parameters as counts, the rest in bytes."""

    window: int  # tokens that it can see; 0: all of them
    kv_bytes: int  # that a token leaves
    state_bytes: float  # that a sequence keeps, whatever its length
    sparse: bool  # experts serve it
    parameters: int
    fixed_bytes: float  # weights read at every step, those of experts apart
    experts: int  # routed ones
    active: int
    expert_ffn: int  # inner width of one
    shared_ffn: int  # inner width that every token passes through
    unit_parameters: int  # of one expert, for every unit of its inner width
    unit_bytes: float
    shared_unit_bytes: float

    @property
    def expert_parameters(self) -> int:
        """Of one routed expert."""
        return self.unit_parameters * self.expert_ffn

    def expert_bytes(self, touched: float) -> float:
        """Weights of `touched` routed experts, and of what every token passes through."""
        if self.shared_unit_bytes == self.unit_bytes:
            return self.unit_bytes * (touched * self.expert_ffn + self.shared_ffn)
        routed = self.unit_bytes * (touched * self.expert_ffn)
        return routed + self.shared_unit_bytes * self.shared_ffn


class LlmModel(LayerKeys):
    """Architecture and sizes of one model. Widths in elements, sizes in bytes."""

    title: str = ""
    """A name for people."""
    source: str = ""
    """Where the numbers come from."""
    layers: Annotated[int, counted("layers", 1, 100_000)]
    """Number of layers."""
    hidden: Elements | None = None
    """Width of the hidden state."""
    gated: bool = True
    """Whether a feed-forward block has three matrices, or two."""
    vocab: Annotated[int, counted("tokens", 1, MOST)] | None = None
    """Size of the vocabulary."""
    tied_embeddings: bool = False
    """Whether the output projection is the input embedding."""
    positions: Annotated[int, counted("tokens", 0, MOST)] = 0
    """Positions that have a learned embedding."""
    extra_parameters: Parameters = 0
    """Parameters that are resident and not read at every step, such as further tables of embeddings."""
    window_layers: Literal["none", "all", "alternate"] = "none"
    """Which layers are windowed: the model's own `window` goes with this key, a kind's does not."""
    embedding_element_bytes: ElementBytes | None = None
    """Size of a weight of the embeddings and the output projection; `element_bytes` unless given."""
    element_bytes: ElementBytes = 2.0
    """Size of a weight."""
    kv_element_bytes: ElementBytes = 2.0
    """Size of an element of the KV cache."""

    kinds: dict[str, LayerKeys] = {}
    """What is different in each kind of layer, in a table for each kind's name."""
    pattern: str | None = None
    """Kinds in order, repeated up to `layers`, such as "5 local, global"; `plain` is no kind's."""

    kv_bytes_per_token_layer: Bytes | None = None
    """KV of one token in one layer, instead of what the shape says."""
    weight_bytes_step: Bytes | None = None
    """Weights read once a layer step, whatever the batch, instead of what the shape says."""
    resident_bytes: Bytes | None = None
    """Weights that occupy HBM throughout, instead of what the shape says."""

    @model_validator(mode="after")
    def _sizes_can_be_told(self) -> Self:
        shape = {"hidden", "heads", "ffn", "vocab"} - ({"heads"} if self.kv_heads == 0 else set())
        missing = sorted(name for name in shape if getattr(self, name) is None)
        sizes = (self.kv_bytes_per_token_layer, self.weight_bytes_step, self.resident_bytes)
        if missing and None in sizes:
            raise ValueError(
                f"give {', '.join(missing)}, or all of kv_bytes_per_token_layer, "
                "weight_bytes_step and resident_bytes"
            )
        if (self.window is None) != (self.window_layers == "none"):
            raise ValueError("window and window_layers belong together")
        if bool(self.kinds) != (self.pattern is not None):
            raise ValueError("kinds and pattern belong together")
        names = set(self.kind_by_layer)
        idle = [kind for kind in self.kinds if kind not in names]
        if idle and len(self.kind_by_layer) == self.layers:
            raise ValueError(f"kinds.{idle[0]}: no layer of the pattern is of this kind")
        return self

    @cached_property
    def kind_by_layer(self) -> list[str]:
        """The kind of every layer; ValueError for a pattern that is malformed."""
        if self.pattern is None:
            return [PLAIN] * self.layers
        found: list[str] = []
        for run in self.pattern.split(","):
            match = _RUN.fullmatch(run)
            if match is None:
                raise ValueError(f"pattern: {run.strip()!r}: expected 'KIND' or 'COUNT KIND'")
            count, kind = int(match[1] or 1), match[2]
            if kind != PLAIN and kind not in self.kinds:
                raise ValueError(
                    f"pattern: {kind!r} is none of kinds{did_you_mean(kind, self.kinds)}"
                )
            found += [kind] * min(count, self.layers - len(found))
        if not found:
            raise ValueError("pattern: holds no layer")
        return [found[i % len(found)] for i in range(self.layers)]

    @cached_property
    def by_layer(self) -> list[Layer]:
        """Every layer with its sizes."""
        seen: dict[tuple[str, int, bool], Layer] = {}
        found = []
        for i, kind in enumerate(self.kind_by_layer):
            dense = self.experts is not None and i < self.experts.dense_layers
            key = (kind, self._own_window(i), dense)
            if key not in seen:
                seen[key] = self._layer(*key)
            found.append(seen[key])
        return found

    def layer(self, number: int) -> Layer:
        """Layer `number`; those beyond the last begin anew."""
        return self.by_layer[number % self.layers]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As of any pydantic model; what was told of the layers is told anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("kind_by_layer", "by_layer"):
            copied.__dict__.pop(name, None)
        return copied

    @property
    def kv_bytes(self) -> int:
        """Bytes of KV that one token leaves in one layer, where that is the same in all.

        Raises InputError for a model whose layers keep different amounts.
        """
        sizes = sorted({layer.kv_bytes for layer in self.by_layer})
        if len(sizes) > 1:
            raise InputError(f"model {self.title}: layers keep {sizes} bytes of KV a token")
        return sizes[0]

    def kv_unit(self, layers: int) -> int:
        """The largest size of which the first `layers` layers' KV bytes a token are multiples."""
        return gcd(*(self.layer(i).kv_bytes for i in range(layers)))

    def weights_step(self, batch: int = 1, layer: int | None = None) -> float:
        """Bytes of weights read in one layer step by a batch of `batch` sequences.

        Of `layer`, or the mean over the layers; with an even share of the output projection. Of
        `count` experts, a batch whose tokens choose `active` each, independently, is expected to
        touch `count * (1 - (1 - active/count)**batch)`.
        """
        if self.weight_bytes_step is not None:
            return self.weight_bytes_step
        counts = Counter(self.by_layer) if layer is None else {self.layer(layer): self.layers}
        total = sum(count * each.fixed_bytes for each, count in counts.items())
        for each, count in counts.items():
            if each.sparse:
                idle = (1 - each.active / each.experts) ** batch
                touched = each.experts * (1 - idle)
                total += count * each.expert_bytes(touched)
        return (total + self._vocab * self._hidden * self._embedding_bytes) / self.layers

    @property
    def resident(self) -> float:
        """Bytes of all weights."""
        if self.resident_bytes is not None:
            return self.resident_bytes
        body = sum(each.fixed_bytes + each.expert_bytes(each.experts) for each in self.by_layer)
        embeddings = self._vocab * self._hidden * (1 if self.tied_embeddings else 2)
        embeddings += self.positions * self._hidden + self.extra_parameters
        return body + embeddings * self._embedding_bytes

    @property
    def parameters(self) -> int | None:
        """All of them; None where only sizes in bytes are given."""
        if self.vocab is None or self.hidden is None:
            return None
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        embeddings += self.positions * self.hidden + self.extra_parameters
        return embeddings + sum(
            each.parameters + each.experts * each.expert_parameters for each in self.by_layer
        )

    @property
    def active_parameters(self) -> int | None:
        """Those that one token is multiplied with: active experts, output projection, the rest."""
        if self.vocab is None or self.hidden is None:
            return None
        return self.vocab * self.hidden + sum(
            each.parameters + each.active * each.expert_parameters for each in self.by_layer
        )

    @property
    def windowed(self) -> bool:
        """Whether some layer sees a part of the context only."""
        return any(layer.window for layer in self.by_layer)

    def layer_window(self, layer: int) -> int | None:
        """Tokens that `layer` can see; None where it sees the whole context."""
        return self.layer(layer).window or None

    def describe(self) -> dict[str, Any]:
        """What was understood, as plain data; bytes, and tokens for windows."""
        return {
            "title": self.title,
            "source": self.source,
            "layers": self.layers,
            "kv_bytes_per_token": sum(layer.kv_bytes for layer in self.by_layer),
            "kv_bytes_by_layer": [layer.kv_bytes for layer in self.by_layer],
            "window_by_layer": [layer.window for layer in self.by_layer],
            "state_bytes_per_sequence": sum(layer.state_bytes for layer in self.by_layer),
            "state_bytes_by_layer": [layer.state_bytes for layer in self.by_layer],
            "sparse_by_layer": [layer.sparse for layer in self.by_layer],
            "parameters": self.parameters,
            "active_parameters": self.active_parameters,
            "resident_bytes": self.resident,
            "weight_bytes_per_token": self.weights_step() * self.layers,
        }

    def _own_window(self, layer: int) -> int:
        windowed = self.window_layers == "all" or (
            self.window_layers == "alternate" and layer % 2 == 0
        )
        return (self.window or 0) if windowed else 0

    def _layer(self, kind: str, window: int, dense: bool) -> Layer:
        own = self.kinds.get(kind)

        def of(name: str) -> Any:
            """A key of the kind, or else of the model."""
            value = getattr(own, name, None)
            return getattr(self, name) if value is None else value

        hidden, heads = self._hidden, of("heads") or 0
        head_dim = of("head_dim") or hidden // max(heads, 1)
        value_dim = of("value_dim") or head_dim
        kv_heads = heads if of("kv_heads") is None else of("kv_heads")
        if of("kv_bytes_per_token_layer") is not None:
            kv = round(of("kv_bytes_per_token_layer"))
        elif of("latent") is not None and kv_heads:
            kv = round(of("latent") * self.kv_element_bytes)
        else:
            kv = round(kv_heads * (head_dim + value_dim) * self.kv_element_bytes)
        attention = of("attention_parameters")
        if attention is None:
            attention = hidden * (heads + kv_heads) * (head_dim + value_dim)
        element, other = of("element_bytes"), of("other_parameters") or 0
        fixed = attention * (of("attention_element_bytes") or element) + other * OTHER_BYTES
        parameters = attention + other
        experts = of("experts")
        matrices = (3 if self.gated else 2) * hidden
        sparse = experts is not None and not dense and of("sparse") is not False
        if not sparse:
            plain = matrices * (of("ffn") or 0)
            parameters, fixed = parameters + plain, fixed + plain * element
            unit, unit_bytes, shared_bytes, shared_ffn = 0, 0.0, 0.0, 0
        else:
            shared_ffn = experts.shared_ffn
            parameters += matrices * shared_ffn + experts.router_parameters
            fixed += experts.router_parameters * OTHER_BYTES
            shared_bytes = matrices * (experts.shared_element_bytes or element)
            unit = matrices // hidden * (experts.hidden or hidden)
            unit_bytes = unit * (experts.element_bytes or element)
        return Layer(
            window=window if own is None or own.window is None else own.window,
            kv_bytes=kv,
            state_bytes=of("state_bytes") or 0.0,
            sparse=sparse,
            parameters=parameters,
            fixed_bytes=fixed,
            experts=experts.count if sparse else 0,
            active=experts.active if sparse else 0,
            expert_ffn=experts.ffn if sparse else 0,
            unit_parameters=unit,
            unit_bytes=unit_bytes,
            shared_ffn=shared_ffn,
            shared_unit_bytes=shared_bytes,
        )

    # Set wherever they are used: the validator above saw to it.
    @property
    def _hidden(self) -> int:
        return self.hidden or 0

    @property
    def _vocab(self) -> int:
        return self.vocab or 0

    @property
    def _embedding_bytes(self) -> float:
        return self.embedding_element_bytes or self.element_bytes


def model(name: str) -> LlmModel:
    """The preset `name`; InputError names the nearest known one."""
    return load(LlmModel, preset("model", name), f"model {name}")


def is_path(given: str) -> bool:
    """Whether `given`, which stands where a model is named, is a file's path rather than a name."""
    return given.endswith((".toml", ".json")) or "/" in given


def read_model(path: str | Path) -> LlmModel:
    """The model of a TOML file (as `hmsim presets NAME` prints it) or of a `config.json`.

    Raises InputError for a file that is missing, malformed, or not understood.
    """
    if str(path).endswith(".json"):
        from hmsim.config.huggingface import from_hf

        return from_hf(Path(path))
    return load(LlmModel, read_toml(path), str(path))


def resolve_model(given: str | LlmModel) -> LlmModel:
    """A preset by name, the model of a file by its path, or the model itself."""
    if isinstance(given, LlmModel):
        return given
    if given not in preset_names("model") and is_path(given):
        return read_model(given)
    return model(given)


def as_toml(model: LlmModel) -> str:
    """The model as a preset file. Dotted keys only: it may be pasted under any table's header."""
    data = model.model_dump(exclude_defaults=True)
    first = ("title", "source", "layers", "hidden")
    ordered = {key: data.pop(key) for key in first if key in data} | data
    return "".join(_dotted(ordered, ""))


def _dotted(data: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        elif isinstance(value, dict):
            yield f"{prefix}{key} = {{}}\n"
        else:
            yield prefix + tomli_w.dumps({key: value})
