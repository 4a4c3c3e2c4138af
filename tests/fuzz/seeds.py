"""Write the inputs that fuzzing begins with: random bytes of some lengths for every family, always the same.

    python tests/fuzz/seeds.py build/fuzz/corpus

The last byte says, modulo the number of families, which family of target.cpp an input is for; for plans.py
the first one does the same.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

FAMILIES = 13
#: Bytes of the shortest and the longest inputs, and how many there are of each length and family.
LENGTHS = (8, 16, 32, 64, 128, 256)
EACH = 4


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = random.Random(799)
    for family in range(FAMILIES):
        for length in LENGTHS:
            for number in range(EACH):
                path = folder / f"seed-{family:02}-{length:03}-{number}"
                path.write_bytes(source.randbytes(length - 1) + bytes([family]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: seeds.py FOLDER")
    main(Path(sys.argv[1]))
