"""Reviewed reference values that came with the project."""

from __future__ import annotations

from collections import Counter

import pytest
from oracles import closed_form

from pyrevolve import crevolve


def check_stream(row):
    """Run the state machine through one row of ref_revolve.csv.

    All columns are met with equality but `first_split`, one of several optimal splits: the original in
    libadolc2, which ours follows, has another in 235 of the 950 rows. Ours must be an optimal one.
    """
    n, snapshots = int(row["n"]), int(row["s"])
    machine = crevolve.CRevolve(snapshots, n)
    seen: Counter[crevolve.Action] = Counter()
    advances, first = 0, 0
    while (action := machine.revolve()) != crevolve.Action.terminate:
        seen[action] += 1
        if action == crevolve.Action.advance:
            length = machine.capo - machine.oldcapo
            first = first or length
            advances += length
    assert advances == int(row["t_advances"])
    assert n == 1 or int(row["opt_lo"]) <= first <= int(row["opt_hi"])
    assert seen[crevolve.Action.takeshot] == int(row["takeshots"])
    assert seen[crevolve.Action.restore] == int(row["restores"])
    assert seen[crevolve.Action.advance] == int(row["advance_actions"])
    assert seen[crevolve.Action.firstrun] + seen[crevolve.Action.youturn] == n


def test_streams_of_offline_revolve(golden):
    for row in golden("ref_revolve.csv"):
        if int(row["n"]) <= 5000:
            check_stream(row)


@pytest.mark.slow
def test_streams_of_offline_revolve_of_many_timesteps(golden):
    for row in golden("ref_revolve.csv"):
        if int(row["n"]) > 5000:
            check_stream(row)


def test_counts_of_offline_revolve(golden):
    for row in golden("ref_revolve.csv"):
        n, snapshots = int(row["n"]), int(row["s"])
        assert crevolve.numforw(n, snapshots) == int(row["t_advances"])
        assert crevolve.expense(n, snapshots) == int(row["t_advances"]) / n
        repetitions = int(row["r"])
        assert crevolve.maxrange_saturating(snapshots, repetitions) >= n
        assert repetitions == 0 or crevolve.maxrange(snapshots, repetitions - 1) < n


def test_window_of_one_costs_what_offline_revolve_costs(golden):
    for row in golden("ref_revolve.csv"):
        n, snapshots = int(row["n"]), int(row["s"])
        counts = crevolve.windowed_counts(n, snapshots, 1, 0, 1, False)
        assert counts.forward_steps == int(row["adjoint_total_forward"])
        assert (counts.saves, counts.loads) == (int(row["takeshots"]), int(row["restores"]))


def test_windows_reach_the_optimum_in_place(golden):
    """M slices in all, states of s slices: lookback s, lag 1, and the slices left over as window.

    With q = M // s - 2 slots beside the window and e = M mod s, capacity and cost are
    those of 6e with K = e + s, d = s and S = q + 1.
    """
    for row in golden("ref_seam_optimal.csv"):
        s, m, n = int(row["s"]), int(row["M"]), int(row["n"])
        counts = crevolve.windowed_counts(n, m // s - 1, s + m % s, s, 1, False)
        assert counts.forward_steps == int(row["F_opt"])


def test_windows_without_lookback_cost_what_blocks_cost_and_less_where_blocks_do_not_fit(golden):
    for row in golden("leaf_fixed_k.csv"):
        n, k = int(row["n"]), int(row["k"])
        steps = crevolve.windowed_counts(n, int(row["c"]), k, 0, 1, False).forward_steps
        if n % k == 0:
            assert steps == int(row["F_short_first"]) == int(row["F_short_last"])
        else:
            assert steps <= int(row["F_short_first"])


def test_windows_cost_what_the_compared_families_cost(golden):
    """3000 timesteps, states of two slices, M slices in all: those families that 6e contains."""
    checked = Counter()
    for row in golden("leaf_variable.csv"):
        m, kind = int(row["M"]), row["kind"]
        if row["h"] != "0":
            continue
        if kind == "classic k=1":
            counts = crevolve.windowed_counts(3000, int(row["c"]), 1, 0, 1, False)
        elif kind == "V5 ring + seam":
            counts = crevolve.windowed_counts(3000, m // 2 - 1, 2, 2, 1, False)
        elif kind == "V1s variable leaf + seam":
            counts = crevolve.windowed_counts(3000, m // 2 - 2, 2, 2, 1, False)
        else:
            continue
        assert counts.forward_steps == int(row["F"])
        checked[kind] += 1
    assert checked == {"classic k=1": 5, "V5 ring + seam": 5, "V1s variable leaf + seam": 5}


@pytest.mark.parametrize(("m", "steps"), [(20, 13004), (50, 8302), (100, 6352), (200, 5801), (400, 5601)])
def test_smallest_ring_of_an_acoustic_operator(m, steps):
    """n = 3000, two slices per state, a ring of two, d = 2, lag 0, as computed by an independent program."""
    counts = crevolve.windowed_counts(3000, (m - 2) // 2, 2, 2, 0, False)
    assert counts.forward_steps == steps == closed_form.forward_steps(3000, (m - 2) // 2, 2, 2, 0, False)
