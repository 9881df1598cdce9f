"""`hmsim measure`: a virtual microbenchmark of a system."""

import argparse
from typing import Any

from hmsim.errors import InputError


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "measure",
        help="a virtual microbenchmark of a system",
        description="Measure a system's memories as a microbenchmark would: what the GPU or the CPU "
        "gets of HBM or DRAM, at which latency, and why not more.",
        allow_abbrev=False,
    )
    parser.add_argument("system", metavar="SYSTEM", help="a preset, or a TOML file of a system")
    parser.add_argument("--on", default="hbm", metavar="hbm|dram", help="the memory; hbm")
    parser.add_argument("--to", metavar="hbm|dram", help="the memory that a copy writes; as --on")
    parser.add_argument("--from", default="gpu", metavar="gpu|cpu", dest="asker", help="gpu")
    parser.add_argument(
        "--pattern", metavar="read|write|copy|triad|gather|chase",
        help="read; a copy where --to is given",
    )  # fmt: skip
    parser.add_argument("--bytes", metavar="N", help="of a piece of a gather, or a load of a chase")
    parser.add_argument("--over", metavar="N", help="bytes that a gather's pieces lie in; all")
    parser.add_argument("--writes", type=float, metavar="SHARE", help="of the bytes, 0 to 1")
    parser.add_argument("--blocks", type=int, metavar="N", help="of 1024 threads, in flight")
    parser.add_argument(
        "--load", metavar="GBPS", help="GB/s that are asked for, whatever comes of it"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the system, such as system.hbm.queue=32; repeatable",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hmsim.cli.common import print_json
    from hmsim.memory.measure import report

    result = measured(options)
    if options.json:
        shown = asdict(result)
        if result.copied_GBps is None:
            del shown["copied_GBps"]
        print_json(shown)
    else:
        for name, value in report(result):
            print(f"{name:<10} {value}")
    return 0


def measured(options: argparse.Namespace) -> Any:
    """The measurement that a call asks for."""
    from hmsim.cli.inputs import measured_system
    from hmsim.memory.measure import measure

    return measure(
        measured_system(options.system, options.changes),
        on=options.on,
        to=options.to,
        source=options.asker,
        pattern=options.pattern or ("copy" if options.to else "read"),
        size=_bytes("--bytes", options.bytes),
        over=_bytes("--over", options.over),
        writes=options.writes,
        blocks=options.blocks,
        load=_load(options.load),
    )


def _bytes(option: str, given: str | None) -> int | None:
    from hmsim import units

    if given is None:
        return None
    try:
        return units.whole(given, "bytes")
    except ValueError as error:
        raise InputError(f"{option} {given}: {error}") from None


def _load(given: str | None) -> float | None:
    """Bytes/s; a bare number is in GB/s."""
    from hmsim import units

    if given is None:
        return None
    try:
        return float(given) * 1e9
    except ValueError:
        pass
    try:
        return units.parse(given, "bytes/s")
    except ValueError as error:
        raise InputError(f"--load {given}: {error}") from None
