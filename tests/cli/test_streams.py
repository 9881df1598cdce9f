"""Standard streams that are narrow, closed or full, and an environment that is wrong."""

import os
import subprocess
import sys

import pytest


def shell(line: str, **environment: str) -> subprocess.CompletedProcess:
    command = f"set -o pipefail; '{sys.executable}' -m hmsim {line}"
    return subprocess.run(
        ["bash", "-c", command], env=os.environ | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "environment", "code", "said"),
    [
        ("presets", {"PYTHONIOENCODING": "ascii"}, 0, ""),
        ("presets >&-", {}, 0, ""),
        ("presets >&- 2>&-", {}, 0, ""),
        ("presets > /dev/full", {}, 1, "hmsim: output: No space left on device\n"),
        ("presets | head -c 5", {}, 0, ""),
        ("presets", {"NUMBA_NUM_THREADS": "0"}, 2, "hmsim: NUMBA_NUM_THREADS: '0'"),
    ],
)
def test_streams(line, environment, code, said):
    done = shell(line, **environment)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == (1 if said else 0)
