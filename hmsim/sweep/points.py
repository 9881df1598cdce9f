"""The points of a sweep: each a run's resolved configuration, named by a hash of its content.

Points that differ in policies only form a *group*: they share workload and bound, so one run
computes them all.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from hmsim import __version__
from hmsim.config.enumerations import PROMPTS
from hmsim.config.run import RunSpec, replaced, resolve, with_paths
from hmsim.errors import InputError
from hmsim.placement.policies import plugin
from hmsim.sweep.axes import POLICY_NAMES, Axis

CHECKED = 64  # values of an axis that are tried before anything runs

Policy = tuple[str, str, str]  # name, its options as JSON, a hash of the code of a plug-in


class Point(NamedTuple):
    """One point. `place`: its index on each axis. `error` stands where there is no such run."""

    place: tuple[int, ...]
    changes: dict[str, Any]  # dotted key -> value, over the base
    spec: RunSpec | None
    hash: str
    error: str | None


class Task(NamedTuple):
    """One run for several points: `spec` has the policies of them all.

    `wanted[hash]` are a point's policies: their places in `spec.policies.names`, and their names.
    """

    spec: RunSpec
    wanted: dict[str, list[tuple[int, str]]]


class Plan:
    """All points of a sweep, in the order of its axes, the last one fastest."""

    def __init__(self, base: dict[str, Any], axes: list[Axis], source: str):
        self.base = {key: value for key, value in base.items() if key != "output"}
        self.axes = axes
        self.source = source
        self.shape = tuple(len(axis.values) for axis in axes)
        self.size = prod(self.shape)
        self._policies = [
            name
            for axis in axes
            for group, values in zip(axis.keys, zip(*axis.values, strict=True), strict=True)
            if POLICY_NAMES in group
            for name in values
        ]

    def check(self, allow_plugins: bool = False) -> None:
        """InputError if a value of an axis, beside the others' first ones, makes no run.

        Of a long axis only some values are tried; a wrong one among the rest fails as a point.
        Policies of users' own are refused unless `allow_plugins`.
        """
        from hmsim.simulate.policies import check_memories, check_policies

        tried: set[str] = set()
        first = [0] * len(self.axes)
        for k, axis in enumerate(self.axes):
            for place in range(0, len(axis.values), -(-len(axis.values) // CHECKED)):
                try:
                    spec = self._spec(self._changes((*first[:k], place, *first[k + 1 :])))
                    policies = spec.policies.model_dump_json()
                    if policies not in tried:
                        tried.add(policies)
                        check_policies(spec.policies, allow_plugins)
                    check_memories(spec.system)
                except InputError as error:
                    line = str(error).removeprefix(f"{self.source}: ")
                    raise InputError(f"{self.source}: axes.{axis.name}: {line}") from None

    def points(self) -> Iterator[Point]:
        for index in product(*map(range, self.shape)):
            yield self.point(index)

    def groups(self) -> Iterator[list[Point]]:
        """The points, those that differ in policies only together."""
        inner = [k for k, axis in enumerate(self.axes) if axis.is_policy]
        outer = [k for k in range(len(self.axes)) if k not in inner]
        for far in product(*(range(self.shape[k]) for k in outer)):
            group = []
            for near in product(*(range(self.shape[k]) for k in inner)):
                place = dict(zip(outer + inner, far + near, strict=True))
                group.append(self.point(tuple(place[k] for k in range(len(self.axes)))))
            yield group

    def point(self, index: tuple[int, ...]) -> Point:
        changes = self._changes(index)
        try:
            spec = self._spec(changes)
        except InputError as error:
            shown = json.dumps(changes, sort_keys=True, default=str)
            return Point(index, changes, None, _digest(shown), str(error))
        return Point(index, changes, spec, content_hash(spec), None)

    def _changes(self, index: tuple[int, ...]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for axis, place in zip(self.axes, index, strict=True):
            changes |= axis.changes(place)
        if isinstance(changes.get(POLICY_NAMES), str):
            changes[POLICY_NAMES] = [changes[POLICY_NAMES]]
        return changes

    def _spec(self, changes: dict[str, Any]) -> RunSpec:
        data = self.base
        for key, value in changes.items():
            data = replaced(data, key, value)
        return resolve(data, [], self.source, self._policies)


def content_hash(spec: RunSpec) -> str:
    """Names what determines a run's numbers: configuration, data files, plug-ins, hmsim itself.

    Titles, sources and the options of policies that do not run have no part in it.
    """
    shared, policies = _parts(spec)
    return _digest(f"{__version__}\n{shared}\n{policies}")


def tasks(group: list[Point]) -> list[Task]:
    """The runs that compute a group's points; equal points count once.

    One run as a rule. A policy that is wanted with several settings gets an alias for each.
    """
    found: dict[str, tuple[RunSpec, dict[Policy, str], dict[str, list[tuple[int, str]]]]] = {}
    for point in group:
        if point.spec is None:
            continue
        shared, policies = _parts(point.spec)
        _, labels, wanted = found.setdefault(shared, (point.spec, {}, {}))
        for policy in policies:
            labels.setdefault(policy, _label(policy[0], labels))
        places = list(labels)
        wanted[point.hash] = [(places.index(policy), policy[0]) for policy in policies]
    return [Task(_union(spec, labels), wanted) for spec, labels, wanted in found.values()]


def _label(name: str, labels: dict[Policy, str]) -> str:
    taken = set(labels.values())
    return name if name not in taken else f"{name}#{len(taken)}"


def _union(spec: RunSpec, labels: dict[Policy, str]) -> RunSpec:
    options = {}
    for (name, setting, _), label in labels.items():
        own = json.loads(setting)
        if label != name:
            own.setdefault("policy", name)
        if own:
            options[label] = own
    policies = spec.policies.model_copy(update={"names": list(labels.values()), "options": options})
    return spec.model_copy(update={"policies": policies})


def _parts(spec: RunSpec) -> tuple[str, list[Policy]]:
    """What all policies share, as text; and the policies with their settings."""
    data = spec.model_dump(exclude={"title", "output", "policies"})
    data = with_paths(data, lambda path: _file_hash(Path(path)) or path)
    for table in (data["system"], data["system"]["hbm"], data["system"]["dram"], data["workload"]):
        table.pop("title", None)
        table.pop("source", None)
    if spec.policies.prompt != PROMPTS[0]:  # else hashes are as they were without the key
        data["prompt"] = spec.policies.prompt
    options = spec.policies.options
    policies = [
        (name, json.dumps(options.get(name, {}), sort_keys=True, default=str), _plugin_hash(name))
        for name in spec.policies.names
    ]
    return json.dumps(data, sort_keys=True, default=str), policies


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_hash(path: Path) -> str:
    """Of the content; empty where there is no such file, which is the run's to say."""
    return _hash_of(path, path.stat().st_mtime_ns) if path.is_file() else ""


@lru_cache(maxsize=64)
def _hash_of(path: Path, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plugin_hash(name: str) -> str:
    """Of the source of a user's policy: an edited policy is another one."""
    if ":" not in name:
        return ""
    found = plugin.source(name)
    return _file_hash(found) if found is not None else ""
