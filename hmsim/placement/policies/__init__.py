"""The policies there are, by name; users' own by `package.module:NAME`."""

import importlib
from typing import Any

from hmsim.errors import InputError, did_you_mean

BUILT_IN = {
    "unlimited": "unlimited:Unlimited",
    "static": "static:Static",
    "interleaved": "static:Interleaved",
    "reactive": "reactive:Reactive",
    "balanced": "reactive:Balanced",
    "slack": "reactive:Slack",
    "lfu": "scored:Lfu",
    "ema": "scored:Ema",
    "page": "page:Page",
    "lookahead": "lookahead:Lookahead",
    "sa": "sa:Sa",
    "belady": "belady:Belady",
    "dual": "dual:Dual",
    "authors-unlimited": "authors:AuthorsUnlimited",
    "authors-static": "authors:AuthorsStatic",
    "authors-initonly": "authors:AuthorsInitOnly",
    "authors-reactive": "authors:AuthorsReactive",
    "authors-page": "authors:AuthorsPage",
    "authors-lookahead1": "authors:AuthorsLookahead1",
    "authors-sa": "authors:AuthorsSa",
}


def make(name: str, options: dict[str, Any] | None = None) -> Any:
    """The policy of that name, built with its options; InputError if there is none.

    The option `policy` makes `name` an alias: one run can hold a policy with several settings.
    """
    label, options = name, dict(options or {})
    name = options.pop("policy", name)
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        module = f"{__name__}.{module}"
    else:
        module, colon, attribute = name.partition(":")
        if not colon:
            raise InputError(f"policy {name!r} is unknown{did_you_mean(name, BUILT_IN)}")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"policy {name!r} cannot be loaded: {error}") from None
    try:
        policy = kind(**options)
    except TypeError as error:
        raise InputError(f"policies.options.{label}: {error}") from None
    if label != name:
        policy.name = label
    return policy
