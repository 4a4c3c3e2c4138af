"""CRevolve does, action for action, what the original Revolve does."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from oracles import classic
from oracles import original_revolve as original

from pyrevolve import crevolve

pytestmark = pytest.mark.skipif(
    not original.is_available(),
    reason="libadolc.so.2 with the original Revolve not found: apt-get install libadolc2",
)


def ours(n, snapshots):
    machine = crevolve.CRevolve(snapshots, n)
    while True:
        action = machine.revolve()
        yield int(action), machine.capo, machine.fine, machine.check
        if action in (crevolve.Action.terminate, crevolve.Action.error):
            return


def assert_same_stream(n, snapshots, length=None):
    if length is None:  # the check of terminate is the original's own affair
        expected, got = list(original.actions(n, snapshots)), list(ours(n, snapshots))
        expected[-1], got[-1] = expected[-1][:3], got[-1][:3]
    else:
        expected = list(islice(original.actions(n, snapshots), length))
        got = list(islice(ours(n, snapshots), length))
    if got != expected:
        at = next(i for i, pair in enumerate(zip(got, expected, strict=False)) if pair[0] != pair[1])
        pytest.fail(f"{n=} {snapshots=} action {at}: got {got[at]}, the original does {expected[at]}")


def test_action_numbers_are_the_originals():
    assert [action.name for action in sorted(crevolve.Action)] == [
        "advance",
        "takeshot",
        "restore",
        "firstrun",
        "youturn",
        "terminate",
        "error",
    ]
    assert [int(action) for action in sorted(crevolve.Action)] == list(range(7))


@pytest.mark.parametrize("snapshots", range(1, 41))
def test_stream_equals_the_original_for_every_n_up_to_200(snapshots):
    for n in range(1, 201):
        assert_same_stream(n, snapshots)


def test_stream_equals_the_original_for_random_larger_pairs():
    rng = random.Random(799)
    pairs = [(rng.randint(201, 6000), rng.randint(1, 300)) for _ in range(40)]
    for n, snapshots in pairs:
        if original.is_legal(n, snapshots):
            assert_same_stream(n, snapshots)


@pytest.mark.slow
def test_stream_equals_the_original_for_random_much_larger_pairs():
    rng = random.Random(2000)
    pairs = [(rng.randint(6000, 200_000), rng.randint(2, 1000)) for _ in range(40)]
    for n, snapshots in pairs:
        if original.is_legal(n, snapshots):
            assert_same_stream(n, snapshots)


def test_first_actions_equal_the_original_as_far_as_its_arithmetic_reaches():
    rng = random.Random(799)
    done = 0
    for _ in range(300):
        n, snapshots = int(10 ** rng.uniform(4, 8)), rng.randint(2, 1000)
        if original.is_legal(n, snapshots):
            assert_same_stream(n, snapshots, length=1500)
            done += 1
    assert done > 100


@pytest.mark.parametrize("snapshots", range(1, 41))
def test_the_machine_in_python_with_the_splits_found_by_experiment_is_the_original(snapshots):
    for n in range(1, 201):
        expected = list(original.actions(n, snapshots))
        expected[-1] = (*expected[-1][:3], -1)
        assert list(classic.actions(n, snapshots, classic.libadolc_split)) == expected


def test_interleaved_chains_do_not_disturb_each_other():
    """Ours has no global state: two machines taken in turns give what each gives alone."""
    sizes = [(57, 4), (31, 3), (100, 7)]
    machines = [crevolve.CRevolve(snapshots, n) for n, snapshots in sizes]
    streams = [list(original.actions(n, snapshots)) for n, snapshots in sizes]
    for at in range(max(map(len, streams)) - 1):
        for machine, stream in zip(machines, streams, strict=True):
            if at < len(stream) - 1:
                action = machine.revolve()
                assert (int(action), machine.capo, machine.fine, machine.check) == stream[at]


def test_numforw_and_expense_equal_the_original():
    pairs = [(n, s) for n in range(1, 201) for s in range(1, 41)]
    rng = random.Random(1)
    pairs += [
        pair
        for pair in ((rng.randint(200, 10**6), rng.randint(2, 1000)) for _ in range(1000))
        if original.is_legal(*pair) and crevolve.numforw(*pair) < 2**31
    ]
    assert [crevolve.numforw(*pair) for pair in pairs] == original.numforw(pairs)
    assert [crevolve.expense(*pair) for pair in pairs] == pytest.approx(original.expense(pairs), rel=1e-15)


def test_maxrange_equals_the_original_where_it_fits_in_32_bits():
    pairs = [(s, r) for s in range(41) for r in range(41)]
    for pair, theirs in zip(pairs, original.maxrange(pairs), strict=True):
        if theirs < 2**31 - 1:
            assert crevolve.maxrange(*pair) == theirs, pair


def test_adjust_equals_the_original():
    sizes = [*range(2, 3000), 10_000, 99_999, 1_000_000]
    assert [crevolve.adjust(n) for n in sizes] == original.adjust(sizes)
