"""`hmsim bound`: how far from optimal any placement of a trace can be, proven."""

import argparse
import sys
from typing import Any

from hmsim.config.enumerations import BARRIERS, METHODS, VARIANTS
from hmsim.errors import InputError

GAP = 0.01  # where neither the call nor the run says


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "bound",
        help="the certified bound of a trace",
        description="A time (or, with --objective energy, joules) that no placement of the trace's "
        "blocks undercuts, and that of a schedule that was found. A run's TOML gives the latency "
        "model, gap and time as well, where no option does. A warm-up is left out, as in the run.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="TRACE.h5",
        help="or a spec, or a run (TOML, or a name of `hmsim workload list`)",
    )  # fmt: skip
    parser.add_argument("--system", metavar="PRESET|FILE", help="may be left out for a run's TOML")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the system, such as system.hbm.capacity=24GB; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--objective", default="time", choices=("time", "energy"),
        help="what no schedule undercuts: its time, or its joules",
    )  # fmt: skip
    parser.add_argument("--variant", choices=VARIANTS, help="of the latency model; text")
    parser.add_argument("--barrier", choices=BARRIERS, help="where groups of steps end; layer")
    parser.add_argument("--method", default="dual", choices=METHODS)
    parser.add_argument("--gap", type=float, help=f"stop once the gap is at most this; {GAP}")
    parser.add_argument("--time", type=float, metavar="SECONDS", help="stop after this")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.bound import bound, energy_bound, format_table
    from hmsim.cli.common import nothing_printed, print_json
    from hmsim.cli.inputs import counted_source, system_of, table_of, tables_of_bound
    from hmsim.config.catalogue import find
    from hmsim.placement.latency import analytic_rates
    from hmsim.simulate.joules import joules_of

    options.source = find(options.source)
    of_system = [change for change in options.changes if table_of(change) == "system"]
    rest = [change for change in options.changes if change not in of_system]
    system = system_of(options.system, of_system, options.source)
    workload = counted_source(options.source, rest)
    latency, goal, reckoned = tables_of_bound(options.source, rest)
    proven: Any = bound
    coefficients: dict[str, Any] = {}
    if options.objective == "energy":
        joules = joules_of(system, workload.geometry.block_bytes, reckoned.data)
        if joules is None:
            raise InputError("--objective energy: a memory of the system has no table [energy]")
        proven, coefficients = energy_bound, {"joules": joules}
    with nothing_printed():  # HiGHS prints
        result = proven(
            workload,
            analytic_rates(system),
            system.hbm.capacity,
            **coefficients,
            variant=options.variant or latency.variant,
            barrier=options.barrier or latency.barrier,
            method=options.method,
            gap=(goal.gap or GAP) if options.gap is None else options.gap,
            time_s=goal.time if options.time is None else options.time,
            progress=lambda message: print(message, file=sys.stderr),
        )
    if options.json:
        unit = "s" if options.objective == "time" else "J"
        shown = (f"bound_{unit}", f"achievable_{unit}", "gap", "method", "variant", "barrier",
                 "iterations", "wall_s")  # fmt: skip
        print_json({name: getattr(result, name) for name in shown})
    else:
        print(format_table(result))
    return 0
