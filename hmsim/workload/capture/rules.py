"""Which blocks a rule reads, from the attention of one token in one layer.

Attention mass is what softmax gives, the token's own share included; chosen are past tokens alone.
Among equals the newest comes first.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.config.capture import RuleSpec
from hmsim.workload.capture.llama import F32

Flags = NDArray[np.bool_]


class Attention(NamedTuple):
    """One token in one layer: G groups of M heads, D channels, n past tokens."""

    query: F32  # [G, M, D]
    mass: F32  # [G, M, n]
    extremes: dict[int, tuple[F32, F32]]  # by tokens of a page: least and largest key, [G, P, D]

    @property
    def past(self) -> int:
        return self.mass.shape[2]


def lanes(spec: RuleSpec, groups: int) -> int:
    """Layers of the trace that a layer of the model becomes."""
    return groups if spec.heads == "groups" else 1


def select(spec: RuleSpec, seen: Attention) -> Flags:
    """The blocks read: flags [lanes, blocks]."""
    size = spec.block_tokens
    if spec.rule == "window":
        age = seen.past - np.arange(seen.past)
        chosen = ((age <= (spec.window or 0)) | (age > seen.past - spec.sink))[None]
        return _any(chosen, size)
    if spec.rule == "quest":
        score, wanted = _bound(spec, seen), (spec.budget or 0) // size
    else:
        score, wanted = _mean(spec, seen.mass), spec.budget or 0
        if spec.rule == "pages":
            score, wanted = _sums(score, size), wanted // size
        elif spec.rule == "share":
            wanted = kept(spec.sparsity or 0.0, seen.past)
    best = np.stack([top(row, wanted) for row in score])
    if spec.rule in ("tokens", "share"):
        best = _any(best, size)
    if spec.heads == "union":
        best = np.logical_or.reduce(best, axis=0, keepdims=True)
    return best


def held(spec: RuleSpec, chosen: Flags, mass: F32) -> float:
    """Attention mass on the tokens of the chosen blocks, the mean over heads."""
    tokens = np.repeat(chosen, spec.block_tokens, axis=1)[:, None, : mass.shape[2]]
    return float((mass * tokens).sum() / (mass.shape[0] * mass.shape[1]))


def kept(sparsity: float, past: int) -> int:
    """Tokens chosen of so many past ones: the share that is left, rounded up, of the sequence with
    the new token, as the founding paper's real trace counts."""
    return min(past, int(np.ceil(round((1 - sparsity) * (past + 1), 6))))


def top(score: F32, wanted: int) -> Flags:
    """Flags of the `wanted` highest scores [n]; the newest of those equal to the last one."""
    if wanted >= score.size:
        return np.ones(score.size, np.bool_)
    edge = np.partition(score, score.size - wanted)[score.size - wanted]
    best = score > edge
    equal = np.flatnonzero(score == edge)
    best[equal[equal.size - (wanted - np.count_nonzero(best)) :]] = True
    return best


def extremes(keys: F32, size: int) -> tuple[F32, F32]:
    """Least and largest key of each page of `size` tokens, channel by channel: keys [G, n, D]."""
    starts = np.arange(0, keys.shape[1], size)
    return np.minimum.reduceat(keys, starts, axis=1), np.maximum.reduceat(keys, starts, axis=1)


def _mean(spec: RuleSpec, values: F32) -> F32:
    """[1, n] over all heads, or [G, n] over those of a group, of [G, M, n]."""
    mean: F32 = values.mean(axis=1)
    return mean.mean(axis=0, keepdims=True) if spec.heads == "mean" else mean


def _bound(spec: RuleSpec, seen: Attention) -> F32:
    """Quest's bound on the logits in each page (arXiv 2406.10774): channel by channel the larger
    of the products with the least and with the largest key."""
    least, most = (each.swapaxes(1, 2) for each in seen.extremes[spec.block_tokens])
    zero = np.float32(0)
    bound: Any = np.maximum(seen.query, zero) @ most + np.minimum(seen.query, zero) @ least
    return _mean(spec, bound)


def _sums(values: F32, size: int) -> F32:
    return np.add.reduceat(values, np.arange(0, values.shape[1], size), axis=1)


def _any(chosen: Flags, size: int) -> Flags:
    if size == 1:
        return chosen
    return np.logical_or.reduceat(chosen, np.arange(0, chosen.shape[1], size), axis=1)
