"""``python -m pyrevolve``, the same as the command ``pyrevolve``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
