"""What this machine has: processor cores, and memory."""

import os
from pathlib import Path

from hmsim.errors import InputError

SHARE = 0.9  # of the free memory that one allocation may plan for
YOUNG = (
    50_000  # objects made between looks for garbage, in processes of hmsim's own: nearly all that
)
# is imported and compiled stays, and to look as often as Python does takes a tenth of compiling


def cores() -> int:
    """Processor cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def free_memory() -> float:
    """Bytes that can still be allocated; infinite where the system does not tell."""
    limits = [_proc_available(), _group_available()]
    known = [limit for limit in limits if limit is not None]
    if known:
        return float(min(known))
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def need_memory(size: float, what: str) -> None:
    """InputError, before anything is allocated, where `size` bytes for `what` do not fit."""
    free = free_memory()
    if size > SHARE * free:
        raise InputError(
            f"{what}: needs about {size / 1e9:,.3g} GB of memory, {free / 1e9:,.3g} GB are free"
        )


def _proc_available() -> int | None:
    """Linux's own estimate."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    return int(sizes["MemAvailable"][0]) * 1024 if "MemAvailable" in sizes else None


def _group_available() -> int | None:
    """What is left of a container's limit (cgroup v2)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / f"memory.{name}").read_text() for name in ("max", "current"))
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
        cached = int(statistics.get("inactive_file", 0))
        return None if limit.strip() == "max" else int(limit) - int(used) + cached
    except (OSError, ValueError):
        return None
