"""``python -m pyrevolve.fwi``."""

import sys

from .fwi import main

if __name__ == "__main__":
    sys.exit(main())
