"""The colours of pictures and pages, so that each means the same in all of them.

They are those of Okabe & Ito, which readers with any kind of colour vision can tell apart. Where a run is
shown, what has a name below has its colour. The lines of other charts take any of them, but those that are
about RAM or a disk take theirs.
"""

from __future__ import annotations

__all__ = [
    "BLACK",
    "BLUE",
    "DISK",
    "FORWARD",
    "GREEN",
    "LOAD",
    "ON_DARK",
    "ORANGE",
    "PURPLE",
    "RAM",
    "REVERSE",
    "SAVE",
    "SKY",
    "TIERS",
    "VERMILLION",
    "WAIT",
]

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

#: The operators.
FORWARD, REVERSE = BLUE, VERMILLION
#: Snapshots, by where they are.
RAM, DISK = GREEN, PURPLE
#: Snapshots by tier, the fastest first; what is slower than a disk is rare.
TIERS = (RAM, DISK, BLACK, "#777777")
#: Copies to a slot and from it, whichever tier it is in.
SAVE, LOAD = SKY, ORANGE
#: It is a disk that is waited for.
WAIT = DISK

#: What stands on dark paper for colours that are hard to see there.
ON_DARK = {BLUE: SKY, BLACK: "#E8EAED"}
