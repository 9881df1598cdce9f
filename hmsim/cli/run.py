"""`hmsim run`: a workload under every policy, through the memories, against the bound."""

import argparse
import shlex
import signal
import sys
from typing import Any


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="run a workload under placement policies",
        description="Build or load the workload, run every policy, replay it through the memories, "
        "bound it, store per-step traffic, print a table and draw achieved against optimal.",
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG.toml")
    parser.add_argument("-o", "--output", metavar="OUT.h5", help="result file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the configuration, such as system.hbm.capacity=24GB; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--policy", action="append", metavar="NAME", dest="policies",
        help="run this policy (or package.module:NAME) instead of the file's; repeatable",
    )  # fmt: skip
    parser.add_argument("--fidelity", choices=("burst", "run", "analytic"))
    parser.add_argument("--gap", type=float, help="tighten the bound until it is this close")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", metavar="FIG", help="draw the figure here (png, pdf or svg)")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.cli.common import Progress, print_json
    from hmsim.cli.inputs import writable
    from hmsim.config.base import load
    from hmsim.config.run import RunSpec, load_run
    from hmsim.results import summary
    from hmsim.simulate import run as engine

    spec = load_run(options.config, options.changes)
    data = spec.model_dump()
    if options.policies:
        data["policies"]["names"] = options.policies
    if options.gap is not None:
        data["bound"]["gap"] = options.gap
    if options.fidelity:
        data["replay"]["fidelity"] = options.fidelity
    if options.seed is not None:
        data["workload"] = spec.workload.model_dump(exclude_unset=True) | {"seed": options.seed}
    else:
        data["workload"] = spec.workload.model_dump(exclude_unset=True)
    spec = load(RunSpec, data, options.config)
    result = writable(options.output or spec.output.result)
    figure = writable(options.plot or spec.output.figure)
    if figure is not None:
        from hmsim.plot.style import check_format

        check_format(figure)

    with Progress(0, " steps", "replay") as progress:
        for each in (signal.SIGINT, signal.SIGTERM):  # a polite kill ends as Ctrl-C does
            signal.signal(each, progress.interrupt)
        ran = engine.execute(spec, result, progress)
    report = summary.as_dict(spec, ran)
    if options.json:
        print_json(report)
    else:
        print(summary.as_table(spec, ran))
    if figure is not None:
        from hmsim.plot import draw

        title = spec.title or ran.workload.title
        draw("bandwidth", report, figure, shlex.join(["hmsim", *sys.argv[1:]]), title=title)
    for path, what in ((result, "per-step traffic"), (figure, "figure")):
        if path is not None:
            print(f"{what}: {path}", file=sys.stderr)
    return 0
