"""Schedules that take a run over: valid, announced exactly, and with the fewest forward steps from there."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import closed_form, layouts, tiered
from oracles.layouts import INFINITY
from simulator import Stored, simulate

from pyrevolve import Costs, Layout, Multistage, Revolve

COUNTS = ("forward_steps", "saves", "loads", "forward_calls", "reverse_calls", "peak_snapshots")


def windows(window_max, lookback_max):
    for window in range(1, window_max + 1):
        for lag in (0, 1):
            for lookback in range(1 - lag, min(lookback_max, window) + 1):
                yield {"window": window, "lookback": lookback, "lag": lag}


def referee(stored, position, base, remaining, n):
    """Tell the simulator and the searches where a run stands; `stored` are (t, tier, slot)."""
    places = tuple(Stored(tier, slot, t) for t, tier, slot in stored)
    left = n if remaining is None else remaining
    return simulator.Layout(places, position, base, left, remaining is not None)


def run(schedule, layout):
    """Simulate a schedule and compare what it did with what it announces."""
    window, lookback, lag = schedule.needs
    on_disk = getattr(schedule, "n_on_disk", None)
    capacities = [schedule.n_snapshots] if on_disk is None else [schedule.n_snapshots, on_disk]
    report = simulate(
        schedule,
        n=schedule.n_timesteps,
        snapshots=capacities,
        window=window,
        lookback=lookback,
        lag=lag,
        free_initial=schedule.free_initial_state,
        layout=layout,
    )
    done = {name: getattr(report, name) for name in COUNTS}
    done["loads"] += report.resets  # re-creating a free x_0 is announced as a load
    assert {name: getattr(schedule, name) for name in COUNTS} == done
    assert schedule.counts.frees == report.frees
    announced = [*schedule.counts.tiers, (0, 0, 0)][: len(capacities)]
    for tier, (mine, theirs) in enumerate(zip(announced, report.tiers, strict=True)):
        loads = theirs.loads + (report.resets if tier == 0 else 0)
        assert tuple(mine) == (theirs.saves, loads, theirs.peak)
    assert report.left_stored == 0
    assert len(schedule.to_numpy()) == report.instructions
    return report


def taken_over(n, snapshots, stored, position, base, remaining, free, **model):
    """Return the forward steps of the schedule, infinity where it is refused."""
    try:
        schedule = Revolve.from_layout(
            n,
            snapshots,
            [(t, slot) for t, _, slot in stored],
            position=position,
            loaded_at=base,
            remaining=remaining,
            initial_state="free" if free else "stored",
            **model,
        )
    except ValueError as refusal:
        if "cannot be reversed" not in str(refusal):
            raise
        return INFINITY
    left = n if remaining is None else remaining
    assert schedule.reverse_steps == left
    return run(schedule, referee(stored, position, base, remaining, n)).forward_steps


def draw(rng, n_max, slots_max):
    """Draw a run that was interrupted anywhere, with any states stored on its way."""
    n = rng.randint(1, n_max)
    window = rng.randint(1, rng.choice([2, 4, max(4, n // 3)]))
    lookback = rng.randint(0, min(3, window))
    lag = rng.randint(0, 1) if lookback else 1
    position = rng.choice([n, rng.randint(0, n)])
    remaining = rng.randint(0, n) if rng.random() < 0.4 else None
    snapshots = rng.randint(1, slots_max)
    states = rng.sample(range(position + 1), min(position + 1, rng.randint(0, snapshots)))
    if states and 0 not in states and rng.random() < 0.7:
        states[0] = 0
    stored = tuple(zip(states, [0] * len(states), rng.sample(range(snapshots), len(states)), strict=True))
    base = rng.randint(0, position) if rng.random() < 0.7 else 0
    model = {"window": window, "lookback": lookback, "lag": lag}
    return (n, snapshots, stored, position, base, remaining, rng.random() < 0.2), model


# --- the fewest forward steps of all schedules -------------------------------------------------------------


@pytest.mark.parametrize("model", [*windows(2, 2)])
def test_every_layout_of_few_timesteps_costs_what_the_search_finds(model):
    """Refused, too, is exactly what no schedule can finish."""
    n = 4
    for snapshots, free, position, turned in itertools.product((1, 2), (False, True), range(n + 1), (0, 1)):
        for size in range(min(snapshots, position + 1) + 1):
            for states in itertools.combinations(range(position + 1), size):
                stored = tuple((t, 0, snapshots - 1 - slot) for slot, t in enumerate(states))
                for base, remaining in itertools.product(
                    range(position + 1), range(n + 1) if turned else (None,)
                ):
                    layout = referee(stored, position, base, remaining, n)
                    best = layouts.search(n, snapshots, layout, free_initial=free, **model)
                    found = taken_over(n, snapshots, stored, position, base, remaining, free, **model)
                    assert found == best, (snapshots, free, layout)


def check_against_search(rng, n_max, cases):
    finished = 0
    for _ in range(cases):
        (n, snapshots, stored, position, base, remaining, free), model = draw(rng, n_max, 4)
        layout = referee(stored, position, base, remaining, n)
        best = layouts.search(n, snapshots, layout, free_initial=free, **model)
        found = taken_over(n, snapshots, stored, position, base, remaining, free, **model)
        assert found == best, (n, snapshots, model, free, layout)
        finished += best < INFINITY
    return finished


def test_random_layouts_cost_what_the_search_finds():
    assert check_against_search(random.Random(1), 8, 1200) > 700


@pytest.mark.slow
def test_random_layouts_of_more_timesteps_cost_what_the_search_finds():
    assert check_against_search(random.Random(2), 10, 4000) > 2000


def check_against_programs(rng, n_max, slots_max, cases):
    finished = 0
    for _ in range(cases):
        (n, snapshots, stored, position, base, remaining, free), model = draw(rng, n_max, slots_max)
        layout = referee(stored, position, base, remaining, n)
        best = layouts.finish(n, snapshots, layout, free_initial=free, **model)
        found = taken_over(n, snapshots, stored, position, base, remaining, free, **model)
        assert found == best, (n, snapshots, model, free, layout)
        finished += best < INFINITY
    return finished


@pytest.mark.parametrize(
    ("n", "snapshots", "states", "position", "base", "model", "steps"),
    [
        # x_9 is of no use: the window holds what it could start, and it is given up at once
        (10, 3, (0, 1, 9), 10, 0, {"window": 2}, 13),
        # x_23 is given up for x_7, which is replaced further right
        (88, 3, (0, 7, 23), 88, 78, {"window": 2}, 353),
        # x_12 is kept, but replaced, together with a snapshot that is still to be taken on the way to x_36
        (36, 3, (0, 12), 28, 12, {}, 126),
    ],
)
def test_states_are_given_up_or_replaced_where_that_takes_fewest_steps(
    n, snapshots, states, position, base, model, steps
):
    stored = [(t, 0, slot) for slot, t in enumerate(states)]
    layout = referee(stored, position, base, None, n)
    schedule = Revolve.from_layout(n, snapshots, stored, position=position, loaded_at=base, **model)
    assert run(schedule, layout).forward_steps == steps
    assert layouts.finish(n, snapshots, layout, **model) == steps


def test_layouts_of_more_timesteps_cost_what_every_subset_and_move_is_tried_for():
    assert check_against_programs(random.Random(3), 40, 7, 300) > 150


@pytest.mark.slow
def test_layouts_of_a_hundred_timesteps_cost_what_every_subset_and_move_is_tried_for():
    assert check_against_programs(random.Random(4), 100, 8, 1000) > 500


@pytest.mark.parametrize("model", [*windows(3, 2)])
def test_from_the_beginning_it_is_the_schedule_of_revolve(model):
    for n in (1, 2, 7, 30, 101):
        for snapshots in (1, 2, 5):
            for state in ("stored", "free"):
                begun = Revolve.from_layout(n, snapshots, (), position=0, initial_state=state, **model)
                whole = Revolve(n, snapshots, initial_state=state, **model)
                assert begun.forward_steps == whole.forward_steps
                assert begun.saves + begun.loads == whole.saves + whole.loads
                assert whole.calls <= begun.calls <= whole.calls + 1  # where x_e is as good as x_0


@settings(max_examples=60)
@given(data=st.data(), n=st.integers(1, 400), snapshots=st.integers(1, 12))
def test_a_schedule_that_is_taken_over_anywhere_costs_no_more_than_the_rest_of_it(data, n, snapshots):
    """Revolve, interrupted before any instruction, stands in a layout that costs what was left to do."""
    model = data.draw(st.sampled_from([*windows(4, 3)]))
    schedule = Revolve(n, snapshots, **model)
    instructions = list(schedule)
    stop = data.draw(st.integers(0, len(instructions) - 1))
    held, position, base, remaining, left, turned = {}, 0, 0, n, schedule.forward_steps, False
    for i in instructions[:stop]:
        name = i.kind.name
        if name == "SAVE":
            held[i.t] = i.slot
        elif name == "FREE" or (name == "LOAD" and not i.keep):
            del held[i.t]
        if name == "LOAD":
            position = base = i.t
        elif name == "FORWARD":
            position, left = i.stop, left - (i.stop - i.start)
        elif name == "REVERSE":
            remaining = i.start
        turned |= name == "TURN"
    rest = Revolve.from_layout(
        n,
        snapshots,
        held.items(),
        position=position,
        loaded_at=base,
        remaining=remaining if turned else None,
        **model,
    )
    stored = [(t, 0, slot) for t, slot in held.items()]
    report = run(rest, referee(stored, position, base, remaining if turned else None, n))
    assert report.forward_steps == left


# --- the published cost -------------------------------------------------------------------------------------


def timestep_by_timestep(n, snapshots, states):
    """Finish a classic run at x_{n-1}; return the advances as published, the first sweep included."""
    schedule = Revolve.from_layout(
        n, snapshots, [(t, slot) for slot, t in enumerate(states)], position=n - 1, loaded_at=0
    )
    run(schedule, referee([(t, 0, slot) for slot, t in enumerate(states)], n - 1, 0, None, n))
    return n - 1 + schedule.forward_steps - n


@pytest.mark.parametrize("rule", [layouts.wang_moin_iaccarino, layouts.target_gap])
def test_layouts_of_online_rules_cost_the_published_sum(rule):
    """They are too good for it to pay to give states up, or to move them."""
    for c in (2, 3, 5, 8):
        for n, states in zip(range(2, 150), rule(c), strict=False):
            cost = timestep_by_timestep(n, c, states)
            assert cost == layouts.published(n, c, states) >= closed_form.binomial_advances(n, c)


def test_layouts_of_the_greedy_rule_cost_half_a_per_cent_less_than_the_published_sum():
    cost = published = 0
    for c in (2, 3, 5, 8, 10, 20):
        for n, states in zip(range(2, 300), layouts.greedy(c), strict=False):
            cost += timestep_by_timestep(n, c, states)
            published += layouts.published(n, c, states)
    assert 0.994 * published < cost < 0.996 * published


def test_a_hundred_times_fewer_steps_than_the_published_sum_from_the_worst_layout():
    """All slots filled at once, {0, ..., 9}: keep x_0, and run from x_9 to Revolve's first split."""
    states = list(range(10))
    assert layouts.published(1000, 10, states) == 999 + 990 * 989 // 2 == 490_554
    cost = timestep_by_timestep(1000, 10, states)
    assert cost == 999 + closed_form.binomial_advances(999, 10) - 9 == 4622


def test_random_layouts_cost_a_third_less_than_the_published_sum():
    rng = random.Random(5)
    costs, sums = [], []
    for _ in range(400):
        n, c = rng.randint(2, 400), rng.randint(1, 12)
        states = sorted({0, *rng.sample(range(n - 1), min(n - 1, c - 1))})
        costs.append(timestep_by_timestep(n, c, states))
        sums.append(layouts.published(n, c, states))
        assert costs[-1] <= sums[-1]
    assert 1.5 < sum(sums) / sum(costs) < 1.6
    assert max(a / b for a, b in zip(sums, costs, strict=True)) > 13


# --- long runs ----------------------------------------------------------------------------------------------


def test_hundreds_of_stored_states_are_taken_over():
    n, snapshots = 10**5, 200
    stored = [(t * 487, t) for t in range(snapshots)]
    schedule = Revolve.from_layout(n, snapshots, stored, position=n, window=20, lookback=2)
    assert schedule.forward_steps > 0
    assert run(schedule, referee([(t, 0, slot) for t, slot in stored], n, 0, None, n)).forward_steps < 2 * n


# --- RAM and disk -------------------------------------------------------------------------------------------


def draw_in_two_tiers(rng, n_max):
    (n, _, _, position, base, remaining, free), model = draw(rng, n_max, 1)
    capacities = rng.choice([(1, 1), (0, 2), (2, 1), (1, 3), (2, 2), (0, 1)])
    slots = [(tier, slot) for tier in (0, 1) for slot in range(capacities[tier])]
    states = rng.sample(range(position + 1), min(position + 1, rng.randint(0, len(slots))))
    stored = tuple((t, *place) for t, place in zip(states, rng.sample(slots, len(states)), strict=True))
    return (n, capacities, stored, position, base, remaining, free), model


def check_in_two_tiers(rng, n_max, cases):
    finished = 0
    for _ in range(cases):
        (n, capacities, stored, position, base, remaining, free), model = draw_in_two_tiers(rng, n_max)
        layout = referee(stored, position, base, remaining, n)
        best = tiered.search(n, capacities, (0, 0), (0, 0), layout=layout, free_initial=free, **model)
        arguments = {
            "position": position,
            "loaded_at": base,
            "remaining": remaining,
            "initial_state": "free" if free else "stored",
            **model,
        }
        if best == INFINITY:
            with pytest.raises(ValueError, match="cannot be reversed"):
                Multistage.from_layout(n, *capacities, stored, **arguments)
            continue
        schedule = Multistage.from_layout(n, *capacities, stored, **arguments)
        assert run(schedule, layout).forward_steps == best, (n, capacities, model, layout)
        assert schedule.reverse_steps == (n if remaining is None else remaining)
        finished += 1
    return finished


def test_layouts_in_ram_and_on_disk_cost_as_many_steps_as_the_search_finds():
    assert check_in_two_tiers(random.Random(6), 7, 500) > 200


@pytest.mark.slow
def test_layouts_in_ram_and_on_disk_of_more_timesteps_cost_as_many_steps_as_the_search_finds():
    assert check_in_two_tiers(random.Random(7), 9, 3000) > 1200


# --- bad input ----------------------------------------------------------------------------------------------

GOOD = {"position": 6, "loaded_at": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stored": [(0, 0), (3, 0)]}, "slot 0 cannot hold two states, 0 and 3"),
        ({"stored": [(0, 0), (3, 1), (3, 2)]}, "once, got 3 twice"),
        ({"stored": [(0, 0), (7, 1)]}, "between 0 and position = 6, got 7"),
        ({"stored": [(-1, 0)]}, "got -1"),
        ({"stored": [(0, 3)]}, "slot 3 of tier 0, but there are 3 slots"),
        ({"stored": [(0, -1)]}, ">= 0, got 0 and -1"),
        ({"stored": [(0, 1, 0)]}, "tier 1"),
        ({"stored": [(0, -1, 0)]}, "tier -1"),
        ({"stored": [(0,)]}, r"\(t, slot\)"),
        ({"stored": [(0, 0, 0, 0)]}, r"\(t, slot\)"),
        ({"position": 11}, "n_timesteps = 10, got 11"),
        ({"position": -1}, "position .* got -1"),
        ({"loaded_at": 7}, "position = 6, got 7"),
        ({"loaded_at": -1}, "loaded_at .* got -1"),
        ({"remaining": 11}, "remaining .* got 11"),
        ({"remaining": -1}, "remaining .* got -1"),
        ({"stored": []}, "store the initial state first"),
        ({"stored": [(2, 0)]}, "store the initial state first"),
    ],
)
def test_where_no_run_can_stand_is_a_value_error_that_names_the_value(changes, message):
    arguments = {"stored": [(0, 0), (3, 1)], **GOOD, **changes}
    with pytest.raises(ValueError, match=message):
        Revolve.from_layout(10, 3, **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"stored": [(0.0, 0)]},
        {"stored": [(0, True)]},
        {"stored": [("0", 0)]},
        {"stored": [0]},
        {"stored": 3},
        {"position": 6.0},
        {"position": None},
        {"loaded_at": True},
        {"remaining": 4.0},
        {"remaining": False},
    ],
)
def test_what_is_no_integer_is_a_type_error(changes):
    arguments = {"stored": [(0, 0), (3, 1)], **GOOD, **changes}
    for call in (
        lambda: Revolve.from_layout(10, 3, **arguments),
        lambda: Multistage.from_layout(10, 3, 1, **arguments),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("layout", [(((0, 0, 0),), 6, 2, None), "x_0", 5])
def test_what_is_no_layout_is_a_type_error(layout):
    with pytest.raises(TypeError, match="layout must be"):
        Revolve(10, 3, layout=layout)
    with pytest.raises(TypeError, match="layout must be"):
        Multistage(10, 3, 1, layout=layout)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([(0, 0, 2)], "slot 2 of tier 0, but there are 2 slots in tier 0 and 1 in tier 1"),
        ([(0, 1, 1)], "slot 1 of tier 1"),
        ([(0, 2, 0)], "tier 2"),
        ([(0, 1, -1)], "got 1 and -1"),
        ([], "store the initial state first"),
    ],
)
def test_multistage_refuses_when_it_is_made(stored, message):
    with pytest.raises(ValueError, match=message):
        Multistage.from_layout(10, 2, 1, stored, position=6)


def test_a_layout_keeps_its_states_in_order_with_their_tiers():
    layout = Layout([(4, 1), (0, 1, 2), (np.int64(2), np.uint8(0))], np.int32(6))
    assert layout.stored == ((0, 1, 2), (2, 0, 0), (4, 0, 1))
    assert layout == Layout(((2, 0), (4, 0, 1), (0, 1, 2)), 6)
    assert hash(layout) == hash(Layout(((2, 0), (4, 0, 1), (0, 1, 2)), 6))


def test_makespan_of_what_is_left():
    schedule = Revolve.from_layout(10, 3, [(0, 0), (4, 1), (7, 2)], position=10, remaining=8)
    costs = Costs(forward_step=2.0, reverse_step=3.0, forward_call=0.25, reverse_call=0.5, save=5.0, load=7.0)
    expected = 2.0 * schedule.forward_steps + 3.0 * 8 + 0.25 * schedule.forward_calls
    expected += 0.5 * schedule.reverse_calls + 5.0 * schedule.saves + 7.0 * schedule.loads
    assert schedule.makespan(costs) == pytest.approx(expected)


@pytest.mark.parametrize(("stored", "got"), [([0, 4], "0"), (3, "3"), ([(0, 0), None], "None")])
def test_stored_states_that_are_no_pairs(stored, got):
    for call in (
        lambda: Revolve.from_layout(10, 3, stored, position=5),
        lambda: Multistage.from_layout(10, 3, 1, stored, position=5),
        lambda: Layout(stored, 5),
    ):
        with pytest.raises(TypeError, match=rf"stored must be \(t, slot\) pairs .*, got {got}$"):
            call()


def test_explain_tells_of_what_is_left():
    schedule = Revolve.from_layout(10, 3, [(0, 0), (4, 1), (7, 2)], position=10, remaining=8)
    words = schedule.explain()
    assert f"forward   {schedule.forward_steps} timesteps of what is left of 10 in" in words
    assert f"reverse   8 timesteps in {schedule.reverse_calls} calls" in words
