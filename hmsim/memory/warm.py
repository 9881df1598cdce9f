"""The memory kernels, compiled in a process of their own while other kernels compile in this one.

They are half of all that a first run compiles, and Numba compiles one function at a time in a
process. The other process leaves machine code in the cache on disk, where this one then finds it.
"""

import os
import subprocess
import sys
from pathlib import Path

from numba import config, get_num_threads

import hmsim
from hmsim.jit import cache_environment, is_cached
from hmsim.machine import YOUNG
from hmsim.memory import burst_kernel
from hmsim.memory.sampling import learn_kernel
from hmsim.memory.sampling_kernel import REPLAY


class WarmUp:
    """Compiles the memory kernels in the background where they are `needed` and not in the cache,
    and where there is a processor to spare; then what the import of the module `last` compiles. A
    context manager."""

    def __init__(self, needed: bool, last: str = "hmsim.memory.device") -> None:
        self._process: subprocess.Popen | None = None
        if not needed or get_num_threads() < 2 or is_cached(burst_kernel.replay):
            return
        home = str(Path(hmsim.__file__).parents[1])
        paths = [home, *filter(None, [os.getenv("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | cache_environment()
        command = f"import gc; gc.set_threshold({YOUNG}); "
        command += (
            f"from hmsim.memory.warm import compile_kernels; compile_kernels(); import {last}"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", command], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def wait(self) -> None:
        """Return once the kernels are in the cache. Where that failed, they are compiled at need."""
        if self._process is not None:  # threads may wait for it together
            self._process.wait()

    def __enter__(self) -> "WarmUp":
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what nobody waits for any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


def compile_kernels() -> None:
    """Compile, or load from the cache, what replays call: the engine, and what learns from samples."""
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        burst_kernel.replay.compile(REPLAY)
    learn_kernel()
