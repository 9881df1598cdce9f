"""`hmsim presets`: what there is, each as TOML to edit and give back, and new ones of models."""

import argparse
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
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.config.base import PRESETS, preset_names

    if options.from_hf is not None:
        from hmsim.config.huggingface import from_hf
        from hmsim.config.model import as_toml

        print(as_toml(from_hf(Path(options.from_hf))), end="")
        return 0
    if options.name is None:
        for kind in KINDS:
            print(f"{kind}:")
            for name in preset_names(kind):
                print(f"  {name:22} {_describe(kind, name)}")
        return 0
    for kind in KINDS:
        if options.name in preset_names(kind):
            print((PRESETS / kind / f"{options.name}.toml").read_text(), end="")
            return 0
    known = [name for kind in KINDS for name in preset_names(kind)]
    raise InputError(f"{options.name!r} is no preset{did_you_mean(options.name, known)}")


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
    return (
        f"{spec.title}: {spec.layers} layers, {show_bytes(spec.kv_bytes)} KV a token and layer, "
        f"{show_bytes(spec.weights_step())} weights a step"
    )
