"""`hmsim report`: a directory of results, or a sweep, as one page."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from hmsim.errors import InputError


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="write a page about results or a sweep",
        description="Write one self-contained HTML page about the result files and replays in a "
        "directory, or about a sweep's directory: tables, figures, workload statistics, bounds, "
        "provenance, and how to run everything again.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page")
    parser.add_argument(
        "--markdown", action="store_true", help="write Markdown, with SVG figures beside it"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out workload statistics, which take a while"
    )
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim.files import check_output
    from hmsim.report import markdown, page
    from hmsim.report.content import report_on

    path = Path(options.output)
    allowed = (".md",) if options.markdown else (".html", ".htm")
    if path.suffix not in allowed:
        raise InputError(f"-o {path}: a page ends in .html, with --markdown in .md")
    check_output(path)
    made_by = shlex.join(["hmsim", *sys.argv[1:]])
    report = report_on(options.directory, made_by, statistics=not options.quick)
    (markdown if options.markdown else page).write(report, path)
    print(f"report: {path}", file=sys.stderr)
    return 0
