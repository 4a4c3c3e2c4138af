"""Teams: what one process decides or fails at is known to all; here the processes are threads."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import re
import sys
import threading

import numpy as np
import pytest
from interrupted import Case, PeerCheckpoint, PeerWave, carry_out, result
from test_revolver import Forward, Reverse

from pyrevolve import (
    Costs,
    JournalError,
    MemoryStorage,
    Multistage,
    PeerError,
    Revolve,
    Revolver,
    StorageError,
)
from pyrevolve.errors import StorageFullError
from pyrevolve.journal import Journal
from pyrevolve.team import Team

mpi4py = pytest.importorskip("mpi4py", reason='needs mpi4py: pip install "pyrevolve[mpi]"')
# No mpirun could be started any more by a process that MPI was started in.
mpi4py.rc.initialize = False
try:
    from mpi4py import MPI
except (ImportError, RuntimeError):
    pytest.skip("needs an MPI library: apt-get install openmpi-bin", allow_module_level=True)


@pytest.fixture(autouse=True)
def initialised(monkeypatch):
    """Let communicators be taken that are none of MPI's."""
    monkeypatch.setattr(MPI, "Is_initialized", lambda: True)


def test_mpi_that_was_not_initialised_is_an_error_and_does_not_end_the_process(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match=r"MPI is not initialised.*MPI\.Init\(\)"):
        Team(MPI.COMM_WORLD)


#: Nothing here takes as long, unless it hangs [s].
PATIENCE = 20


class World:
    """What the communicators of some threads share."""

    def __init__(self, size):
        self.size = size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.calls = [None] * size

    def run(self, work):
        """Return what `work` returns or raises for each communicator, in threads of their own."""
        outcomes = [None] * self.size

        def target(rank):
            try:
                outcomes[rank] = work(Thread(self, rank))
            except BaseException as error:
                outcomes[rank] = error

        threads = [threading.Thread(target=target, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for outcome in outcomes:
            assert not isinstance(outcome, threading.BrokenBarrierError), "it hangs"
            if isinstance(outcome, AssertionError):
                raise outcome
        return outcomes


class Thread(MPI.Intracomm):
    """A communicator of threads; a call that not all of them make in the same way is an error."""

    rank = size = None

    def __new__(cls, world, rank):
        return super().__new__(cls)

    def __init__(self, world, rank):
        self.world, self.rank, self.size = world, rank, world.size

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.size

    def _exchange(self, how, value):
        self.world.calls[self.rank] = how, value
        self.world.barrier.wait()
        calls = list(self.world.calls)
        self.world.barrier.wait()
        assert len({call[0] for call in calls}) == 1, calls
        return [call[1] for call in calls]

    def allgather(self, sendobj):
        return [pickle.loads(each) for each in self._exchange("allgather", pickle.dumps(sendobj))]

    def bcast(self, obj, root=0):
        return pickle.loads(self._exchange(f"bcast {root}", pickle.dumps(obj))[root])

    def Allreduce(self, sendbuf, recvbuf, op):
        assert op in (MPI.MIN, MPI.MAX)
        how = f"{'least' if op == MPI.MIN else 'greatest'} of {len(sendbuf)}"
        gathered = np.array(self._exchange(how, sendbuf.copy()))
        recvbuf[:] = gathered.min(axis=0) if op == MPI.MIN else gathered.max(axis=0)


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """What is in the page cache outlives a process; forcing it onto the medium only takes time here."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("fsync", "fdatasync"):
            if hasattr(os, name):
                monkeypatch.setattr(os, name, lambda fd: None)
        yield


class BrokenError(Exception):
    pass


sizes = pytest.mark.parametrize("size", [1, 2, 3])
teams = pytest.mark.parametrize("size", [2, 3])


def assert_told(outcomes, ranks, error=BrokenError):
    """Assert that some processes raised an error of their own, and all others tell of the first of them."""
    for rank, outcome in enumerate(outcomes):
        if rank in ranks:
            assert isinstance(outcome, error), outcomes
        else:
            assert isinstance(outcome, PeerError), outcomes
            assert outcome.rank == min(ranks)
            assert f"process {min(ranks)} of {len(outcomes)} failed: " in str(outcome)


# --- what is agreed upon ------------------------------------------------------------------------------------


@pytest.mark.parametrize("comm", [None, 3, "world", MPI])
def test_comm_is_a_communicator(comm):
    with pytest.raises(TypeError, match=r"comm must be an mpi4py\.MPI\.Comm, got"):
        Team(comm)


def test_error_without_mpi4py_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "pyrevolve\[mpi\]"'):
        Team(object())


@sizes
def test_least_greatest_and_first_are_the_same_in_all(size):
    def work(comm):
        team = Team(comm)
        values = [comm.rank, -comm.rank, 7, (1 << 62) + comm.rank]
        found = team.least(values), team.greatest(values), team.first(("value of", comm.rank))
        return team.rank, team.size, *found

    last = size - 1
    for rank, outcome in enumerate(World(size).run(work)):
        assert outcome == (
            rank,
            size,
            [0, -last, 7, 1 << 62],
            [last, 0, 7, (1 << 62) + last],
            ("value of", 0),
        )


@sizes
def test_guarded_function_returns_what_it_returns(size):
    def work(comm):
        return Team(comm).guarded(lambda *values, **options: (comm.rank, values, options))(1, two=2)

    assert World(size).run(work) == [(rank, (1,), {"two": 2}) for rank in range(size)]


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit, PeerError])
def test_exception_is_raised_unchanged_where_it_comes_from_and_told_to_the_others(error):
    for size in (2, 3):
        for ranks in itertools.chain.from_iterable(
            itertools.combinations(range(size), count) for count in range(1, size + 1)
        ):

            def work(comm, ranks=ranks):
                def fail():
                    if comm.rank in ranks:
                        raise error("here", 17) if error is PeerError else error("here")
                    return "done"

                team = Team(comm)
                try:
                    team.guarded(fail)()
                finally:
                    assert team.least([comm.rank]) == [0]  # they are still in step

            outcomes = World(size).run(work)
            if error is not PeerError:
                assert_told(outcomes, ranks, error)
            assert {str(outcomes[rank]) for rank in ranks} == {"here"}


@teams
def test_guarded_functions_may_be_nested(size):
    def work(comm):
        team = Team(comm)

        def inner():
            if comm.rank == 1:
                raise BrokenError

        team.guarded(lambda: team.guarded(inner)())()

    assert_told(World(size).run(work), [1])


class Limited(MemoryStorage):
    """Storage in which a save may fail."""

    error = None

    def save(self, slot, arrays, t, content=0):
        if self.error is not None:
            raise self.error
        return super().save(slot, arrays, t)


@teams
@pytest.mark.parametrize("full", [[], [0], [1], [0, 1]])
@pytest.mark.parametrize("broken", [[], [0], [1]])
def test_snapshot_is_stored_in_all_processes_or_in_none(size, full, broken):
    def work(comm):
        with Limited(3, [np.zeros(5)]) as storage:
            team = Team(comm)
            save = team.guarded_save(storage)
            assert save(0, [np.ones(5)], 4) == 40
            if comm.rank in full:
                storage.error = StorageFullError("no room", "RAM", 2, 9)
            if comm.rank in broken:
                storage.error = BrokenError()
            try:
                return save(2, [np.ones(5)], 9)
            finally:
                assert broken or storage.timesteps == (4, None, None if full else 9)
                assert team.least([1]) == [1]  # they are still in step

    outcomes = World(size).run(work)
    if broken:
        assert_told(outcomes, broken)
    elif full:
        assert {type(outcome) for outcome in outcomes} == {StorageFullError}
        assert {(outcome.slot, outcome.timestep) for outcome in outcomes} == {(2, 9)}
    else:
        assert outcomes == [40] * size


def test_error_of_a_peer_can_be_handed_on():
    error = pickle.loads(pickle.dumps(PeerError("process 3 of 4 failed: disk full", 3)))
    assert (error.rank, str(error)) == (3, "process 3 of 4 failed: disk full")


# --- runs ---------------------------------------------------------------------------------------------------

N = 10
SCHEDULE = Multistage(N, 1, 3, window=2)
FREE = Multistage(N, 1, 3, window=2, initial_state="free")


def parts(wave):
    return PeerCheckpoint(wave), Forward(wave), Reverse(wave)


def expected(comm, n=N):
    wave = PeerWave(comm, n, n + 1)
    wave.set_initial()
    wave.forward(0, n)
    wave.start_adjoint()
    wave.reverse(0, n)
    return result(wave)


class Fault:
    """Lets a certain call of a certain kind fail in one process, and counts them there.

    Kinds are those of `PeerWave.alarm` and, of the driver, "save", "load", "entry", "arrays".
    """

    def __init__(self, what, call, rank):
        self.what, self.call, self.rank = what, call, rank
        self.count = 0

    def of(self, comm):
        def alarm(what, t=None):
            if what == self.what and comm.rank == self.rank:
                self.count += 1
                if self.count == self.call:
                    raise BrokenError(f"{what} {t}")

        return alarm

    def arm(self, wave, driver):
        alarm = wave.alarm = self.of(wave.comm)
        for storage in driver.storages:
            for name in ("save", "load"):
                original = getattr(storage, name)

                def call(*arguments, name=name, original=original):
                    alarm(name)
                    return original(*arguments)

                setattr(storage, name, call)
        if driver._journal is not None:
            write = driver._journal._write

            def entry(*arguments):
                alarm("entry")
                write(*arguments)

            driver._journal._write = entry


def run(comm, schedule, fault=None, folder=None, **options):
    """Carry out a shot, which may fail; after that, another one in the same Revolver."""
    wave = PeerWave(comm, N)
    right = expected(comm)
    alarm = Fault("", 0, 0).of(comm) if fault is None else fault.of(comm)

    def arrays():
        alarm("arrays")
        return wave.arrays()

    if folder is not None:
        options = {"resume": folder, "resume_arrays": arrays, "resume_interval": 0.0, **options}
    with Revolver(*parts(wave), schedule=schedule, comm=comm, **options) as driver:
        if fault is not None:
            fault.arm(wave, driver)
        try:
            return carry_out(driver, wave) == right
        except (BrokenError, PeerError):
            if folder is None:
                driver.reset()
                wave.alarm = lambda what, t: None
                assert carry_out(driver, wave) == right
            raise


@teams
@pytest.mark.parametrize(
    "what", ["forward", "reverse", "get_data", "get_data_location", "set_initial", "save", "load"]
)
def test_failure_of_any_call_in_one_process_is_raised_in_all(size, what, tmp_path):
    """Nothing hangs, and the next shot is right."""
    for call in itertools.count(1):
        fault = Fault(what, call, call % size)
        outcomes = World(size).run(
            lambda comm, fault=fault: run(
                comm, FREE if what == "set_initial" else SCHEDULE, fault, disk_dir=tmp_path
            )
        )
        if fault.count < call:
            assert outcomes == [True] * size
            break
        assert_told(outcomes, [fault.rank])
    assert call > 2
    assert not list(tmp_path.iterdir())


@teams
@pytest.mark.parametrize(
    "what", ["forward", "reverse", "get_data", "get_data_location", "save", "load", "entry", "arrays"]
)
def test_run_goes_on_after_a_failure_of_any_call_in_one_process(size, what, tmp_path):
    """With a journal in each process, of which one may have an entry more than the other."""
    generator = random.Random(0)
    for call in itertools.count(1, size):
        folder = tmp_path / f"{call}"
        fault = Fault(what, call, call % size)
        outcomes = World(size).run(
            lambda comm, fault=fault, folder=folder: run(comm, SCHEDULE, fault, folder)
        )
        if fault.count < call:
            assert outcomes == [True] * size
            break
        assert_told(outcomes, [fault.rank])
        for _ in range(2):  # and again
            fault = Fault(
                generator.choice(["forward", "reverse", "entry"]), generator.randrange(1, 9), call % 2
            )
            World(size).run(lambda comm, fault=fault, folder=folder: run(comm, SCHEDULE, fault, folder))
        outcomes = World(size).run(lambda comm, folder=folder: run(comm, SCHEDULE, None, folder))
        assert outcomes == [True] * size
        assert not folder.exists()
    assert call > 2


def newest(folder, size):
    """Return the number of the newest entry of each process."""
    return [
        max(int(path.name[6:]) for path in (folder / f"rank-{rank}-of-{size}").glob("entry-*[0-9]"))
        for rank in range(size)
    ]


@teams
@pytest.mark.parametrize("call", [3, 9, 15, 20])
def test_entry_that_only_some_have_is_given_up(size, call, tmp_path):
    """It is not taken for the entry of the same number that others write when they have gone on."""
    folder = tmp_path / "journal"
    World(size).run(lambda comm: run(comm, SCHEDULE, Fault("entry", call, 0), folder))
    first = newest(folder, size)
    assert first == [first[0]] + [first[0] + 1] * (size - 1)
    World(size).run(lambda comm: run(comm, SCHEDULE, Fault("entry", 1, 1), folder))
    assert newest(folder, size) == [first[0] + (rank != 1) for rank in range(size)]
    assert World(size).run(lambda comm: run(comm, SCHEDULE, None, folder)) == [True] * size
    assert not folder.exists()


@teams
def test_journal_of_which_one_process_has_nothing_starts_anew(size, tmp_path):
    """As where the end of a run was reached by one process only."""
    folder = tmp_path / "journal"
    World(size).run(lambda comm: run(comm, SCHEDULE, Fault("reverse", 4, 0), folder))
    for path in (folder / f"rank-1-of-{size}").glob("entry-*"):
        path.unlink()
    for number in (1, 2):
        World(size).run(lambda comm: run(comm, SCHEDULE, Fault("entry", 2, 0), folder))
        assert newest(folder, size) == [number] + [number + 1] * (size - 1)
    assert World(size).run(lambda comm: run(comm, SCHEDULE, None, folder)) == [True] * size
    assert not folder.exists()


@teams
@pytest.mark.parametrize("what", ["flipped", "foreign", "in use", "number", "standing"])
def test_journal_that_one_process_cannot_go_on_from_is_refused_in_all(size, what, tmp_path):
    folder = tmp_path / "journal"
    World(size).run(lambda comm: run(comm, SCHEDULE, Fault("forward", 6, 0), folder))
    mine = folder / f"rank-1-of-{size}"
    (entry,) = mine.glob("entry-*")
    options = {}
    if what == "flipped":
        entry.write_bytes(entry.read_bytes()[::-1])
    elif what == "number":
        entry.rename(mine / "entry-1000")
    elif what == "standing":
        before, entry = entry, tmp_path / "later"
        before.rename(entry)
        other = tmp_path / "other"
        World(size).run(lambda comm: run(comm, SCHEDULE, Fault("forward", 7, 0), other))
        (later,) = (other / f"rank-1-of-{size}").glob("entry-*")
        later.rename(before)

    def work(comm):
        keys = {"resume_key": "b"} if what == "foreign" and comm.rank == 1 else options
        return run(comm, SCHEDULE, None, folder, **keys)

    if what == "in use":
        holder = Journal(mine, interval=0.0)
    outcomes = World(size).run(work)
    if what == "in use":
        holder.close()
    if what in ("number", "standing"):
        for outcome in outcomes:
            assert isinstance(outcome, JournalError)
            assert "no journal entry in common" in str(outcome)
    else:
        assert_told(outcomes, [1], JournalError)
    if what in ("in use", "foreign"):
        assert World(size).run(lambda comm: run(comm, SCHEDULE, None, folder)) == [True] * size


def test_journal_of_another_number_of_processes_is_refused(tmp_path):
    folder = tmp_path / "journal"
    World(3).run(lambda comm: run(comm, SCHEDULE, Fault("forward", 6, 0), folder))
    for size in (1, 2):
        outcomes = World(size).run(lambda comm: run(comm, SCHEDULE, None, folder))
        assert all(isinstance(outcome, JournalError | PeerError) for outcome in outcomes)
        assert "holds other things than a journal" in str(outcomes[0])
    assert World(3).run(lambda comm: run(comm, SCHEDULE, None, folder)) == [True] * 3


def test_snapshot_file_that_one_process_cannot_make_is_an_error_of_all(tmp_path):
    def work(comm):
        run(comm, SCHEDULE, disk_dir=tmp_path / "missing" if comm.rank == 1 else tmp_path)

    assert_told(World(3).run(work), [1], StorageError)
    assert not list(tmp_path.iterdir())


@sizes
def test_smallest_budgets_and_largest_states_decide_for_all(size):
    def work(comm):
        wave = PeerWave(comm, N)
        memory = 30_000 - 5_000 * comm.rank
        with Revolver(*parts(wave), n_timesteps=N, memory=memory, comm=comm) as driver:
            return driver.plan

    plans = World(size).run(work)
    assert all(plan == plans[0] for plan in plans)
    assert plans[0].memory == 30_000 - 5_000 * (size - 1)

    def largest(comm):
        wave = PeerWave(comm, N)
        with Revolver(*parts(wave), n_timesteps=N, memory=30_000 - 5_000 * (size - 1)) as driver:
            return driver.plan.n_snapshots

    assert plans[0].n_snapshots == min(World(size).run(largest))


@teams
def test_costs_that_were_measured_in_each_process_do_not_lead_to_different_plans(size):
    """Those of the first decide whether what is left is planned anew."""

    def work(comm):
        wave = PeerWave(comm, 40)
        right = expected(comm, 40)
        save = 1000.0 if comm.rank else 0.0
        costs = Costs(forward_step=1.0, reverse_step=1.0, save=save, load=save)
        with (
            MemoryStorage(None, PeerCheckpoint(wave).arrays(0), room=40_000) as storage,
            Revolver(
                *parts(wave), schedule=Revolve(40, 3), storage=storage, costs=costs, comm=comm
            ) as driver,
        ):
            return carry_out(driver, wave) == right, driver._course.replanned

    outcomes = World(size).run(work)
    assert outcomes == [outcomes[0]] * size
    assert outcomes[0][0]
    assert outcomes[0][1] > 0


# --- what is wrong in one process ---------------------------------------------------------------------------


class NoData(PeerCheckpoint):
    def get_data(self, t):
        raise BrokenError


class NegativeWindow(PeerCheckpoint):
    window_bytes = -1


class WiderWindow(PeerCheckpoint):
    def __init__(self, wave):
        super().__init__(wave)
        self.window += 1


BUDGET = {"n_timesteps": N, "memory": 30_000}
JOURNAL = {"schedule": SCHEDULE, "resume": "journal", "resume_arrays": []}
#: What one process gives, what all others give, and the error of that one.
WRONG = {
    "memory": (BUDGET, {"memory": "banana"}, ValueError),
    "disk": ({**BUDGET, "disk": "1 MB"}, {"disk": "-1 MB"}, ValueError),
    "n_checkpoints": ({"n_timesteps": N, "n_checkpoints": 3}, {"n_checkpoints": 0}, ValueError),
    "n_timesteps": (BUDGET, {"n_timesteps": None}, TypeError),
    "compression": ({**BUDGET, "compression": "zstd"}, {"compression": "zip"}, ValueError),
    "checkpoint": (BUDGET, {"checkpoint": "none"}, TypeError),
    "get_data": (BUDGET, {"checkpoint": NoData}, BrokenError),
    "window_bytes": (BUDGET, {"checkpoint": NegativeWindow}, ValueError),
    "threads": (BUDGET, {"threads": 0}, ValueError),
    "timeline": (BUDGET, {"timeline": 17}, TypeError),
    "progress": (BUDGET, {"progress": 17}, TypeError),
    "resume_arrays": (JOURNAL, {"resume_arrays": None}, TypeError),
    "resume_interval": (JOURNAL, {"resume_interval": -1.0}, ValueError),
}


@teams
@pytest.mark.parametrize("what", WRONG)
def test_argument_that_is_wrong_in_one_process_is_an_error_of_all(size, what, tmp_path):
    if what == "compression":
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    right, wrong, error = WRONG[what]

    def work(comm):
        options = {**right, **(wrong if comm.rank == 1 else {})}
        if "resume" in options:
            options["resume"] = tmp_path / "journal"
        if "disk" in options:
            options["disk_dir"] = tmp_path
        checkpoint, *operators = parts(PeerWave(comm, N))
        made = options.pop("checkpoint", None)
        if made is not None:
            checkpoint = made if isinstance(made, str) else made(checkpoint.wave)
        try:
            Revolver(checkpoint, *operators, comm=comm, **options)
        finally:
            assert Team(comm).least([comm.rank]) == [0]  # they are still in step

    assert_told(World(size).run(work), [1], error)
    assert not list(tmp_path.iterdir())


#: What one process gives, what all others give, and what the error of all says.
DIFFERENT = {
    "n_timesteps": (BUDGET, {"n_timesteps": N + 1}, "n_timesteps must be the same .* 10 in process 0 and 11"),
    "n_checkpoints": ({"n_timesteps": N, "n_checkpoints": 3}, {"n_checkpoints": 4}, "n_checkpoints must be"),
    "schedule": ({"schedule": SCHEDULE}, {"schedule": Multistage(N, 2, 3, window=2)}, "schedule must be"),
    "initial state": ({**BUDGET, "initial_state": "free"}, {"initial_state": None}, "initial_state must be"),
    "window": (BUDGET, {"checkpoint": WiderWindow}, "the window of the checkpoint must be"),
    "memory": (BUDGET, {"memory": None}, "whether memory= is given must be"),
    "disk": ({**BUDGET, "disk": 50_000}, {"disk": None}, "whether disk= is given must be"),
    "resume": (JOURNAL, {"resume": None, "resume_arrays": None}, "whether resume= is given must be"),
    "compression": ({**BUDGET, "compression": "zstd"}, {"compression": "lz4"}, "compression must be"),
    "slots": ({"schedule": SCHEDULE, "slots": (1, 3)}, {"slots": (1, 5)}, "slots of the storages.* must be"),
    "elastic": ({"schedule": SCHEDULE, "slots": (1, 3)}, {"slots": (None, 3)}, "slots of the storages"),
}


@teams
@pytest.mark.parametrize("what", DIFFERENT)
def test_what_must_be_the_same_and_is_not_is_an_error_of_all(size, what, tmp_path):
    if what == "compression":
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    usual, other, message = DIFFERENT[what]

    def work(comm):
        options = {**usual, **(other if comm.rank == size - 1 else {})}
        wave = PeerWave(comm, N)
        if options.get("resume"):
            options["resume"] = tmp_path / "journal"
        if options.get("disk"):
            options["disk_dir"] = tmp_path
        slots = options.pop("slots", None)
        if slots is not None:
            like = PeerCheckpoint(wave).arrays(0)
            options["storage"] = [
                MemoryStorage(count, like, room=None if count else 50_000) for count in slots
            ]
        checkpoint, *operators = parts(wave)
        checkpoint = options.pop("checkpoint", PeerCheckpoint)(wave)
        Revolver(checkpoint, *operators, comm=comm, **options)

    outcomes = World(size).run(work)
    for outcome in outcomes:
        assert isinstance(outcome, ValueError), outcomes
        assert re.search(message, str(outcome))
        assert str(outcome) == str(outcomes[0])
    assert not list(tmp_path.iterdir())


@teams
def test_values_that_are_the_same_are_agreed_upon(size):
    def work(comm):
        team = Team(comm)
        team.agree(one=1, two=["a", None])
        team.agree()
        with pytest.raises(ValueError, match=f"rank must be the same .* 0 in process 0 and {1} in process 1"):
            team.agree(one=1, rank=comm.rank)
        return team.least([comm.rank])

    assert World(size).run(work) == [[0]] * size


@teams
@pytest.mark.parametrize("what", ["clear", "finish", "give up"])
def test_failure_between_sweeps_in_one_process_is_raised_in_all(size, what, tmp_path):
    """Storages that cannot be emptied, entries that cannot be removed; after that the next shot is right."""

    def work(comm):
        wave = PeerWave(comm, N)
        right = expected(comm)
        broken = comm.rank == 1

        def fail(*arguments, **options):
            raise BrokenError

        with Revolver(
            *parts(wave),
            schedule=SCHEDULE,
            comm=comm,
            resume=tmp_path / "journal",
            resume_arrays=wave.arrays,
            resume_interval=0.0,
        ) as driver:
            wave.gradient[:] = wave.adjoint[:] = 0.0
            wave.set_initial()
            with pytest.MonkeyPatch.context() as patch:
                if what == "give up" and broken:
                    remove = driver._journal._remove_entries
                    patch.setattr(
                        driver._journal, "_remove_entries", lambda but: (fail if but else remove)(but)
                    )
                try:
                    driver.apply_forward()
                    wave.start_adjoint()
                    if what == "finish" and broken:
                        patch.setattr(driver._journal, "_finish", fail)
                    driver.apply_reverse()
                    if what == "clear" and broken:
                        patch.setattr(driver.storages[1], "clear", fail)
                    driver.reset()
                except (BrokenError, PeerError) as error:
                    caught = error
            driver.reset()
            assert carry_out(driver, wave) == right
        raise caught

    assert_told(World(size).run(work), [1])
    assert not (tmp_path / "journal").exists()


def test_team_of_one_is_none(tmp_path):
    case = Case("multistage")
    wave = case.wave()
    with case.revolver(wave, tmp_path / "journal", comm=Thread(World(1), 0)) as driver:
        assert driver._team is None
        assert driver._journal.path == str(tmp_path / "journal")
        assert carry_out(driver, wave) == case.expected()
