"""`hmsim run`: a workload under every policy, through the memories, against the bound."""

import argparse
import json
import shlex
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
    parser.add_argument("config", metavar="CONFIG.toml", help="or a name of `hmsim workload list`")
    parser.add_argument("-o", "--output", metavar="OUT.h5", help="result file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the configuration, such as system.hbm.capacity=24GB; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--policy", action="append", metavar="NAME", dest="policies",
        help="run this policy (or package.module:NAME) instead of the file's; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--allow-plugins", action="store_true",
        help="import the policies of your own that the configuration names (they are code)",
    )  # fmt: skip
    parser.add_argument("--fidelity", choices=("burst", "run", "analytic"))
    parser.add_argument("--gap", type=float, help="tighten the bound until it is this close")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", metavar="FIG", help="draw the figure here (png, pdf or svg)")
    parser.set_defaults(command=command)


# Options that stand for a key of the configuration.
KEYS = {
    "policies": "policies.names",
    "fidelity": "replay.fidelity",
    "gap": "bound.gap",
    "seed": "workload.seed",
}


def _changes(options: argparse.Namespace) -> list[str]:
    """The options of KEYS as changes of the configuration, as `--set` has them."""
    given = {key: getattr(options, name) for name, key in KEYS.items()}
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def command(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json
    from hmsim.cli.inputs import inputs_of
    from hmsim.config.catalogue import find
    from hmsim.config.run import data_files, load_run
    from hmsim.files import check_outputs
    from hmsim.jit import is_cached
    from hmsim.placement import latency_kernel
    from hmsim.progress import Progress
    from hmsim.results import summary

    config = find(options.config)
    spec = load_run(config, [*options.changes, *_changes(options)])
    inputs = [*inputs_of(config), *data_files(spec.model_dump())]
    result, figure = check_outputs(
        [options.output or spec.output.result, options.plot or spec.output.figure], inputs
    )
    if figure is not None:
        from hmsim.plot.style import check_format

        check_format(figure)

    # For people alone: what comes after it may be the one line that says what is wrong.
    if sys.stderr.isatty() and not is_cached(latency_kernel.time_groups):
        print("hmsim: the first run compiles its kernels, which takes about a minute; later ones "
              "find them on disk", file=sys.stderr)  # fmt: skip
    with Progress(0, " steps", "run") as progress:
        from hmsim.simulate.run import execute  # some kernels compile as they are imported

        ran = execute(
            spec, result, progress, options.allow_plugins or options.policies or [],
            progress.begin, progress.tell,
        )  # fmt: skip
    report = summary.as_dict(ran.record)
    title = spec.title or ran.workload.title
    if options.json:
        print_json(report)
    else:
        print(summary.as_text(ran.record, title))
    if figure is not None:
        from hmsim.plot import draw

        draw("bandwidth", report, figure, shlex.join(["hmsim", *sys.argv[1:]]), title=title)
    for path, what in ((result, "per-step traffic"), (figure, "figure")):
        if path is not None:
            print(f"{what}: {path}", file=sys.stderr)
    return 0
