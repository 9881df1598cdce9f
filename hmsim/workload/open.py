"""From a `[workload]` table to a Workload."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from hmsim import machine
from hmsim.config.base import load, read_toml
from hmsim.config.catalogue import find
from hmsim.config.model import LlmModel, resolve_model
from hmsim.config.run import check_others, with_model_at
from hmsim.config.workload import RequestsSpec, ScoresSpec, StreamingSpec, WorkloadSpec
from hmsim.errors import InputError
from hmsim.workload.batch import Schedule, alike, schedule
from hmsim.workload.churn import Churn
from hmsim.workload.generator import Generated
from hmsim.workload.matrix import Matrix, read_matrix
from hmsim.workload.requests import (
    Requests,
    read_requests,
    synthetic_requests,
    write_requests,
)
from hmsim.workload.scores import Scores, check_budget
from hmsim.workload.selection import Selection
from hmsim.workload.steps import Workload
from hmsim.workload.trace import TraceWorkload

SINK = 4  # tokens that kind streaming always reads at the start, whose blocks it takes whole
# Bytes of memory, about, at the peak of a run: a block (its bit in a few bitsets, and its number in
# a policy's lists of moves), a sequence in a layer, a token on its way through a schedule.
BLOCK_BYTES, SEQUENCE_BYTES, STEP_BYTES = 2, 200, 150


def open_workload(
    spec: WorkloadSpec | Mapping[str, Any] | str | Path, base: Path = Path()
) -> Workload:
    """The workload that a spec, the table of one, or a file describes.

    Args:
        spec: A validated spec; or a `[workload]` table as a dict; or the path of a TOML file with
            such a table, whose relative paths start at its own folder, or a name of `hmsim workload
            list`; or the path of a trace file.
        base: The folder at which relative paths start, that of `spec` among them.

    Returns:
        The workload. Its steps are made, or read, as `chunks()` is gone through.

    Raises:
        InputError: A file is missing or malformed, or the spec is, or it asks the impossible.
    """
    if isinstance(spec, Mapping):
        spec = load(WorkloadSpec, dict(spec), "workload")
    if not isinstance(spec, WorkloadSpec):
        spec, base = _spec_of_file(Path(find(spec, base)))
    if spec.trace is not None:
        return TraceWorkload(base / spec.trace)
    model = resolve_model(spec.model)
    lanes = spec.layers or model.layers
    plan = _schedule(spec, base, lanes)
    return Generated(
        plan,
        _selection(spec, plan, model, lanes, base),
        model,
        lanes,
        title=spec.title or f"{model.title or 'a model'}, {_describe(spec)}",
        toml=tomli_w.dumps({"workload": spec.model_dump(exclude_unset=True, exclude_none=True)}),
        seed=spec.seed,
        index_bytes=spec.index_bytes,
    )


def _spec_of_file(path: Path) -> tuple[WorkloadSpec, Path]:
    """The spec of a TOML file or of a trace, and the folder at which its relative paths start."""
    if path.suffix != ".toml":
        return WorkloadSpec(trace=path.name), path.parent
    return load_spec(with_model_at(read_toml(path), path.parent), str(path)), path.parent


def _selection(
    spec: WorkloadSpec, plan: Schedule, model: LlmModel, lanes: int, base: Path
) -> Callable[[], Selection]:
    """How to start the process afresh; whatever is wrong with the spec is found here."""
    if spec.kind == "churn":
        if any(model.layer_window(layer) for layer in range(lanes)):
            default = "" if "kind" in spec.model_fields_set else " (the default)"
            raise InputError(
                f"workload.kind: 'churn'{default} knows no windowed layers; take 'scores'"
            )
        return lambda: Churn(plan, lanes, spec.sparsity, spec.drift, spec.reach, spec.seed)
    if spec.kind == "matrix":
        assert spec.matrix is not None  # WorkloadSpec saw to it
        given, steps = spec.matrix, (plan.steps, lanes, int((plan.prompt + plan.stop).max()) - 1)
        scores = read_matrix(base / given.path, given.dataset, steps)
        windows = [model.layer_window(layer) for layer in range(lanes)]
        return lambda: Matrix(plan, scores, given, windows)
    scores_spec = _scores(spec, lanes)
    check_budget(scores_spec, plan, spec.kind)
    return lambda: Scores(plan, model, lanes, scores_spec, spec.seed)


def _scores(spec: WorkloadSpec, lanes: int) -> ScoresSpec:
    """The scores process that `kind` stands for; nothing is chosen by score but in 'scores'."""
    if spec.kind == "dense":
        return ScoresSpec(keep=1.0, dense_layers=lanes)
    if spec.kind == "streaming":
        only = spec.streaming or StreamingSpec()
        sink = only.sink
        if sink is None:
            sink = -(-SINK // spec.block_tokens) * spec.block_tokens
        return ScoresSpec(keep=1.0, streaming_heads=1, sink=sink, window=only.window)
    assert spec.scores is not None  # WorkloadSpec saw to it
    return spec.scores


def _need_memory(
    spec: WorkloadSpec, lanes: int, tokens: float, sequences: int, decoded: int
) -> None:
    """InputError, before anything is allocated, for a workload that does not fit.

    `tokens`: of all sequences together at their ends, `decoded`: of those, made one by one.
    """
    slots = tokens / spec.block_tokens + 64 * sequences
    process = 1  # bytes of a block: bits; or parts of scores, levels, choices
    if spec.kind == "scores" and spec.scores is not None:
        process = (26 + 8 * spec.scores.slow_parts) * spec.scores.heads
    size = lanes * slots * (process + BLOCK_BYTES) + SEQUENCE_BYTES * sequences * lanes
    size += STEP_BYTES * decoded
    what = f"workload: {lanes:,} layers, {sequences:,} sequences, {tokens:,.0f} tokens"
    machine.need_memory(size, what)


def _schedule(spec: WorkloadSpec, base: Path, lanes: int) -> Schedule:
    if spec.tokens is not None:
        first, last = spec.tokens
        copies = spec.copies
        _need_memory(spec, lanes, copies * (last + 1), copies, copies * (last + 1 - first))
        return alike(*spec.tokens, spec.copies, spec.block_tokens)
    assert spec.requests is not None  # WorkloadSpec saw to it
    given = spec.requests
    requests = requests_of(given, base, spec.seed)
    count = len(requests.prompt)
    decoded = min(int(requests.output.sum()), given.steps * min(given.batch, count))
    started = min(count, min(given.batch, count) + decoded)
    tokens = int(requests.prompt[:started].sum()) + decoded
    _need_memory(spec, lanes, tokens, started, decoded)
    return schedule(
        requests,
        spec.block_tokens,
        given.batch,
        given.steps,
        given.step_time,
        given.token_limit,
    )


def requests_of(given: RequestsSpec, base: Path, seed: int) -> Requests:
    """The requests of `[workload.requests]`, those skipped left out."""
    if given.path is not None:
        requests = read_requests(
            base / given.path, given.format, given.hash_tokens, given.no_output
        )
    else:
        assert given.synthetic is not None  # RequestsSpec saw to it
        requests = synthetic_requests(given.synthetic, seed)
    if given.skip >= len(requests.prompt):
        raise InputError(
            f"workload.requests.skip: {given.skip} leaves none of the "
            f"{len(requests.prompt)} requests"
        )
    kept, after, wait = slice(given.skip, None), requests.after, requests.wait_s
    arrival, hashes = requests.arrival_s[kept], requests.hashes[kept]
    if not given.share_prefixes:
        hashes = [()] * len(hashes)
    return requests._replace(
        arrival_s=arrival - arrival[0],
        prompt=requests.prompt[kept],
        output=requests.output[kept],
        hashes=hashes,
        # Who followed one that is skipped comes by itself.
        after=None if after is None else np.maximum(after[kept] - given.skip, -1),
        wait_s=None if wait is None else wait[kept],
    )


def save_requests(
    spec: WorkloadSpec, base: Path, form: str, path: Path, inputs: Iterable[str | Path] = ()
) -> None:
    """Write the requests of a spec for another tool: a key of `hmsim.workload.requests.WRITERS`.

    Raises InputError for a spec without requests.
    """
    if spec.requests is None:
        raise InputError(f"format {form!r}: needs a spec with [workload.requests]")
    write_requests(requests_of(spec.requests, base, spec.seed), form, path, inputs)


def _describe(spec: WorkloadSpec) -> str:
    if spec.kind == "churn":
        return f"churn, {100 * spec.sparsity:g} % sparse"
    rule = spec.scores or spec.matrix
    if rule is None:
        return spec.kind
    if rule.budget is not None:
        return f"{spec.kind}, {rule.budget} tokens"
    return f"{spec.kind}, {100 * (rule.keep or rule.mass or 0):g} % of the {_what(rule.mass)}"


def _what(mass: float | None) -> str:
    return "blocks" if mass is None else "attention mass"


def load_spec(data: dict[str, Any], source: str) -> WorkloadSpec:
    """The `[workload]` table of a TOML file's plain data, for those who need nothing else."""
    table = data.get("workload")
    if not isinstance(table, dict):
        raise InputError(f"{source}: no table [workload]")
    spec = load(WorkloadSpec, table, f"{source}: workload")
    check_others(data, source, "workload")
    return spec
