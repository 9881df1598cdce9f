"""`hmsim plot`: any kind of figure from the files that hold its data."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from hmsim.errors import InputError, did_you_mean

WIDTHS = ("column", "page", "slide")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "plot",
        help="draw a figure from results",
        description="Draw a figure from result files (of hmsim run), a sweep's directory, a trace "
        "or a workload's spec, or what `hmsim replay --json` printed, as the kind needs.",
        allow_abbrev=False,
    )
    parser.add_argument("data", nargs="*", metavar="RESULT.h5")
    parser.add_argument("--kind", metavar="KIND")
    parser.add_argument("--kinds", action="store_true", help="list the kinds")
    parser.add_argument("-o", "--output", metavar="FIG", help="the figure (png, pdf or svg)")
    parser.add_argument("--width", choices=WIDTHS, default="page", help="of what it is for (page)")
    chosen = parser.add_argument_group("options of some kinds, which --kinds names")
    chosen.add_argument("--policy", metavar="NAME", help="draw this policy")
    chosen.add_argument("--against", metavar="NAME", help="compare with this policy (static)")
    chosen.add_argument("--x", metavar="AXIS", help="axis across")
    chosen.add_argument("--y", metavar="NAME", help="axis up; of a line: the number")
    chosen.add_argument("--value", metavar="NAME", help="number of a map (gap)")
    chosen.add_argument(
        "--at", action="append", metavar="AXIS=VALUE", help="where to cut another axis; repeatable"
    )
    parser.set_defaults(command=command)


OPTIONS = ("policy", "against", "x", "y", "value", "at")  # a kind takes those its function does


def _taken(kind: str) -> list[str]:
    """The options that a kind takes."""
    from inspect import signature

    from hmsim.plot import KINDS

    parameters = signature(KINDS[kind].function(kind)).parameters
    return [name for name in OPTIONS if name in parameters]


def command(options: argparse.Namespace) -> int:
    from hmsim.files import check_output
    from hmsim.plot import KINDS, draw
    from hmsim.plot.style import check_format

    if options.kinds:
        for name, kind in KINDS.items():
            print(" ".join([f"{name:14} {kind.shows}", *(f"[--{key}]" for key in _taken(name))]))
        return 0
    if options.kind not in KINDS:
        given = repr(options.kind) if options.kind else "missing"
        raise InputError(f"--kind: {given}{did_you_mean(options.kind or '', KINDS)}")
    if not options.data or options.output is None:
        raise InputError("hmsim plot: give the data, --kind KIND, and -o FIG")
    check_format(Path(options.output))
    figure = check_output(options.output, options.data)
    chosen: dict[str, Any] = {}
    for name in OPTIONS:
        value = getattr(options, name)
        if value is not None:
            if name not in _taken(options.kind):
                kinds = [kind for kind in KINDS if name in _taken(kind)]
                raise InputError(f"--{name}: goes with {' and '.join(kinds)}")
            chosen[name] = _cuts(value) if name == "at" else value
    data = READERS[KINDS[options.kind].of](options.data, options.kind)
    made_by = shlex.join(["hmsim", *sys.argv[1:]])
    draw(options.kind, data, figure, made_by, options.width, **chosen)
    print(f"figure: {figure}", file=sys.stderr)
    return 0


def _cuts(given: list[str]) -> dict[str, Any]:
    cuts: dict[str, Any] = {}
    for each in given:
        axis, equals, value = each.partition("=")
        if not equals:
            raise InputError(f"--at {each}: write AXIS=VALUE")
        try:
            cuts[axis] = float(value)
        except ValueError:
            cuts[axis] = value
    return cuts


def _run(paths: list[str], kind: str) -> Any:
    from hmsim.results.reader import ResultFile

    return ResultFile.open(_one(paths, kind))


def _runs(paths: list[str], kind: str) -> Any:
    from hmsim.results.reader import ResultFile

    return [ResultFile.open(path) for path in paths]


def _sweep(paths: list[str], kind: str) -> Any:
    from hmsim.sweep.dataset import open_sweep

    path = Path(_one(paths, kind))
    return open_sweep(path.parent if path.is_file() else path)


def _workload(paths: list[str], kind: str) -> Any:
    from hmsim.cli.inputs import open_source
    from hmsim.config.catalogue import find
    from hmsim.workload.statistics import measure

    return measure(open_source(find(_one(paths, kind)), []))


def _replays(paths: list[str], kind: str) -> Any:
    from hmsim import files
    from hmsim.plot.replays import of_run, read_replay

    replays: dict[str, Any] = {}
    for path in paths:
        if kind == "lost-cycles" and Path(path).suffix == ".h5":
            replays |= of_run(_run([path], kind))
            continue
        replays[Path(path).stem] = read_replay(path, files.read_json(path))
    return replays


READERS = {
    "run": _run, "runs": _runs, "sweep": _sweep, "workload": _workload, "replays": _replays,
}  # fmt: skip


def _one(paths: list[str], kind: str) -> str:
    if len(paths) != 1:
        raise InputError(f"--kind {kind}: draws one, not {len(paths)}")
    return paths[0]
