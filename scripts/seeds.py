"""Property tests at other seeds: `python scripts/seeds.py tests/placement [--seeds 50] [--first 1]`.

Under CI, hypothesis draws the same examples every time, and so may never meet the one for which a
test is false. This runs the property tests of the given files (all of them without `slow`) once per
seed, one after another in one process, and ends with those that failed and the seeds at which
they did.
"""

import argparse
import os
import sys
import time

os.environ.pop("CI", None)  # else every seed draws the same

import pytest
from hypothesis import settings

# Hypothesis is imported before pytest can rewrite it, which does not matter.
QUIET = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


class Failures:
    """Which tests failed in one round."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.count = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.count += report.when == "call"
        if report.failed:
            self.names.append(report.nodeid)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--also-slow", action="store_true")
    options = parser.parse_args()
    os.nice(10)
    settings.register_profile("seeds", database=None, deadline=None)
    settings.load_profile("seeds")
    failed: dict[str, list[int]] = {}
    began = time.monotonic()
    marks = "hypothesis" if options.also_slow else "hypothesis and not slow"
    count = 0
    for seed in range(options.first, options.first + options.seeds):
        found = Failures()
        code = pytest.main(
            ["-q", "-p", "no:cacheprovider", "--tb=short", "--no-header", f"--hypothesis-seed={seed}",
             *QUIET, "-m", marks, *options.files],
            plugins=[found],
        )  # fmt: skip
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return int(code)
        count = found.count
        for name in found.names:
            failed.setdefault(name, []).append(seed)
    seconds = time.monotonic() - began
    print(f"\n{count} property tests at {options.seeds} seeds in {seconds:.0f} s")
    for name, seeds in failed.items():
        print(f"FAILED {name} at {', '.join(map(str, seeds))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
