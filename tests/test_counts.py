"""The exact counts, against closed forms in Python's integers and a lexicographic dynamic program."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import closed_form, dynamic

from pyrevolve import crevolve

INT64_MAX = 2**63 - 1


def counts(n, snapshots, window=1, lookback=0, lag=None, free_initial=False):
    lag = closed_form.default_lag(lookback) if lag is None else lag
    return crevolve.windowed_counts(n, snapshots, window, lookback, lag, free_initial)


def windows(window_max, lookback_max):
    """Every (window, lookback, lag) of the model."""
    for window in range(1, window_max + 1):
        for lag in (0, 1):
            for lookback in range(1 - lag, min(lookback_max, window) + 1):
                yield window, lookback, lag


# --- classic counts ----------------------------------------------------------------------------------------


def test_numforw_equals_the_recurrence():
    table = dynamic.classic_advances(140, 12)
    for snapshots in range(1, 13):
        for n in range(1, 141):
            assert crevolve.numforw(n, snapshots) == table[snapshots, n]


@given(n=st.integers(1, 10**15), snapshots=st.integers(2, 500))
def test_numforw_is_exact_or_an_overflow_error(n, snapshots):
    if snapshots == 2 and n > 10**12:
        n = n % 10**12 + 1
    expected = closed_form.binomial_advances(n, snapshots)
    if expected > INT64_MAX:
        with pytest.raises(OverflowError):
            crevolve.numforw(n, snapshots)
    else:
        assert crevolve.numforw(n, snapshots) == expected


def test_numforw_of_one_snapshot_is_exact_to_its_last_value():
    last = 4294967296  # n (n - 1) / 2 <= 2**63 - 1
    assert crevolve.numforw(last, 1) == last * (last - 1) // 2
    with pytest.raises(OverflowError):
        crevolve.numforw(last + 1, 1)


def test_a_trillion_timesteps_with_fifty_snapshots():
    n, snapshots = 10**12, 50
    assert crevolve.numforw(n, snapshots) == closed_form.binomial_advances(n, snapshots)
    assert crevolve.expense(n, snapshots) == closed_form.binomial_advances(n, snapshots) / n
    assert counts(n, snapshots).forward_steps == closed_form.binomial_advances(n, snapshots) + n


def test_expense_is_advances_per_timestep():
    assert crevolve.expense(3000, 7) == pytest.approx(5.999, abs=5e-4)
    assert crevolve.expense(1000, 7) == pytest.approx(4.713, abs=5e-4)
    assert crevolve.expense(100, 5) == pytest.approx(3.16, abs=5e-4)
    assert crevolve.expense(1, 1) == 0.0


@given(s=st.integers(0, 100), r=st.integers(0, 100))
def test_maxrange_is_a_binomial_or_an_overflow_error(s, r):
    if comb(s + r, r) > INT64_MAX:
        with pytest.raises(OverflowError):
            crevolve.maxrange(s, r)
        assert crevolve.maxrange_saturating(s, r) == INT64_MAX
    else:
        assert crevolve.maxrange(s, r) == crevolve.maxrange_saturating(s, r) == comb(s + r, r)


@given(s=st.integers(-3, 70), r=st.integers(-3, 70))
def test_beta_is_a_binomial_and_zero_for_negative_arguments(s, r):
    expected = comb(s + r, r) if s >= 0 and r >= 0 else 0
    if expected > INT64_MAX:
        with pytest.raises(OverflowError):
            crevolve.beta(s, r)
    else:
        assert crevolve.beta(s, r) == expected


def test_maxrange_of_extreme_arguments():
    assert crevolve.maxrange(1, INT64_MAX - 1) == INT64_MAX
    assert crevolve.maxrange(INT64_MAX, 0) == 1
    assert crevolve.maxrange_saturating(INT64_MAX, INT64_MAX) == INT64_MAX
    for pair in ((-1, 3), (3, -1)):
        with pytest.raises(ValueError):
            crevolve.maxrange(*pair)


def test_adjust_equals_reference_values():
    reference = {2: 1, 3: 2, 5: 2, 10: 3, 20: 3, 50: 4, 100: 5, 500: 6, 1000: 7, 3000: 7, 10**4: 8, 10**5: 10}
    reference |= {10**6: 12, 1: 1}
    assert {n: crevolve.adjust(n) for n in reference} == reference
    assert crevolve.adjust(10**12) >= crevolve.adjust(10**9) >= 12


@pytest.mark.parametrize("function", ["numforw", "expense", "maxrange", "maxrange_saturating", "beta"])
@pytest.mark.parametrize("arguments", [(2.0, 3), (3, 2.5), ("3", 2), (None, 2)])
def test_counts_of_what_is_no_integer_are_type_errors(function, arguments):
    with pytest.raises(TypeError):
        getattr(crevolve, function)(*arguments)


@pytest.mark.parametrize("function", ["numforw", "expense", "maxrange", "beta"])
def test_arguments_beyond_64_bits_are_overflow_errors(function):
    with pytest.raises(OverflowError):
        getattr(crevolve, function)(2**63, 3)
    with pytest.raises(OverflowError):
        getattr(crevolve, function)(3, 2**63)


def test_counts_out_of_range_are_value_errors():
    for arguments in ((-1, 3), (5, 0), (5, -1)):
        with pytest.raises(ValueError):
            crevolve.numforw(*arguments)
        with pytest.raises(ValueError):
            crevolve.expense(*arguments)
    with pytest.raises(ValueError):
        crevolve.adjust(-1)
    with pytest.raises(TypeError):
        crevolve.adjust(10.0)


# --- windowed counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "lookback", "lag"), [*windows(7, 3)])
def test_forward_steps_copies_and_calls_are_the_lexicographic_optimum(window, lookback, lag):
    """For every n <= 60 and S <= 6. Loads include re-creations of a free initial state."""
    program = dynamic.Lexicographic(60, 6, window, lookback, lag, reset_is_copy=True)
    for free_initial in (False, True):
        for snapshots in range(0 if free_initial else 1, 7):
            for n in range(61):
                got = counts(n, snapshots, window, lookback, lag, free_initial)
                result = (got.forward_steps, got.saves + got.loads, got.forward_calls + got.reverse_calls)
                assert result == program.best(n, snapshots, free_initial), (n, snapshots, free_initial)


@pytest.mark.slow
@pytest.mark.parametrize(("window", "lookback", "lag"), [*windows(12, 5)])
def test_forward_steps_copies_and_calls_are_the_lexicographic_optimum_of_longer_chains(window, lookback, lag):
    program = dynamic.Lexicographic(250, 9, window, lookback, lag, reset_is_copy=True)
    for free_initial in (False, True):
        for snapshots in range(0 if free_initial else 1, 10):
            for n in range(251):
                got = counts(n, snapshots, window, lookback, lag, free_initial)
                result = (got.forward_steps, got.saves + got.loads, got.forward_calls + got.reverse_calls)
                assert result == program.best(n, snapshots, free_initial), (n, snapshots, free_initial)


def test_forward_steps_equal_the_closed_form_of_the_first_dynamic_program():
    """Chains by leaf, long leaf and split alone, for every n <= 60, S <= 6, K <= 7, d <= 3."""
    for window, lookback, lag in windows(7, 3):
        chain = dynamic.chain_steps(60, 6, window, lookback)
        first = max(0, lookback - 1 + lag)
        for n in range(1, 61):
            for snapshots in range(7):
                expected = n if n <= window else chain[snapshots, n]
                assert counts(n, snapshots, window, lookback, lag, True).forward_steps == expected
                if snapshots >= 1:
                    expected = n if n <= window else first + chain[snapshots - 1, n - first]
                    assert counts(n, snapshots, window, lookback, lag, False).forward_steps == expected


parameters = st.integers(1, 400).flatmap(
    lambda window: st.tuples(
        st.just(window),
        st.integers(0, min(window, 6)).flatmap(
            lambda lookback: st.tuples(st.just(lookback), st.sampled_from([1] if lookback == 0 else [0, 1]))
        ),
        st.booleans(),
    )
)


@given(n=st.integers(0, 2**62), snapshots=st.integers(1, 300), parameters=parameters)
def test_forward_steps_equal_the_closed_form_or_are_an_overflow_error(n, snapshots, parameters):
    window, (lookback, lag), free_initial = parameters
    expected = closed_form.forward_steps(n, snapshots, window, lookback, lag, free_initial)
    if expected > INT64_MAX:
        with pytest.raises(OverflowError):
            counts(n, snapshots, window, lookback, lag, free_initial)
    elif expected <= INT64_MAX // 8:  # then all other counts fit as well
        got = counts(n, snapshots, window, lookback, lag, free_initial)
        assert got.forward_steps == expected
        assert min(got[:6]) >= 0


@pytest.mark.parametrize("snapshots", [1, 2, 3])
@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (1, 1, 0), (3, 2, 0), (7, 3, 1)])
def test_counts_of_a_billion_timesteps_with_few_snapshots_do_not_iterate(snapshots, window, lookback, lag):
    n = 10**9
    expected = closed_form.forward_steps(n, snapshots, window, lookback, lag, False)
    assert counts(n, snapshots, window, lookback, lag).forward_steps == expected


def test_counts_of_the_benchmark_are_the_lexicographic_optimum():
    """Marmousi, 103 slices: n = 3622, K = 59, S = 22, d = 2."""
    program = dynamic.Lexicographic(3622, 22, 59, 2, 0)
    got = counts(3622, 22, 59, 2, 0)
    best = (got.forward_steps, got.saves + got.loads, got.forward_calls + got.reverse_calls)
    assert best == program.best(3622, 22, free_initial=False) == (8902, 528, 583)


def test_no_schedule_reruns_what_the_window_holds():
    for window, lookback, lag in windows(9, 3):
        for n in range(1, window + 1):
            for free_initial in (False, True):
                assert counts(n, 1, window, lookback, lag, free_initial).forward_steps == n


def test_no_timesteps_cost_nothing():
    for free_initial in (False, True):
        assert tuple(counts(0, 3, 4, 2, 0, free_initial))[:6] == (0, 0, 0, 0, 0, 0)
