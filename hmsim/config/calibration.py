"""The file of `hmsim workload calibrate`: a spec, what may be changed in it, what is wanted."""

from typing import Annotated

from pydantic import Field, model_validator

from hmsim.config.base import Strict
from hmsim.config.workload import WorkloadSpec

Range = Annotated[tuple[float, float], Field(min_length=2)]


class FitSpec(Strict):
    """A search: ranges by key of `[workload]` (dotted), and the size of the trials."""

    parameters: dict[str, Range]
    layers: int = Field(default=2, ge=1)  # of a trial
    steps: int = Field(default=150, ge=2)  # token steps of a trial
    evaluations: int = Field(default=120, ge=1)  # at most

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
    fit: FitSpec
    targets: dict[str, float | Range]
