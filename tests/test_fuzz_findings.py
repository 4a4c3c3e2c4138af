"""What fuzzing (`make fuzz`) has found in the C++ library, one test for each."""

from __future__ import annotations

import pytest

from pyrevolve import (
    Action,
    AsyncTwoTier,
    BudgetError,
    Costs,
    CRevolve,
    PeriodicDiskRevolve,
    TwoLevel,
    plan,
)
from pyrevolve.crevolve import plan_tiers


def test_best_period_is_found_where_copies_and_calls_cost_more_than_forward_steps():
    # The search went on for ever longer periods, as no lower bound of what they cost came above the best.
    n, slots = 14, 1000
    costs = Costs(forward_step=8, reverse_step=0, forward_call=19, reverse_call=7, save=(18, 0), load=(0, 9))
    model = {"window": 3, "lookback": 2, "lag": 1}

    def cost(timesteps, period):
        return PeriodicDiskRevolve(timesteps, slots, costs=costs, period=period, **model).optimal_cost

    def mean(period):
        """What a further period costs a long run, per timestep."""
        return (cost(1000 + period, period) - cost(1000, period)) / period

    found = PeriodicDiskRevolve(n, slots, costs=costs, **model).best_period
    assert mean(found) == min(map(mean, range(1, n + 1)))


def test_budget_of_the_largest_number_is_no_unlimited_one():
    # Counts of bytes that saturate seemed to fit exactly.
    most = 2**63 - 1
    with pytest.raises(BudgetError) as caught:
        plan(10, state_bytes=1, window_slice_bytes=1, fixed_bytes=most, memory=most)
    assert caught.value.required == most + 2


def test_search_over_as_many_snapshots_in_ram_and_on_disk_as_there_are_timesteps():
    # Powers of four, and the sum of both tiers' snapshots, left the range. So many are not gone through.
    most = 2**62
    choice = plan_tiers(
        most,
        periodic=False,
        window_min=1,
        window_max=1,
        budget_bytes=10,
        fixed_bytes=0,
        window_slice_bytes=1,
        state_bytes=0,
        disk_states=most,
        lookback=0,
        lag=1,
        free_initial=False,
        overlapped=False,
        buffers=1,
        forward_step=1,
        reverse_step=1,
        forward_call=0,
        reverse_call=0,
        save=1,
        load=1,
        write=2,
        read=2,
    )
    assert choice.window == 0


def test_advances_beyond_64_bits_saturate():
    n = 2**62
    machine = CRevolve(1, n)
    total, actions = 0, 0
    while total < 2**64:
        if machine.revolve() is Action.advance:
            total += machine.capo - machine.oldcapo
            assert machine.advances == min(total, 2**63 - 1)
        actions += 1
    assert actions < 100


def test_nothing_is_waited_for_where_nothing_need_be():
    # Differences of large sums were below 0 by rounding.
    costs = Costs(
        forward_step=0,
        reverse_step=869897589419.50293,
        forward_call=2,
        reverse_call=15,
        save=(0.14438700310244704, 0.28627450980392155),
        load=(0.59308474735215555, 0.28627450980392155),
    )
    time = AsyncTwoTier(23, 6, window=7, lookback=4, lag=1).overlap(costs)
    assert time.read_wait == time.write_wait == 0


def test_forward_steps_beyond_64_bits_are_refused_where_they_are_added_up():
    # Two segments of 32 windows each, gone through 32, 31, ... windows at a time.
    n, window = 2**62, 2**56
    with pytest.raises(OverflowError):
        _ = TwoLevel(n, n // 2, 0, window=window).counts
    assert TwoLevel(n, n // 2, 0, window=n // 2).counts.forward_steps < 2 * n


@pytest.mark.parametrize("buffers", [2, 4])
@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((20, 5, 1), {"window": 1, "lookback": 1, "lag": 1}),
        ((33, 2, 1), {"window": 5, "lookback": 0, "lag": 1, "initial_state": "free"}),
    ],
)
def test_transfers_that_take_no_time_are_not_waited_for(arguments, options, buffers):
    """Found by libFuzzer: 0.0005 s of 5e12 s, the rounding of sums of the costs of copies."""
    costs = Costs(forward_step=0.47451, reverse_step=16, reverse_call=0.188148, save=(0, 0), load=(7.5e11, 0))
    time = AsyncTwoTier(*arguments, **options).overlap(costs, buffers)
    assert (time.write_wait, time.read_wait) == (0.0, 0.0)
