"""The policies there are, by name; users' own by `package.module:NAME`."""

import importlib
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

from hmsim.errors import InputError, did_you_mean
from hmsim.placement.policies.plugin import Allow, check_allowed, check_made, load

PLUGIN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # module:CLASS

BUILT_IN = {
    "unlimited": f"{__name__}.unlimited:Unlimited",
    "static": f"{__name__}.static:Static",
    "interleaved": f"{__name__}.static:Interleaved",
    "reactive": f"{__name__}.reactive:Reactive",
    "balanced": f"{__name__}.balanced:Balanced",
    "slack": f"{__name__}.slack:Slack",
    "lfu": f"{__name__}.scored:Lfu",
    "ema": f"{__name__}.scored:Ema",
    "sieve": f"{__name__}.sieve:Sieve",
    "s3-fifo": f"{__name__}.s3_fifo:S3Fifo",
    "arc": f"{__name__}.arc:Arc",
    "lirs": f"{__name__}.lirs:Lirs",
    "working-set": f"{__name__}.working_set:WorkingSet",
    "hisparse": f"{__name__}.hisparse:HiSparse",
    "hisparse-pressure": f"{__name__}.hisparse_pressure:HiSparsePressure",
    "online-dual": f"{__name__}.online_dual:OnlineDual",
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
    name: str,
    options: dict[str, Any] | None = None,
    known: Mapping[str, str] = BUILT_IN,
    allow: Allow = False,
) -> Any:
    """Build a policy.

    Args:
        name: A key of BUILT_IN, or `package.module:CLASS` for one of your own; or an alias, where
            `options` has `policy`. The policy is called so from then on.
        options: Its parameters. The option `policy` names the policy that an alias stands for, so
            that one run can hold a policy with several settings.
        known: Names of policies, and their homes as `module:CLASS`.
        allow: Which policies of users' own may be imported, which are code: True for all, False for
            none, or some names.

    Returns:
        The policy.

    Raises:
        InputError: There is no such policy, it may not be imported, or it has no such option.
    """
    label, options = name, dict(options or {})
    name = resolved(name, options, known)
    options.pop("policy", None)
    if name in known:
        module, _, attribute = known[name].partition(":")
        kind = getattr(importlib.import_module(module), attribute)
    else:
        check_allowed(name, allow)
        kind = load(name)
    _check_options(kind, options, f"policies.options.{label}")
    try:
        policy = kind(**options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"policies.options.{label}: {error}") from None
    except Exception as error:
        if name in known:
            raise
        raise InputError(f"policy {name!r}: {type(error).__name__}: {error}") from None
    if name not in known:
        check_made(name, policy)
    policy.name = label
    return policy


def resolved(label: str, options: Mapping[str, Any], known: Mapping[str, str] = BUILT_IN) -> str:
    """The policy that `label` stands for: a known name, or `module:CLASS`; InputError if neither."""
    name = options.get("policy", label)
    if not isinstance(name, str):
        raise InputError(f"policies.options.{label}.policy: {name!r:.60}: a policy's name")
    if name not in known and not PLUGIN.fullmatch(name):
        raise InputError(f"policy {name!r} is unknown{did_you_mean(name, known)}")
    return name


def _check_options(kind: Any, options: dict[str, Any], where: str) -> None:
    """InputError for an option that the policy does not have, or that cannot be what it asks for."""
    known = inspect.signature(kind).parameters
    for name, value in options.items():
        if name in kind.moved_options:
            raise InputError(f"{where}.{name}: moved to {kind.moved_options[name]}")
        if name not in known:
            hint = did_you_mean(name, known) if known else "; this policy has none"
            raise InputError(f"{where}.{name}: unknown option{hint}")
        default = known[name].default
        if isinstance(value, bool) and not isinstance(default, bool):
            raise InputError(f"{where}.{name}: {str(value).lower()}: true and false are no numbers")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where}.{name}: {value}: must be finite")
    missing = [
        name for name, each in known.items()
        if each.default is each.empty and name not in options
        and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]  # fmt: skip
    if missing:
        raise InputError(f"{where}.{missing[0]}: missing")
