"""`hmsim bound`: how far from optimal any placement of a trace can be, proven."""

import argparse
import sys
from typing import Any


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "bound",
        help="the certified bound of a trace",
        description="A time that no placement of the trace's blocks undercuts, and the time of a "
        "schedule that was found.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="TRACE.h5", help="or a spec, or a run (TOML)")
    parser.add_argument("--system", metavar="PRESET|FILE", help="may be left out for a run's TOML")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the system, such as system.hbm.capacity=24GB; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--variant", default="text", choices=("text", "code", "exclusive", "inclusive")
    )
    parser.add_argument("--barrier", default="layer", choices=("layer", "token"))
    parser.add_argument("--method", default="dual", choices=("lp", "milp", "dual", "anneal"))
    parser.add_argument("--gap", type=float, default=0.01, help="stop once the gap is at most this")
    parser.add_argument("--time", type=float, metavar="SECONDS", help="stop after this")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.bound import bound, format_table
    from hmsim.cli.common import print_json
    from hmsim.cli.inputs import open_source, system_of
    from hmsim.placement.latency import analytic_rates

    of_system = [change for change in options.changes if change.startswith("system")]
    rest = [change for change in options.changes if change not in of_system]
    system = system_of(options.system, of_system, options.source)
    workload = open_source(options.source, rest)
    result = bound(
        workload,
        analytic_rates(system),
        system.hbm.capacity,
        variant=options.variant,
        barrier=options.barrier,
        method=options.method,
        gap=options.gap,
        time_s=options.time,
        progress=lambda message: print(message, file=sys.stderr),
    )
    if options.json:
        shown = ("bound_s", "achievable_s", "gap", "method", "variant", "barrier", "iterations",
                 "wall_s")  # fmt: skip
        print_json({name: getattr(result, name) for name in shown})
    else:
        print(format_table(result))
    return 0
