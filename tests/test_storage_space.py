"""Bytes that snapshots share: whoever takes some has them alone, and none are lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyrevolve.storage.space import Space

#: How much of a space without end the model knows [grains].
HORIZON = 200


class SpaceAndOwners(RuleBasedStateMachine):
    """A space beside a list that says who has each of its bytes."""

    @initialize(
        grains=st.none() | st.integers(0, 24), grain=st.sampled_from([1, 3, 8]), more=st.integers(0, 7)
    )
    def make(self, grains, grain, more):
        self.bounded = grains is not None
        self.space = Space(grains * grain + more % grain if self.bounded else None, grain)
        self.grain = grain
        self.owners = [None] * (grain * (grains if self.bounded else HORIZON))
        self.extents = {}
        self.taken = 0

    def lowest_gap(self, need):
        """Return where the first gap begins that holds so many bytes; None where there is none."""
        length = 0
        for at, owner in enumerate(self.owners):
            length = 0 if owner is not None else length + 1
            if length == need:
                return at + 1 - need
        return None

    def give(self, extents):
        """Note that somebody new has these bytes."""
        for begin, end in extents:
            assert 0 <= begin < end <= len(self.owners)
            assert begin % self.grain == end % self.grain == 0
            assert self.owners[begin:end] == [None] * (end - begin)
            self.owners[begin:end] = [self.taken] * (end - begin)
        self.extents[self.taken] = tuple(extents)
        self.taken += 1

    @rule(grains=st.integers(0, 9), less=st.integers(0, 7), scattered=st.booleans())
    def take(self, grains, less, scattered):
        nbytes = max(0, grains * self.grain - less % self.grain)
        need = grains * self.grain
        assert self.space.rounded(nbytes) == need
        if not self.bounded and self.owners.count(None) < 0.6 * len(self.owners):
            return
        before = self.space.left, self.space.end
        extents = self.space.take(nbytes, scattered=scattered)
        if need == 0:
            assert extents == ()
            return
        lowest = self.lowest_gap(need)
        if lowest is not None:
            assert extents == ((lowest, lowest + need),)
        elif not scattered or self.owners.count(None) < need:
            assert extents is None
            assert (self.space.left, self.space.end) == before
            return
        else:
            assert sum(end - begin for begin, end in extents) == need
            assert list(extents) == sorted(extents)
        self.give(extents)

    @precondition(lambda self: self.extents)
    @rule(data=st.data())
    def give_back(self, data):
        self.release(data.draw(st.sampled_from(sorted(self.extents))), data)

    def release(self, number, data):
        extents = self.extents.pop(number)
        for begin, end in extents:
            self.owners[begin:end] = [None] * (end - begin)
        self.space.give_back(data.draw(st.permutations(extents)))

    @precondition(lambda self: self.bounded)
    @rule(grains=st.integers(1, 3), data=st.data())
    def riddle(self, grains, data):
        """Take all that is left, and give some of it back."""
        first = self.taken
        while (extents := self.space.take(grains * self.grain, scattered=True)) is not None:
            self.give(extents)
        for number in range(first, self.taken):
            if data.draw(st.booleans()):
                self.release(number, data)

    @rule(begin=st.integers(-2, 30), length=st.integers(-2, 12))
    def claim(self, begin, length):
        begin, end = begin * self.grain, (begin + length) * self.grain
        inside = 0 <= begin < end and (end <= len(self.owners) or not self.bounded)
        before = self.space.left, self.space.end
        if inside and not any(owner is not None for owner in self.owners[begin:end]):
            self.space.claim([(begin, end)])
            self.give([(begin, end)])
        else:
            with pytest.raises(ValueError, match="in use" if inside else "lie outside"):
                self.space.claim([(begin, end)])
            assert (self.space.left, self.space.end) == before

    @rule()
    def clear(self):
        self.space.clear()
        self.owners = [None] * len(self.owners)
        self.extents = {}

    @rule(data=st.data())
    def clear_and_claim_what_was_held(self, data):
        """A journal gives every snapshot the bytes that it had, in any order."""
        before = self.space.left, self.space.end
        self.space.clear()
        for extents in data.draw(st.permutations(list(self.extents.values()))):
            self.space.claim(extents)
        assert (self.space.left, self.space.end) == before

    @invariant()
    def every_byte_is_counted(self):
        assert self.space.left == (self.owners.count(None) if self.bounded else None)
        used = [at for at, owner in enumerate(self.owners) if owner is not None]
        assert self.space.end == max(used, default=-1) + 1


TestSpaceAndOwners = SpaceAndOwners.TestCase


@given(sizes=st.lists(st.integers(1, 50), max_size=12), seed=st.randoms(use_true_random=False))
def test_space_that_was_given_back_is_as_good_as_new(sizes, seed):
    space = Space(1000, 4)
    held = [space.take(size) for size in sizes]
    seed.shuffle(held)
    for extents in held:
        space.give_back(extents)
    assert (space.left, space.end) == (1000, 0)
    assert space.take(1000) == ((0, 1000),)


def test_bytes_that_make_no_whole_grain_belong_to_nobody():
    space = Space(4095, 4096)
    assert space.left == 0
    assert space.take(0) == ()
    assert space.take(1, scattered=True) is None
    assert Space(8191, 4096).left == 4096
