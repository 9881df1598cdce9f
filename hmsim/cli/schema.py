"""`hmsim schema`: what may stand in a file, as JSON Schema, for editors."""

import argparse
from typing import Any

from hmsim.errors import InputError, did_you_mean


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of a kind of file",
        description="The JSON Schema (2020-12) of the TOML files that hmsim reads, with the unit, "
        "the default and the meaning of every key: for editors, and for programs that write such "
        "files. Kinds: run, sweep, system, memory, model, workload (a run's file or one with the "
        "table [workload] alone), targets (of `hmsim workload calibrate`). Without a kind: a "
        "schema that takes any of them.",
        allow_abbrev=False,
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help="run, sweep, system, memory, ...")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json
    from hmsim.config.schema import FILES, json_schema

    if options.kind is not None and options.kind not in FILES:
        raise InputError(f"schema: {options.kind!r}{did_you_mean(options.kind, FILES)}")
    print_json(json_schema(options.kind))
    return 0
