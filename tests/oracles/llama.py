"""A small random llama, and its forward pass written out one token, head and channel at a time."""

import math

import numpy as np

from hmsim.workload.capture.llama import Layer, Llama, Shape

SHAPE = Shape(
    layers=2, heads=4, groups=2, channels=6, width=10, inner=14, vocabulary=23, context=64,
    epsilon=1e-5,
)  # fmt: skip


def random_llama(seed: int = 0, shape: Shape = SHAPE) -> Llama:
    draw = np.random.default_rng(seed)

    def matrix(*size):
        return (draw.standard_normal(size) * 1.5 / math.sqrt(size[-1])).astype(np.float32)

    def norm():
        return draw.uniform(0.5, 1.5, shape.width).astype(np.float32)

    across, kv = shape.heads * shape.channels, shape.groups * shape.channels
    layers = [
        Layer(
            norm(),
            matrix(across + 2 * kv, shape.width),
            matrix(shape.width, across),
            norm(),
            matrix(2 * shape.inner, shape.width),
            matrix(shape.width, shape.inner),
        )
        for _ in range(shape.layers)
    ]
    plane = np.arange(shape.channels // 2)
    frequencies = (100.0 ** (-2 * plane / shape.channels)).astype(np.float32)
    embedding = draw.standard_normal((shape.vocabulary, shape.width)).astype(np.float32)
    return Llama(
        shape, frequencies, embedding, layers, norm(), matrix(shape.vocabulary, shape.width)
    )


def run(model: Llama, tokens) -> tuple[np.ndarray, list[list[dict]]]:
    """Logits after each token, and [token][layer] query, keys so far and attention by head."""
    shape = model.shape
    heads, groups, channels = shape.heads, shape.groups, shape.channels
    keys = [[] for _ in range(shape.layers)]
    values = [[] for _ in range(shape.layers)]
    logits, seen = [], []
    for position, token in enumerate(tokens):
        x = model.embedding[token].astype(float)
        seen.append([])
        for number, layer in enumerate(model.layers):
            mixed = layer.query_key_value @ normed(x, layer.attention_norm, shape.epsilon)
            parts = mixed.reshape(heads + 2 * groups, channels)
            query = [turned(model, part, position) for part in parts[:heads]]
            keys[number].append([turned(model, p, position) for p in parts[heads : heads + groups]])
            values[number].append(parts[heads + groups :])
            out, weights = [], []
            for head in range(heads):
                group = head // (heads // groups)
                logit = [query[head] @ key[group] / math.sqrt(channels) for key in keys[number]]
                share = np.exp(np.array(logit) - max(logit))
                share /= share.sum()
                weights.append(share)
                out.append(sum(w * v[group] for w, v in zip(share, values[number], strict=True)))
            x = x + layer.attention_out @ np.concatenate(out)
            both = layer.gate_up @ normed(x, layer.inner_norm, shape.epsilon)
            gate, up = both[: shape.inner], both[shape.inner :]
            x = x + layer.down @ (gate / (1 + np.exp(-gate)) * up)
            seen[-1].append(
                {
                    "query": np.array(query),
                    "keys": np.array(keys[number]),
                    "mass": np.array(weights),
                }
            )
        logits.append(model.head @ normed(x, model.norm, shape.epsilon))
    return np.array(logits), seen


def normed(x, weight, epsilon):
    return x / math.sqrt(sum(x * x) / len(x) + epsilon) * weight


def turned(model: Llama, part, position):
    out = part.copy()
    for plane, frequency in enumerate(model.frequencies):
        angle = position * float(frequency)
        even, odd = part[2 * plane], part[2 * plane + 1]
        out[2 * plane] = even * math.cos(angle) - odd * math.sin(angle)
        out[2 * plane + 1] = even * math.sin(angle) + odd * math.cos(angle)
    return out
