"""The classic state machine: published streams, counts, errors; test_original_revolve.py has the original."""

from __future__ import annotations

import threading
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import classic, closed_form
from simulator import simulate_classic

from pyrevolve import crevolve
from pyrevolve.crevolve import Action, CRevolve


def stream(machine):
    while True:
        action = machine.revolve()
        yield action.name, machine.capo, machine.fine, machine.check
        if action in (Action.terminate, Action.error):
            return


def in_words(n, snapshots):
    """Write a stream as schedules are printed: T slot@state, A from-to, F/Y timestep, R slot@state, E."""
    machine = CRevolve(snapshots, n)
    words = []
    while True:
        action = machine.revolve()
        if action == Action.takeshot:
            words.append(f"T{machine.check}@{machine.capo}")
        elif action == Action.advance:
            words.append(f"A{machine.oldcapo}-{machine.capo}")
        elif action == Action.restore:
            words.append(f"R{machine.check}@{machine.capo}")
        elif action in (Action.firstrun, Action.youturn):
            words.append(f"{'F' if action == Action.firstrun else 'Y'}{machine.capo}")
        else:
            assert action == Action.terminate
            return " ".join([*words, "E"])


@pytest.mark.parametrize(
    ("n", "snapshots", "expected"),
    [
        (1, 1, "F0 E"),
        (1, 5, "F0 E"),
        (2, 1, "T0@0 A0-1 F1 R0@0 Y0 E"),
        (5, 2, "T0@0 A0-2 T1@2 A2-4 F4 R1@2 A2-3 Y3 R1@2 Y2 R0@0 A0-1 Y1 R0@0 Y0 E"),
        (4, 4, "T0@0 A0-1 T1@1 A1-2 T2@2 A2-3 F3 R2@2 Y2 R1@1 Y1 R0@0 Y0 E"),
        (
            10,
            3,
            "T0@0 A0-4 T1@4 A4-7 T2@7 A7-9 F9 R2@7 A7-8 Y8 R2@7 Y7 R1@4 A4-5 T2@5 A5-6 Y6 R2@5 Y5 R1@4 Y4 "
            "R0@0 A0-1 T1@1 A1-2 T2@2 A2-3 Y3 R2@2 Y2 R1@1 Y1 R0@0 Y0 E",
        ),
    ],
)
def test_published_streams(n, snapshots, expected):
    assert in_words(n, snapshots) == expected


@pytest.mark.parametrize(
    ("n", "snapshots", "advances", "takeshots", "actions"),
    [
        (1, 3, 0, 0, 2),
        (2, 1, 1, 1, 6),
        (10, 1, 45, 1, 30),
        (10, 3, 15, 6, 35),
        (10, 9, 9, 9, 38),
        (14, 3, 27, 6, 47),
        (35, 4, 84, 20, 124),
        (100, 5, 316, 44, 343),
        (100, 10, 222, 55, 354),
        (1000, 10, 3636, 714, 3713),
        (3000, 10, 13635, 1999, 10998),
        (3000, 20, 9976, 1540, 10539),
    ],
)
def test_published_counts(n, snapshots, advances, takeshots, actions):
    report = simulate_classic(stream(CRevolve(snapshots, n)), n=n, snapshots=snapshots)
    assert (report.advances, report.takeshots, report.actions) == (advances, takeshots, actions)
    assert report.finished


@given(n=st.integers(1, 3000), snapshots=st.integers(1, 60))
def test_every_stream_is_valid_with_the_fewest_advances_and_among_those_the_fewest_takeshots(n, snapshots):
    report = simulate_classic(stream(CRevolve(snapshots, n)), n=n, snapshots=snapshots)
    assert report.finished
    assert report.advances == closed_form.binomial_advances(n, snapshots)
    assert report.takeshots == closed_form.binomial_takeshots(n, snapshots)
    assert report.restores == n - 1
    assert report.actions == report.takeshots + 3 * n - 1 if n > 1 else 2


@pytest.mark.parametrize("snapshots", range(1, 41))
def test_streams_are_those_of_the_machine_in_python(snapshots):
    for n in range(1, 201):
        machine = CRevolve(snapshots, n)
        for action, capo, fine, check in classic.actions(n, snapshots, classic.libadolc_split):
            assert machine.revolve() == action
            assert (machine.capo, machine.fine, machine.check) == (capo, fine, check)


def test_both_known_choices_of_splits_are_optimal():
    for snapshots in range(2, 41):
        for n in range(2, 201):
            low, high = classic.optimal_splits(n, snapshots)
            assert low <= classic.golden_split(n, snapshots) <= high
            assert low <= classic.libadolc_split(n, snapshots) <= high


def test_more_snapshots_than_states_are_never_used():
    for n in range(2, 20):
        assert in_words(n, n + 5) == in_words(n, n - 1)


def test_a_chain_of_no_timesteps_terminates_at_once():
    machine = CRevolve(3, 0)
    assert machine.revolve() == Action.terminate


def test_terminate_stays():
    machine = CRevolve(2, 5)
    list(stream(machine))
    state = machine.capo, machine.fine, machine.check
    for _ in range(3):
        assert machine.revolve() == Action.terminate
        assert (machine.capo, machine.fine, machine.check) == state


def test_advances_and_oldcapo_follow_the_stream():
    machine = CRevolve(4, 50)
    assert (machine.advances, machine.capo, machine.fine, machine.check) == (0, 0, 50, -1)
    steps = 0
    while True:
        before = machine.capo
        action = machine.revolve()
        assert machine.oldcapo == before
        if action == Action.advance:
            steps += machine.capo - before
        else:
            assert action == Action.restore or machine.capo == before
        assert machine.advances == steps
        if action == Action.terminate:
            break
    assert steps == closed_form.binomial_advances(50, 4)
    assert machine.info == 0


def test_a_chain_of_a_trillion_timesteps_starts_as_its_counts_say():
    n, snapshots = 10**12, 50
    report = simulate_classic(islice(stream(CRevolve(snapshots, n)), 5000), n=n, snapshots=snapshots)
    assert report.actions == 5000
    assert not report.finished
    # Every split is an optimal one: t(n, s) = m + t(m, s) + t(n - m, s - 1).
    machine = CRevolve(snapshots, n)
    for _ in range(5000):
        if machine.revolve() == Action.advance:
            length, free = machine.fine - machine.oldcapo, snapshots - machine.check
            m = machine.capo - machine.oldcapo
            right = closed_form.binomial_advances(length - m, free - 1) if free > 1 else 0
            assert closed_form.binomial_advances(length, free) == (
                m + closed_form.binomial_advances(m, free) + right
            )


def test_a_quintillion_timesteps_start():
    n, snapshots = 10**18, 1000
    report = simulate_classic(islice(stream(CRevolve(snapshots, n)), 1000), n=n, snapshots=snapshots)
    assert report.actions == 1000


def test_nothing_is_printed(capfd):
    list(stream(CRevolve(3, 20)))
    assert capfd.readouterr() == ("", "")


def test_instances_in_several_threads_do_not_disturb_each_other():
    sizes = [(400 + 37 * i, 3 + i) for i in range(8)]
    expected = [in_words(*size) for size in sizes]
    got: dict[int, str] = {}

    def work(index):
        for _ in range(5):
            got[index] = in_words(*sizes[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[index] for index in range(len(sizes))] == expected


@pytest.mark.parametrize("value", [2.0, 2.5, "2", None, [2]])
def test_snapshots_that_are_no_integer_are_a_type_error(value):
    with pytest.raises(TypeError):
        CRevolve(value, 10)


@pytest.mark.parametrize("value", [10.0, 10.5, "10", [10]])
def test_timesteps_that_are_no_integer_are_a_type_error(value):
    with pytest.raises(TypeError):
        CRevolve(2, value)


def test_integers_of_numpy_are_integers():
    assert list(stream(CRevolve(np.int32(2), np.uint64(5)))) == list(stream(CRevolve(2, 5)))


@pytest.mark.parametrize(("snapshots", "timesteps"), [(0, 5), (-1, 5), (2, -1), (-(2**63), 5), (3, -(2**63))])
def test_values_out_of_range_are_value_errors(snapshots, timesteps):
    with pytest.raises(ValueError):
        CRevolve(snapshots, timesteps)


@pytest.mark.parametrize(("snapshots", "timesteps"), [(2**63, 5), (2, 2**63), (2, 10**30)])
def test_values_beyond_64_bits_are_overflow_errors(snapshots, timesteps):
    with pytest.raises(OverflowError):
        CRevolve(snapshots, timesteps)


def with_places(n, snapshots, on_disk):
    """Yield (action, capo, fine, check, whether slot check is in RAM)."""
    machine = CRevolve(snapshots, n, on_disk)
    for action in stream(machine):
        yield (*action, machine.where)


@pytest.mark.parametrize("snapshots", [(1, 0), (0, 1), (2, 3), (5, 1), (0, 6), (3, 40)])
def test_slots_on_disk_change_no_action(snapshots):
    for n in (0, 1, 2, 3, 7, 50, 119, 400):
        actions = [action for *action, _ in with_places(n, *snapshots)]
        assert actions == [list(action) for action in stream(CRevolve(sum(snapshots), n))]


def test_as_many_slots_lie_in_ram_as_there_are_and_those_on_disk_are_copied_least():
    """Copies on disk, over the whole stream, are the fewest of all placements."""
    for n in (1, 2, 5, 8, 13, 30, 77, 119):
        for in_ram in range(4):
            for on_disk in range(1, 4):
                copies, places = {}, {}
                for name, _, _, check, where in with_places(n, in_ram, on_disk):
                    if name in ("takeshot", "restore"):
                        copies[check] = copies.get(check, 0) + 1
                        assert places.setdefault(check, where) == where
                least = sum(sorted(copies.values())[: max(0, len(copies) - in_ram)])
                assert sum(places.values()) <= in_ram
                assert sum(copies[slot] for slot, where in places.items() if not where) == least


def test_every_slot_is_in_ram_unless_there_is_a_disk():
    assert all(where for *_, where in with_places(100, 4, None))
    assert all(where for *_, where in with_places(100, 4, 0))
    machine = CRevolve(0, 10, 2)
    assert machine.where  # nothing is stored yet
    assert machine.snapshots == 0
    assert not any(where for name, *_, where in with_places(10, 0, 2) if name in ("takeshot", "restore"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, 10, 0), ValueError),
        ((-1, 10, 2), ValueError),
        ((3, 10, -1), ValueError),
        ((3, -10, 1), ValueError),
        ((3, None, 2), ValueError),
        ((3, 10, 2.0), TypeError),
        ((3, 10, "2"), TypeError),
        ((3, 10, 2**63), OverflowError),
        ((2**62, 10, 2**62), OverflowError),
    ],
)
def test_slots_on_disk_that_cannot_be(arguments, error):
    with pytest.raises(error):
        CRevolve(*arguments)


@pytest.mark.parametrize(
    "kind", [crevolve.CRevolve, crevolve.SnapshotCopier, crevolve.Instructions, crevolve.Arena]
)
def test_objects_are_never_without_their_library_part(kind):
    """``__new__`` alone gives a whole object, or an error where arguments are missing."""
    try:
        made = kind.__new__(kind)
    except TypeError:
        return
    if kind is crevolve.Instructions:
        assert list(made) == []
    else:
        assert made.threads >= 1
