"""`hmsim workload`: make, measure, import and export traces."""

import argparse
from pathlib import Path
from typing import Any

from hmsim.errors import InputError


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "workload",
        help="generate, measure, import and export workloads",
        description="The workload generator, for hmsim and for other tools.",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=type(parser))

    generate = verbs.add_parser("generate", help="write a spec's trace file", allow_abbrev=False)
    generate.add_argument("spec", metavar="SPEC.toml")
    generate.add_argument("-o", "--output", required=True, metavar="TRACE.h5")
    generate.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the spec, such as workload.sparsity=0.9; repeatable",
    )  # fmt: skip
    generate.set_defaults(command=_generate)

    info = verbs.add_parser("info", help="statistics of a trace or a spec", allow_abbrev=False)
    info.add_argument("source", metavar="TRACE.h5|SPEC.toml")
    info.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the spec; repeatable",
    )  # fmt: skip
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(command=_info)


def open_source(path: str, changes: list[str]) -> Any:
    """The workload of a trace file, or of a TOML file with a `[workload]` table."""
    from hmsim.config.run import changed, read_run
    from hmsim.workload import open_workload
    from hmsim.workload.open import load_spec
    from hmsim.workload.trace import TraceWorkload

    if not path.endswith(".toml"):
        if changes:
            raise InputError(f"--set: {path} is a trace file, which has nothing to change")
        return TraceWorkload(Path(path))
    data = read_run(path)
    for change in changes:
        data = changed(data, change)
    return open_workload(load_spec(data, path))


def _generate(options: argparse.Namespace) -> int:
    import sys

    from hmsim.cli.common import Progress
    from hmsim.cli.run import writable
    from hmsim.units import show_bytes
    from hmsim.workload.trace import save

    workload = open_source(options.spec, options.changes)
    path = writable(options.output)
    assert path is not None
    with Progress(workload.geometry.steps, " steps", "generate") as progress:
        save(workload, path, _increments(progress))
    print(
        f"{path}: {workload.geometry.steps:,} steps, {show_bytes(path.stat().st_size)}",
        file=sys.stderr,
    )
    return 0


def _info(options: argparse.Namespace) -> int:
    from hmsim.cli.common import Progress, print_json
    from hmsim.workload.statistics import measure

    workload = open_source(options.source, options.changes)
    with Progress(workload.geometry.steps, " steps", "measure") as progress:
        found = measure(workload, _increments(progress))
    if options.json:
        print_json(found.as_json())
    else:
        print(f"{workload.title}\n\n{found.format_table()}")
    return 0


def _increments(progress: Any) -> Any:
    """For callers that report steps done so far, not more steps done."""
    done = 0

    def report(so_far: int) -> None:
        nonlocal done
        progress(so_far - done)
        done = so_far

    return report
