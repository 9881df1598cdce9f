"""The file of `hmsim workload calibrate`: a spec, what may be changed in it, what is wanted."""

from typing import Annotated

from pydantic import Field, model_validator

from hmsim.config.base import Count, Layers, Strict, counted
from hmsim.config.workload import WorkloadSpec

Range = Annotated[tuple[float, float], Field(min_length=2)]


class FitSpec(Strict):
    """A search: ranges by key of `[workload]` (dotted), and the size of the trials."""

    parameters: dict[str, Range] = Field(min_length=1)
    """Least and greatest value to try, by dotted key of `[workload]`."""
    layers: Layers = 2
    """Layers of a trial."""
    steps: Annotated[int, counted("tokens", 2)] = 150
    """Token steps of a trial."""
    evaluations: Count = 120
    """Trials, at most."""

    @model_validator(mode="after")
    def _rising(self) -> "FitSpec":
        for name, (low, high) in self.parameters.items():
            if not low < high:
                raise ValueError(f"parameters.{name}: the range must rise")
        return self


class CalibrationSpec(Strict):
    """Targets: values, or ranges [low, high], of the statistics that `workload info` reports.

    A statistic is named by its path in the JSON of `workload info`: `overlap`, `union.12`,
    `lru.0.2`.
    """

    workload: WorkloadSpec
    """Where the search starts."""
    fit: FitSpec
    """What may be changed, and how long to search."""
    targets: dict[str, float | Range] = Field(min_length=1)
    """A value, to be met to 1 %, or a range, for each statistic."""
