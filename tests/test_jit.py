"""The cache of compiled kernels, where classes have moved since it was written."""

import subprocess
import sys

BEFORE = """
from typing import NamedTuple
from hmsim.jit import kernel

class Pair(NamedTuple):
    left: int
    right: int

@kernel
def total(pair):
    return pair.left + pair.right

print(total(Pair(2, 3)))
"""


def test_a_cache_that_names_a_class_of_old_is_written_anew(tmp_path, monkeypatch):
    """Numba unpickles a signature's classes before it looks at the stamp of the sources."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    module = tmp_path / "moved.py"
    for text in (BEFORE, BEFORE.replace("Pair", "Couple")):
        module.write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", "import moved"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout == "5\n", done.stderr
