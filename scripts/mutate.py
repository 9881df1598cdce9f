"""Do the tests notice? `python scripts/mutate.py [NAME...] [--list]`.

`tests/mutations.toml` lists small faults of the code that joins the parts: a file, the text to be
replaced, what stands there instead, and the test files that must fail. Each one is put into a copy
of the repository in a temporary folder, and those files run there as the default suite does
(`-m "not slow"`) until the first failure. A fault that no test notices is *alive*, and the exit
code is 1. First the same tests run without any fault: else "caught" would say nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MUTATIONS = ROOT / "tests/mutations.toml"
NOT_COPIED = {".git", ".venv", "out", "site", "results", ".hypothesis"}  # of the top folder


def left_out(folder: str, names: list[str]) -> set[str]:
    """What of a folder the copy needs not have."""
    return (NOT_COPIED & set(names)) if Path(folder) == ROOT else set()


# Examples as the continuous integration draws them; nobody reads the smallest one here.
RUN = """
import sys, pytest
from hypothesis import Phase, settings
settings.register_profile("mutate", settings.get_profile("ci"), phases=[Phase.generate])
settings.load_profile("mutate")
sys.exit(pytest.main(sys.argv[1:]))
"""


def run(folder: Path, tests: list[str]) -> tuple[int, str]:
    """Exit code of the tests, and the first line that says what failed."""
    environment = os.environ | {"PYTHONPATH": str(folder), "CI": "true"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow",
         "--tb=no", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning", *tests],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, failed[0] if failed else done.stdout[-500:]


def mutated(text: str, mutation: dict[str, Any]) -> str:
    """The file's text with the fault; the old text must stand there exactly once."""
    count = text.count(mutation["old"])
    if count != 1:
        sys.exit(f"{mutation['name']}: the old text stands {count} times in {mutation['file']}")
    return text.replace(mutation["old"], mutation["new"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutations; all unless given")
    parser.add_argument("--list", action="store_true", help="print what there is and stop")
    parser.add_argument("--no-baseline", action="store_true", help="the tests are known to pass")
    options = parser.parse_args()
    mutations = tomllib.loads(MUTATIONS.read_text())["mutation"]
    known = {mutation["name"] for mutation in mutations}
    if unknown := set(options.names) - known:
        sys.exit(f"no mutation {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    if options.names:
        mutations = [mutation for mutation in mutations if mutation["name"] in options.names]
    for mutation in mutations:  # all must fit before any runs
        mutated((ROOT / mutation["file"]).read_text(), mutation)
    if options.list:
        for mutation in mutations:
            print(f"{mutation['name']:24} {mutation['file']:36} {' '.join(mutation['tests'])}")
        return 0
    alive = 0
    with tempfile.TemporaryDirectory(prefix="hmsim-mutate-") as parent:
        folder = Path(parent) / "hmsim"
        shutil.copytree(ROOT, folder, ignore=left_out)  # with the compiled kernels, if any
        if not options.no_baseline:
            tests = sorted({test for mutation in mutations for test in mutation["tests"]})
            code, said = run(folder, tests)
            if code:
                sys.exit(f"without any fault the tests do not pass: {said}")
        for mutation in mutations:
            began = time.monotonic()
            path = folder / mutation["file"]
            whole = path.read_text()
            path.write_text(mutated(whole, mutation))
            code, said = run(folder, mutation["tests"])
            path.write_text(whole)
            if code not in (0, 1):
                sys.exit(f"{mutation['name']}: the tests did not run: {said}")
            alive += code == 0
            verdict = "caught" if code else "ALIVE "
            seconds = time.monotonic() - began
            print(
                f"{verdict} {mutation['name']:24} {seconds:4.0f} s  {said if code else ''}",
                flush=True,
            )
    print(f"{len(mutations) - alive} of {len(mutations)} caught")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
