"""From a `[workload]` table to a Workload."""

from pathlib import Path

from hmsim.config import toml
from hmsim.config.model import resolve_model
from hmsim.config.workload import RequestsSpec, WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload.batch import Schedule, schedule, single
from hmsim.workload.churn import Churn
from hmsim.workload.generator import Generated
from hmsim.workload.requests import Requests, read_requests
from hmsim.workload.stream import Workload
from hmsim.workload.trace import TraceWorkload


def open_workload(spec: WorkloadSpec, base: Path = Path()) -> Workload:
    """The workload that `spec` describes; its relative paths start at the folder `base`.

    Raises InputError for a missing or malformed file, and for a spec that asks the impossible.
    """
    if spec.trace is not None:
        return TraceWorkload(base / spec.trace)
    model = resolve_model(spec.model)
    lanes = spec.layers or model.layers
    plan = _schedule(spec, base)

    def select() -> Churn:
        return Churn(plan, lanes, spec.sparsity, spec.drift, spec.reach, spec.seed)

    text = toml.dumps({"workload": spec.model_dump(exclude_unset=True)})
    return Generated(plan, select, model, lanes, _title(spec, model.title), text, spec.seed)


def _schedule(spec: WorkloadSpec, base: Path) -> Schedule:
    if spec.tokens is not None:
        return single(*spec.tokens, spec.block_tokens)
    assert spec.requests is not None  # WorkloadSpec saw to it
    given = spec.requests
    requests = _requests(given, base)
    return schedule(requests, spec.block_tokens, given.batch, given.steps, given.step_time)


def _requests(given: RequestsSpec, base: Path) -> Requests:
    requests = read_requests(base / given.path, given.format)
    if given.skip >= len(requests.prompt):
        raise InputError(
            f"workload.requests.skip: {given.skip} leaves none of the "
            f"{len(requests.prompt)} requests of {given.path}"
        )
    kept = slice(given.skip, None)
    arrival = requests.arrival_s[kept]
    return Requests(
        arrival - arrival[0], requests.prompt[kept], requests.output[kept], requests.hashes[kept]
    )


def _title(spec: WorkloadSpec, model: str) -> str:
    if spec.title:
        return spec.title
    what = f"{spec.kind}, {100 * spec.sparsity:g} % sparse"
    return f"{model or 'a model'}, {what}"
