"""Policies that users write: when a module of theirs may be imported, and what must be in it.

A configuration is data: it may come from anywhere and must not start code. So a policy
`module:CLASS` is imported only where the user has allowed that, by naming it in the call or by
`--allow-plugins`, and nothing of it is called before it has proven to be a `Policy`.
"""

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hmsim.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from hmsim.placement.policies.api import Policy

MOST_AHEAD = 4096  # tokens that a policy may look ahead

Allow = bool | Collection[str]  # all plug-ins, none, or those of these names


def allowed(name: str, allow: Allow) -> bool:
    """Whether the plug-in `name` (`module:CLASS`) may be imported."""
    return allow if isinstance(allow, bool) else name in allow


def check_allowed(name: str, allow: Allow) -> None:
    """InputError, which says how to allow it, unless the plug-in `name` may be imported."""
    if not allowed(name, allow):
        raise InputError(
            f"policy {name!r}: a policy of your own, which a configuration may not start: name it "
            "in the call (--policy), or allow it (--allow-plugins; in Python allow_plugins=True)"
        )


def load(name: str) -> type["Policy"]:
    """The class that the plug-in `name` is, imported, and checked before anything of it is called.

    The current folder is searched first. Raises InputError for a module that cannot be imported, or
    ends in any error, and for what is no complete `Policy`.
    """
    from hmsim.placement.policies.api import Policy

    module_name, _, attribute = name.partition(":")
    try:
        module = _imported(module_name)
        kind = getattr(module, attribute)
    except AttributeError:
        known = [
            each for each, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Policy) and value is not Policy
        ]  # fmt: skip
        hint = did_you_mean(attribute, known) if known else "; it has no policy"
        raise InputError(f"policy {name!r}: no {attribute!r} in {module_name}{hint}") from None
    if not isinstance(kind, type) or not issubclass(kind, Policy) or kind is Policy:
        raise InputError(f"policy {name!r}: is no subclass of hmsim's Policy")
    if not _is_step(getattr(kind, "step", None)):
        raise InputError(f"policy {name!r}: lacks a step (a function marked @policy_step)")
    return kind


def check_made(name: str, policy: Any) -> None:
    """InputError unless a plug-in's object looks ahead by a number of tokens that can be had."""
    ahead = policy.ahead_tokens
    if isinstance(ahead, bool) or not isinstance(ahead, int) or not 0 <= ahead <= MOST_AHEAD:
        raise InputError(
            f"policy {name!r}: ahead_tokens: {ahead!r:.40}: a whole number from 0 to {MOST_AHEAD}"
        )


def source(name: str) -> Path | None:
    """The file of a plug-in's module, found without importing it or a package around it."""
    places: list[str] | None = [os.getcwd(), *sys.path]
    parts = name.partition(":")[0].split(".")
    for k, _ in enumerate(parts):
        try:
            found = importlib.machinery.PathFinder.find_spec(".".join(parts[: k + 1]), places)
        except (ImportError, ValueError):
            return None
        if found is None:
            return None
        places = found.submodule_search_locations
        if places is None and k < len(parts) - 1:
            return None
    return Path(found.origin) if found is not None and found.origin else None


def _imported(name: str) -> ModuleType:
    """The module, also from the current folder, where the command `hmsim` does not look."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: the module is not the one to end hmsim
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"policy module {name!r} cannot be imported: {text:.200}") from None
    finally:
        sys.path.remove(here)
        if here not in sys.path and "" not in sys.path:
            sys.path.append(here)  # for what the module imports later


def _is_step(step: Any) -> bool:
    """Whether `policy_step` made it (without the JIT any function may have been)."""
    from numba import config

    from hmsim.placement.step import STEP

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return callable(step)
    return STEP.args in getattr(step, "overloads", {})
