"""The driver, on a nonlinear wave equation whose workspace retains exactly what the model says.

Whatever the workspace does not retain is NaN, so that reading it shows in the gradient; and a state carries
its own timestep, so that running or loading the wrong one is an assertion at once.
"""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyrevolve.revolver
from pyrevolve import (
    BudgetError,
    Checkpoint,
    Costs,
    Kind,
    MemoryStorage,
    Online,
    Operator,
    Revolve,
    Revolver,
    ScheduleError,
    StorageError,
    StoreAll,
)
from pyrevolve.crevolve import Content
from pyrevolve.storage.slots import slot_nbytes

NX = 23
DT2 = 0.01  # time step squared over grid spacing squared
WEIGHT = 0.3  # of the running part of the misfit


def laplacian(u):
    """Second difference of a field that is zero at both ends; symmetric, so it is its own adjoint."""
    out = -2.0 * u
    out[1:] += u[:-1]
    out[:-1] += u[1:]
    return out


class Wave:
    """u[t+1] = 2 u[t] - u[t-1] + dt^2 (laplacian u[t] - m u[t]^3 + q[t]), and its adjoint.

    The misfit is |u[n] - data|^2 / 2 + weight/2 * sum over t < n of |u[t]|^2 where the lag is 0, of |u[t+1] -
    u[t]|^2 where it is 1: the adjoint of timestep t then reads u[t], and u[t+1] too.

    A state x_t has `depth` slices u[t], u[t-1], ... and, for mixed dtypes, t itself as an int32 array. What
    the workspace retains for the adjoint lies apart from the state, in `step_data`.
    """

    def __init__(self, n, window=1, lookback=0, lag=None, *, seed=0, padding=0):
        self.n, self.window, self.lookback = n, window, lookback
        self.lag = (0 if lookback else 1) if lag is None else lag
        self.depth = max(2, lookback + self.lag)
        random = np.random.default_rng(seed)
        self.model = random.uniform(0.5, 1.5, NX)
        self.source = random.normal(size=(max(n, 1), NX))
        self.data = random.normal(size=NX)
        self.initial = random.normal(size=(2, NX))  # u[0], u[-1]
        # Rows of a wider array are strided views where there is padding.
        self.ring = np.full((self.depth, NX + 2 * padding), np.nan)[:, padding : padding + NX]
        self.time = np.zeros(1, np.int32)
        self.step_data = np.full((max(n, 1), 2, NX), np.nan)
        self.start = 0
        self.forward_steps = 0
        self.log = []

    def slice(self, t):
        return self.ring[t % self.depth]

    def set_initial(self):
        self.ring[:] = 0.0
        self.slice(0)[:] = self.initial[0]
        self.slice(-1)[:] = self.initial[1]
        self.time[:] = 0
        self.arrive(0)

    def arrive(self, t):
        """Retain what a loaded or initial state carries by itself, and nothing else."""
        self.start = t
        self.step_data[:] = np.nan
        for tau in range(max(0, t - self.lookback - self.lag + 1), min(t - self.lag, self.n - 1) + 1):
            self.record(tau)

    def record(self, tau):
        self.step_data[tau, 0] = self.slice(tau)
        if self.lag:
            self.step_data[tau, 1] = self.slice(tau + 1)

    def forward(self, t_start, t_end):
        assert int(self.time[0]) == t_start
        for t in range(t_start, t_end):
            u, before = self.slice(t), self.slice(t - 1).copy()
            u_next = 2.0 * u - before + DT2 * (laplacian(u) - self.model * u**3 + self.source[t])
            self.slice(t + 1)[:] = u_next
            self.time[:] = t + 1
            newest = t + 1 - self.lag
            if newest < self.n:
                self.record(newest)
            oldest = max(self.start - self.lookback - self.lag, t + 1 - self.window - self.lag)
            self.step_data[: max(0, oldest + 1)] = np.nan
        self.forward_steps += t_end - t_start

    def start_adjoint(self):
        """Form the residual from the workspace, which holds x_n."""
        assert int(self.time[0]) == self.n
        self.adjoint = np.zeros(
            (3, NX)
        )  # of u[t+1], u[t], u[t-1], where t is the next timestep to be reversed
        self.adjoint[0] = self.slice(self.n) - self.data
        self.gradient = np.zeros(NX)

    def reverse(self, t_start, t_end):
        for t in range(t_end - 1, t_start - 1, -1):
            u, u_next = self.step_data[t]
            later, here, earlier = self.adjoint
            if self.lag:
                later += WEIGHT * (u_next - u)
                here -= WEIGHT * (u_next - u)
            else:
                here += WEIGHT * u
            self.gradient -= DT2 * u**3 * later
            here += 2.0 * later + DT2 * (laplacian(later) - 3.0 * self.model * u**2 * later)
            earlier -= later
            self.adjoint = np.array([here, earlier, np.zeros(NX)])

    def trajectory(self, model=None, initial=None):
        """Return u[-1], u[0], ..., u[n] of a plain run."""
        model = self.model if model is None else model
        u, before = self.initial if initial is None else initial
        fields = [before.copy(), u.copy()]
        for t in range(self.n):
            before, u = u, 2.0 * u - before + DT2 * (laplacian(u) - model * u**3 + self.source[t])
            fields.append(u)
        return np.array(fields)

    def misfit(self, model=None, initial=None):
        fields = self.trajectory(model, initial)[1:]
        running = np.diff(fields, axis=0) if self.lag else fields[:-1]
        return 0.5 * np.sum((fields[-1] - self.data) ** 2) + 0.5 * WEIGHT * np.sum(running**2)

    def store_all(self):
        """Return the gradients with every step's data in memory: by m, and by u[0] and u[-1]."""
        whole = Wave(self.n, max(1, self.n + 1, self.lookback), self.lookback, self.lag)
        whole.model, whole.source, whole.data, whole.initial = (
            self.model,
            self.source,
            self.data,
            self.initial,
        )
        whole.set_initial()
        whole.forward(0, self.n)
        whole.start_adjoint()
        whole.reverse(0, self.n)
        assert np.isfinite(whole.gradient).all()
        return whole.gradient, whole.adjoint[:2]


class WaveCheckpoint(Checkpoint):
    def __init__(self, wave):
        self.wave = wave
        self.window, self.lookback, self.lag = wave.window, wave.lookback, wave.lag

    dtype = np.dtype(float)

    @property
    def size(self):
        return sum(array.size for array in self.arrays(0))

    def arrays(self, t):
        return [*(self.wave.slice(t - i) for i in range(self.wave.depth)), self.wave.time]

    def get_data(self, t):
        return self.arrays(t)

    def get_data_location(self, t):
        return self.arrays(t)

    def set_initial(self):
        self.wave.log.append(("initial",))
        self.wave.set_initial()


class Telling:
    """A storage that tells the workspace that it was loaded, which a real workspace need not know."""

    wave: Wave

    def save(self, slot, arrays, t, content=Content.STATE):
        assert int(self.wave.time[0]) == (t + 1 if content else t)
        self.wave.log.append(("save", t, slot))
        return super().save(slot, arrays, t, content)

    def load(self, slot, arrays, t, content=Content.STATE):
        self.wave.ring[:] = np.nan
        self.wave.step_data[:] = np.nan
        self.wave.time[:] = -1
        nbytes = super().load(slot, arrays, t, content)
        self.wave.log.append(("load", t, slot))
        if content is Content.STATE:
            assert int(self.wave.time[0]) == t
            self.wave.arrive(t)
        return nbytes


class WaveStorage(Telling, MemoryStorage):
    def __init__(self, n_slots, wave):
        super().__init__(n_slots, WaveCheckpoint(wave).arrays(0))
        self.wave = wave


class Forward(Operator):
    def __init__(self, wave):
        self.wave = wave

    def apply(self, t_start, t_end):
        assert t_end > t_start
        self.wave.log.append(("forward", t_start, t_end))
        self.wave.forward(t_start, t_end)


class AdvancingForward(Forward):
    """Leaves nothing of timesteps whose step data nobody needs but the state that they lead to."""

    def apply_unrecorded(self, t_start, t_end):
        self.apply(t_start=t_start, t_end=t_end)
        self.wave.arrive(t_end)


def forward_of(wave):
    """Return a forward operator; every other number of timesteps has one that can leave step data out."""
    return (AdvancingForward if wave.n % 2 else Forward)(wave)


class Reverse(Operator):
    def __init__(self, wave):
        self.wave = wave

    def apply(self, t_start, t_end):
        assert 0 < t_end - t_start <= self.wave.window
        self.wave.log.append(("reverse", t_start, t_end))
        self.wave.reverse(t_start, t_end)


def make(wave, *arguments, storage=True, **keywords):
    """Return a Revolver for a wave, with a storage that tells it of loads unless asked otherwise."""
    parts = WaveCheckpoint(wave), forward_of(wave), Reverse(wave)
    if storage:
        probe = Revolver(*parts, *arguments, **keywords)
        keywords["storage"] = WaveStorage(probe.schedule.peak_snapshots, wave)
        probe.close()
    return Revolver(*parts, *arguments, **keywords)


def run(wave, revolver):
    """Return the gradients that a Revolver computes."""
    wave.set_initial()
    wave.log.clear()
    wave.forward_steps = 0
    revolver.apply_forward()
    wave.start_adjoint()
    revolver.apply_reverse()
    return wave.gradient, wave.adjoint[:2]


def assert_equal(result, expected):
    """Assert that two pairs of gradients are equal bit for bit."""
    for one, other in zip(result, expected, strict=True):
        assert one.tobytes() == other.tobytes()


WORKSPACES = [
    # window, lookback, lag
    (1, 0, 1),
    (2, 0, 1),
    (5, 0, 1),
    (1, 1, 0),
    (1, 1, 1),
    (2, 2, 0),
    (3, 2, 0),
    (4, 2, 1),
    (7, 2, 0),
    (5, 3, 0),
    (40, 2, 0),
    (40, 0, 1),
]


# --- gradients
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "lookback", "lag"), WORKSPACES)
@pytest.mark.parametrize("initial_state", ["stored", "free"])
def test_gradient_equals_store_all_bit_for_bit(window, lookback, lag, initial_state):
    for n, snapshots in itertools.product((0, 1, 2, 3, 4, 5, 7, 12, 25, 39, 40, 41), (0, 1, 2, 3, 6, 50)):
        if snapshots == 0 and initial_state == "stored":
            continue
        wave = Wave(n, window, lookback, lag, seed=n)
        revolver = make(wave, snapshots, n, initial_state=initial_state)
        assert_equal(run(wave, revolver), wave.store_all())
        assert wave.forward_steps == revolver.schedule.forward_steps


@given(
    n=st.integers(0, 200),
    snapshots=st.integers(0, 12),
    window=st.integers(1, 30),
    lookback=st.integers(0, 4),
    lag=st.sampled_from([None, 0, 1]),
    initial_state=st.sampled_from(["stored", "free"]),
    padding=st.integers(0, 2),
)
def test_gradient_equals_store_all_for_any_sizes(n, snapshots, window, lookback, lag, initial_state, padding):
    window = max(window, lookback)
    lag = None if lookback == 0 else lag
    snapshots = max(snapshots, int(initial_state == "stored"))
    wave = Wave(n, window, lookback, lag, padding=padding)
    revolver = make(wave, snapshots, n, initial_state=initial_state)
    assert_equal(run(wave, revolver), wave.store_all())


def test_workspace_of_this_test_retains_no_more_than_it_says():
    wave = Wave(20, window=3)
    wave.set_initial()
    wave.forward(0, 20)
    wave.start_adjoint()
    wave.reverse(17, 20)
    assert np.isfinite(wave.gradient).all()
    wave.reverse(16, 17)
    assert np.isnan(wave.gradient).all()


@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (4, 2, 0)])
def test_taylor_remainder_is_of_second_order(window, lookback, lag):
    wave = Wave(60, window, lookback, lag)
    gradient, _ = run(wave, make(wave, 4, 60))
    direction = np.random.default_rng(1).normal(size=NX)
    steps = 1e-3 * 0.5 ** np.arange(6)
    base = wave.misfit()
    remainders = [
        abs(wave.misfit(wave.model + h * direction) - base - h * gradient @ direction) for h in steps
    ]
    slope = np.polyfit(np.log(steps), np.log(remainders), 1)[0]
    assert slope == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (4, 2, 0)])
def test_dot_product_with_the_linearised_run(window, lookback, lag):
    n = 60
    wave = Wave(n, window, lookback, lag)
    gradient, by_initial = run(wave, make(wave, 4, n))
    random = np.random.default_rng(2)
    direction, initial_direction = random.normal(size=NX), random.normal(size=(2, NX))

    fields = wave.trajectory()[1:]
    change = [initial_direction[1], initial_direction[0]]  # of u[-1], u[0], ...
    for u in fields[:-1]:
        tangent = laplacian(change[-1]) - 3.0 * wave.model * u**2 * change[-1] - direction * u**3
        change.append(2.0 * change[-1] - change[-2] + DT2 * tangent)
    change = np.array(change[1:])
    expected = (fields[-1] - wave.data) @ change[-1]
    running, running_change = (
        (np.diff(fields, axis=0), np.diff(change, axis=0)) if lag else (fields[:-1], change[:-1])
    )
    expected += WEIGHT * np.sum(running * running_change)
    assert gradient @ direction + np.sum(by_initial * initial_direction) == pytest.approx(expected, rel=1e-11)


def test_many_shots_with_one_revolver():
    wave = Wave(50, 4, 2)
    revolver = make(wave, 3, 50)
    for shot in range(4):
        wave.source = np.random.default_rng(shot).normal(size=wave.source.shape)
        assert_equal(run(wave, revolver), wave.store_all())
        revolver.reset()


# --- what is called
# ---------------------------------------------------------------------------------------------


def test_classic_form_runs_classic_revolve():
    # n=5, s=2: T0@0 A0-2 T1@2 A2-4 F4 R1@2 A2-3 Y3 R1@2 Y2 R0@0 A0-1 Y1 R0@0 Y0. F and Y run their timestep
    # forward and reverse it; an advance and the forward half of what follows it are one call.
    wave = Wave(5)
    revolver = Revolver(
        WaveCheckpoint(wave), Forward(wave), Reverse(wave), 2, 5, storage=WaveStorage(2, wave)
    )
    run(wave, revolver)
    assert wave.log == [
        ("save", 0, 0),
        ("forward", 0, 2),
        ("save", 2, 1),
        ("forward", 2, 5),
        ("reverse", 4, 5),
        ("load", 2, 1),
        ("forward", 2, 4),
        ("reverse", 3, 4),
        ("load", 2, 1),
        ("forward", 2, 3),
        ("reverse", 2, 3),
        ("load", 0, 0),
        ("forward", 0, 2),
        ("reverse", 1, 2),
        ("load", 0, 0),
        ("forward", 0, 1),
        ("reverse", 0, 1),
    ]


def test_step_data_that_nobody_needs_is_left_out():
    calls = []

    class Split(AdvancingForward):
        def apply_unrecorded(self, t_start, t_end):
            calls.append(("unrecorded", t_start, t_end))
            Wave.forward(self.wave, t_start, t_end)
            self.wave.arrive(t_end)

        def apply(self, t_start, t_end):
            calls.append(("apply", t_start, t_end))
            Wave.forward(self.wave, t_start, t_end)

    wave = Wave(5)
    revolver = Revolver(WaveCheckpoint(wave), Split(wave), Reverse(wave), 2, 5, storage=WaveStorage(2, wave))
    assert_equal(run(wave, revolver), wave.store_all())
    assert calls == [
        ("unrecorded", 0, 2),
        ("unrecorded", 2, 4),
        ("apply", 4, 5),
        ("unrecorded", 2, 3),
        ("apply", 3, 4),
        ("apply", 2, 3),
        ("unrecorded", 0, 1),
        ("apply", 1, 2),
        ("apply", 0, 1),
    ]
    record = revolver.profiler[Kind.FORWARD]
    assert (record.calls, record.steps) == (revolver.schedule.forward_calls, revolver.schedule.forward_steps)
    # Online, nobody knows what is needed before the run has ended.
    calls.clear()
    online = Revolver(
        WaveCheckpoint(wave), Split(wave), Reverse(wave), schedule=Online(3), storage=WaveStorage(3, wave)
    )
    wave.set_initial()
    online.advance(5)
    online.finish()
    assert {kind for kind, *_ in calls} == {"apply"}
    wave.start_adjoint()
    online.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())


def test_first_sweep_stops_where_the_user_forms_the_residual():
    wave = Wave(30)
    revolver = make(wave, 3, 30)
    wave.set_initial()
    revolver.apply_forward()
    assert int(wave.time[0]) == 30
    assert not [entry for entry in wave.log if entry[0] in ("reverse", "load")]
    assert revolver.profiler[Kind.TURN].calls == 1


def test_operators_and_arrays_of_any_kind_do():
    class Plain:
        """Not a subclass of anything; apply takes keywords only and returns something."""

        def __init__(self, function):
            self.function = function

        def apply(self, *, t_start, t_end):
            return self.function(t_start, t_end) or "ignored"

    class Tuples(WaveCheckpoint):
        def get_data(self, t):
            return tuple(super().get_data(t))

        def get_data_location(self, t):
            return iter(super().get_data_location(t))

    wave = Wave(
        20, lookback=1
    )  # x_0 carries nothing that `arrive` would have to retain before a forward step
    revolver = Revolver(Tuples(wave), Plain(wave.forward), Plain(lambda *_: None), 3, 20)
    wave.set_initial()
    revolver.apply_forward()
    revolver.apply_reverse()
    assert wave.forward_steps == revolver.schedule.forward_steps


def test_state_without_arrays():
    class Nothing(Checkpoint):
        dtype, size = np.dtype("f4"), 0

        def get_data(self, t):
            return []

        def get_data_location(self, t):
            return ()

    calls = []

    class Count(Operator):
        def apply(self, t_start, t_end):
            calls.append((t_start, t_end))

    with Revolver(Nothing(), Count(), Count(), 2, 10) as revolver:
        revolver.apply_forward()
        revolver.apply_reverse()
        assert revolver.storage.nbytes == 0
    assert calls


def test_zero_and_one_timestep():
    for initial_state in ("stored", "free"):
        wave = Wave(0)
        revolver = make(wave, 1, 0, initial_state=initial_state)
        run(wave, revolver)
        assert [entry for entry in wave.log if entry[0] != "initial"] == []
        wave = Wave(1)
        revolver = make(wave, 1, 1, initial_state=initial_state)
        run(wave, revolver)
        assert [entry for entry in wave.log if entry[0] != "initial"] == [
            ("forward", 0, 1),
            ("reverse", 0, 1),
        ]


def test_free_initial_state_needs_no_snapshot():
    wave = Wave(12, 3, 2)
    revolver = make(wave, 0, 12, initial_state="free")
    wave.ring[:] = np.nan  # the driver sees to x_0, from the first sweep on
    revolver.apply_forward()
    wave.start_adjoint()
    revolver.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())
    assert revolver.storage.n_slots == 0
    assert not [entry for entry in wave.log if entry[0] in ("save", "load")]


def test_free_initial_state_without_a_way_to_set_it():
    class Stored(WaveCheckpoint):
        set_initial = Checkpoint.set_initial

    wave = Wave(12)
    with pytest.raises(ValueError, match="set_initial"):
        Revolver(Stored(wave), Forward(wave), Reverse(wave), 2, 12, initial_state="free")
    with pytest.raises(NotImplementedError, match="set_initial"):
        Stored(wave).set_initial()


def test_nothing_is_printed(capfd):
    wave = Wave(30)
    run(wave, make(wave, 3, 30))
    assert capfd.readouterr() == ("", "")


# --- how many snapshots
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (4, 2, 0)])
def test_window_of_the_checkpoint_is_that_of_the_schedule(window, lookback, lag):
    wave = Wave(100, window, lookback, lag)
    schedule = make(wave, 5, 100).schedule
    assert schedule == Revolve(100, 5, window=window, lookback=lookback, lag=lag)


def test_memory_holds_workspace_and_snapshots():
    wave = Wave(100)
    checkpoint = WaveCheckpoint(wave)
    checkpoint.window_bytes = 1000
    slot = slot_nbytes(checkpoint.arrays(0))
    for count in (1, 2, 7):
        for spare in (0, slot - 1):
            with Revolver(
                checkpoint, Forward(wave), Reverse(wave), n_timesteps=100, memory=1000 + count * slot + spare
            ) as revolver:
                assert revolver.schedule.peak_snapshots == revolver.storage.n_slots == count
                assert revolver.storage.nbytes + 1000 <= revolver.plan.memory
    with pytest.raises(BudgetError) as caught:
        Revolver(checkpoint, Forward(wave), Reverse(wave), n_timesteps=100, memory=1000 + slot - 1)
    assert caught.value.required == 1000 + slot
    assert str(1000 + slot) in str(caught.value)


def test_memory_as_a_string():
    wave = Wave(1000)
    revolver = make(wave, n_timesteps=1000, memory="10 kB")
    assert revolver.schedule.peak_snapshots == 10_000 // slot_nbytes(WaveCheckpoint(wave).arrays(0))
    assert_equal(run(wave, revolver), wave.store_all())


def test_default_number_of_snapshots_fills_a_share_of_the_free_memory(monkeypatch):
    wave = Wave(100)
    slot = slot_nbytes(WaveCheckpoint(wave).arrays(0))
    monkeypatch.delenv("PYREVOLVE_MEMORY", raising=False)
    monkeypatch.setattr("pyrevolve.budget.available_memory", lambda: 20 * slot)
    assert make(wave, None, 100).schedule.peak_snapshots == 10
    monkeypatch.setenv("PYREVOLVE_MEMORY", "25%")
    assert make(wave, None, 100).schedule.peak_snapshots == 5
    monkeypatch.setenv("PYREVOLVE_MEMORY", str(7 * slot))
    assert make(wave, None, 100).schedule.peak_snapshots == 7
    assert make(wave, 3, 100).schedule.peak_snapshots == 3
    monkeypatch.setenv("PYREVOLVE_MEMORY", str(slot - 1))
    with pytest.raises(BudgetError, match="PYREVOLVE_MEMORY"):
        make(wave, None, 100)


def test_never_more_snapshots_than_can_be_used(monkeypatch):
    monkeypatch.setenv("PYREVOLVE_MEMORY", "1 TiB")
    for n in (0, 1, 2, 50):
        wave = Wave(n)
        revolver = make(wave, None, n)
        assert revolver.storage.n_slots == max(0, n - 1)
        assert_equal(run(wave, revolver), wave.store_all())
    wave = Wave(50)
    assert make(wave, 10**12, 50).storage.n_slots == 49


def test_schedule_of_the_callers_own():
    wave = Wave(40, 6, 2)
    schedule = Revolve(40, 3, window=4, lookback=1)
    revolver = make(wave, schedule=schedule)
    assert revolver.schedule is schedule
    assert revolver.n_timesteps == 40
    assert revolver.plan is None
    assert_equal(run(wave, revolver), wave.store_all())
    # Lag 1 needs one timestep of window and lookback more where the state carries its own timestep.
    assert_equal(
        run(wave, make(wave, schedule=Revolve(40, 3, window=5, lookback=1, lag=1))), wave.store_all()
    )
    wave = Wave(40, 41, 2)
    assert_equal(run(wave, make(wave, None, 40, schedule=StoreAll(40))), wave.store_all())


@pytest.mark.parametrize(
    "schedule",
    [
        Revolve(40, 3, window=7, lookback=2),
        Revolve(40, 3, window=6, lookback=3),
        Revolve(40, 3, window=6, lookback=1, lag=1),
        Revolve(40, 3, window=5, lookback=2, lag=1),
        StoreAll(40),
    ],
)
def test_schedule_that_needs_more_than_the_workspace_retains(schedule):
    wave = Wave(40, 6, 2)
    with pytest.raises(ValueError, match="does not retain"):
        make(wave, schedule=schedule)


def test_lag_of_schedule_that_the_workspace_does_not_have():
    with pytest.raises(ValueError, match="lag"):
        make(Wave(40, 6, 2, lag=1), schedule=Revolve(40, 3, window=3, lookback=1, lag=0))


# --- calls out of order
# -----------------------------------------------------------------------------------------


def test_calls_out_of_order():
    wave = Wave(20)
    revolver = make(wave, 3, 20)
    with pytest.raises(ScheduleError, match=r"apply_forward\(\) first"):
        revolver.apply_reverse()
    wave.set_initial()
    revolver.apply_forward()
    with pytest.raises(ScheduleError, match="reset"):
        revolver.apply_forward()
    wave.start_adjoint()
    revolver.apply_reverse()
    expected = wave.store_all()
    for method in (revolver.apply_reverse, revolver.apply_forward):
        with pytest.raises(ScheduleError, match="reset"):
            method()
    assert_equal((wave.gradient, wave.adjoint[:2]), expected)
    revolver.reset()
    with pytest.raises(ScheduleError, match=r"apply_forward\(\) first"):
        revolver.apply_reverse()
    assert_equal(run(wave, revolver), expected)


def test_reset_between_the_sweeps():
    wave = Wave(20)
    revolver = make(wave, 3, 20)
    wave.set_initial()
    revolver.apply_forward()
    revolver.reset()
    revolver.reset()
    assert_equal(run(wave, revolver), wave.store_all())


def test_closed():
    wave = Wave(20)
    with make(wave, 3, 20, storage=False) as revolver:
        assert revolver.storage.nbytes > 0
    assert revolver.storage.nbytes == 0
    for method in (revolver.apply_forward, revolver.apply_reverse, revolver.reset):
        with pytest.raises(ScheduleError, match="closed"):
            method()
    revolver.close()


def test_calls_from_within_an_operator():
    wave = Wave(20)
    seen = []

    class Meddling(Forward):
        def apply(self, t_start, t_end):
            for method in (revolver.apply_forward, revolver.apply_reverse, revolver.reset, revolver.close):
                with pytest.raises(ScheduleError, match="still running"):
                    method()
                seen.append(method)
            super().apply(t_start, t_end)

    revolver = Revolver(
        WaveCheckpoint(wave), Meddling(wave), Reverse(wave), 3, 20, storage=WaveStorage(3, wave)
    )
    assert_equal(run(wave, revolver), wave.store_all())
    assert seen


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("part", ["forward", "reverse", "save", "load", "get_data", "get_data_location"])
@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
def test_exception_passes_through_and_reset_makes_usable(monkeypatch, part, after, error):
    wave = Wave(30, 2, 1)
    revolver = make(wave, 3, 30)
    expected = wave.store_all()
    owner = {
        "forward": Forward,
        "reverse": Reverse,
        "save": WaveStorage,
        "load": WaveStorage,
        "get_data": WaveCheckpoint,
        "get_data_location": WaveCheckpoint,
    }[part]
    name = "apply" if part in ("forward", "reverse") else part
    original, count = getattr(owner, name), itertools.count()
    problem = error("user's own")

    def failing(*arguments, **keywords):
        if next(count) == after:
            raise problem
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(error) as caught:
        run(wave, revolver)
    assert caught.value is problem
    monkeypatch.undo()

    for method in (revolver.apply_forward, revolver.apply_reverse):
        with pytest.raises(ScheduleError, match="reset"):
            method()
    # Every slot that counts as full holds the state that it says.
    for slot, t in enumerate(revolver.storage.timesteps):
        if t is not None:
            revolver.storage.load(slot, WaveCheckpoint(wave).arrays(t), t)
    revolver.reset()
    assert revolver.storage.timesteps == (None, None, None)
    assert_equal(run(wave, revolver), expected)


def test_exception_in_set_initial():
    wave = Wave(30)

    class Failing(WaveCheckpoint):
        def set_initial(self):
            raise BrokenError

    revolver = Revolver(Failing(wave), Forward(wave), Reverse(wave), 2, 30, initial_state="free")
    with pytest.raises(BrokenError):
        revolver.apply_forward()
    with pytest.raises(ScheduleError, match="reset"):
        revolver.apply_forward()


def test_state_that_changes_on_the_way():
    wave = Wave(30)

    class Changing(WaveCheckpoint):
        def get_data(self, t):
            arrays = super().get_data(t)
            return [array.astype("f4") for array in arrays] if t > 10 else arrays

    revolver = Revolver(Changing(wave), Forward(wave), Reverse(wave), 3, 30)
    wave.set_initial()
    with pytest.raises(StorageError, match="float32") as caught:
        revolver.apply_forward()
    assert isinstance(caught.value, TypeError)
    assert (caught.value.tier, caught.value.slot) == ("RAM", 1)
    assert caught.value.timestep > 10


# --- bad arguments
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((3,), {}, TypeError),
        ((), {}, TypeError),
        ((3, 10.0), {}, TypeError),
        ((3.0, 10), {}, TypeError),
        ((3, -1), {}, ValueError),
        ((0, 10), {}, ValueError),
        ((-1, 10), {"initial_state": "free"}, ValueError),
        ((3, 10), {"initial_state": "zero"}, ValueError),
        ((None, 10), {"initial_state": "zero", "memory": 10**6}, ValueError),
        ((3, 10), {"memory": 10**6}, ValueError),
        ((3, 10), {"costs": Costs(forward_step=1, reverse_step=1)}, ValueError),
        ((None, 10), {"memory": "a lot"}, ValueError),
        ((None, 10), {"memory": -1}, ValueError),
        ((None, 10), {"memory": 10**6, "costs": 3}, TypeError),
        ((3, 10), {"threads": 0}, ValueError),
        ((3, 10), {"threads": 1.5}, TypeError),
        ((3, 10), {"schedule": Revolve(10, 3)}, ValueError),
        ((None, 11), {"schedule": Revolve(10, 3)}, ValueError),
        ((None, 10.0), {"schedule": Revolve(10, 3)}, TypeError),
        ((), {"schedule": Revolve(10, 3), "memory": 10**6}, ValueError),
        ((), {"schedule": Revolve(10, 3), "initial_state": "free"}, ValueError),
        ((3, 10), {"storage": MemoryStorage(2)}, ValueError),
        ((3, 10), {"storage": MemoryStorage(3), "threads": 1}, ValueError),
    ],
)
def test_bad_arguments(arguments, keywords, error):
    wave = Wave(10)
    with pytest.raises(error):
        Revolver(WaveCheckpoint(wave), Forward(wave), Reverse(wave), *arguments, **keywords)


@pytest.mark.parametrize("position", range(3))
def test_arguments_that_are_not_what_they_should_be(position):
    wave = Wave(10)
    parts = [WaveCheckpoint(wave), Forward(wave), Reverse(wave)]
    parts[position] = wave.forward
    with pytest.raises(TypeError, match=("checkpoint", "fwd_operator", "rev_operator")[position]):
        Revolver(*parts, 3, 10)


@pytest.mark.parametrize(
    "declared",
    [
        {"window": 0},
        {"window": 2, "lookback": 3},
        {"lookback": -1},
        {"lag": 2},
        {"lag": 0},
        {"window": 2.0},
        {"lookback": 1.0},
    ],
)
def test_checkpoint_that_declares_nonsense(declared):
    wave = Wave(10)
    checkpoint = WaveCheckpoint(wave)
    checkpoint.lag = None
    for name, value in declared.items():
        setattr(checkpoint, name, value)
    for keywords in ({"n_checkpoints": 3}, {"memory": 10**6}):
        with pytest.raises((ValueError, TypeError)):
            Revolver(checkpoint, Forward(wave), Reverse(wave), n_timesteps=10, **keywords)


@pytest.mark.parametrize(
    "kinds",
    [[], [Kind.TURN], [Kind.END], [Kind.TURN, Kind.TURN]],
    ids=lambda kinds: "-".join(k.name for k in kinds),
)
def test_schedule_that_is_none(kinds):
    class Fake(StoreAll):
        def __iter__(self):
            return iter(
                [instruction for kind in kinds for instruction in StoreAll(0) if instruction.kind is kind]
            )

    wave = Wave(0)
    revolver = make(wave, schedule=Fake(0), storage=False)
    with pytest.raises(ScheduleError, match="not a valid schedule"):
        run(wave, revolver)


# --- profile
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (4, 2, 0)])
def test_profile_agrees_with_the_schedule(window, lookback, lag):
    wave = Wave(100, window, lookback, lag)
    revolver = make(wave, 5, 100)
    for _ in range(2):
        run(wave, revolver)
        schedule, profiler = revolver.schedule, revolver.profiler
        assert profiler[Kind.FORWARD].calls == schedule.forward_calls
        assert profiler[Kind.FORWARD].steps == schedule.forward_steps == wave.forward_steps
        assert profiler[Kind.REVERSE].calls == schedule.reverse_calls
        assert profiler[Kind.REVERSE].steps == 100
        assert profiler[Kind.SAVE].calls == schedule.saves
        assert profiler[Kind.LOAD].calls == schedule.loads
        state = sum(array.nbytes for array in WaveCheckpoint(wave).arrays(0))
        assert profiler[Kind.SAVE].bytes == schedule.saves * state
        assert profiler[Kind.LOAD].bytes == schedule.loads * state
        assert 0 < sum(record.seconds for _, record in profiler) <= profiler.seconds
        assert profiler.driver_seconds == pytest.approx(
            profiler.seconds - sum(record.seconds for _, record in profiler)
        )
        assert "FORWARD" in str(profiler)
        assert str(schedule.forward_steps) in str(profiler)
        revolver.reset()
        assert profiler.seconds == 0
        assert not any(record.calls for _, record in profiler)


# --- storage
# ----------------------------------------------------------------------------------------------------


def test_storage_is_reused_by_the_next_shot_and_empty_between():
    wave = Wave(50, 3, 1)
    revolver = make(wave, 4, 50)
    storage = revolver.storage
    run(wave, revolver)
    assert storage.timesteps == (None,) * 4
    revolver.reset()
    run(wave, revolver)
    assert revolver.storage is storage


def test_storage_of_the_callers_own_stays_open():
    wave = Wave(20)
    with MemoryStorage(5) as storage:
        for _ in range(2):
            with (
                make(wave, 3, 20, storage=False) as own,
                Revolver(
                    WaveCheckpoint(wave), Forward(wave), Reverse(wave), 3, 20, storage=storage
                ) as revolver,
            ):
                assert own.storage is not storage
                wave.set_initial()
                revolver.apply_forward()
                revolver.reset()
            assert storage.nbytes > 0


def test_several_revolvers_in_several_threads():
    cases = [(40, 3, 1, 0), (60, 4, 3, 2), (35, 2, 2, 1), (50, 5, 4, 0)]
    results, expected = {}, {}
    barrier = threading.Barrier(len(cases))

    def work(index, n, snapshots, window, lookback):
        wave = Wave(n, window, lookback, seed=index)
        revolver = make(wave, snapshots, n)
        expected[index] = wave.store_all()
        barrier.wait()
        for _ in range(5):
            result = run(wave, revolver)
            revolver.reset()
        results[index] = result

    threads = [threading.Thread(target=work, args=(index, *case)) for index, case in enumerate(cases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(len(cases)):
        assert_equal(results[index], expected[index])


def test_no_memory_is_lost_over_thousands_of_gradients():
    class Idle(Operator):
        def apply(self, t_start, t_end):
            pass

    wave = Wave(12)
    revolver = Revolver(WaveCheckpoint(wave), Idle(), Idle(), 3, 12)

    def gradients(count):
        for _ in range(count):
            revolver.apply_forward()
            revolver.apply_reverse()
            revolver.reset()
        gc.collect()

    tracemalloc.start()
    try:
        gradients(100)
        before = tracemalloc.get_traced_memory()[0]
        gradients(3000)
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()


def test_no_memory_is_lost_over_many_revolvers():
    resource = pytest.importorskip("resource", reason="resource exists on POSIX systems only")
    wave = Wave(12)

    def revolvers(count):
        for _ in range(count):
            storage = MemoryStorage(4, [np.empty(250_000)])  # 8 MB
            storage.save(0, [np.zeros(250_000)], 0)
            storage.close()
            make(wave, 3, 12, storage=False).close()
        gc.collect()

    revolvers(10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    revolvers(100)  # 800 MB in all
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_module_names_nothing_of_devito():
    assert not hasattr(pyrevolve.revolver, "devito")


# --- what messages say
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"n_checkpoints": 3.0}, TypeError, r"n_checkpoints must be an integer, got 3\.0"),
        ({"n_checkpoints": 0}, ValueError, "n_checkpoints must be >= 1, got 0"),
        ({"n_checkpoints": -1, "initial_state": "free"}, ValueError, "n_checkpoints must be >= 0, got -1"),
    ],
)
def test_bad_number_of_checkpoints_is_called_as_the_caller_does(keywords, error, message):
    wave = Wave(10)
    with pytest.raises(error, match=message):
        Revolver(WaveCheckpoint(wave), Forward(wave), Reverse(wave), n_timesteps=10, **keywords)


@pytest.mark.parametrize(("given", "error"), [(-5, ValueError), ("1 MB", TypeError), (1.5, TypeError)])
def test_bad_window_bytes_are_called_as_the_checkpoint_does(given, error):
    wave = Wave(10)
    checkpoint = WaveCheckpoint(wave)
    checkpoint.window_bytes = given
    with pytest.raises(error, match=f"checkpoint.window_bytes must be .*, got {given!r}"):
        Revolver(checkpoint, Forward(wave), Reverse(wave), n_timesteps=10, memory="1 MB")


def test_classes_in_the_place_of_objects():
    wave = Wave(10)
    checkpoint, forward, reverse = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    for arguments, keywords, name in (
        ((WaveCheckpoint, forward, reverse, 3, 10), {}, "checkpoint .* the class WaveCheckpoint"),
        ((checkpoint, Forward, reverse, 3, 10), {}, "fwd_operator .* the class Forward"),
        ((checkpoint, forward, Reverse, 3, 10), {}, "rev_operator .* the class Reverse"),
        ((checkpoint, forward, reverse), {"schedule": Revolve}, "schedule .* the class Revolve"),
        ((checkpoint, forward, reverse, 3, 10), {"storage": [MemoryStorage]}, "storage .* the class Memory"),
    ):
        with pytest.raises(TypeError, match=f"{name}.*; give an instance"):
            Revolver(*arguments, **keywords)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "list of arrays, got None"),
        (3.5, "list of arrays, got float"),
        (np.zeros(3), r"list of arrays, got one array of float64; return \[x\], a list of arrays"),
        (np.zeros(()), r"list of arrays, got one array of float64; return \[x\], a list of arrays"),
    ],
)
def test_state_that_is_no_list_of_arrays(returned, message):
    wave = Wave(10)

    class Odd(WaveCheckpoint):
        def get_data(self, t):
            return returned

    for keywords in ({"n_checkpoints": 3}, {"memory": 10**6}, {"schedule": Revolve(10, 3)}):
        n = None if "schedule" in keywords else 10
        with pytest.raises(TypeError, match=r"Odd\.get_data\(0\) must return a " + message):
            Revolver(Odd(wave), Forward(wave), Reverse(wave), n_timesteps=n, **keywords)


def test_place_to_load_that_is_an_array_itself():
    x = np.ones(3)

    class State(Checkpoint):
        dtype, size = x.dtype, x.size

        def get_data(self, t):
            return [x]

        def get_data_location(self, t):
            return x

    wave = Wave(10)
    revolver = Revolver(State(), Forward(wave), Reverse(wave), 1, 10)
    wave.set_initial()
    with pytest.raises(StorageError, match=r"got float64; return \[x\], a list of arrays"):
        run(wave, revolver)
