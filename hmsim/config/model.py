"""Language models as data: what decoding one token reads and keeps.

A preset gives the public architecture fields (those of a Hugging Face `config.json`), from which
the sizes follow; a size that is given directly wins over the derived one.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hmsim.config import toml
from hmsim.config.base import Bytes, Count, Layers, Strict, Tokens, counted, load, preset


class Experts(Strict):
    """The mixture-of-experts part of a model: `active` of `count` experts serve each token."""

    count: Count
    """Routed experts of a layer."""
    active: Count
    """Routed experts that serve a token."""
    ffn: Annotated[int, counted("elements")]
    """Inner width of one expert."""
    shared_ffn: Annotated[int, counted("elements", 0)] = 0
    """Inner width of what every token passes through."""
    dense_layers: Annotated[int, counted("layers", 0)] = 0
    """Layers, from the first, with the plain `ffn` instead of experts."""


class LlmModel(Strict):
    """Architecture and sizes of one model. Widths in elements, sizes in bytes."""

    title: str = ""
    """A name for people."""
    source: str = ""
    """Where the numbers come from."""
    layers: Layers
    """Number of layers."""
    hidden: Annotated[int, counted("elements")] | None = None
    """Width of the hidden state."""
    heads: Count | None = None
    """Query heads of a layer."""
    kv_heads: Count | None = None
    """Key and value heads of a layer; as many as query heads unless given."""
    head_dim: Annotated[int, counted("elements")] | None = None
    """Width of a head; `hidden / heads` unless given."""
    ffn: Annotated[int, counted("elements")] | None = None
    """Inner width of the feed-forward block."""
    gated: bool = True
    """Whether a feed-forward block has three matrices, or two."""
    vocab: Annotated[int, counted("tokens")] | None = None
    """Size of the vocabulary."""
    tied_embeddings: bool = False
    """Whether the output projection is the input embedding."""
    latent: Annotated[int, counted("elements")] | None = None
    """Multi-head latent attention: elements kept for each token and layer."""
    attention_parameters: Count | None = None
    """Parameters of a layer's attention, where they are not those of q, k, v and o."""
    window: Tokens | None = None
    """Tokens that a windowed layer can see."""
    window_layers: Literal["none", "all", "alternate"] = "none"
    """Which layers are windowed."""
    experts: Experts | None = None
    """Experts of each layer, in a mixture-of-experts model."""
    element_bytes: float = Field(default=2.0, gt=0, json_schema_extra={"unit": "bytes"})
    """Size of a weight."""
    kv_element_bytes: float = Field(default=2.0, gt=0, json_schema_extra={"unit": "bytes"})
    """Size of an element of the KV cache."""

    kv_bytes_per_token_layer: Bytes | None = None
    """KV of one token in one layer, instead of what the shape says."""
    weight_bytes_step: Bytes | None = None
    """Weights read once a layer step, whatever the batch, instead of what the shape says."""
    resident_bytes: Bytes | None = None
    """Weights that occupy HBM throughout, instead of what the shape says."""

    @model_validator(mode="after")
    def _sizes_can_be_told(self) -> Self:
        if self.experts is not None and self.experts.active > self.experts.count:
            raise ValueError("experts.active is above experts.count")
        shape = {"hidden", "heads", "ffn", "vocab"}
        missing = sorted(name for name in shape if getattr(self, name) is None)
        sizes = (self.kv_bytes_per_token_layer, self.weight_bytes_step, self.resident_bytes)
        if missing and None in sizes:
            raise ValueError(
                f"give {', '.join(missing)}, or all of kv_bytes_per_token_layer, "
                "weight_bytes_step and resident_bytes"
            )
        if (self.window is None) != (self.window_layers == "none"):
            raise ValueError("window and window_layers belong together")
        return self

    @property
    def kv_bytes(self) -> int:
        """Bytes of KV that one token leaves in one layer."""
        if self.kv_bytes_per_token_layer is not None:
            return round(self.kv_bytes_per_token_layer)
        if self.latent is not None:
            return round(self.latent * self.kv_element_bytes)
        return round(2 * (self.kv_heads or self._heads) * self._head_dim * self.kv_element_bytes)

    def weights_step(self, batch: int = 1) -> float:
        """Bytes of weights read in one layer step by a batch of `batch` sequences.

        The mean over the layers, with the output projection's share. Of `count` experts, a batch
        whose tokens choose `active` each, independently, is expected to touch
        `count * (1 - (1 - active/count)**batch)`.
        """
        if self.weight_bytes_step is not None:
            return self.weight_bytes_step
        touched = 0.0
        if self.experts is not None:
            idle = (1 - self.experts.active / self.experts.count) ** batch
            touched = self.experts.count * (1 - idle)
        parameters = self._body_parameters(touched) + self._vocab * self._hidden
        return parameters * self.element_bytes / self.layers

    @property
    def resident(self) -> float:
        """Bytes of all weights."""
        if self.resident_bytes is not None:
            return self.resident_bytes
        body = self._body_parameters(self.experts.count if self.experts else 0)
        embeddings = self._vocab * self._hidden * (1 if self.tied_embeddings else 2)
        return (body + embeddings) * self.element_bytes

    def layer_window(self, layer: int) -> int | None:
        """Tokens that `layer` can see; None where it sees the whole context."""
        windowed = self.window_layers == "all" or (
            self.window_layers == "alternate" and layer % 2 == 0
        )
        return self.window if windowed else None

    def _body_parameters(self, experts: float) -> float:
        """Parameters of all layers, `experts` experts counted where a layer has them."""
        attention = self.attention_parameters
        if attention is None:
            kv = (self.kv_heads or self._heads) * self._head_dim
            attention = 2 * self._hidden * (self._heads * self._head_dim + kv)
        matrices = (3 if self.gated else 2) * self._hidden
        dense = matrices * (self.ffn or 0)
        if self.experts is None:
            return self.layers * (attention + dense)
        sparse = matrices * (experts * self.experts.ffn + self.experts.shared_ffn)
        first = min(self.experts.dense_layers, self.layers)
        return self.layers * attention + first * dense + (self.layers - first) * sparse

    # Set wherever they are used: the validator above saw to it.
    @property
    def _hidden(self) -> int:
        return self.hidden or 0

    @property
    def _heads(self) -> int:
        return self.heads or 0

    @property
    def _head_dim(self) -> int:
        return self.head_dim or self._hidden // max(self._heads, 1)

    @property
    def _vocab(self) -> int:
        return self.vocab or 0


def model(name: str) -> LlmModel:
    """The preset `name`; InputError names the nearest known one."""
    return load(LlmModel, preset("model", name), f"model {name}")


def resolve_model(given: str | LlmModel) -> LlmModel:
    """A preset by name, or the model itself."""
    return model(given) if isinstance(given, str) else given


def as_toml(model: LlmModel) -> str:
    """The model as a preset file."""
    return toml.dumps(model.model_dump(exclude_defaults=True))
