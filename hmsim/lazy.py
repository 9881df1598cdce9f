"""Packages whose public names are imported when they are first used, so that importing is quick."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    `homes`: the module that each public name stands in; a module is its own home. Type checkers
    do not follow this: they read the stub (`__init__.pyi`) beside.
    """

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return attribute, lambda: sorted({*vars(import_module(package)), *homes})
