"""Plans that compress snapshots: within their budgets, no worse than without, and what they tell is true."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_planning_tiers import counts_of, counts_of_schedule
from test_revolver import Forward, Reverse, Wave, WaveCheckpoint, assert_equal

from pyrevolve import (
    BudgetError,
    Checkpoint,
    CompressionCosts,
    Costs,
    DiskStorage,
    HRevolve,
    Kind,
    MemoryStorage,
    Operator,
    Revolver,
    compression,
    measure_compression,
    plan,
)
from pyrevolve.storage.slots import slot_nbytes

#: What lies on disk, or in a buffer on its way there, takes whole blocks.
BLOCK = 4096

costs = st.builds(
    lambda calls, ram, write, read, reverse: Costs(
        forward_step=1.0,
        reverse_step=reverse,
        forward_call=calls,
        reverse_call=calls,
        save=(ram, write),
        load=(ram, read),
    ),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    st.sampled_from([0.0, 0.3, 3.0, 40.0]),
    st.sampled_from([0.0, 0.5, 4.0, 30.0]),
    st.sampled_from([0.5, 1.5]),
)
compressions = st.builds(
    lambda ratio, save, load, scratch: CompressionCosts(
        ratio=ratio, save=save, load=load, scratch_bytes=scratch
    ),
    st.sampled_from([0.5, 1.0, 1.3, 2.0, 4.0, 12.5, 50.0]),
    st.sampled_from([0.0, 0.2, 2.0, 10.0, 300.0]),
    st.sampled_from([0.0, 0.2, 2.0, 10.0, 300.0]),
    st.sampled_from([0, 0, 1000, 40_000]),
)


@st.composite
def problems(draw, longest=3000):
    """Return n, arguments of `plan`, and what compression costs."""
    state = draw(st.sampled_from([1000, 4096, 5000, 2 * BLOCK, 70_000]))
    lookback, lag = draw(st.sampled_from([(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]))
    arguments = {
        "state_bytes": state,
        "window_slice_bytes": draw(st.sampled_from([0, state // 3, state // 2])),
        "fixed_bytes": draw(st.sampled_from([0, 777])),
        "memory": draw(st.sampled_from([1, 2, 4, 9, 30, 200])) * state + draw(st.integers(0, 5 * BLOCK)),
        "disk": draw(st.one_of(st.none(), st.sampled_from([0, BLOCK, 3, 20, 300]))),
        "lookback": lookback,
        "lag": lag,
        "initial_state": draw(st.sampled_from(["stored", "free"])),
        "costs": draw(costs),
        "overlap": draw(st.sampled_from([True, True, False])),
        "buffers": draw(st.sampled_from([1, 2, 2, 3])),
        "min_window": draw(st.sampled_from([1, 3])),
        "max_window": draw(st.sampled_from([None, 10])),
    }
    if arguments["disk"] is not None and arguments["disk"] < BLOCK:
        arguments["disk"] *= state
    return draw(st.integers(0, longest)), arguments, draw(compressions)


def planned(n, arguments, given):
    """Return a plan, or the budget that it would need at least."""
    try:
        return plan(n, **arguments, compression=given)
    except BudgetError as error:
        return error.required


def assert_true(chosen, arguments, given):
    """Assert that a plan keeps to its budgets, and that its schedule does what it says."""
    schedule = chosen.schedule
    assert counts_of_schedule(schedule) == counts_of(chosen)
    peaks = [tier.peak for tier in schedule.counts.tiers] + [0] * len(chosen.tiers)
    state, overlap = arguments["state_bytes"], arguments["overlap"]
    padded = -(-state // BLOCK) * BLOCK if overlap else state
    held = arguments["fixed_bytes"] + chosen.window * arguments["window_slice_bytes"]
    on_disk, disks = 0, [tier for tier in chosen.tiers if tier.medium == "disk"]
    if disks and overlap:
        held += arguments["buffers"] * padded
    if chosen.compressed:
        held += given.scratch_bytes
    for tier, peak in zip(chosen.tiers, peaks, strict=False):
        each = padded if tier.medium == "disk" else state
        assert tier.slots == peak
        if not tier.compressed:
            assert tier.nbytes == peak * each
        elif peak:
            assert tier.nbytes >= each  # one that does not get smaller fits
            assert peak * max(1, state // max(1.0, given.ratio)) <= tier.nbytes + state
        held += tier.nbytes * (tier.medium == "memory")
        on_disk += tier.nbytes * (tier.medium == "disk")
    assert [tier.medium for tier in chosen.tiers] == ["memory"] * (len(chosen.tiers) - len(disks)) + [
        "disk"
    ] * len(disks)
    assert chosen.planned_bytes == held <= arguments["memory"]
    assert chosen.planned_disk_bytes == on_disk <= (arguments["disk"] or 0)
    assert chosen.n_snapshots == sum(
        p for t, p in zip(chosen.tiers, peaks, strict=False) if t.medium != "disk"
    )
    assert chosen.n_on_disk == sum(p for t, p in zip(chosen.tiers, peaks, strict=False) if t.medium == "disk")
    if not chosen.overlapped:
        assert chosen.predicted_seconds == pytest.approx(schedule.makespan(chosen.costs))


@settings(max_examples=300)
@given(problems())
def test_every_plan_keeps_to_its_budgets_and_tells_what_its_schedule_does(problem):
    n, arguments, given = problem
    best = planned(n, arguments, given)
    if isinstance(best, int):
        return
    seconds = [choice.predicted_seconds for choice in (best, *best.runners_up)]
    assert seconds == sorted(seconds)
    kinds = [(choice.family, choice.compressed) for choice in best.runners_up]
    assert len(kinds) == len(set(kinds))
    for choice in (best, *best.runners_up):
        assert_true(choice, arguments, given)


@settings(max_examples=300)
@given(problems())
def test_compression_needs_no_larger_budget_and_never_makes_a_plan_worse(problem):
    n, arguments, given = problem
    without, best = planned(n, arguments, None), planned(n, arguments, given)
    if isinstance(without, int) or isinstance(best, int):
        assert without == best
        assert not isinstance(planned(n, {**arguments, "memory": best}, given), int)
        if best > 0:
            assert planned(n, {**arguments, "memory": best - 1}, given) == best
        return
    assert best.predicted_seconds <= without.predicted_seconds * (1 + 1e-12)
    free = dataclasses.replace(given, save=0.0, load=0.0)
    assert planned(n, arguments, free).predicted_seconds <= best.predicted_seconds * (1 + 1e-12)


def test_what_is_tried_without_compression_does_not_depend_on_it():
    """Plans with compressed tiers that stay empty took the room of tables away from those without any."""
    costs = Costs(forward_step=1.0, reverse_step=0.5, save=(0.0, 0.0), load=(0.0, 4.0))
    sizes = {"state_bytes": 5000, "window_slice_bytes": 1666, "fixed_bytes": 777, "lookback": 2, "lag": 0}
    budgets = {"memory": 45_000, "disk": 100_000, "overlap": False, "buffers": 1}
    given = CompressionCosts(ratio=0.5, save=0.0, load=0.0, scratch_bytes=0)
    without = plan(2402, **sizes, **budgets, costs=costs)
    assert plan(2402, **sizes, **budgets, costs=costs, compression=given).predicted_seconds <= (
        without.predicted_seconds
    )


@pytest.mark.slow
@settings(max_examples=1500)
@given(problems(longest=40_000))
def test_long_runs_keep_to_their_budgets_and_are_no_worse_than_without_compression(problem):
    n, arguments, given = problem
    without, best = planned(n, arguments, None), planned(n, arguments, given)
    if isinstance(without, int) or isinstance(best, int):
        assert without == best
        return
    assert best.predicted_seconds <= without.predicted_seconds * (1 + 1e-12)
    for choice in (best, *best.runners_up):
        assert_true(choice, arguments, given)


@given(problems())
def test_dear_compression_is_never_chosen(problem):
    n, arguments, given = problem
    without = planned(n, arguments, None)
    if isinstance(without, int):
        return
    dear = dataclasses.replace(given, save=without.predicted_seconds + 1)
    assert not planned(n, arguments, dear).compressed
    assert planned(n, arguments, dear) == without


@given(problems())
def test_larger_ratio_is_not_worse(problem):
    """But for the steps in which numbers of snapshots are tried."""
    n, arguments, given = problem
    last = None
    for ratio in (1.0, 2.0, 4.0, 8.0, 32.0):
        found = planned(n, arguments, dataclasses.replace(given, ratio=ratio))
        if isinstance(found, int):
            return
        assert last is None or found.predicted_seconds <= 1.2 * last
        last = found.predicted_seconds


def test_few_snapshots_are_planned_where_compression_is_dear_beside_timesteps():
    """With as many as fit, each would be encoded for the sake of a step or two."""
    arguments = {
        "state_bytes": 5000,
        "window_slice_bytes": 1666,
        "memory": 4_900_000,
        "lookback": 1,
        "max_window": 10,
        "costs": Costs(
            forward_step=1.0, reverse_step=1.5, forward_call=0.5, reverse_call=0.5, save=2.0, load=0.1
        ),
    }
    times = []
    for ratio in (2.0, 4.0, 8.0, 50.0):
        chosen = plan(28_669, **arguments, compression=CompressionCosts(ratio=ratio, save=3.0, load=0.5))
        assert chosen.compressed
        times.append(chosen.predicted_seconds)
    assert times == sorted(times, reverse=True)
    tier = chosen.tiers[0]
    assert tier.slots * arguments["state_bytes"] / 50.0 < 0.2 * tier.nbytes


def test_window_leaves_room_for_a_state_that_does_not_get_smaller():
    """The best window for states of a fiftieth leaves hardly any room, which one state may take."""
    arguments = {
        "state_bytes": 70_000,
        "window_slice_bytes": 35_000,
        "memory": 500_000,
        "lookback": 2,
        "costs": Costs(forward_step=1.0, reverse_step=1.5, save=0.2, load=0.2),
    }
    for ratio in (2.0, 10.0, 50.0):
        given = CompressionCosts(ratio=ratio, save=1.0, load=0.5, scratch_bytes=100)
        chosen = plan(5000, **arguments, compression=given)
        assert chosen.compressed
        assert chosen.tiers[0].nbytes >= 70_000 + BLOCK
        tight = {**arguments, "memory": 2 * 35_000 + 70_000 + BLOCK + 100}
        found = plan(5000, **tight, compression=given)
        assert found.compressed
        assert found.window == 2
        found = plan(5000, **{**tight, "memory": tight["memory"] - 1}, compression=given)
        assert not any(choice.compressed for choice in (found, *found.runners_up))


WITH_DISK = {
    "state_bytes": 70_000,
    "window_slice_bytes": 35_000,
    "memory": 900_000,
    "disk": 4_000_000,
    "lookback": 2,
    "costs": Costs(forward_step=1.0, reverse_step=1.5, save=(0.2, 3.0), load=(0.2, 2.0)),
}


def kinds_of(chosen):
    return {tuple(str(tier) for tier in choice.tiers) for choice in (chosen, *chosen.runners_up)}


def test_ram_and_disk_are_compressed_in_every_combination():
    seen = set()
    for memory in (400_000, 900_000, 3_000_000):
        for disk in (None, 500_000, 4_000_000):
            for n in (300, 3000):
                for save in (0.3, 2.0, 12.0):
                    given = CompressionCosts(ratio=4.0, save=save, load=save / 2)
                    arguments = {**WITH_DISK, "memory": memory, "disk": disk}
                    seen |= kinds_of(plan(n, **arguments, compression=given))
    assert seen >= {
        ("RAM",),
        ("compressed RAM",),
        ("RAM", "disk"),
        ("RAM", "compressed disk"),
        ("compressed RAM", "disk"),
        ("compressed RAM", "compressed disk"),
        ("RAM", "compressed RAM"),
    }


def test_without_compression_plans_are_what_they_were():
    for disk in (None, 4_000_000):
        chosen = plan(2000, **{**WITH_DISK, "disk": disk})
        assert not any(choice.compressed for choice in (chosen, *chosen.runners_up))
        assert "compressed" not in str(chosen) + chosen.explain()


def test_some_of_the_memory_for_bare_snapshots_and_the_rest_for_compressed_ones():
    """Bare ones for those that are loaded often: H-Revolve over RAM and compressed RAM."""
    chosen = plan(
        400,
        state_bytes=70_000,
        window_slice_bytes=0,
        memory=10 * 70_000,
        max_window=1,
        costs=Costs(forward_step=1.0, reverse_step=1.0, save=0.05, load=0.05),
        compression=CompressionCosts(ratio=6.0, save=1.5, load=1.5),
    )
    bare, small = chosen.tiers
    assert (str(bare), str(small)) == ("RAM", "compressed RAM")
    assert chosen.family == "hierarchical"
    assert isinstance(chosen.schedule, HRevolve)
    assert 0 < bare.slots < 10 < small.slots
    assert bare.nbytes + small.nbytes == 10 * 70_000
    assert chosen.costs.save == (0.05, 1.5)


def test_words_table_and_summary_tell_what_is_compressed():
    chosen = plan(3000, **WITH_DISK, compression=CompressionCosts(ratio=6.0, save=0.3, load=0.2))
    assert chosen.compressed
    (tier,) = [tier for tier in chosen.tiers if tier.compressed][:1]
    assert f"about {tier.slots} in {tier}" in str(chosen)
    assert f"About {tier.slots} snapshots fit in" in chosen.explain()
    assert "planned anew" in chosen.explain()
    head, *rows = chosen.table().splitlines()
    assert head.split()[1] == "compressed"
    for row, choice in zip(rows, (chosen, *chosen.runners_up), strict=True):
        columns = [cell.strip() for cell in row.split("  ") if cell.strip()]
        assert columns[0] == choice.family
        media = [{"memory": "RAM"}.get(t.medium, t.medium) for t in choice.tiers if t.compressed]
        assert columns[1] == (", ".join(media) or "-")
    bare = plan(3000, **WITH_DISK, compression=CompressionCosts(ratio=6.0, save=60.0, load=60.0))
    assert not bare.compressed
    slower = dataclasses.replace(
        bare, runners_up=tuple(choice for choice in bare.runners_up if choice.compressed)[:1]
    )
    assert f"{slower.runners_up[0].family} with compression" in slower.explain()


def test_plans_pickle_and_compare():
    chosen = plan(800, **WITH_DISK, compression=CompressionCosts(ratio=6.0, save=0.3, load=0.2))
    for choice in (chosen, *chosen.runners_up):
        copy = pickle.loads(pickle.dumps(choice))
        assert copy == choice
        assert copy.runners_up == choice.runners_up
        assert copy.tiers == choice.tiers
        assert copy.schedule == choice.schedule


@pytest.mark.parametrize("given", [2.0, "lz4", Costs(forward_step=1, reverse_step=1)])
def test_something_else_in_the_place_of_costs_of_compression(given):
    with pytest.raises(TypeError, match="compression must be CompressionCosts"):
        plan(100, **WITH_DISK, compression=given)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ratio": 0.0}, ValueError),
        ({"ratio": -1.0}, ValueError),
        ({"ratio": float("inf")}, ValueError),
        ({"ratio": float("nan")}, ValueError),
        ({"ratio": "2"}, TypeError),
        ({"save": -1.0}, ValueError),
        ({"load": None}, TypeError),
        ({"scratch_bytes": -1}, ValueError),
        ({"scratch_bytes": 1.5}, TypeError),
        ({"scratch_bytes": True}, TypeError),
    ],
)
def test_costs_of_compression_that_are_none(options, error):
    with pytest.raises(error, match=next(iter(options))):
        CompressionCosts(**{"ratio": 2.0, "save": 1.0, "load": 1.0, **options})


def test_huge_budgets_are_not_taken_whole():
    """No more is reserved than bare snapshots, as many as can be of use, would take."""
    for memory in ("1 TiB", 2**62):
        chosen = plan(
            50,
            state_bytes=70_000,
            window_slice_bytes=35_000,
            memory=memory,
            max_window=2,
            costs=Costs(forward_step=1.0, reverse_step=1.0, save=9.0, load=9.0),
            compression=CompressionCosts(ratio=4.0, save=0.0, load=0.0),
        )
        assert chosen.compressed
        assert chosen.planned_bytes <= 2 * 35_000 + 51 * (70_000 + BLOCK)


# --- carried out


def noisy(t, size=6000):
    """Return what compresses well early in the run, and not at all late in it."""
    noise = np.random.default_rng(t).bytes(min(size, 150 * t))
    return np.frombuffer(noise.ljust(size, b"\0"), np.uint8)


class Cargo(WaveCheckpoint):
    """A state that takes something else with it, which shows whether it came back."""

    def __init__(self, wave):
        super().__init__(wave)
        self.cargo = np.zeros(6000, np.uint8)

    def get_data(self, t):
        self.cargo[:] = noisy(t)
        return [*self.arrays(t), self.cargo]

    def get_data_location(self, t):
        return [*self.arrays(t), self.cargo]


def telling(storage, wave):
    """Let a storage that was made by a Revolver tell the wave of loads."""
    load = storage.load

    def told(slot, arrays, t, *content):
        wave.ring[:] = np.nan
        wave.step_data[:] = np.nan
        loaded = load(slot, arrays, t, *content)
        assert int(wave.time[0]) == t
        assert np.array_equal(arrays[-1], noisy(t))
        wave.arrive(t)
        return loaded

    storage.load = told


def gradient(revolver, wave):
    wave.set_initial()
    wave.forward_steps = 0
    revolver.apply_forward()
    wave.start_adjoint()
    revolver.apply_reverse()
    return wave.gradient, wave.adjoint[:2]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("initial_state", ["stored", "free"])
@pytest.mark.parametrize("disk", [None, 60_000, 10**6])
@pytest.mark.parametrize("memory", [30_000, 40_000, 120_000])
def test_gradient_equals_store_all_within_the_budgets(memory, disk, initial_state, codec, tmp_path):
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    n, (window, lookback, lag) = 60, (3, 2, 0)
    tiers = set()
    for save, write in ((0.1, 0.5), (0.1, 50.0), (3.0, 1.0)):
        wave = Wave(n, window, lookback, lag)
        rates = Costs(forward_step=1.0, reverse_step=1.0, save=(0.05, write), load=(0.05, write))
        with Revolver(
            Cargo(wave),
            Forward(wave),
            Reverse(wave),
            n_timesteps=n,
            memory=memory,
            disk=disk,
            disk_dir=None if disk is None else tmp_path,
            costs=rates if disk is not None else dataclasses.replace(rates, save=0.05, load=0.05),
            initial_state=initial_state,
            compression=codec,
            compression_costs=CompressionCosts(ratio=3.0, save=save, load=save, scratch_bytes=14_000),
        ) as revolver:
            for storage in revolver.storages:
                telling(storage, wave)
            chosen = revolver.plan
            tiers |= {str(tier) for tier in chosen.tiers if tier.slots}
            for _ in range(2):
                assert_equal(gradient(revolver, wave), wave.store_all())
                revolver.reset()
            held = sum(s.nbytes for s in revolver.storages if isinstance(s, MemoryStorage))
            held += sum(s.staging_nbytes for s in revolver.storages)
            scratch = 14_000 * chosen.compressed
            assert held + scratch <= chosen.planned_bytes <= memory
            assert sum(s.nbytes for s in revolver.storages if isinstance(s, DiskStorage)) <= (disk or 0)
    assert list(tmp_path.iterdir()) == []
    assert memory > 100_000 or any(tier.startswith("compressed") for tier in tiers)


def test_measured_compression_leads_to_a_plan_that_is_carried_out(tmp_path):
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    n = 80
    wave = Wave(n, 2, 1)
    parts = Cargo(wave), Forward(wave), Reverse(wave)
    wave.set_initial()
    measured = measure_compression(*parts[:2], n_timesteps=n, compression="lz4")
    state = slot_nbytes(parts[0].get_data(0))
    assert 1.0 < measured.ratio < 6.0
    free = dataclasses.replace(measured, save=0.0, load=0.0)
    memory = 4 * state + measured.scratch_bytes
    with Revolver(
        *parts, n_timesteps=n, memory=memory, compression="lz4", compression_costs=free
    ) as revolver:
        assert revolver.plan.compressed
        telling(revolver.storage, wave)
        assert_equal(gradient(revolver, wave), wave.store_all())
        assert revolver.profiler[Kind.FORWARD].steps == wave.forward_steps
        without = plan(
            n, state_bytes=state, window_slice_bytes=0, memory=memory, lookback=1, max_window=2, min_window=2
        )
        assert wave.forward_steps < without.forward_steps


class Smooth(Checkpoint):
    """A smooth field and its advection; the reverse operator reads the field itself."""

    dtype, size = np.dtype("f8"), 4000

    def __init__(self):
        self.x = np.zeros(4000)
        self.start()

    def start(self):
        self.x[:] = np.sin(np.linspace(0, 9, 4000))
        self.data, self.gradient, self.adjoint = self.x.copy(), np.zeros(4000), np.ones(4000)

    def get_data(self, t):
        return [self.x]

    get_data_location = get_data


class Step(Operator):
    def __init__(self, state):
        self.state = state

    def apply(self, t_start, t_end):
        state = self.state
        for _ in range(t_start, t_end):
            state.data[:] = state.x
            state.x += 0.05 * (np.roll(state.x, 1) - state.x) - 0.01 * state.x**3


class Back(Operator):
    def __init__(self, state):
        self.state = state

    def apply(self, t_start, t_end):
        state = self.state
        state.gradient += state.data * state.adjoint
        later = state.adjoint
        state.adjoint = later + 0.05 * (np.roll(later, -1) - later) - 0.03 * state.data**2 * later


def test_lossy_compression_is_close_and_tells_how_close():
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    results = {}
    for bits in (None, 8, 16, 30):
        state = Smooth()
        options = {}
        if bits is not None:
            options["compression"] = compression.rounded(bits)
            options["compression_costs"] = CompressionCosts(ratio=3.0, save=0.0, load=0.0)
        with Revolver(state, Step(state), Back(state), n_timesteps=90, memory=110_000, **options) as revolver:
            for _ in range(2):
                state.start()
                revolver.apply_forward()
                revolver.apply_reverse()
                results.setdefault(bits, state.gradient)
                assert np.array_equal(results[bits], state.gradient)
                revolver.reset()
            if bits is not None:
                assert revolver.plan.compressed
                error = revolver.storage.compression_error
                assert error.measured
                assert 0 < error.relative <= 2.0 ** -(bits + 1)
    exact = results[None]
    errors = [np.abs(results[bits] - exact).max() / np.abs(exact).max() for bits in (8, 16, 30)]
    assert 0 < errors[2] < 1e-8 < errors[1] < 1e-4 < errors[0] < 0.02


@pytest.mark.parametrize("codec", [None, "lz4"])
@pytest.mark.parametrize("states", [40, 60, 160])
def test_disk_holds_no_more_than_its_budget_with_a_journal_too(states, codec, tmp_path):
    """Though what the last entry tells of is kept there when it is freed."""
    if codec is not None:
        pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    n, each = 300, 2 * BLOCK
    wave = Wave(n, 1, 1)
    checkpoint = Cargo(wave)
    wave.adjoint, wave.gradient = np.zeros((3, 23)), np.zeros(23)
    with Revolver(
        checkpoint,
        Forward(wave),
        Reverse(wave),
        n_timesteps=n,
        memory=4 * slot_nbytes(checkpoint.get_data(0)) + 2 * each + 14_000,
        disk=states * each,
        costs=Costs(forward_step=1.0, reverse_step=1.5, save=(0.1, 0.01), load=(0.1, 0.01)),
        compression=codec,
        compression_costs=codec and CompressionCosts(ratio=2.0, save=0.01, load=0.01, scratch_bytes=14_000),
        resume=tmp_path / "journal",
        resume_arrays=lambda: [wave.adjoint, wave.gradient],
    ) as revolver:
        assert revolver.plan.n_on_disk >= 40
        for storage in revolver.storages:
            telling(storage, wave)
        held = sum(s.nbytes for s in revolver.storages if isinstance(s, DiskStorage))
        assert held <= states * each == revolver.plan.disk
        assert_equal(gradient(revolver, wave), wave.store_all())
        assert held == sum(s.nbytes for s in revolver.storages if isinstance(s, DiskStorage))


def test_costs_of_compression_alone_are_of_no_use():
    wave = Wave(10)
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    given = CompressionCosts(ratio=2.0, save=0.0, load=0.0)
    with pytest.raises(ValueError, match="compression_costs= is of no use without compression="):
        Revolver(*parts, n_timesteps=10, memory=10**5, compression_costs=given)
    with pytest.raises(ValueError, match="n_checkpoints and compression= exclude each other"):
        Revolver(*parts, 3, 10, compression="lz4")


def test_more_states_on_disk_than_a_table_has_rows_for_are_no_reason_not_to_make_one():
    costs = Costs(forward_step=1.0, reverse_step=0.5, save=(0.0, 0.0), load=(0.0, 0.0))
    times = [
        plan(
            1297,
            state_bytes=70_000,
            window_slice_bytes=23_333,
            memory=70_000,
            disk=210_000,
            lookback=1,
            costs=costs,
            overlap=False,
            compression=CompressionCosts(ratio=ratio, save=0.0, load=10.0),
        ).predicted_seconds
        for ratio in (4.0, 8.0, 16.0, 32.0)
    ]
    assert times == sorted(times, reverse=True)


def test_x_0_is_made_again_at_the_costs_of_bare_memory():
    costs = Costs(forward_step=1.0, reverse_step=0.5, save=0.1, load=0.1)
    options = {
        "state_bytes": 1000,
        "window_slice_bytes": 0,
        "memory": 9000,
        "costs": costs,
        "initial_state": "free",
        "max_window": 10,
    }
    dear = CompressionCosts(ratio=0.5, save=1000.0, load=0.0)
    assert plan(11, **options, compression=dear) == plan(11, **options)
