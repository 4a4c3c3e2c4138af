"""The oracles against each other, before anything is compared with them."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import closed_form, dynamic
from oracles.exhaustive import search


def instances(n_max, snapshots_max, window_max, lookback_max):
    """Every (n, S, K, d, lag, free initial state) of the model up to the given sizes."""
    for n in range(1, n_max + 1):
        for free in (False, True):
            for snapshots in range(0 if free else 1, snapshots_max + 1):
                for window in range(1, window_max + 1):
                    for lag in (0, 1):
                        for lookback in range(1 - lag, min(lookback_max, window) + 1):
                            yield n, snapshots, window, lookback, lag, free


def check_against_search(n_max, snapshots_max, window_max, lookback_max):
    tables = {}
    for n, snapshots, window, lookback, lag, free in instances(
        n_max, snapshots_max, window_max, lookback_max
    ):
        key = window, lookback, lag
        if key not in tables:
            tables[key] = dynamic.Lexicographic(n_max, snapshots_max, *key)
        searched = search(n, snapshots, window, lookback, lag, free)
        assert tables[key].best(n, snapshots, free) == searched
        assert closed_form.forward_steps(n, snapshots, window, lookback, lag, free) == searched.forward_steps


def test_dynamic_program_and_closed_form_are_the_optimum_over_all_schedules():
    check_against_search(n_max=8, snapshots_max=3, window_max=4, lookback_max=3)


@pytest.mark.slow
def test_dynamic_program_and_closed_form_are_the_optimum_over_all_schedules_of_more_timesteps():
    check_against_search(n_max=12, snapshots_max=4, window_max=5, lookback_max=4)


def test_dynamic_program_is_the_optimum_where_recreating_the_initial_state_counts_as_a_copy():
    for n, snapshots, window, lookback, lag, _ in instances(7, 2, 3, 3):
        program = dynamic.Lexicographic(n, snapshots, window, lookback, lag, reset_is_copy=True)
        searched = search(n, snapshots, window, lookback, lag, free_initial=True, reset_is_copy=True)
        assert program.best(n, snapshots, free_initial=True) == searched


def test_reversing_less_than_is_retained_never_helps():
    for instance in instances(6, 2, 4, 2):
        assert search(*instance, partial_reversals=True) == search(*instance)


def test_chain_formula_equals_its_dynamic_program():
    for window in range(1, 8):
        for lookback in range(min(3, window) + 1):
            table = dynamic.chain_steps(60, 5, window, lookback)
            for c in range(6):
                for x in range(61):
                    assert table[c, x] == closed_form.chain_steps(x, c, window, lookback)


def test_classic_formula_equals_its_recurrence():
    table = dynamic.classic_advances(150, 12)
    for snapshots in range(1, 13):
        for n in range(1, 151):
            assert table[snapshots, n] == closed_form.binomial_advances(n, snapshots)


def test_window_of_one_is_classic_revolve():
    for snapshots in (1, 2, 3, 7, 20):
        for n in (1, 2, 3, 50, 999, 3000):
            expected = closed_form.binomial_advances(n, snapshots) + n
            assert closed_form.forward_steps(n, snapshots, 1, 0, 1, False) == expected


def test_copies_of_a_window_of_one_are_the_fewest_takeshots_and_a_restore_per_timestep():
    program = dynamic.Lexicographic(120, 9, 1, 0, 1)
    for snapshots in range(1, 10):
        for n in range(2, 121):
            expected = closed_form.binomial_takeshots(n, snapshots) + n - 1
            assert program.best(n, snapshots, free_initial=False).copies == expected


def test_packed_costs_do_not_carry_into_each_other():
    worst = dynamic.Lexicographic(400, 1, 1, 0, 1).best(400, 1, free_initial=False)
    assert worst == (400 * 401 // 2, 400, 2 * 400)
    assert np.iinfo(np.int64).max >> 40 > worst.forward_steps
