"""`hmsim` and `python -m hmsim`."""

import sys

from hmsim.cli import main

if __name__ == "__main__":
    sys.exit(main())
