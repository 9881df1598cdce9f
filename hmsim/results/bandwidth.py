"""Effective bandwidths of a run, for serving simulators that take constants.

A simulator such as LLMServingSim knows a memory by one bandwidth. What placement and sparse reads
make of HBM, DRAM and link is that number's business: bytes over the time that they took, of the run
as a whole and step by step. docs/workloads.md says which constant goes where.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmsim.results.reader import ResultFile

FORMAT, VERSION = "hmsim-bandwidth", 1
BY = ("token", "step")  # a decode step of all layers, or of one layer
F64 = NDArray[np.float64]

_READS = ("attention_read_bytes", "weight_read_bytes")
_CARRIED = (*_READS, "append_write_bytes", "promotion_bytes", "demotion_bytes")
_TIERS = ("hbm", "dram")
_LINK = {"to_gpu": "link_to_gpu_bytes", "to_dram": "link_to_dram_bytes"}


def effective_bandwidth(result: ResultFile, by: str = "token") -> dict[str, Any]:
    """What each tier gave in a run, and in each of its steps, as plain data.

    Args:
        result: The run. Of one that was cut short, the finished steps count.
        by: "token": a step is a decode step, all layers together, which is what a serving simulator
            calls an iteration; "step": it is one of a layer.

    Returns:
        What `hmsim info RESULT.h5 --bandwidth` prints. By policy: `time_s`, and GB/s as `read_GBps`
        (attention and weights; `hbm`, `dram`, and `aggregate`, their sum), `carried_GBps` (`hbm`
        and `dram`, with appends and moves) and `link_GBps` (`to_gpu`, `to_dram`), by the analytic
        times; under `steps` the same as lists; under `replay`, where steps were replayed, the same
        of those steps over their replayed times.
    """
    attributes = result.attributes
    done = int(attributes["steps_done"])
    token, layer = result.steps("token")[:done], result.steps("layer")[:done]
    starts = np.arange(done)
    if by == "token":
        starts = np.flatnonzero(np.append(True, token[1:] != token[:-1])) if done else starts
    columns = {name: result.steps(name)[:, :done] for name in (*_CARRIED, *_LINK.values())}
    seconds, replayed = (result.steps(name)[:, :done] for name in ("time_s", "replay_time_s"))
    policies = {}
    for k, name in enumerate(result.policies):
        traffic = {each: values[k] for each, values in columns.items()}
        steps: dict[str, Any] = {"token": token[starts]}
        if by == "step":
            steps["layer"] = layer
        found = _rates(traffic, seconds[k], np.zeros(1, np.int64))
        policies[name] = _first(found) | {
            "steps": steps | _rates(traffic, seconds[k], starts),
        }
        known = np.flatnonzero(np.isfinite(replayed[k]))
        if known.size:
            part = {each: values[known] for each, values in traffic.items()}
            of_replay = _rates(part, replayed[k][known], np.zeros(1, np.int64))
            policies[name]["replay"] = {"layer_steps": known.size} | _first(of_replay)
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": result.title,
        "created_by": attributes["created_by"],
        "system": attributes["system"],
        "variant": attributes["bound_variant"],
        "barrier": attributes["bound_barrier"],
        "by": by,
        "layer_steps": done,
        "peak_GBps": attributes["peak_bandwidth_GBps"],
        "policies": policies,
    }


def _rates(
    traffic: dict[str, np.ndarray], seconds: F64, starts: NDArray[np.int64]
) -> dict[str, Any]:
    """GB/s of groups of steps that begin at `starts`; 0 where a group takes no time."""
    if not seconds.size:
        starts = starts[:0]
    time = np.add.reduceat(seconds, starts) if starts.size else np.zeros(0)

    def rate(names: tuple[str, ...], tier: int | None) -> F64:
        carried = np.zeros(seconds.size)
        for name in names:
            carried += traffic[name] if tier is None else traffic[name][:, tier]
        total = np.add.reduceat(carried, starts) if starts.size else np.zeros(0)
        return np.divide(total, time, out=np.zeros_like(total), where=time > 0) / 1e9

    read = {tier: rate(_READS, k) for k, tier in enumerate(_TIERS)}
    return {
        "time_s": time,
        "read_GBps": read | {"aggregate": read["hbm"] + read["dram"]},
        "carried_GBps": {tier: rate(_CARRIED, k) for k, tier in enumerate(_TIERS)},
        "link_GBps": {way: rate((name,), None) for way, name in _LINK.items()},
    }


def _first(found: dict[str, Any]) -> dict[str, Any]:
    """The one group of each array; 0 of none."""
    return {
        key: _first(value) if isinstance(value, dict) else (float(value[0]) if len(value) else 0.0)
        for key, value in found.items()
    }
