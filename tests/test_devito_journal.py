"""Journals of Devito's runs: the gradient after a kill is that of store-all, bit for bit."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

import numpy as np
from devito import (
    Buffer,
    Constant,
    Eq,
    Function,
    Grid,
    Inc,
    Operator,
    SparseTimeFunction,
    TimeFunction,
    solve,
)
from devito_problems import ricker

from pyrevolve import Costs, JournalError
from pyrevolve.devito import CheckpointedAdjoint, DevitoOperator, Problem
from pyrevolve.devito.identity import code_of

pytestmark = pytest.mark.devito

N = 40
COSTS = Costs(forward_step=1e-3, reverse_step=1e-3, save=(1e-4, 1e-4), load=(1e-4, 1e-4))


class Simulation:
    """A small acoustic problem whose every part can be changed."""

    def __init__(self):
        grid = Grid(shape=(17, 15), extent=(160.0, 140.0))
        self.grid = grid
        self.dt, self.factor, self.weight = 1.0, 1.0, 1.0
        self.m, self.w = Function(name="m", grid=grid), Function(name="w", grid=grid)
        self.m.data[:] = 1 / 1.5**2
        self.w.data[:] = 1.0
        self.scale = Constant(name="scale", value=1.0)
        self.gradient = Function(name="gradient", grid=grid)
        self.v = TimeFunction(name="v", grid=grid, time_order=2, space_order=4)
        line = [(20.0 * i, 20.0) for i in range(1, 7)]
        one = {"grid": grid, "nt": N + 2}
        self.source = SparseTimeFunction(name="src", npoint=1, coordinates=[(80.0, 60.0)], **one)
        self.receivers = SparseTimeFunction(name="rec", npoint=6, coordinates=line, **one)
        self.residual = SparseTimeFunction(name="res", npoint=6, coordinates=line, **one)
        self.source.data[:, 0] = ricker(N + 2, 1.0, 0.06)
        self.misfit = 0.5
        self.remembers = False

    @functools.cache  # noqa: B019 (there are few of them, and they live as long as the tests)
    def built(self, ring, factor, weight, remembers=False):
        u = TimeFunction(name="u", grid=self.grid, time_order=2, space_order=4, save=Buffer(ring))
        v, m = self.v, self.m
        lags, forward, reverse = (0, 0), [], []
        if remembers:
            # Two fields of one name: each operator has a memory variable of its own.
            lags = [TimeFunction(name="q", grid=self.grid, time_order=1, space_order=4) for _ in range(2)]
            forward.append(Eq(lags[0].forward, 0.9 * lags[0] + 1e-3 * u))
            reverse.append(Eq(lags[1].backward, 0.9 * lags[1] + 1e-3 * v))
        forward.append(Eq(u.forward, solve(m * u.dt2 - factor * u.laplace + lags[0], u.forward)))
        reverse.append(Eq(v.backward, solve(m * v.dt2 - v.laplace + lags[1], v.backward)))
        return (
            Operator(
                forward
                + self.source.inject(u.forward, expr=self.scale * self.source / m)
                + self.receivers.interpolate(u)
            ),
            Operator(
                reverse
                + self.residual.inject(v.backward, expr=self.residual / m)
                + [Inc(self.gradient, -weight * self.w * u * v.dt2)]
            ),
        )

    def build(self, save):
        return self.built(save.val, self.factor, self.weight, self.remembers)

    def adjoint(self, **options):
        where = {} if "memory" in options else {"n_checkpoints": 3, "window": 4}
        return CheckpointedAdjoint(self.build, arguments={"dt": self.dt}, **{**where, **options})

    def shot(self, adjoint):
        """Return the results of a shot."""
        self.gradient.data[:] = 0
        self.receivers.data[:] = 0
        adjoint.forward()
        self.residual.data[:] = self.misfit * np.asarray(self.receivers.data)
        adjoint.reverse()
        return self.results()

    def results(self):
        return b"".join(np.asarray(f.data).tobytes() for f in (self.gradient, self.receivers))

    def stored(self):
        """Return the results of store-all with Devito alone."""
        forward, reverse = self.built(N + 4, self.factor, self.weight, self.remembers)
        for function in {*forward.input, *reverse.input}:
            if function.is_TimeFunction:
                function.data_with_halo[:] = 0
        self.gradient.data[:] = 0
        self.receivers.data[:] = 0
        forward.apply(dt=self.dt)
        self.residual.data[:] = self.misfit * np.asarray(self.receivers.data)
        reverse.apply(dt=self.dt)
        return self.results()


@functools.cache
def simulation_with_cache():
    return Simulation()


@pytest.fixture
def simulation():
    """Return the problem, with everything as it was at first."""
    made = simulation_with_cache()
    fresh = Simulation()
    for name in ("m", "w", "source", "residual", "receivers"):
        getattr(made, name).data[:] = np.asarray(getattr(fresh, name).data)
    made.scale.data = 1.0
    made.dt, made.factor, made.weight, made.misfit, made.remembers = 1.0, 1.0, 1.0, 0.5, False
    return made


class StoppedError(Exception):
    pass


@contextlib.contextmanager
def stopping(after):
    """Let the operators stop after so many calls, as if the process were killed there."""
    original, calls = DevitoOperator.apply, []

    def apply(self, t_start, t_end):
        calls.append(1)
        if len(calls) > after:
            raise StoppedError
        original(self, t_start, t_end)

    DevitoOperator.apply = apply
    try:
        yield calls
    finally:
        DevitoOperator.apply = original


@functools.cache
def calls_of(sweep):
    """Return how many calls of operators a shot of the simulation makes, in a sweep."""
    simulation = simulation_with_cache()
    with simulation.adjoint() as adjoint, stopping(10**9) as calls:
        adjoint.forward()
        forward = len(calls)
        simulation.residual.data[:] = 1.0
        adjoint.reverse()
        return forward if sweep == "forward" else len(calls)


def interrupted(simulation, folder, sweep, **options):
    """Leave a run in the middle of a sweep, with an entry before every instruction."""
    after = {
        "forward": calls_of("forward") // 2,
        "reverse": (calls_of("forward") + calls_of("reverse")) // 2,
    }[sweep]
    with (
        simulation.adjoint(resume=folder, resume_interval=0.0, **options) as adjoint,
        stopping(after),
        pytest.raises(StoppedError),
    ):
        simulation.shot(adjoint)


# --- what is another run ------------------------------------------------------------------------------------


def other_timestep(simulation):
    simulation.dt = 1.5


def other_equation(simulation):
    simulation.factor = 0.9


def other_constant(simulation):
    simulation.scale.data = 2.0


def other_model(simulation):
    simulation.m.data[3, 4] *= 1.0 + 1e-6


def other_source(simulation):
    simulation.source.data[9, 0] += 1e-3


def other_imaging_condition(simulation):
    simulation.weight = 2.0


def other_weights(simulation):
    simulation.w.data[3, 4] = 2.0


def other_residual(simulation):
    simulation.misfit = 0.25


CHANGES = {
    other_timestep: "numbers of the forward operator",
    other_equation: "code of the forward operator",
    other_constant: "numbers of the forward operator",
    other_model: "m of the forward operator",
    other_source: "src of the forward operator",
    other_imaging_condition: "code of the reverse operator",
    other_weights: "w of the reverse operator",
    other_residual: "res of the reverse operator",
}
ONLY_READ_IN_REVERSE = (other_weights, other_residual)


@pytest.mark.parametrize("sweep", ["forward", "reverse"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_run_with_anything_else_is_refused_or_right(sweep, change, simulation, tmp_path):
    """What only the reverse sweep reads may change as long as that has not begun."""
    folder = tmp_path / "journal"
    interrupted(simulation, folder, sweep)
    change(simulation)
    with simulation.adjoint(resume=folder) as adjoint:
        if sweep == "forward" and change in ONLY_READ_IN_REVERSE:
            assert simulation.shot(adjoint) == simulation.stored()
            assert adjoint.revolver.resumed
            return
        with pytest.raises(JournalError, match="of another run: its .*" + CHANGES[change]):
            simulation.shot(adjoint)
        # That it was tried again is no reason to give the other run up.
        with pytest.raises(JournalError, match="of another run"):
            simulation.shot(adjoint)
    assert list(folder.glob("entry-*"))


@pytest.mark.parametrize("sweep", ["forward", "reverse"])
def test_same_run_goes_on_where_it_was(sweep, simulation, tmp_path):
    """With another window too, and after the process went to another directory."""
    folder = tmp_path / "journal"
    for window in (4, 9):
        interrupted(simulation, folder, sweep)
        simulation.gradient.data[:] = np.nan
        with simulation.adjoint(resume=folder, n_checkpoints=2, window=window) as adjoint:
            assert simulation.shot(adjoint) == simulation.stored()
            assert adjoint.revolver.resumed
        assert not folder.exists()


def test_code_of_an_operator_does_not_tell_the_length_of_the_ring(simulation):
    codes = [[code_of(op) for op in simulation.built(ring, 1.0, 1.0)] for ring in (3, 20)]
    assert all(each == codes[0] for each in codes)
    assert "(time - 1)" in codes[0][0]
    assert codes[0] != [code_of(op) for op in simulation.built(20, 0.9, 1.0)]


@pytest.mark.parametrize("sweep", ["forward", "reverse"])
def test_fields_of_one_name_in_both_sweeps_are_told_apart(sweep, simulation, tmp_path):
    """The reverse operator's own memory variable has the name of a forward field, and is kept as well."""
    simulation.remembers = True
    folder = tmp_path / "journal"
    interrupted(simulation, folder, sweep)
    with simulation.adjoint(resume=folder) as adjoint:
        assert simulation.shot(adjoint) == simulation.stored()
        assert adjoint.revolver.resumed
        names = [set(operator.arrays()) for operator in (adjoint._made.forward, adjoint._made.reverse)]
        assert "q" in names[0] & names[1]


class Accompanied(Simulation):
    """A field that only the forward operator knows, and that the receivers record, runs along."""

    @functools.cache  # noqa: B019
    def operators(self, ring):
        u = TimeFunction(name="u", grid=self.grid, time_order=2, space_order=4, save=Buffer(ring))
        s = TimeFunction(name="s", grid=self.grid, time_order=2, space_order=4)
        v, m = self.v, self.m
        step = [Eq(u.forward, solve(m * u.dt2 - u.laplace, u.forward))]
        step += self.source.inject(u.forward, expr=self.source / m)
        along = [Eq(s.forward, solve(m * s.dt2 - s.laplace + 0.1 * u.dt2, s.forward))]
        reverse = [Eq(v.backward, solve(m * v.dt2 - v.laplace, v.backward))]
        return (
            Operator(step + along + self.receivers.interpolate(s), name="Forward"),
            Operator(step, name="Recompute"),
            Operator(
                reverse
                + self.residual.inject(v.backward, expr=self.residual / m)
                + [Inc(self.gradient, -u * v.dt2)],
                name="Reverse",
            ),
            s,
        )

    def build(self, save):
        forward, recompute, reverse, _ = self.operators(save.val)
        return Problem(forward=forward, recompute=recompute, reverse=reverse)

    def built(self, ring, *_):
        return self.operators(ring)[::2]


@functools.cache
def accompanied_with_cache():
    return Accompanied()


@pytest.mark.parametrize("sweep", ["forward", "reverse"])
def test_field_that_runs_along_is_where_it_was(sweep, tmp_path):
    simulation, folder = accompanied_with_cache(), tmp_path / "journal"
    interrupted(simulation, folder, sweep)
    for _, _, _, s in map(simulation.operators, (3, 4, 5, 6)):
        s.data_with_halo[:] = np.nan
    with simulation.adjoint(resume=folder) as adjoint:
        found = simulation.shot(adjoint)
        assert adjoint.revolver.resumed
    assert np.isfinite(np.frombuffer(found, np.float32)).all()
    assert np.abs(simulation.receivers.data).max() > 0
    assert found == simulation.stored()


# --- shots --------------------------------------------------------------------------------------------------


def test_shots_are_counted_whatever_comes_between_them(simulation, tmp_path):

    def gradient(runner):
        simulation.shot(runner)
        return np.array(simulation.gradient.data)

    folder = tmp_path / "journal"
    names = []
    with simulation.adjoint(resume=folder) as adjoint:
        for shot in range(4):
            assert simulation.shot(adjoint) == simulation.stored()
            names.append(adjoint._drivers.journal._fingerprint["name"])
            if shot % 2:
                for _ in range(2):
                    verification = adjoint.verify(gradient, n_timesteps=10)
                    assert verification.passed, str(verification)
    assert names == [f"shot {number}" for number in range(4)]
    assert not folder.exists()


def test_path_is_that_of_the_start(simulation, tmp_path, monkeypatch):
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with simulation.adjoint(
        resume="journal", disk="1 MB", disk_dir=".", memory="20 kB", costs=COSTS
    ) as adjoint:
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert simulation.shot(adjoint) == simulation.stored()
        assert (tmp_path / "here" / "journal").is_dir()
    assert not list((tmp_path / "here").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_lossy_compression_is_refused(simulation, tmp_path):
    compression = pytest.importorskip("pyrevolve.compression")
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    with pytest.raises(ValueError, match=r"resume= and lossy compression, here rounded\(8\), exclude each"):
        simulation.adjoint(memory="1 MB", compression=compression.rounded(8), resume=tmp_path / "journal")
    assert not list(tmp_path.iterdir())


def test_exception_is_not_hidden_by_one_of_the_end(simulation, tmp_path, monkeypatch):
    def close():
        raise OSError("the disk is gone")

    adjoint = simulation.adjoint(resume=tmp_path / "journal")

    def fail():
        with adjoint:
            adjoint.forward()
            monkeypatch.setattr(adjoint._drivers.journal, "close", close)
            raise StoppedError

    with pytest.raises(StoppedError):
        fail()
    assert adjoint._drivers.storages == ()


# --- kills --------------------------------------------------------------------------------------------------

KILLED = {
    "ram": {},
    "disk": {"memory": 9 * 25 * 23 * 4, "disk": "400 kB", "costs": COSTS},
    "compressed": {"memory": 20 * 25 * 23 * 4, "disk": "2 MB", "costs": COSTS, "compression": "zstd"},
}


def script(how, folder, kill_at):
    """Do what a user's script does, in a process that is killed in a certain call of an operator."""
    simulation = Simulation()
    options = dict(KILLED[how])
    if "disk" in options:
        options["disk_dir"] = folder
    with simulation.adjoint(
        resume=os.path.join(folder, "journal"), resume_interval=0.0, **options
    ) as adjoint:
        original, calls = DevitoOperator.apply, []

        def apply(self, t_start, t_end):
            calls.append(1)
            if len(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, t_start, t_end)

        DevitoOperator.apply = apply
        found = simulation.shot(adjoint)
        resumed = adjoint.revolver.resumed
    return {"result": found.hex(), "calls": len(calls), "resumed": resumed}


def run(how, folder, kill_at=0):
    """Run the script; return what it comes to, None where it was killed."""
    code = [sys.executable, __file__, how, str(folder), str(kill_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DEVITO_LOGGING": "ERROR"}
    done = subprocess.run(code, stdout=subprocess.PIPE, env=environment, timeout=120, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0
    return json.loads(done.stdout)


def kill_again_and_again(how, folder, kills, seed):
    """Kill runs until so many were killed; every one that ends has the result of store-all."""
    expected = Simulation().stored().hex()
    generator = random.Random(seed)
    (folder / "first").mkdir()
    first = run(how, folder / "first")
    assert first["result"] == expected
    killed = resumed = 0
    for chain in range(kills):
        place = folder / f"{chain}"
        place.mkdir()
        while killed < kills:
            found = run(how, place, 1 + int(generator.random() * first["calls"]))
            if found is not None:
                break
            killed += 1
        else:
            found = run(how, place)
        assert found["result"] == expected
        resumed += found["resumed"]
        assert list(place.iterdir()) == []
        if killed >= kills:
            break
    assert killed == kills
    assert resumed > 0


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX has them")
@pytest.mark.parametrize("how", KILLED)
def test_gradient_is_that_of_store_all_after_many_kills(how, tmp_path):
    if how == "compressed":
        pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    kill_again_and_again(how, tmp_path, 12, 1)


if __name__ == "__main__":
    print(json.dumps(script(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
