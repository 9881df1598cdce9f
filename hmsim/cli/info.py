"""`hmsim info`: what a result file says."""

import argparse
from pathlib import Path
from typing import Any

from hmsim.errors import InputError


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="show a result file",
        description="Totals, provenance and configuration of a result file, also of one that was "
        "cut short; or the state of a sweep's directory.",
        allow_abbrev=False,
    )
    parser.add_argument("result", metavar="RESULT.h5|DIR")
    parser.add_argument("--config", action="store_true", help="print the configuration (TOML)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--bandwidth", action="store_true",
        help="print effective bandwidths by tier, of the run and of its steps, as one JSON object "
        "for serving simulators",
    )  # fmt: skip
    parser.add_argument(
        "--by", choices=("token", "step"),
        help="steps of --bandwidth: decode steps (token, the default) or those of each layer",
    )  # fmt: skip
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json

    if options.by and not options.bandwidth:
        raise InputError("--by: goes with --bandwidth")
    if Path(options.result).is_dir():
        return _sweep(options)
    from hmsim.results.reader import ResultFile

    result = ResultFile.open(options.result, partial=True)
    attributes = result.attributes
    if options.bandwidth:
        from hmsim.results.bandwidth import effective_bandwidth

        print_json(effective_bandwidth(result, options.by or "token"))
    elif options.config:
        print(attributes["config"], end="")
    elif options.json:
        print_json(result.report() | {"attributes": attributes})
    else:
        print(result)
        state = "complete" if attributes["complete"] else (
            f"INCOMPLETE: {attributes['steps_done']:,} steps done"
        )  # fmt: skip
        print(
            f"{state}; fidelity {attributes['fidelity']}, seed {attributes['seed']}, made by "
            f"{attributes['created_by']} with numba {attributes['numba']}, numpy "
            f"{attributes['numpy']}"
        )
        print(f"rerun: hmsim info {options.result} --config > config.toml; hmsim run config.toml")
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json
    from hmsim.sweep.dataset import open_sweep

    if options.bandwidth:
        raise InputError(f"{options.result}: --bandwidth: of a result file, not of a sweep")
    data = open_sweep(options.result)
    attributes = dict(data.attrs)
    if options.config:
        print(attributes["base"], end="")
    elif options.json:
        axes = {str(name): size for name, size in data.sizes.items()}
        print_json({"axes": axes, "attributes": attributes})
    else:
        print(attributes["title"])
        print(" x ".join(f"{name} ({size})" for name, size in data.sizes.items()))
        print(
            f"{attributes['points']:,} points: {attributes['missing']:,} missing, "
            f"{attributes['failed']:,} failed"
        )
    return 0
