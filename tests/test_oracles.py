"""The oracles against each other, before anything is compared with them."""

from __future__ import annotations

import ast
import random
from enum import IntEnum
from fractions import Fraction
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from oracles import classic, closed_form, dynamic, hierarchical, layouts, step_data, tiered
from oracles.exhaustive import search
from simulator import Layout, Stored, simulate


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


# Searches with tiers, from layouts, and with step data.

Kind = IntEnum("Kind", ["FORWARD", "SAVE", "LOAD", "REVERSE", "FREE", "TURN", "END"], start=0)
Content = IntEnum("Content", ["STATE", "STEP_DATA"], start=0)


class Slots:
    """Gives what is stored a slot, and makes the instructions that store it."""

    def __init__(self, stored=()):
        self._places = {(tier, content, t): slot for tier, slot, t, content in stored}

    def _place(self, tier, content, t):
        slot = self._places[tier, content, t]
        return {"tier": tier, "slot": slot, "t": t, "content": Content[content]}

    def save(self, tier, t, content="STATE"):
        taken = {slot for (other, _, _), slot in self._places.items() if other == tier}
        self._places[tier, content, t] = min(set(range(len(taken) + 1)) - taken)
        return SimpleNamespace(kind=Kind.SAVE, **self._place(tier, content, t))

    def load(self, tier, t, content="STATE"):
        return SimpleNamespace(kind=Kind.LOAD, keep=True, **self._place(tier, content, t))

    def free(self, tier, t, content="STATE"):
        freed = SimpleNamespace(kind=Kind.FREE, **self._place(tier, content, t))
        del self._places[tier, content, t]
        return freed

    def change(self, before, after):
        """Free and save what differs: two dictionaries of masks of timesteps by (tier, content)."""
        for key, mask in before.items():
            yield from (self.free(key[0], t, key[1]) for t in positions(mask & ~after[key]))
        for key, mask in before.items():
            yield from (self.save(key[0], t, key[1]) for t in positions(after[key] & ~mask))


def positions(mask):
    return [t for t in range(mask.bit_length()) if mask >> t & 1]


def instructions_of(path, parameters):
    """Translate a path of `tiered.search` into instructions, whatever was run or loaded at the same cost."""
    n, read = parameters["n"], parameters["read"]
    tiers = range(len(read))

    def masks(stored):
        return {(k, "STATE"): stored >> k * (n + 1) & (1 << n + 1) - 1 for k in tiers}

    layout = parameters["layout"]
    slots = Slots(layout.stored if layout else ())
    for (cost, (r, turned, p, _, stored)), (later, (s, turned_now, q, w, stored_now)) in pairwise(path):
        if turned_now and not turned:
            yield SimpleNamespace(kind=Kind.TURN)
        if s < r:
            yield SimpleNamespace(kind=Kind.REVERSE, start=s, stop=r)
        elif q not in (p, -1) or (q == p and stored == stored_now and turned == turned_now):
            fresh = w == min(parameters["window"], parameters["lookback"]) and stored == stored_now
            sources = [k for k in tiers if masks(stored)[k, "STATE"] >> q & 1 and read[k] == later - cost]
            if fresh and sources:
                yield slots.load(sources[0], q)
            elif fresh and q == 0:
                yield SimpleNamespace(kind=Kind.LOAD, tier=-1, slot=-1, t=0, keep=False)
            else:
                yield SimpleNamespace(kind=Kind.FORWARD, start=p, stop=q)
        yield from slots.change(masks(stored), masks(stored_now))
    yield SimpleNamespace(kind=Kind.END)


def random_problem(rng, n_max, capacities, *, from_layout):
    """Draw an instance of `tiered.search`, as keyword arguments."""
    n = rng.randint(1, n_max)
    lag = rng.randint(0, 1)
    window = rng.randint(1, 4)

    def cost(most):
        return rng.choice([0, 1, rng.randint(0, most)])

    layout = None
    if from_layout:
        stored = []
        for tier, capacity in enumerate(capacities):
            fits = min(n + 1, 2 if capacity is None else capacity)
            states = rng.sample(range(n + 1), rng.randint(0, fits))
            stored += [Stored(tier, slot, t) for slot, t in enumerate(states)]
        position = rng.choice([None, *range(n + 1)])
        turned = rng.random() < 0.5
        base = None if position is None else rng.randint(0, position)
        layout = Layout(tuple(stored), position, base, rng.randint(1, n) if turned else n, turned)
    return {
        "n": n,
        "capacities": capacities,
        "write": [cost(6) for _ in capacities],
        "read": [cost(6) for _ in capacities],
        "forward_step": rng.choice([1, 3]),
        "window": window,
        "lookback": rng.randint(1 - lag, min(3, window)),
        "lag": lag,
        "free_initial": rng.random() < 0.3,
        "reset": cost(3),
        "forward_call": rng.choice([0, cost(5)]),
        "reverse_call": rng.choice([0, cost(5)]),
        "layout": layout,
    }


def random_problems(seed, count, n_max, capacity_max, *, from_layout=False):
    rng = random.Random(seed)
    for _ in range(count):
        capacities = [rng.choice([*range(capacity_max + 1), None]) for _ in range(rng.choice([1, 2, 2, 3]))]
        yield random_problem(rng, n_max, capacities, from_layout=from_layout)


@pytest.mark.parametrize("from_layout", [False, True])
def test_decisions_among_tiers_are_as_good_as_every_instruction(from_layout):
    for problem in random_problems(1, 500, 3, 2, from_layout=from_layout):
        assert tiered.search(**problem) == tiered.search(**problem, everything=True)
    for problem in random_problems(2, 40, 5, 1, from_layout=from_layout):
        assert tiered.search(**problem) == tiered.search(**problem, everything=True)


@pytest.mark.slow
@pytest.mark.parametrize("from_layout", [False, True])
def test_decisions_among_tiers_are_as_good_as_every_instruction_at_more_timesteps(from_layout):
    for problem in random_problems(3, 120, 5, 2, from_layout=from_layout):
        assert tiered.search(**problem) == tiered.search(**problem, everything=True)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("from_layout", [False, True])
def test_the_simulator_accepts_the_searched_schedule_at_its_cost(everything, from_layout):
    count, n_max = (60, 3) if everything else (100, 6)
    for problem in random_problems(4, count, n_max, 1, from_layout=from_layout):
        path = []
        cost = tiered.search(**problem, everything=everything, path=path)
        if cost == float("inf"):
            continue
        report = simulate(
            instructions_of(path, problem),
            snapshots=problem["capacities"],
            **{name: problem[name] for name in ("n", "window", "lookback", "lag", "free_initial", "layout")},
        )
        prices = {
            name: problem[name]
            for name in ("write", "read", "forward_step", "forward_call", "reverse_call", "reset")
        }
        assert report.cost(**prices) == cost


def test_one_tier_is_the_search_without_tiers():
    for n, snapshots, window, lookback, lag, free in instances(7, 2, 3, 2):
        layout = Layout(())
        found = layouts.search_lexicographic(
            n, snapshots, layout, window=window, lookback=lookback, lag=lag, free_initial=free
        )
        # There a re-creation of x_0 is free, too.
        assert found == search(n, snapshots, window, lookback, lag, free)


def random_tiers(rng, n_max):
    """Draw (n, capacities, write, read, forward step), costs in any order, small enough for the search."""
    n = rng.randint(2, n_max)
    capacities = [
        rng.choice([0, 1, 1, 2, None] if n <= 6 else [0, 1, 1]) for _ in range(rng.choice([2, 2, 3]))
    ]
    write, read = ([rng.randint(0, 8) for _ in capacities] for _ in range(2))
    return n, capacities, write, read, rng.choice([1, 3])


def check_h_revolve(seed, count, n_max):
    """Compare with the search where costs grow from tier to tier; count the gaps where they do not."""
    rng = random.Random(seed)
    worse = 0
    for _ in range(count):
        n, capacities, write, read, step = random_tiers(rng, n_max)
        for to_write, to_read in ((sorted(write), sorted(read)), (write, read)):
            published = hierarchical.h_revolve(n - 1, capacities, to_write, to_read, step, step)[n - 1]
            searched = tiered.search(n, capacities, to_write, to_read, forward_step=step)
            if to_write == sorted(to_write) and to_read == sorted(to_read):
                assert published == searched
            else:
                assert published >= searched
                worse += published > searched
    return worse


def test_h_revolve_is_optimal_where_no_tier_is_cheaper_than_the_one_before():
    check_h_revolve(5, 120, 7)


@pytest.mark.slow
def test_h_revolve_is_optimal_where_no_tier_is_cheaper_than_the_one_before_at_more_timesteps():
    assert check_h_revolve(6, 400, 9) > 0


@pytest.mark.parametrize(
    ("n", "write", "read", "step", "published", "optimum"),
    [(7, (0, 2), (5, 2), 3, 77, 76), (8, (6, 3), (5, 3), 1, 60, 59), (5, (6, 0), (6, 5), 3, 61, 60)],
)
def test_h_revolve_is_not_optimal_where_a_tier_is_cheaper_than_the_one_before(
    n, write, read, step, published, optimum
):
    assert hierarchical.h_revolve(n - 1, (1, 1), write, read, step, step)[n - 1] == published
    assert tiered.search(n, (1, 1), write, read, forward_step=step) == optimum
    assert tiered.search(n, (1, 1), write, read, forward_step=step, everything=True) == optimum


def test_h_revolve_with_free_memory_alone_is_revolve():
    for slots in (1, 2, 3, 7):
        costs = hierarchical.h_revolve(40, [slots], [0], [0], 3, 5)
        for length, cost in enumerate(costs):
            assert cost == 3 * closed_form.binomial_advances(length + 1, slots) + 5 * (length + 1)


def test_a_disk_without_bound_is_h_revolve_with_as_many_slots_as_states():
    rng = random.Random(7)
    for _ in range(30):
        slots, write, read, step = rng.randint(0, 4), rng.randint(0, 9), rng.randint(0, 9), rng.randint(1, 3)
        disk = hierarchical.Disk(25, slots, write, read, step, 2)
        assert disk.unlimited == hierarchical.h_revolve(25, (slots, None), (0, write), (0, read), step, 2)


def test_hierarchical_reference_values(golden):
    columns = ["algorithm", "slots", "write", "read", "l", "first", "second", "third"]
    for row in golden("ref_multilevel.csv", columns):
        slots, write, read, length = (ast.literal_eval(row[name]) for name in columns[1:5])
        if row["algorithm"] == "H-Revolve":
            assert hierarchical.h_revolve(length, slots, write, read)[length] == float(row["first"])
        else:
            disk = hierarchical.Disk(length, slots, write, read)
            found = disk.in_memory[length], disk.from_disk[length], disk.unlimited[length]
            assert found == tuple(float(row[name]) for name in ("first", "second", "third"))


@pytest.mark.parametrize(
    ("slots", "read", "write", "period", "average", "one_read"),
    [
        (1, 5, 5, 7, 4.8571, 5),
        (2, 2, 10, 16, 4.0000, 10),
        (3, 10, 10, 20, 4.2500, 20),
        (3, 0, 50, 35, 4.8286, 35),
        (5, 5, 5, 21, 3.1429, 21),
        (5, 2, 10, 27, 3.2222, 21),
        (10, 10, 10, 66, 3.1212, 66),
        (10, 50, 50, 286, 4.0769, 286),
    ],
)
def test_periods(slots, read, write, period, average, one_read):
    longest = min(hierarchical.longest_period(slots, write, read), 300)
    disk = hierarchical.Disk(longest, slots, write, read)
    best = disk.average(disk.best_period(longest))
    assert disk.average(period) == best  # for (2, 2, 10) a period of 9 is as good
    assert float(best) == pytest.approx(average, abs=5e-5)
    read_once = hierarchical.Disk(longest, slots, write, read, one_read=True)
    assert read_once.average(one_read) == read_once.average(read_once.best_period(longest))
    assert hierarchical.one_read_period(slots, write, read) == one_read


def test_a_periodic_schedule_is_never_better_than_disk_revolve_and_soon_as_good_per_timestep():
    for slots, write, read in ((1, 5, 5), (2, 10, 2), (3, 2, 2), (3, 0, 0)):
        disk = hierarchical.Disk(200, slots, write, read)
        period = disk.best_period(hierarchical.longest_period(slots, write, read))
        excess = [disk.periodic(length, period) - disk.unlimited[length] for length in range(1, 201)]
        assert min(excess) >= 0
        assert max(excess) <= 2 * (write + read) + period
        assert disk.unlimited[200] - disk.unlimited[200 - period] == period * (1 + disk.average(period))


def test_fractions_are_exact_costs():
    third = Fraction(1, 3)
    ints = tiered.search(6, (1, 2), (0, 1), (0, 2), forward_step=3)
    assert tiered.search(6, (1, 2), (0, third), (0, 2 * third)) == ints * third


def test_finishing_from_a_layout_is_the_optimum_over_all_schedules():
    rng = random.Random(8)
    for _ in range(1500):
        problem = random_problem(rng, 8, [rng.randint(0, 3)], from_layout=True)
        parameters = {name: problem[name] for name in ("window", "lookback", "lag", "free_initial")}
        arguments = problem["n"], problem["capacities"][0], problem["layout"]
        assert layouts.finish(*arguments, **parameters) == layouts.search(*arguments, **parameters)


def test_finishing_from_the_start_is_the_closed_form():
    for n, snapshots, window, lookback, lag, free in instances(30, 3, 4, 2):
        found = layouts.finish(
            n, snapshots, Layout(), window=window, lookback=lookback, lag=lag, free_initial=free
        )
        assert found == closed_form.forward_steps(n, snapshots, window, lookback, lag, free)


RULES = {"WMI": layouts.wang_moin_iaccarino, "greedy": layouts.greedy, "target-gap": layouts.target_gap}


def test_online_reference_values(golden):
    expected = {}
    for row in golden("ref_online.csv"):
        expected.setdefault((row["algorithm"], int(row["c"])), []).append(row)
    assert {algorithm for algorithm, _ in expected} == set(RULES)
    for (algorithm, c), rows in expected.items():
        stored = list(islice(RULES[algorithm](c), max(int(row["n"]) for row in rows)))
        for row in rows:
            n = int(row["n"])
            assert stored[n - 2] == [int(state) for state in row["checkpoints_before_last_state"].split()]
            assert layouts.published(n, c, stored[n - 2]) == int(row["advances_total"])
            assert layouts.offline_optimum(n, c) == int(row["offline_optimum"])


def test_the_published_cost_of_a_layout_is_what_it_takes_unless_dropping_or_moving_states_helps():
    """Nothing can help where the layout is as good as the offline optimum's; {0, 1} is the contrary."""
    for c in (2, 3, 4):
        for n, stored in zip(range(2, classic.beta(c, 2) + 1), layouts.wang_moin_iaccarino(c), strict=False):
            layout = Layout([Stored(0, slot, t) for slot, t in enumerate(stored)], n - 1, 0)
            assert layouts.published(n, c, stored) == layouts.offline_optimum(n, c)
            assert layouts.finish(n, c, layout) + n - 1 == layouts.published(n, c, stored) + n
    layout = Layout((Stored(0, 0, 0), Stored(0, 1, 1)), 9, 0)
    assert layouts.published(10, 2, [0, 1]) == 9 + 8 * 7 // 2
    assert layouts.finish(10, 2, layout) == layouts.search(10, 2, layout) < 8 * 7 // 2 + 10


def test_repetitions_of_wang_moin_iaccarino_are_minimal():
    """No gap needs more repetitions than the offline schedule of the whole run."""
    for c in (1, 2, 3, 5):
        for n, stored in zip(range(2, 300), layouts.wang_moin_iaccarino(c), strict=False):
            gaps = zip(stored, [*stored[1:], n - 1], strict=True)
            for i, (start, end) in enumerate(gaps):
                if end > start:
                    again = 1 + classic.repetitions(end - start, c - i)
                    assert again <= classic.repetitions(n, c)


def step_data_instructions(path, carries):
    slots = Slots()
    keys = (0, "STATE"), (0, "STEP_DATA")
    for (cost, before), (later, after) in pairwise(path):
        (r, turned, p, hand, *stored), (s, turned_now, q, hand_now, *stored_now) = before, after
        if turned_now and not turned:
            yield SimpleNamespace(kind=Kind.TURN)
        if s < r:
            yield SimpleNamespace(kind=Kind.REVERSE, start=s, stop=r)
        elif later > cost:
            yield SimpleNamespace(kind=Kind.FORWARD, start=p, stop=q)
        elif hand_now == -1 and (p, hand) != (q, hand_now):
            yield slots.load(0, q)
        elif (p, hand) != (q, hand_now):
            yield slots.load(0, hand_now, "STEP_DATA")
        yield from slots.change(
            dict(zip(keys, stored, strict=True)), dict(zip(keys, stored_now, strict=True))
        )
    yield SimpleNamespace(kind=Kind.END)


def check_step_data(n_max, capacity_max, **options):
    for units in (1, 2, 3):
        for carries in (False, True):
            table = step_data.steps(n_max, capacity_max, units=units, carries=carries)
            for n in range(1, n_max + 1):
                for capacity in range(capacity_max + 1):
                    path = []
                    found = step_data.search(n, capacity, units=units, carries=carries, path=path, **options)
                    assert found == table[capacity][n]
                    if found == float("inf"):
                        continue
                    report = simulate(
                        step_data_instructions(path, carries),
                        n=n,
                        snapshots=capacity,
                        step_data_units=units,
                        step_data_carries_next_state=carries,
                    )
                    assert report.forward_steps == found


def test_step_data_programs_are_the_optimum_over_all_schedules():
    check_step_data(7, 4)


def test_step_data_programs_are_the_optimum_over_all_instructions():
    check_step_data(4, 3, everything=True)


@pytest.mark.slow
def test_step_data_programs_are_the_optimum_over_all_schedules_of_more_timesteps():
    check_step_data(9, 5)
    check_step_data(5, 4, everything=True)


def test_mixed_reference_values(golden):
    rows = golden("ref_mixed.csv")
    table = step_data.steps(max(int(row["n"]) for row in rows), max(int(row["s"]) for row in rows))
    for row in rows:
        n, s = int(row["n"]), int(row["s"])
        assert table[s][n] == int(row["mixed_total"])
        assert closed_form.binomial_advances(n, s) + n == int(row["binomial_total"])


def test_multistage_reference_values(golden):
    rows = golden("ref_multistage_rk.csv")
    n_max, units_max = (max(int(row[name]) for row in rows) for name in ("n", "units"))
    tables = {
        (stages, carries): step_data.steps(n_max, units_max, units=stages, carries=carries)
        for stages in {int(row["stages"]) for row in rows}
        for carries in (False, True)
    }
    for row in rows:
        n, units, stages = (int(row[name]) for name in ("n", "units", "stages"))
        assert tables[stages, True][units][n] - n == int(row["optimal_stiffly_accurate_extra"])
        assert tables[stages, False][units][n] - n == int(row["optimal_general_extra"])
        found = step_data.published_cams(n, units, stages, carries=True)
        assert found == int(row["published_stiffly_accurate_extra"])
        assert closed_form.binomial_advances(n, units) == int(row["revolve_extra"])


@pytest.mark.parametrize(
    ("n", "units", "stages", "published", "optimal"),
    [
        (10, 6, 2, (6, 8), (6, 7)),
        (30, 6, 2, (45, 46), (43, 45)),
        (100, 10, 2, (167, 172), (163, 170)),
        (100, 20, 4, (138, 138), (133, 133)),
    ],
)
def test_multistage_values_of_the_literature_and_the_optimum(n, units, stages, published, optimal):
    """Pairs: with and without the next state in a block."""
    for carries, literature, best in zip((True, False), published, optimal, strict=True):
        assert step_data.published_cams(n, units, stages, carries=carries) == literature
        assert step_data.steps(n, units, units=stages, carries=carries)[units][n] - n == best
