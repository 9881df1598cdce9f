"""The `[workload]` table: which blocks are read at which step, as a spec or as a trace file."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hmsim.config.base import (
    BytesOrZero,
    Count,
    Layers,
    SecondsOrZero,
    Share,
    Strict,
    Tokens,
    TokensOrZero,
    counted,
    load,
)
from hmsim.config.enumerations import RequestFormat
from hmsim.config.model import LlmModel, is_path, read_model
from hmsim.errors import InputError


def _preset_or_table(value: object) -> object:
    """A table or a file is checked at once, so that its mistakes are named, not the union's."""
    try:
        if isinstance(value, dict):
            return load(LlmModel, value, "model")
        if isinstance(value, str) and is_path(value):
            return read_model(value)
    except InputError as error:
        raise ValueError(str(error).removeprefix("model: ")) from None
    if not isinstance(value, (str, LlmModel)):
        raise ValueError("expected the name of a preset, or a table, or the path of a file")
    return value


ModelChoice = Annotated[str | LlmModel, BeforeValidator(_preset_or_table)]


class SyntheticRequests(Strict):
    """Requests from distributions: Poisson arrivals, log-normal lengths."""

    count: Count
    """Number of requests."""
    rate: float = Field(default=1.0, gt=0, json_schema_extra={"unit": "1/s"})
    """Mean rate of arrivals."""
    prompt_median: Tokens = 2048
    """Median length of a prompt."""
    prompt_sigma: float = Field(default=1.0, ge=0)
    """Standard deviation of the natural logarithm of a prompt's length."""
    output_median: Tokens = 256
    """Median length of an output."""
    output_sigma: float = Field(default=0.7, ge=0)
    """Standard deviation of the natural logarithm of an output's length."""
    longest: Tokens = 131072
    """Prompt and output together are cut to this length."""


class RequestsSpec(Strict):
    """A batch of sequences from requests, decoded with continuous batching."""

    path: str | None = None
    """A file of real requests; relative to the folder of the configuration file."""
    format: RequestFormat | None = None
    """The file's format; told from its content unless given."""
    hash_tokens: Tokens | None = None
    """Tokens behind one hash id of the file; the format's own unless given, or what its numbers say."""
    no_output: Literal["leave-out", "refuse"] = "leave-out"
    """Requests without output (failures, in most traces): left out and counted, or refused."""
    synthetic: SyntheticRequests | None = None
    """Requests from distributions, instead of a file."""
    batch: Count = 64
    """Sequences that decode at once, at most."""
    token_limit: Tokens | None = None
    """Limit of the running sequences' prompts and outputs together."""
    steps: Annotated[int, counted("tokens")] = 256
    """Decode steps, in each of which every running sequence makes a token."""
    skip: int = Field(default=0, ge=0)
    """Requests to leave out at the start."""
    step_time: SecondsOrZero = 0.0
    """Time of a decode step, by which arrivals are paced; 0: every request waits at step 0."""
    share_prefixes: bool = True
    """Whether equal hash ids are the same blocks."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("give path (a file of requests) or [workload.requests.synthetic]")
        of_files = sorted(self.model_fields_set & {"format", "hash_tokens", "no_output"})
        if self.path is None and of_files:
            raise ValueError(f"{of_files[0]} goes with path, not with synthetic")
        return self


class ScoresSpec(Strict):
    """A latent importance score for each block, and what is selected by it.

    score = popularity + slow + flicker - recency * floor(log2(age in blocks)). The popularity of a
    block lasts, exponentially distributed; the slow part is redrawn once in `slow_steps` tokens,
    the flicker once in `flicker_steps`, both normal. Give one of budget, keep and mass; `recency`
    or `ages`.
    """

    budget: Tokens | None = None
    """Tokens read in a step by each sequence, sink and window included."""
    keep: float | None = Field(default=None, gt=0, le=1)
    """Share of the blocks that is read, sink and window included."""
    mass: float | None = Field(default=None, gt=0, le=1)
    """Share of the attention mass outside sink and window that the read blocks must reach."""
    spread: float = Field(default=1.0, gt=0)
    """A block's attention mass is exp(spread * score)."""
    sink: TokensOrZero = 0
    """Tokens at the start that are always read."""
    window: TokensOrZero = 0
    """Tokens at the end that are always read."""
    popularity: float = Field(default=1.0, ge=0)
    """Scale of the part of the score that lasts."""
    popularity_tail: float = Field(default=0.0, ge=0, le=2)
    """How far a few blocks stand out: x of the exponential part becomes x + tail (x^2 - 1)."""
    slow: float = Field(default=0.0, ge=0)
    """Standard deviation of the part that changes slowly."""
    slow_steps: Tokens = 256
    """Tokens after which the slow part is redrawn."""
    slow_parts: Annotated[int, Field(ge=1, le=8)] = 1
    """Parts of which the slow part is the sum, each redrawn more often than the one before."""
    slow_ratio: float = Field(default=6.0, gt=1)
    """How many times as often."""
    slow_fall: float = Field(default=1.0, gt=0)
    """Variance of a slow part over that of the one before."""
    flicker: float = Field(default=0.0, ge=0)
    """Standard deviation of the part that changes fast."""
    flicker_steps: Tokens = 8
    """Tokens after which the fast part is redrawn."""
    flicker_tail: float = Field(default=0.0, ge=0, le=2)
    """How rare and far the visits of the fast part are: normal x becomes x (1 + tail x^2), scaled
    to the same deviation."""
    recency: float = Field(default=0.0, ge=0)
    """What a doubling of a block's age takes off its score."""
    ages: list[float] | None = Field(default=None, min_length=1, max_length=32)
    """What a block's age takes off its score after 0, 1, 2, ... doublings; the last entry goes on."""
    burst: float = Field(default=0.0, ge=0, le=3)
    """Standard deviation of the logarithm of the flicker's own from time to time."""
    burst_steps: Tokens = 1
    """Tokens for which that stays."""
    burst_common: Share = 1.0
    """Correlation of that in two layers."""
    layer_spread: float = Field(default=0.0, ge=0, le=3)
    """Standard deviation of the logarithm of the flicker's own over layers."""
    phase_steps: TokensOrZero = 0
    """Mean length of a phase, at whose end all scores are redrawn; 0: one phase."""
    reselect: Tokens = 1
    """Tokens between selections."""
    dense_layers: Annotated[int, counted("layers", 0)] = 0
    """Layers, from the first, that read everything."""
    heads: Count = 1
    """Groups of heads, each of which selects for itself."""
    streaming_heads: int = Field(default=0, ge=0)
    """Of the head groups, those that read sink and window only."""
    layer_correlation: Share = 0.0
    """Correlation of a block's scores in two layers."""
    band_layers: Annotated[int, counted("layers")] = 8
    """Layers of a band: consecutive ones, which may have more in common than all layers."""
    band_correlation: Share = 0.0
    """Correlation of scores in two layers of a band, beyond what all layers share."""
    head_correlation: Share = 0.0
    """Correlation of scores in two head groups, beyond what layers share."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum(rule is not None for rule in (self.budget, self.keep, self.mass)) != 1:
            raise ValueError("give one of budget (tokens), keep (share of blocks), mass (share)")
        if self.budget is not None and self.sink + self.window > self.budget:
            raise ValueError("sink and window are above the budget")
        if self.ages is not None and "recency" in self.model_fields_set:
            raise ValueError("give recency (a doubling) or ages (each of them), not both")
        if self.streaming_heads > self.heads:
            raise ValueError("streaming_heads is above heads")
        return self


class StreamingSpec(Strict):
    """Sink and local window only, in every layer."""

    sink: TokensOrZero | None = None
    """Tokens at the start that are always read, in whole blocks; unless given as many as hold 4."""
    window: Tokens = 1024
    """Tokens at the end that are always read."""


class MatrixSpec(Strict):
    """Attention scores from a file: an array [step, layer, past token] or [.., head, past token].

    Scores of tokens that do not exist yet at a step are ignored; a head group's score of a block is
    the largest of its tokens', a layer reads what any head chose.
    """

    path: str
    """An .npz or HDF5 file; relative to the folder of the configuration file."""
    dataset: str = "scores"
    """Name of the array in the file."""
    budget: Tokens | None = None
    """Tokens read in a step."""
    keep: float | None = Field(default=None, gt=0, le=1)
    """Share of the blocks that is read."""
    mass: float | None = Field(default=None, gt=0, le=1)
    """Share of the sum of scores that the read blocks must reach."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum(rule is not None for rule in (self.budget, self.keep, self.mass)) != 1:
            raise ValueError("give one of budget (tokens), keep (share of blocks), mass (share)")
        return self


CHURN_KEYS = {"sparsity", "drift", "reach"}


class WorkloadSpec(Strict):
    """What the generator makes. A sequence's steps are (token n, layer), n outer."""

    trace: str | None = None
    """A trace file instead of everything else; relative to the configuration file's folder."""
    kind: Literal["churn", "scores", "streaming", "dense", "matrix"] = "churn"
    """How the blocks that a step reads are selected."""
    title: str = ""
    """A name for people."""
    source: str = ""
    """Where the numbers come from."""
    model: ModelChoice = "llama-3.1-8b"
    """What a token leaves and a step reads: a model preset's name, or a table of the same keys."""
    layers: Layers | None = None
    """Layers that are decoded; the model's unless given. Weights of all of them stay in HBM."""
    block_tokens: Tokens = 1
    """Tokens of a block."""
    index_bytes: BytesOrZero = 0.0
    """Bytes of an index read from HBM to select, for each past token and layer step."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """The same seed gives the same workload, at any number of threads."""

    tokens: tuple[Tokens, Tokens] | None = None
    """First and last token that every sequence decodes; token n has n tokens before it."""
    copies: Count = 1
    """Sequences with those tokens, decoded together."""
    warmup: TokensOrZero = 0
    """Tokens that each sequence decodes first: simulated, and in no time, gap or bound."""
    requests: RequestsSpec | None = None
    """A batch of sequences from requests, instead of `tokens`."""

    sparsity: float = Field(default=0.6, ge=0, lt=1)
    """Kind churn: share of the past that is not read."""
    drift: Share = 0.1
    """Kind churn: share of the read set that is swapped in a step, at most."""
    reach: Share = 0.95
    """Kind churn: how far back reads go; 0 the newest blocks only, 1 the whole past."""
    scores: ScoresSpec | None = None
    """Kind scores: the process that scores blocks."""
    streaming: StreamingSpec | None = None
    """Kind streaming: sink and window."""
    matrix: MatrixSpec | None = None
    """Kind matrix: a file of attention scores."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.model_fields_set
        if self.trace is not None:
            others = sorted(given - {"trace", "title", "warmup"})
            if others:
                raise ValueError(f"trace excludes {', '.join(others)}")
            return self
        if self.tokens is not None and self.requests is not None:
            raise ValueError("tokens excludes [workload.requests]")
        if self.tokens is None and self.requests is None:
            raise ValueError("give tokens (first and last n), or [workload.requests], or trace")
        if self.tokens is not None and self.tokens[0] > self.tokens[1]:
            raise ValueError("tokens: the first n is above the last")
        if self.requests is not None and "copies" in given:
            raise ValueError("copies goes with tokens, not with requests")
        own = {"churn": CHURN_KEYS, "dense": set[str]()}.get(self.kind, {self.kind})
        foreign = given & (CHURN_KEYS | {"scores", "streaming", "matrix"}) - own
        if foreign:
            raise ValueError(f"{sorted(foreign)[0]} does not go with kind = {self.kind!r}")
        if self.kind in ("scores", "matrix") and getattr(self, self.kind) is None:
            raise ValueError(f"kind = {self.kind!r} needs a table [workload.{self.kind}]")
        return self
