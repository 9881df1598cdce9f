"""The forward pass of a llama-type decoder, in NumPy.

A layer is attention and a feed-forward network, each on the RMS-normed sum of what came before
(arXiv 2302.13971). Attention has fewer key and value heads than query heads: query heads
[g M, (g + 1) M) share KV head g, together a *group*. Queries and keys are turned by their token's
position before they meet (RoPE, arXiv 2104.09864): channels 2 i and 2 i + 1 of a head are one
plane, as the llama architecture of GGUF orders them.

Matrix products are BLAS's; with a prompt they are large and take all cores, with a single token
they are bound by memory and best left to one thread (`session` sees to it).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

# Of one token and layer: queries [G, M, D] as they meet the keys, scaled; keys [G, N, D]; attention
# weights [G, M, N]. The last of the N keys is the token's own.
Look = Callable[[int, F32, F32, F32], None]


class Shape(NamedTuple):
    """Sizes of a model, and its two constants."""

    layers: int
    heads: int
    groups: int  # KV heads
    channels: int  # of a head
    width: int
    inner: int  # of the feed-forward network
    vocabulary: int
    context: int  # tokens, at most
    epsilon: float  # of the norms


class Layer(NamedTuple):
    """Weights of a layer; matrices are [outputs, inputs]."""

    attention_norm: F32
    query_key_value: F32  # the rows of all three
    attention_out: F32
    inner_norm: F32
    gate_up: F32  # the rows of both
    down: F32


class Llama(NamedTuple):
    """A decoder: what `forward` takes."""

    shape: Shape
    frequencies: F32  # [D / 2] radians a position
    embedding: F32  # [vocabulary, width]
    layers: list[Layer]
    norm: F32
    head: F32  # [vocabulary, width]


def cache_shape(shape: Shape, tokens: int) -> tuple[int, int, int, int, int]:
    """Of the keys (0) and values (1) of so many tokens: [layers, 2, G, tokens, D]."""
    return shape.layers, 2, shape.groups, tokens, shape.channels


def forward(model: Llama, tokens: I64, start: int, cache: F32, look: Look | None = None) -> F32:
    """Run tokens start, start + 1, ... through the model; the logits after the last one.

    Args:
        model: The model.
        tokens: Their numbers, [n].
        start: How many tokens came before; their keys and values are in the cache.
        cache: float32 of `cache_shape`; those of these tokens are written.
        look: Shown every layer's attention, if there is one token.

    Returns:
        Logits, float32 [vocabulary].
    """
    shape = model.shape
    end = start + tokens.size
    turn = rotation(model.frequencies, np.arange(start, end))
    x = model.embedding[tokens]
    for number, layer in enumerate(model.layers):
        x += _attention(shape, layer, turn, start, x, cache[number], number, look)
        gate_up = _normed(x, layer.inner_norm, shape.epsilon) @ layer.gate_up.T
        gate, up = gate_up[:, : shape.inner], gate_up[:, shape.inner :]
        with np.errstate(over="ignore"):  # exp(-gate) of a gate that is shut
            x += (gate / (1 + np.exp(-gate)) * up) @ layer.down.T
    logits: F32 = model.head @ _normed(x[-1], model.norm, shape.epsilon)
    return logits


def _attention(
    shape: Shape,
    layer: Layer,
    turn: tuple[F32, F32],
    start: int,
    x: F32,
    cache: F32,
    number: int,
    look: Look | None,
) -> F32:
    """What the layer's attention adds to x [n, width]; cache [2, G, tokens, D] gets its tokens."""
    n, groups, channels = x.shape[0], shape.groups, shape.channels
    shared = shape.heads // groups
    edges = shape.heads * channels, (shape.heads + groups) * channels
    mixed: F32 = _normed(x, layer.attention_norm, shape.epsilon) @ layer.query_key_value.T
    query, key, value = mixed[:, : edges[0]], mixed[:, edges[0] : edges[1]], mixed[:, edges[1] :]
    cache[0, :, start : start + n] = _turned(key.reshape(n, groups, channels), turn).swapaxes(0, 1)
    cache[1, :, start : start + n] = value.reshape(n, groups, channels).swapaxes(0, 1)
    keys, values = cache[0, :, : start + n], cache[1, :, : start + n]

    query = _turned(query.reshape(n, shape.heads, channels), turn)
    query *= np.float32(channels**-0.5)
    query = query.reshape(n, groups, shared, channels).transpose(1, 2, 0, 3)
    weights: F32 = query.reshape(groups, shared * n, channels) @ keys.swapaxes(1, 2)
    if n > 1:  # no token sees a later one
        own = weights.reshape(groups, shared, n, start + n)[..., start:]
        own[..., np.triu(np.ones((n, n), np.bool_), 1)] = -np.inf
    weights -= weights.max(axis=2, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=2, keepdims=True)
    if look is not None and n == 1:
        look(number, query[:, :, 0], keys, weights)
    heads: Any = (weights @ values).reshape(groups, shared, n, channels).transpose(2, 0, 1, 3)
    added: F32 = heads.reshape(n, -1) @ layer.attention_out.T
    return added


def rotation(frequencies: F32, positions: I64) -> tuple[F32, F32]:
    """Cosine and sine of every position's and plane's angle, [n, 1, D / 2]."""
    angle = positions[:, None, None] * frequencies.astype(np.float64)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _turned(x: F32, turn: tuple[F32, F32]) -> F32:
    """x [n, heads, D], each plane of channels turned by its position's angle."""
    cosine, sine = turn
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * cosine - odd * sine
    turned[..., 1::2] = even * sine + odd * cosine
    return turned


def _normed(x: F32, weight: F32, epsilon: float) -> F32:
    """x [.., width] over the root of its mean square, times a weight a channel."""
    square = np.mean(x * x, axis=-1, keepdims=True)
    normed: F32 = x / np.sqrt(square + np.float32(epsilon)) * weight
    return normed
