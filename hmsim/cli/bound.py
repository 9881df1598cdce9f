"""`hmsim bound`: how far from optimal any placement of a trace can be, proven."""

import argparse
import sys
from typing import Any

from hmsim.config.enumerations import BARRIERS, GAP, METHODS, VARIANTS
from hmsim.errors import InputError

MOST_POINTS = 1000  # of `--over`


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
        "--over", metavar="KEY=VALUES",
        help="the bound of each of several systems, each from its neighbour's prices: VALUES of a key "
        "of the system, as 24GB,32GB,48GB or 24GB..96GB:10 (so many, evenly spaced)",
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
    from hmsim.bound import Machine, bound, bound_over, energy_bound, format_points, format_table
    from hmsim.cli.common import nothing_printed, print_json
    from hmsim.cli.inputs import counted_source, system_of, table_of, tables_of_bound
    from hmsim.config.catalogue import find
    from hmsim.placement.latency import analytic_rates
    from hmsim.simulate.joules import joules_of

    options.source = find(options.source)
    of_system = [change for change in options.changes if table_of(change) == "system"]
    rest = [change for change in options.changes if change not in of_system]
    values = _values(options)
    systems = [
        system_of(options.system, [*of_system, *own], options.source)
        for own in ([[]] if values is None else [[change] for change in values])
    ]
    workload = counted_source(options.source, rest)
    latency, goal, reckoned = tables_of_bound(options.source, rest)
    asked: dict[str, Any] = {
        "variant": options.variant or latency.variant,
        "barrier": options.barrier or latency.barrier,
        "gap": (goal.gap or GAP) if options.gap is None else options.gap,
        "time_s": goal.time if options.time is None else options.time,
        "progress": lambda message: print(message, file=sys.stderr),
    }
    machines = [Machine(analytic_rates(each), each.hbm.capacity) for each in systems]
    if values is not None:
        with nothing_printed():
            results = bound_over(workload, machines, **asked)
        names = [change.partition("=")[2] for change in values]
        key = options.over.partition("=")[0]
        if options.json:
            points = [{"value": n, **_data(result, "s")}
                      for n, result in zip(names, results, strict=True)]  # fmt: skip
            print_json({"over": key, "points": points})
        else:
            print(format_points(key, names, results))
        return 0
    proven: Any = bound
    if options.objective == "energy":
        joules = joules_of(systems[0], workload.geometry.block_bytes, reckoned.data)
        if joules is None:
            raise InputError("--objective energy: a memory of the system has no table [energy]")
        proven, asked["joules"] = energy_bound, joules
    with nothing_printed():  # HiGHS prints
        result = proven(workload, *machines[0], method=options.method, **asked)
    if options.json:
        print_json(_data(result, "s" if options.objective == "time" else "J"))
    else:
        print(format_table(result))
    return 0


def _data(result: Any, unit: str) -> dict[str, Any]:
    """What is printed of a result as JSON."""
    names = (f"bound_{unit}", f"achievable_{unit}", "gap", "method", "variant", "barrier",
             "iterations", "wall_s")  # fmt: skip
    return {name: getattr(result, name) for name in names}


def _values(options: argparse.Namespace) -> list[str] | None:
    """The changes that `--over` asks for, one a system; None where it does not."""
    from hmsim.config.sweep import Between
    from hmsim.sweep.axes import spaced

    if options.over is None:
        return None
    where = f"--over {options.over}"
    key, equals, text = options.over.partition("=")
    if not (equals and text and key.startswith("system.")):
        raise InputError(
            f"{where}: write KEY=VALUES with a key of the system, such as "
            "system.hbm.capacity=24GB,32GB,48GB or system.hbm.capacity=24GB..96GB:10"
        )
    for option, given, only in (("--objective", options.objective, "time"),
                                ("--method", options.method, "dual")):  # fmt: skip
        if given != only:
            raise InputError(f"--over: goes with {option} {only} only, not {given}")
    if ".." not in text:
        values = text.split(",")
    else:
        ends, _, count = text.partition(":")
        start, _, stop = ends.partition("..")
        if not (count.isascii() and count.isdecimal() and 0 < int(count) <= MOST_POINTS):
            raise InputError(f"{where}: after the colon, how many values: 1 to {MOST_POINTS:,}")
        between = Between.model_validate(
            {"from": _number(start), "to": _number(stop), "count": int(count)}
        )
        values = spaced(between, where)[0]
    if not all(str(value).strip() for value in values):
        raise InputError(f"{where}: a value is empty")
    return [f"{key}={str(value).strip()}" for value in values]


def _number(text: str) -> float | str:
    """A bare number, or a quantity's text."""
    try:
        return float(text)
    except ValueError:
        return text
