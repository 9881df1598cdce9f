"""The policies there are, by name; users' own by `package.module:NAME`."""

import importlib
from collections.abc import Mapping
from typing import Any

from hmsim.errors import InputError, did_you_mean

BUILT_IN = {
    "unlimited": f"{__name__}.unlimited:Unlimited",
    "static": f"{__name__}.static:Static",
    "interleaved": f"{__name__}.static:Interleaved",
    "reactive": f"{__name__}.reactive:Reactive",
    "balanced": f"{__name__}.reactive:Balanced",
    "slack": f"{__name__}.reactive:Slack",
    "lfu": f"{__name__}.scored:Lfu",
    "ema": f"{__name__}.scored:Ema",
    "page": f"{__name__}.page:Page",
    "lookahead": f"{__name__}.lookahead:Lookahead",
    "sa": f"{__name__}.sa:Sa",
    "belady": f"{__name__}.belady:Belady",
    "authors-unlimited": f"{__name__}.authors:AuthorsUnlimited",
    "authors-static": f"{__name__}.authors:AuthorsStatic",
    "authors-initonly": f"{__name__}.authors:AuthorsInitOnly",
    "authors-reactive": f"{__name__}.authors:AuthorsReactive",
    "authors-page": f"{__name__}.authors:AuthorsPage",
    "authors-lookahead1": f"{__name__}.authors:AuthorsLookahead1",
    "authors-sa": f"{__name__}.authors:AuthorsSa",
}


def make(
    name: str, options: dict[str, Any] | None = None, known: Mapping[str, str] = BUILT_IN
) -> Any:
    """The policy of that name, built with its options; InputError if there is none.

    It is called `name` from then on, as the command called it. `known` maps names to
    `module:CLASS`. The option `policy` makes `name` an alias: one run can hold a policy with
    several settings.
    """
    label, options = name, dict(options or {})
    name = options.pop("policy", name)
    module, colon, attribute = known.get(name, name).partition(":")
    if not colon:
        raise InputError(f"policy {name!r} is unknown{did_you_mean(name, known)}")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"policy {name!r} cannot be loaded: {error}") from None
    from hmsim.placement.policies.api import BasePolicy

    if not (isinstance(kind, type) and issubclass(kind, BasePolicy)):
        raise InputError(f"policy {name!r}: {attribute} is no subclass of hmsim.Policy")
    try:
        policy = kind(**options)
    except TypeError as error:
        raise InputError(f"policies.options.{label}: {error}") from None
    policy.name = label
    return policy
