"""The `[workload]` table: which blocks are read at which step, as a spec or as a trace file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hmsim.config.base import SecondsOrZero, Strict
from hmsim.config.model import LlmModel

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class RequestsSpec(Strict):
    """A batch of sequences from real requests, decoded with continuous batching."""

    path: str
    format: Literal["mooncake", "azure", "vidur"] | None = None  # None: told from the content
    batch: Count = 64  # sequences at once, at most
    steps: Count = 256  # decode steps (tokens of each sequence)
    skip: int = Field(default=0, ge=0)  # requests of the file to leave out at its start
    step_time: SecondsOrZero = 0.0  # of one decode step; 0: every request is waiting at step 0


class WorkloadSpec(Strict):
    """What the generator makes. A sequence's steps are (token n, layer), n outer."""

    trace: str | None = None  # a trace file instead of everything below
    kind: Literal["churn"] = "churn"
    title: str = ""
    model: str | LlmModel = "llama-3.1-8b"
    layers: Count | None = None  # instead of the model's
    block_tokens: Count = 1
    seed: int = Field(default=1, ge=0)

    tokens: tuple[Count, Count] | None = None  # first and last n of the only sequence
    requests: RequestsSpec | None = None  # or a batch of sequences

    sparsity: float = Field(default=0.6, ge=0, lt=1)  # share of the past that is not read
    drift: Share = 0.1  # at most this share of the read set is swapped a step
    reach: Share = 0.95  # how far back the newest part goes: 0 the read set's size, 1 everything

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.trace is not None:
            others = sorted(self.model_fields_set - {"trace", "title"})
            if others:
                raise ValueError(f"trace excludes {', '.join(others)}")
        elif (self.tokens is None) == (self.requests is None):
            raise ValueError("give tokens (first and last n), or [workload.requests], or trace")
        if self.tokens is not None and self.tokens[0] > self.tokens[1]:
            raise ValueError("tokens: the first n is above the last")
        return self
