"""`hmsim sweep`: a run at every point of some axes."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmsim.errors import InputError

if TYPE_CHECKING:
    from hmsim.sweep.coordinator import Swept
    from hmsim.sweep.executors import Pool
    from hmsim.sweep.points import Plan

MANY = 10**6
SHOWN_FAILURES = 20


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "sweep",
        help="run at every point of some axes",
        description="Run a base configuration at every point of some axes, on this machine or on a "
        "Dask cluster. The directory gets one dataset (sweep.h5, axes as dimensions), one table "
        "(sweep.csv), and a journal from which an interrupted sweep goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("sweep", metavar="SWEEP.toml")
    parser.add_argument("-o", "--output", metavar="DIR", help="where the results go")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="worker processes (as many as there are cores)"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler to run on")
    parser.add_argument("--resume", action="store_true", help="go on with the sweep in DIR")
    parser.add_argument(
        "--dry-run", action="store_true",
        help="list the points with what each takes, as first steps of a few of them tell",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help=f"more than {MANY:,} points are meant")
    parser.add_argument(
        "--parquet", action="store_true", help="the table as sweep.parquet too (needs pyarrow)"
    )
    parser.add_argument(
        "--allow-plugins", action="store_true",
        help="import the policies of your own that the sweep names (they are code)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim import machine
    from hmsim.cli.common import print_json
    from hmsim.config.sweep import load_sweep
    from hmsim.progress import Progress
    from hmsim.sweep.coordinator import plan_of, sweep_into
    from hmsim.sweep.executors import pool_for
    from hmsim.sweep.folder import Folder
    from hmsim.sweep.table import need_pyarrow

    sweep = load_sweep(options.sweep)
    most = None if options.yes else MANY
    plan = plan_of(sweep, options.sweep, most, options.allow_plugins)
    pool = pool_for(options.scheduler, options.jobs, plan.size)
    if options.dry_run:
        jobs = options.jobs or machine.cores()
        return _dry_run(plan, pool_for(None, jobs, plan.size), jobs, options.allow_plugins)
    if options.output is None:
        raise InputError("-o DIR: missing; where shall the results go?")
    if options.parquet:
        need_pyarrow("--parquet")

    progress = Progress(plan.size, " points", "sweep")
    with Folder(Path(options.output), sweep, options.resume) as folder, progress:
        swept = sweep_into(
            folder, plan, sweep, pool, progress, options.parquet, options.allow_plugins
        )
    if options.json:
        print_json(_as_dict(swept))
    else:
        _report(swept, options)
    if not swept.finished:
        return 130
    return 1 if swept.failures else 0


def _dry_run(plan: "Plan", pool: Callable[[], "Pool"], jobs: int, allow_plugins: bool) -> int:
    """A line a point: its name, its values, its share of a run's seconds; then the totals."""
    from hmsim.progress import Progress
    from hmsim.sweep.estimate import PROBES
    from hmsim.sweep.forecast import forecast
    from hmsim.units import show_bytes, show_seconds

    with Progress(PROBES, " probes", "estimate") as progress:
        found = forecast(plan, pool, jobs, progress, allow_plugins)
    shown: set[str] = set()
    for point in plan.points():
        values = "  ".join(f"{key}={_shown(value)}" for key, value in point.changes.items())
        if point.hash in shown:
            what = "as before"
        elif point.hash in found.errors:
            what = found.errors[point.hash]
        else:
            what = f"about {show_seconds(found.seconds[point.hash])}"
        shown.add(point.hash)
        print(f"{point.hash}  {values}  {what}")
    for line in found.notes:
        print(line)
    print(
        f"{plan.size:,} points, {len(found.seconds):,} different runs: about "
        f"{show_seconds(found.wall_s)} with {jobs} jobs, {show_bytes(found.bytes)} on disk"
    )
    return 0


def _report(swept: "Swept", options: argparse.Namespace) -> None:
    for failure in swept.failures[:SHOWN_FAILURES]:
        values = " ".join(f"{key}={_shown(value)}" for key, value in failure.changes.items())
        print(f"failed: {values}: {failure.error}", file=sys.stderr)
    if len(swept.failures) > SHOWN_FAILURES:
        rest = len(swept.failures) - SHOWN_FAILURES
        print(f"failed: {rest} more, see {options.output}/points.jsonl", file=sys.stderr)
    print(
        f"{swept.points:,} points: {swept.computed:,} computed, {swept.known:,} known before, "
        f"{len(swept.failures):,} failed; took {swept.wall_s:.1f} s"
    )
    for note in swept.notes:
        print(note)
    written = ["sweep.h5", "sweep.csv", *(["sweep.parquet"] if options.parquet else [])]
    print(", ".join(f"{options.output}/{name}" for name in written))
    if not swept.finished:
        again = shlex.join(["hmsim", "sweep", options.sweep, "-o", options.output, "--resume"])
        print(f"interrupted; go on with: {again}", file=sys.stderr)


def _as_dict(swept: "Swept") -> dict[str, Any]:
    failures = [{"changes": each.changes, "error": each.error} for each in swept.failures]
    return swept._asdict() | {"failures": failures}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
