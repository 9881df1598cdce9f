"""A list of layers as the shortest keys of a model that say the same."""

from collections import Counter
from typing import Any, NamedTuple

from hmsim.config.model import PLAIN

SPARSE, DENSE = "sparse", "dense"


class Told(NamedTuple):
    """One layer: what kind it is, and its keys."""

    kind: str
    keys: dict[str, Any]


def shape(model: dict[str, Any], layers: list[Told]) -> dict[str, Any]:
    """`model` (the keys that all layers share) with those of its layers, as short as can be."""
    told = [Told(each.kind, _tidied(model, each.keys)) for each in layers]
    frozen = [_frozen(each.keys) for each in told]
    # The most frequent layer is the model's own; of those with attention, if there are any.
    attending = [f for f, each in zip(frozen, told, strict=True) if each.keys.get("heads")]
    common = Counter(attending or frozen).most_common(1)[0][0]
    base = dict(told[frozen.index(common)].keys)
    experts = [each.keys["experts"] for each in told if "experts" in each.keys]
    if experts:
        often = Counter(map(_frozen, experts)).most_common(1)[0][0]
        base.setdefault("experts", next(each for each in experts if _frozen(each) == often))
    widths = [each.keys["ffn"] for each in told if each.keys.get("ffn")]
    if not base.get("ffn"):
        base["ffn"] = Counter(widths).most_common(1)[0][0] if widths else 0
    short = _first_dense(model, base, told) or _alternate(model, base, told)
    found = short if short is not None else _kinds(model, base, told)
    for key in ("embedding_element_bytes", "attention_element_bytes"):
        if found.get(key) == found["element_bytes"]:
            del found[key]
    for key in ("positions", "extra_parameters"):
        if not found[key]:
            del found[key]
    return {key: value for key, value in found.items() if value is not None}


def _tidied(model: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Without what the model's formulas give anyway."""
    found = dict(keys)
    hidden = model["hidden"]
    heads, kv, width = found.get("heads"), found["kv_heads"], found.get("head_dim", 0)
    value = found.get("value_dim", 0)
    if heads:
        if found.get("latent") is not None and kv:
            for key in ("kv_heads", "head_dim", "value_dim"):
                found.pop(key, None)
        else:
            formula = hidden * (heads + kv) * (width + value)
            if found["attention_parameters"] == formula:
                del found["attention_parameters"]
            if value == width:
                del found["value_dim"]
            if width == hidden // heads:
                del found["head_dim"]
            if kv == heads:
                del found["kv_heads"]
    if found["attention_element_bytes"] == found["element_bytes"]:
        del found["attention_element_bytes"]
    if not found.get("window"):
        found.pop("window", None)
    if not found["other_parameters"]:
        del found["other_parameters"]
    if not found.get("state_bytes"):
        found.pop("state_bytes", None)
    experts = found.get("experts")
    if experts:
        del found["ffn"]
        for key in ("element_bytes", "shared_element_bytes"):
            if experts[key] == found["element_bytes"]:
                experts = {k: v for k, v in experts.items() if k != key}
        if not experts["shared_ffn"]:
            experts = {k: v for k, v in experts.items()
                       if k not in ("shared_ffn", "shared_element_bytes")}  # fmt: skip
        found["experts"] = experts
    return found


def _frozen(keys: dict[str, Any]) -> str:
    return repr(sorted(keys.items(), key=lambda item: item[0]))


def _first_dense(
    model: dict[str, Any], base: dict[str, Any], told: list[Told]
) -> dict[str, Any] | None:
    """Layers that differ in nothing but that the first ones are dense."""
    sparse = ["experts" in each.keys for each in told]
    first = sparse.index(True) if True in sparse else 0
    if not all(sparse[first:]) and any(sparse):
        return None
    for each in told:
        if _without(each.keys, "experts", "ffn") != _without(base, "experts", "ffn"):
            return None
        if "experts" in each.keys:
            same = each.keys["experts"] == base["experts"]
        else:
            same = each.keys["ffn"] == base["ffn"]
        if not same:
            return None
    found = dict(base)
    if first:
        found["experts"] = base["experts"] | {"dense_layers": first}
    if found.get("window"):
        found["window_layers"] = "all"
    return model | found


def _alternate(
    model: dict[str, Any], base: dict[str, Any], told: list[Told]
) -> dict[str, Any] | None:
    """Layers that differ in nothing but a window of every other one, the first included."""
    windows: list[int] = [each.keys.get("window", 0) for each in told]
    if len(told) < 2 or not windows[0]:
        return None
    if windows != [windows[0] if i % 2 == 0 else 0 for i in range(len(told))]:
        return None
    bare = [_without(each.keys, "window", "ffn") for each in told]
    if any(each != _without(base, "window", "ffn") for each in bare):
        return None
    if any(each.keys.get("ffn", base["ffn"]) != base["ffn"] for each in told):
        return None
    return model | base | {"window": windows[0], "window_layers": "alternate"}


def _without(keys: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key not in names}


def _kinds(model: dict[str, Any], base: dict[str, Any], told: list[Told]) -> dict[str, Any]:
    """Kinds of layers by name, and the pattern in which they stand."""
    if base.get("window"):
        base = _without(base, "window")  # a window of its own belongs to a kind
    names: dict[str, str] = {}
    kinds: dict[str, dict[str, Any]] = {}
    row = []
    for each in told:
        changed = _changes(model, base, each.keys)
        frozen = _frozen(changed)
        if not changed:
            row.append(PLAIN)
            continue
        if frozen not in names:
            name = _name(each, base, set(kinds))
            names[frozen], kinds[name] = name, changed
        row.append(names[frozen])
    if not kinds:
        return model | base
    return model | base | {"kinds": kinds, "pattern": _pattern(row)}


def _changes(model: dict[str, Any], base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a layer's kind has to say against `base`."""
    changed = {
        key: value
        for key, value in own.items()
        if key not in ("experts", "ffn") and base.get(key) != value
    }
    hidden = model["hidden"]
    # What only `base` says would hold here too: say what holds instead.
    for key in base.keys() - own.keys():
        if key == "attention_element_bytes":
            changed[key] = own["element_bytes"]
        elif key in ("other_parameters", "state_bytes"):
            changed[key] = 0
        elif key == "head_dim" and "heads" in own and "latent" not in own:
            changed[key] = hidden // own["heads"]
        elif key == "kv_heads" and "heads" in own and "latent" not in own:
            changed[key] = own["heads"]
        elif key == "value_dim" and "heads" in own and "latent" not in own:
            changed[key] = own.get("head_dim", hidden // own["heads"])
        elif key == "attention_parameters":
            heads, width = own["heads"], own.get("head_dim", hidden // own["heads"])
            kv, value = own.get("kv_heads", heads), own.get("value_dim", width)
            changed[key] = hidden * (heads + kv) * (width + value)
    if "experts" in own:
        if own["experts"] != base["experts"]:
            changed["experts"] = own["experts"]
    else:
        if "experts" in base:
            changed["sparse"] = False
        if own["ffn"] != base["ffn"]:
            changed["ffn"] = own["ffn"]
    return changed


def _name(layer: Told, base: dict[str, Any], taken: set[str]) -> str:
    parts = []
    if layer.kind != "full" or layer.keys.get("window"):
        parts.append(layer.kind)
    if "experts" in base and "experts" not in layer.keys:
        parts.append(DENSE)
    name = "-".join(parts) or "other"
    if name not in taken:
        return name
    return next(f"{name}-{i}" for i in range(2, len(taken) + 3) if f"{name}-{i}" not in taken)


def _pattern(row: list[str]) -> str:
    """Runs of the shortest part that, repeated, is the whole."""
    size = len(row)
    period = next(
        (p for p in range(1, size // 2 + 1) if all(row[i] == row[i % p] for i in range(size))),
        size,
    )
    runs: list[list[Any]] = []
    for kind in row[:period]:
        if runs and runs[-1][1] == kind:
            runs[-1][0] += 1
        else:
            runs.append([1, kind])
    return ", ".join(kind if count == 1 else f"{count} {kind}" for count, kind in runs)
