"""The `[workload]` table: which blocks are read at which step, as a spec or as a trace file."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hmsim.config.base import BytesOrZero, SecondsOrZero, Strict, load
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
Count = Annotated[int, Field(ge=1, le=10**12)]
Share = Annotated[float, Field(ge=0, le=1)]


class SyntheticRequests(Strict):
    """Requests from distributions: Poisson arrivals, log-normal lengths."""

    count: Count
    rate: float = Field(default=1.0, gt=0)  # requests a second
    prompt_median: Count = 2048  # tokens
    prompt_sigma: float = Field(default=1.0, ge=0)  # of the logarithm
    output_median: Count = 256
    output_sigma: float = Field(default=0.7, ge=0)
    longest: Count = 131072  # prompt and output together are cut to this


class RequestsSpec(Strict):
    """A batch of sequences from requests, decoded with continuous batching."""

    path: str | None = None  # a file of real requests
    format: Literal["mooncake", "azure", "vidur"] | None = None  # None: told from the content
    synthetic: SyntheticRequests | None = None  # or made-up ones
    batch: Count = 64  # sequences at once, at most
    token_limit: Count | None = None  # of the running sequences' prompts and outputs together
    steps: Count = 256  # decode steps (tokens of each sequence)
    skip: int = Field(default=0, ge=0)  # requests to leave out at the start
    step_time: SecondsOrZero = 0.0  # of one decode step; 0: every request is waiting at step 0
    share_prefixes: bool = True  # equal hash ids are the same blocks

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("give path (a file of requests) or [workload.requests.synthetic]")
        return self


class ScoresSpec(Strict):
    """A latent importance score a page, and what is selected by it.

    score = popularity + slow + flicker - recency * floor(log2(age in pages)). The popularity of a
    page lasts, exponentially distributed; the slow part is redrawn once in `slow_steps` tokens,
    the flicker once in `flicker_steps`, both normal. Give one of budget, keep and mass.
    """

    budget: Count | None = None  # tokens read, sink and window included
    keep: float | None = Field(default=None, gt=0, le=1)  # share of the pages, likewise
    mass: float | None = Field(
        default=None, gt=0, le=1
    )  # share of the mass outside sink and window
    spread: float = Field(default=1.0, gt=0)  # mass of a page is exp(spread * score)
    sink: int = Field(default=0, ge=0)  # tokens at the start that are always read
    window: int = Field(default=0, ge=0)  # tokens at the end that are always read
    popularity: float = Field(default=1.0, ge=0)  # scale
    slow: float = Field(default=0.0, ge=0)  # standard deviation
    slow_steps: Count = 256
    flicker: float = Field(default=0.0, ge=0)  # standard deviation
    flicker_steps: Count = 8
    recency: float = Field(default=0.0, ge=0)
    phase_steps: int = Field(default=0, ge=0)  # mean length of a phase in tokens; 0: one phase
    reselect: Count = 1  # tokens between selections
    dense_layers: int = Field(default=0, ge=0)  # layers (the first ones) that read everything
    heads: Count = 1  # groups of heads, each of which chooses for itself
    streaming_heads: int = Field(default=0, ge=0)  # of them, those that read sink and window only
    layer_correlation: Share = 0.0  # of scores in two layers
    head_correlation: Share = 0.0  # of scores in two head groups, beyond what layers share

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum(rule is not None for rule in (self.budget, self.keep, self.mass)) != 1:
            raise ValueError("give one of budget (tokens), keep (share of pages), mass (share)")
        if self.budget is not None and self.sink + self.window > self.budget:
            raise ValueError("sink and window are above the budget")
        if self.streaming_heads > self.heads:
            raise ValueError("streaming_heads is above heads")
        return self


class StreamingSpec(Strict):
    """Sink and local window only, in every layer. In tokens."""

    sink: int = Field(default=4, ge=0)
    window: Count = 1024


class MatrixSpec(Strict):
    """Attention scores from a file: an array [step, layer, past token] or [.., head, past token].

    Scores of tokens that do not exist yet at a step are ignored; a head group's score of a page is
    the largest of its tokens', a layer reads what any head chose.
    """

    path: str  # .npz, or HDF5
    dataset: str = "scores"
    budget: Count | None = None  # tokens
    keep: float | None = Field(default=None, gt=0, le=1)  # share of the pages
    mass: float | None = Field(default=None, gt=0, le=1)  # share of the sum of scores

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum(rule is not None for rule in (self.budget, self.keep, self.mass)) != 1:
            raise ValueError("give one of budget (tokens), keep (share of pages), mass (share)")
        return self


CHURN_KEYS = {"sparsity", "drift", "reach"}


class WorkloadSpec(Strict):
    """What the generator makes. A sequence's steps are (token n, layer), n outer."""

    trace: str | None = None  # a trace file instead of everything below
    kind: Literal["churn", "scores", "streaming", "dense", "matrix"] = "churn"
    title: str = ""
    source: str = ""  # where the numbers come from
    model: ModelChoice = "llama-3.1-8b"
    layers: Count | None = None  # instead of the model's
    block_tokens: Count = 1
    index_bytes: BytesOrZero = 0.0  # read a past token and layer step to select, from HBM
    seed: int = Field(default=1, ge=0, lt=2**63)

    tokens: tuple[Count, Count] | None = None  # first and last n of every sequence
    copies: Count = 1  # sequences with those tokens, decoded together
    requests: RequestsSpec | None = None  # or a batch of sequences

    # kind = "churn"
    sparsity: float = Field(default=0.6, ge=0, lt=1)  # share of the past that is not read
    drift: Share = 0.1  # at most this share of the read set is swapped a step
    reach: Share = 0.95  # how far back the newest part goes: 0 the read set's size, 1 everything
    # other kinds
    scores: ScoresSpec | None = None
    streaming: StreamingSpec | None = None
    matrix: MatrixSpec | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.model_fields_set
        if self.trace is not None:
            others = sorted(given - {"trace", "title"})
            if others:
                raise ValueError(f"trace excludes {', '.join(others)}")
            return self
        if (self.tokens is None) == (self.requests is None):
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
