"""Plain data as TOML text: the inverse of `tomllib` for what configurations hold."""

import json
import math
from typing import Any


def dumps(data: dict[str, Any]) -> str:
    """`data` as TOML: scalars, lists and nested tables; None is left out."""
    return "\n".join(_table(data, ())).strip("\n") + "\n"


def _table(data: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"[{'.'.join(path)}]"] if path else []
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    for key, value in data.items():
        if key not in tables and value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    if path and len(lines) == 1 and tables:
        lines = []  # a table of tables only needs no header of its own
    for key, value in tables.items():
        lines += ["", *_table(value, (*path, _key(key)))]
    return lines


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isalnum() and bare.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf and nan are spelt alike in TOML
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False)
