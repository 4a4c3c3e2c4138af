"""Which bytes of a tier belong to which snapshot."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Extent", "Space"]

#: The half-open range of bytes [begin, end).
Extent: TypeAlias = tuple[int, int]


class Space:
    """Bytes that snapshots of any size share; each takes what it needs and gives it back.

    A request is met by the lowest gap that holds it. Where none does, it may be met by several pieces, so
    that nothing is ever left unused because it lies scattered.

    Parameters
    ----------
    nbytes : int or None
        Bytes in all, >= 0, of which whole grains are used; None: without end.
    grain : int
        Requests are rounded up to a multiple of so many bytes, >= 1.

    Notes
    -----
    A request takes time proportional to the number of gaps, which snapshots of one size do not leave.
    """

    def __init__(self, nbytes: int | None, grain: int = 1) -> None:
        self._grain = grain
        self._end = None if nbytes is None else nbytes - nbytes % grain
        self.clear()

    def clear(self) -> None:
        """Take everything back."""
        #: Gaps, ascending and never touching one another; what lies behind `_reached` was never used.
        self._gaps: list[Extent] = []
        self._reached = 0
        self._in_gaps = 0

    @property
    def end(self) -> int:
        """Where the last bytes that somebody has end."""
        return self._reached

    @property
    def left(self) -> int | None:
        """Bytes that nobody has; None: without end."""
        return None if self._end is None else self._end - self._reached + self._in_gaps

    def rounded(self, nbytes: int) -> int:
        """Return what a request of so many bytes takes."""
        return -(-nbytes // self._grain) * self._grain

    def take(self, nbytes: int, *, scattered: bool = False) -> tuple[Extent, ...] | None:
        """Return bytes that belong to the caller from now on; None where they do not fit.

        Parameters
        ----------
        nbytes : int
            How many, >= 0.
        scattered : bool
            Whether several pieces do where no gap is large enough. False: one extent.
        """
        need = self.rounded(nbytes)
        if need == 0:
            return ()
        for number, (begin, end) in enumerate(self._gaps):
            if end - begin >= need:
                self._in_gaps -= need
                if end - begin == need:
                    del self._gaps[number]
                else:
                    self._gaps[number] = begin + need, end
                return ((begin, begin + need),)
        begin = self._reached
        if self._end is None or begin + need <= self._end:
            self._reached = begin + need
            return ((begin, begin + need),)
        if not scattered or need > self._end - begin + self._in_gaps:
            return None
        pieces: list[Extent] = []
        while need and self._gaps:
            begin, end = self._gaps.pop(0)
            some = min(need, end - begin)
            pieces.append((begin, begin + some))
            if some < end - begin:
                self._gaps.insert(0, (begin + some, end))
            self._in_gaps -= some
            need -= some
        if need:
            pieces.append((self._reached, self._reached + need))
            self._reached += need
        return tuple(pieces)

    def give_back(self, extents: Iterable[Extent]) -> None:
        """Take bytes back that `take` returned."""
        for begin, end in extents:
            self._in_gaps += end - begin
            where = bisect.bisect(self._gaps, (begin, end))
            if where < len(self._gaps) and self._gaps[where][0] == end:
                end = self._gaps.pop(where)[1]
            if where and self._gaps[where - 1][1] == begin:
                where -= 1
                begin = self._gaps.pop(where)[0]
            if end == self._reached:
                self._in_gaps -= end - begin
                self._reached = begin
            else:
                self._gaps.insert(where, (begin, end))

    def claim(self, extents: Iterable[Extent]) -> None:
        """Give certain bytes to the caller, as they were given before a `clear`.

        Raises
        ------
        ValueError
            They lie outside, or somebody has them.
        """
        for begin, end in extents:
            if not 0 <= begin < end or (self._end is not None and end > self._end):
                raise ValueError(f"bytes {begin} to {end} lie outside")
            if end > self._reached:
                if begin >= self._reached:
                    if begin > self._reached:
                        self._gaps.append((self._reached, begin))
                        self._in_gaps += begin - self._reached
                    self._reached = end
                    continue
                raise ValueError(f"bytes {begin} to {end} are in use")
            where = bisect.bisect(self._gaps, (begin, self._reached)) - 1
            if where < 0 or not self._gaps[where][0] <= begin < end <= self._gaps[where][1]:
                raise ValueError(f"bytes {begin} to {end} are in use")
            low, high = self._gaps.pop(where)
            self._gaps[where:where] = [gap for gap in ((low, begin), (end, high)) if gap[0] < gap[1]]
            self._in_gaps -= end - begin
