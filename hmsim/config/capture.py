"""A rule of `hmsim workload capture`: which blocks sparse attention reads at a step."""

from typing import Literal, Self

from pydantic import Field, model_validator

from hmsim.config.base import Strict, Tokens, TokensOrZero, load
from hmsim.errors import InputError

# Keys that each rule needs, those that it may have, and its tokens a block unless given.
_KEYS: dict[str, tuple[set[str], set[str], int]] = {
    "tokens": ({"budget"}, {"heads", "block_tokens"}, 1),
    "share": ({"sparsity"}, {"heads", "block_tokens"}, 1),
    "pages": ({"budget"}, {"heads", "block_tokens"}, 16),
    "quest": ({"budget"}, {"heads", "block_tokens"}, 16),
    "window": ({"window"}, {"sink", "block_tokens"}, 16),
}
RULES = tuple(_KEYS)


class RuleSpec(Strict):
    """One rule. A block is read as a whole, so one that holds a chosen token is read."""

    rule: Literal["tokens", "share", "pages", "quest", "window"]
    """tokens: those with the most attention mass. share: so many of them that `sparsity` is left
    out. pages: blocks with the most mass. quest: blocks with the highest bound on their tokens'
    logits. window: the first and the last tokens."""
    budget: Tokens | None = None
    """Tokens chosen (tokens), or held by the chosen blocks (pages, quest)."""
    sparsity: float | None = Field(default=None, ge=0, lt=1)
    """Share of the past tokens that is not chosen."""
    window: Tokens | None = None
    """Tokens at the end."""
    sink: TokensOrZero = 0
    """Tokens at the start."""
    block_tokens: Tokens = 1
    """Tokens of a block."""
    heads: Literal["mean", "union", "groups"] = "mean"
    """mean: by the mean over all heads. union: each KV head's group of heads chooses by its mean,
    and what any has chosen is read. groups: the same, each group being a layer of the trace."""

    @model_validator(mode="after")
    def _own_keys(self) -> Self:
        needed, allowed, _ = _KEYS[self.rule]
        given = self.model_fields_set - {"rule"}
        missing = [key for key in sorted(needed) if getattr(self, key) is None]
        if missing:
            raise ValueError(f"rule {self.rule} needs {missing[0]}=")
        foreign = sorted(given - needed - allowed)
        if foreign:
            raise ValueError(f"{foreign[0]} does not go with rule {self.rule}")
        if self.rule in ("pages", "quest") and self.budget % self.block_tokens:  # type: ignore[operator]
            raise ValueError(
                f"budget: {self.budget} tokens are no multiple of block_tokens, {self.block_tokens}"
            )
        return self

    @property
    def name(self) -> str:
        """A short name for titles and files: `pages-1024`, `share-0.8-union`."""
        number = next(x for x in (self.budget, self.sparsity, self.window) if x is not None)
        parts = [self.rule, f"{number:g}" if isinstance(number, float) else str(number)]
        if self.sink:
            parts.append(f"sink-{self.sink}")
        if self.block_tokens != _KEYS[self.rule][2]:
            parts.append(f"block-{self.block_tokens}")
        if self.heads != "mean":
            parts.append(self.heads)
        return "-".join(parts)


def parse_rule(text: str) -> RuleSpec:
    """The rule that `NAME,KEY=VALUE,...` says; InputError for what is wrong in it."""
    name, *settings = text.split(",")
    if name not in _KEYS:
        known = "; ".join(f"{rule},{min(keys[0])}=..." for rule, keys in _KEYS.items())
        raise InputError(f"--rule {text}: {name!r} is no rule; known: {known}")
    data: dict[str, object] = {"rule": name, "block_tokens": _KEYS[name][2]}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--rule {text}: {setting!r}: write KEY=VALUE")
        data[key] = value
    return load(RuleSpec, data, f"--rule {text}")
