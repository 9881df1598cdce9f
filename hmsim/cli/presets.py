"""`hmsim presets`: what there is, each as TOML to edit and give back, and new ones of models."""

import argparse
import sys
from pathlib import Path
from typing import Any

from hmsim.errors import InputError, did_you_mean

KINDS = ("system", "memory", "model")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "presets",
        help="list systems, memories and models, or print one",
        description="Without a name: every preset, a line each. With one: that preset as TOML.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument(
        "--from-hf", metavar="config.json", help="print a model as a preset, from its public config"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object: of a model, its sizes"
    )
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json
    from hmsim.config.base import PRESETS, preset_names

    if options.from_hf is not None:
        if options.name is not None:
            raise InputError("presets: give a NAME or --from-hf, not both")
        return _from_hf(Path(options.from_hf), options.json)
    if options.name is None and options.json:
        print_json(
            {kind: {name: _describe(kind, name) for name in preset_names(kind)} for kind in KINDS}
        )
        return 0
    if options.name is None:
        for kind in KINDS:
            print(f"{kind}:")
            for name in preset_names(kind):
                print(f"  {name:22} {_describe(kind, name)}")
        return 0
    for kind in KINDS:
        if options.name in preset_names(kind):
            if options.json:
                print_json(_plain(kind, options.name))
                return 0
            print((PRESETS / kind / f"{options.name}.toml").read_text(), end="")
            return 0
    known = [name for kind in KINDS for name in preset_names(kind)]
    raise InputError(f"{options.name!r} is no preset{did_you_mean(options.name, known)}")


def _from_hf(path: Path, as_json: bool) -> int:
    """Print a model, and in a line each what of its config is in doubt."""
    from hmsim.cli.common import print_json
    from hmsim.config.huggingface import Refused, read_config
    from hmsim.config.model import as_toml

    try:
        found = read_config(path)
    except Refused as error:
        if as_json:
            print_json({"refused": error.reasons})
        raise
    if as_json:
        print_json(found.model.describe() | {"warnings": found.warnings, "refused": {}})
        return 0
    print(as_toml(found.model), end="")
    for key, reason in found.warnings.items():
        print(f"hmsim: warning: {path}: {key}: {reason}", file=sys.stderr)
    return 0


def _plain(kind: str, name: str) -> dict[str, Any]:
    """A preset as plain data: a model's sizes, or what the file of another says."""
    from hmsim.config.base import preset
    from hmsim.config.model import model

    if kind == "model":
        return {"name": name} | model(name).describe() | {"warnings": {}, "refused": {}}
    return {"name": name} | preset(kind, name)


def _describe(kind: str, name: str) -> str:
    from hmsim.config.memory import load_memory
    from hmsim.config.model import model
    from hmsim.config.system import load_system
    from hmsim.units import show_bytes

    if kind == "system":
        return load_system(name).describe()
    if kind == "memory":
        return load_memory(name).describe()
    spec = model(name)
    sizes = {layer.kv_bytes for layer in spec.by_layer}
    kv = f"{show_bytes(sum(layer.kv_bytes for layer in spec.by_layer))} KV a token"
    if len(sizes) == 1:
        kv = f"{show_bytes(sizes.pop())} KV a token and layer"
    return (
        f"{spec.title}: {spec.layers} layers, {kv}, "
        f"{show_bytes(spec.weights_step())} weights a step"
    )
