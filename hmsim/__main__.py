"""`hmsim` and `python -m hmsim`."""

import gc
import sys

from hmsim import cli
from hmsim.machine import YOUNG


def main() -> int:
    """The command as a process of its own; its exit code.

    Nearly all that it imports and compiles stays until its end. To look for garbage among that as
    often as Python does by itself, and once more at the end, takes a third of a short command.
    """
    gc.set_threshold(YOUNG)
    try:
        return cli.main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
