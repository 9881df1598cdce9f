"""A whole run: every policy over every step of a workload, and the result file it leaves.

The stream is read once. While the policies work on one window, each in a thread of its own, the
next is being generated; kernels release the GIL. Sampled groups of steps go through the memory
kernels as they come by.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numba
import numpy as np

from hmsim.config.model import resolve_model
from hmsim.config.run import ReplaySpec, RunSpec, data_files
from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError, PolicyError
from hmsim.memory.timing import tick_seconds
from hmsim.memory.warm import WarmUp
from hmsim.placement.latency import Groups, analytic_rates, peak_bandwidth, pin_rates
from hmsim.placement.policies.plugin import Allow
from hmsim.progress import nothing
from hmsim.results.schema import ResultWriter
from hmsim.simulate import overlap
from hmsim.simulate.certify import Certifier
from hmsim.simulate.joules import joules_of
from hmsim.simulate.memories import Memories
from hmsim.simulate.policies import check_memories, make_policy
from hmsim.simulate.ran import Ran, achievable_of, record_of, traits_of
from hmsim.simulate.sampling import LEAST, Sampling
from hmsim.simulate.track import Track
from hmsim.workload.open import open_workload
from hmsim.workload.steps import Geometry, Steps, Workload, group_starts, within
from hmsim.workload.warmup import Counted, apart
from hmsim.workload.windows import Window, windows

SAMPLE_BYTES = 128e6  # of sampled placements that a policy holds at once
WINDOWS = 16  # of a run, at least, where the sample follows from what it tells

Progress = Callable[[int], None]  # more steps done


def execute(
    spec: RunSpec, path: Path | None, progress: Progress = nothing, allow_plugins: Allow = False,
    begin: Progress = nothing, tell: Callable[[str], None] = nothing,
    workload: Workload | None = None,
) -> Ran:  # fmt: skip
    """Run `spec`, writing the result file `path` (if any) as it goes.

    `begin` is told how many steps there are, and `tell` a line on the search for a bound now and
    then. `allow_plugins`: which policies of users' own may be imported. `workload`: to run in place
    of the one that `spec` describes. Raises InputError before anything is written where the input is
    wrong, ProgramError where a result contradicts itself;
    KeyboardInterrupt leaves the finished steps in the file.
    """
    kernels = "hmsim.simulate.replay_kernel"
    with WarmUp(spec.replay.fidelity != "analytic", kernels) as warm_up:
        return _execute(spec, path, progress, allow_plugins, begin, tell, workload, warm_up)


def _execute(
    spec: RunSpec, path: Path | None, progress: Progress, allow_plugins: Allow, begin: Progress,
    tell: Callable[[str], None], given: Workload | None, warm_up: WarmUp,
) -> Ran:  # fmt: skip
    began = time.perf_counter()
    options = spec.policies.options
    chosen = []
    for name in spec.policies.names:
        with _blaming(name):
            chosen.append(make_policy(name, options.get(name), allow_plugins))
    check_memories(spec.system)
    whole = given if given is not None else open_workload(spec.workload)
    workload = Counted(whole, spec.workload.warmup)
    geometry = workload.geometry
    begin(whole.geometry.steps)
    variant, barrier = spec.latency.variant, spec.latency.barrier
    rates, capacity = analytic_rates(spec.system), spec.system.hbm.capacity
    barriers = geometry.steps if barrier == "layer" else geometry.steps // geometry.lanes
    joules = joules_of(spec.system, geometry.block_bytes, spec.energy.data)
    tracks: list[Track] = []
    memories = None
    for policy in chosen:
        policy.tell = tell
        with _blaming(policy.name):
            run = policy.start(whole, capacity, rates, variant, barrier, spec.policies.prompt)
        memories = _memories(spec, workload, warm_up, memories)
        sampling = _sampling(spec, geometry, barriers)
        tracks.append(Track(policy, run, geometry, sampling, memories, joules))
    ahead = max((track.policy.ahead_tokens for track in tracks), default=0)
    certifier = Certifier(
        spec.bound, workload, capacity, rates, pin_rates(spec.system), spec.latency,
        spec.replay.fidelity != "analytic", tell,
    )  # fmt: skip
    most_rows = np.inf
    if spec.replay.fidelity != "analytic":
        most_rows = _most_rows(spec.replay, geometry)

    attributes = _attributes(spec, workload)
    token_steps = tokens = 0
    with _writer(path, tracks, geometry.steps, attributes, spec) as writer:
        with overlap.pool() as pool:
            for window, counts in overlap.ahead(_windows(whole, workload.warmup, ahead, most_rows)):
                if not counts:
                    for warmed in [pool.submit(_warm_up, track, window) for track in tracks]:
                        warmed.result()
                    progress(window.rows)
                    continue
                steps = window.own
                groups = Groups.of(steps, barrier)
                token_steps += len(group_starts(steps.token, "token"))
                tokens += _decoded(workload, steps)
                own = workload.own(steps)
                certified = pool.submit(certifier.feed, own, groups)
                done = [pool.submit(_window, track, window, groups) for track in tracks]
                for policy_row, future in enumerate(done):
                    variables = future.result()
                    if writer is not None:
                        writer.append(policy_row, variables)
                if writer is not None:
                    writer.steps(own.first, own.token, own.lane)
                certified.result()
                progress(window.rows)
        bounds, outcomes = certifier.bounds(), [track.outcome() for track in tracks]
        attributes["bound_iterations"] = certifier.iterations
        if certifier.achievable_s is not None:
            attributes["bound_achievable_s"] = achievable_of(certifier.achievable_s, outcomes)
        attributes["wall_s"] = time.perf_counter() - began
        record = record_of(attributes, outcomes, bounds, token_steps, tokens)
        if writer is not None:
            writer.finish(record, certifier.history)
    return Ran(workload, token_steps, tokens, outcomes, bounds, record)


@contextmanager
def _blaming(policy: str) -> Iterator[None]:
    """What is wrong meanwhile is wrong with this policy alone."""
    try:
        yield
    except InputError as error:
        raise PolicyError(str(error), policy) from None


def _warm_up(track: Track, window: Window) -> None:
    with _blaming(track.policy.name):
        track.warm_up(window)


def _window(track: Track, window: Window, groups: Groups) -> dict[str, np.ndarray]:
    with _blaming(track.policy.name):
        return track.window(window, groups)


def _windows(
    whole: Workload, warmup: int, ahead: int, most_rows: float
) -> Iterator[tuple[Window, bool]]:
    """All windows, and whether they count; none is both warm-up and not."""
    for window in windows(whole, ahead, most_rows):
        yield from apart(window, warmup)


def _memories(
    spec: RunSpec, workload: Workload, warm_up: WarmUp, like: Memories | None
) -> Memories | None:
    """A policy's own memories, where the run replays at all; `like`: those of another one."""
    if spec.replay.fidelity == "analytic":
        return None
    outstanding = spec.replay.outstanding or spec.system.outstanding
    return Memories(spec.system, outstanding, spec.replay.fidelity, workload, warm_up, like)


def _sampling(spec: RunSpec, geometry: Geometry, groups: int) -> Sampling:
    """The draws of a policy's sample; all policies' alike."""
    rows = geometry.steps // groups
    most = max(1, int(SAMPLE_BYTES / (2 * rows * _sample_bytes(geometry))))  # each after another
    replay = spec.replay
    return Sampling(groups, replay.sample, replay.error, replay.seed, most)


def _most_rows(replay: ReplaySpec, geometry: Geometry) -> float:
    """Rows of a window: so few that its sample fits in memory, or that what they tell comes early
    enough for the sample to follow."""
    if replay.sample > 0 or replay.error == 0:
        return SAMPLE_BYTES / _sample_bytes(geometry) * max(1, replay.sample / 2)
    return max(geometry.steps // WINDOWS, LEAST)


def _sample_bytes(geometry: Geometry) -> int:
    """Of the two placements of a step that is replayed."""
    return 2 * 8 * geometry.lanes * geometry.words


def _decoded(workload: Workload, steps: Steps) -> int:
    """Tokens decoded: sequences that append in each token step, one where none is known to."""
    rows = group_starts(steps.token, "token")
    first, last = steps.append_offset[rows], steps.append_offset[rows + 1]
    entry = np.repeat(first, last - first) + within(last - first)
    step = np.repeat(np.arange(len(rows)), last - first)
    block = steps.lane[rows][step] * workload.geometry.slots + steps.append_slot[entry]
    _, sequence, _ = workload.locate(block)
    pairs = np.unique(step * workload.geometry.sequences + sequence)
    return len(pairs) + int((first == last).sum())


def _attributes(spec: RunSpec, workload: Counted) -> dict[str, Any]:
    """What a result says of its run as a whole, as far as it is known before the first step."""
    geometry = workload.geometry
    return {
        "title": spec.title,
        "config": spec.as_toml(),
        "seed": spec.workload.seed,
        "system": spec.system.describe(),
        "fidelity": spec.replay.fidelity,
        "energy_data": spec.energy.data,
        "workload_title": workload.title,
        "workload_steps": geometry.steps,
        "workload_warmup_steps": workload.warmup,
        "workload_layers": geometry.layers,
        **_cut_short(spec.workload, geometry),
        "workload_sequences": geometry.sequences,
        "workload_block_bytes": geometry.block_bytes,
        "workload_tokens_per_block": geometry.tokens_per_block,
        "workload_seed": workload.seed,
        "bound_method": spec.bound.method,
        "bound_variant": spec.latency.variant,
        "bound_barrier": spec.latency.barrier,
        "peak_bandwidth_GBps": peak_bandwidth(spec.system) / 1e9,
        **{
            f"{name}_{key}": value
            for name, side in (("hbm", spec.system.hbm), ("dram", spec.system.dram))
            for key, value in (
                ("tick_s", tick_seconds(side.spec)),
                ("data_buses", side.own_channels * side.spec.organization.pseudo_channels),
            )
        },
        "numba": numba.__version__,
        "numpy": np.__version__,
    }


def _cut_short(spec: WorkloadSpec, geometry: Geometry) -> dict[str, float]:
    """Of a model of which only some layers are decoded: all of its layers, and what is resident."""
    if spec.trace is not None or spec.layers is None:
        return {}
    layers = resolve_model(spec.model).layers
    if layers == spec.layers:
        return {}
    return {
        "workload_model_layers": layers, "workload_resident_bytes": float(geometry.resident_bytes),
    }  # fmt: skip


def _writer(
    path: Path | None,
    tracks: list[Track],
    steps: int,
    attributes: dict[str, Any],
    spec: RunSpec,
) -> AbstractContextManager[ResultWriter | None]:
    if path is None:
        return nullcontext()
    outcomes = [track.outcome() for track in tracks]
    names = [outcome.name for outcome in outcomes]
    inputs = data_files(spec.model_dump())
    return ResultWriter(path, names, traits_of(outcomes), steps, attributes, inputs)
