# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""The extension module: checkpointing schedules and the snapshot copy of the C++ library `revolve`."""

import operator
from collections import namedtuple
from enum import IntEnum

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_STRIDED,
    PyBUF_STRIDED_RO,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cython.operator cimport dereference
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, make_unique, unique_ptr
from libcpp.utility cimport move
from libcpp.vector cimport vector


class Kind(IntEnum):
    """What an instruction asks for (see `Instruction`)."""

    FORWARD = 0
    SAVE = 1
    LOAD = 2
    REVERSE = 3
    FREE = 4
    TURN = 5
    END = 6


class Content(IntEnum):
    """What a slot holds: a state x_t, or the step data of timestep t."""

    STATE = 0
    STEP_DATA = 1


class Action(IntEnum):
    """The actions of ACM Algorithm 799 (Griewank & Walther 2000, doi:10.1145/347837.347846)."""

    advance = 0
    takeshot = 1
    restore = 2
    firstrun = 3
    youturn = 4
    terminate = 5
    error = 6


TierCounts = namedtuple("TierCounts", "saves loads peak", module=__name__)
Counts = namedtuple(
    "Counts", "forward_steps saves loads forward_calls reverse_calls peak_snapshots tiers frees",
    module=__name__)
WindowChoice = namedtuple("WindowChoice", "window snapshots seconds counts", module=__name__)
TierChoice = namedtuple("TierChoice", "window slots on_disk period seconds waiting counts", module=__name__)

watch_for_forks()

cdef tuple _KINDS = tuple(Kind)
cdef tuple _CONTENTS = tuple(Content)
cdef tuple _ACTIONS = tuple(Action)


cdef cbool check_signals() noexcept nogil:
    """Whether a signal handler has raised, such as that of Ctrl-C; the error then stands to be raised."""
    with gil:
        return run_signal_handlers() != 0


cdef int64_t _integer(object value, str name) except? -1:
    """An integer argument; a float is refused, and so is what does not fit in 64 bits."""
    cdef object number
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not -(2**63) <= number < 2**63:
        raise OverflowError(f"{name} must fit in 64 bits, got {number}")
    return number


# --- counts --------------------------------------------------------------------------------------------

def beta(snapshots, repetitions):
    """Binomial coefficient beta(s, r) = C(s + r, s); 0 where an argument is negative."""
    return cpp_beta(_integer(snapshots, "snapshots"), _integer(repetitions, "repetitions"))


def maxrange(snapshots, repetitions):
    """Return the longest chain of timesteps for which none is advanced more than `repetitions` times.

    Parameters
    ----------
    snapshots : int
        Slots s >= 0, the initial state's included.
    repetitions : int
        Times r >= 0.

    Returns
    -------
    int
        beta(s, r) = C(s + r, s).

    Raises
    ------
    TypeError
        An argument is no integer.
    ValueError
        An argument is negative.
    OverflowError
        The result, or an argument, does not fit in 64 bits.

    References
    ----------
    Griewank, Walther (2000), doi:10.1145/347837.347846, proposition 1.
    """
    return cpp_maxrange(_integer(snapshots, "snapshots"), _integer(repetitions, "repetitions"))


def maxrange_saturating(snapshots, repetitions):
    """`maxrange`, but 2**63 - 1 where the value does not fit in 64 bits."""
    return cpp_maxrange_saturating(_integer(snapshots, "snapshots"), _integer(repetitions, "repetitions"))


def repetition_number(timesteps, snapshots):
    """Least r with beta(snapshots, r) >= timesteps."""
    return cpp_repetition_number(_integer(timesteps, "timesteps"), _integer(snapshots, "snapshots"))


def numforw(timesteps, snapshots):
    """Return the fewest advances that reverse a run, recorded runs not counted.

    Parameters
    ----------
    timesteps : int
        Timesteps n >= 1.
    snapshots : int
        Slots s >= 1, the initial state's included.

    Returns
    -------
    int
        r n - beta(s + 1, r - 1), with the least r for which beta(s, r) >= n.

    Raises
    ------
    TypeError
        An argument is no integer.
    ValueError
        An argument is < 1.
    OverflowError
        The result, or an argument, does not fit in 64 bits.

    References
    ----------
    Griewank, Walther (2000), doi:10.1145/347837.347846, proposition 1.
    """
    return cpp_numforw(_integer(timesteps, "timesteps"), _integer(snapshots, "snapshots"))


def expense(timesteps, snapshots):
    """Return `numforw` per timestep.

    Parameters
    ----------
    timesteps : int
        Timesteps n >= 1.
    snapshots : int
        Slots s >= 1, the initial state's included.

    Returns
    -------
    float
        Advances for each timestep.

    Raises
    ------
    TypeError, ValueError, OverflowError
        As of `numforw`.
    """
    return cpp_expense(_integer(timesteps, "timesteps"), _integer(snapshots, "snapshots"))


def takeshots(timesteps, snapshots):
    """Fewest snapshots written with `numforw` advances, the initial state's included."""
    return cpp_takeshots(_integer(timesteps, "timesteps"), _integer(snapshots, "snapshots"))


def adjust(timesteps):
    """Return the number of slots for which memory and time grow alike.

    Parameters
    ----------
    timesteps : int
        Timesteps n >= 1.

    Returns
    -------
    int
        Slots, about log_4 n.

    Raises
    ------
    TypeError
        `timesteps` is no integer.
    ValueError
        It is < 1.
    OverflowError
        It does not fit in 64 bits.

    References
    ----------
    Griewank, Walther (2000), doi:10.1145/347837.347846.
    """
    return cpp_adjust(_integer(timesteps, "timesteps"))


cdef CppProblem _problem(timesteps, snapshots, window, lookback, lag, bint free_initial) except *:
    cdef CppProblem problem
    problem.timesteps = _integer(timesteps, "n_timesteps")
    problem.snapshots = _integer(snapshots, "n_snapshots")
    problem.model.window = _integer(window, "window")
    problem.model.lookback = _integer(lookback, "lookback")
    problem.model.lag = _integer(lag, "lag")
    problem.free_initial_state = free_initial
    problem.validate()
    return problem


cdef object _counts(const CppCounts& counts):
    tier = TierCounts(counts.saves, counts.loads, counts.peak_snapshots)
    return Counts(counts.forward_steps, counts.saves, counts.loads, counts.forward_calls,
                  counts.reverse_calls, counts.peak_snapshots, (tier,), 0)


cdef object _tally(CppTally& counts):
    tiers = tuple([TierCounts(tier.saves, tier.loads, tier.peak) for tier in counts.tiers])
    saves, loads, peak = [sum(column) for column in zip(*tiers, strict=True)]
    return Counts(counts.forward_steps, saves, loads, counts.forward_calls, counts.reverse_calls, peak, tiers,
                  counts.frees)


def windowed_counts(timesteps, snapshots, window=1, lookback=0, lag=1, bint free_initial=False):
    """Exact counts of the windowed Revolve schedule, without running it."""
    return _counts(_problem(timesteps, snapshots, window, lookback, lag, free_initial).counts())


cdef CppStepCosts _step_costs(double forward_step, double reverse_step, double forward_call,
                              double reverse_call, double save, double load) noexcept:
    cdef CppStepCosts costs
    costs.forward_step = forward_step
    costs.reverse_step = reverse_step
    costs.forward_call = forward_call
    costs.reverse_call = reverse_call
    costs.save = save
    costs.load = load
    return costs


cdef CppWindowBudget _budget(window_min, window_max, budget_bytes, fixed_bytes, window_slice_bytes,
                             state_bytes) except *:
    cdef CppWindowBudget budget
    budget.budget = _integer(budget_bytes, "budget_bytes")
    budget.fixed = _integer(fixed_bytes, "fixed_bytes")
    budget.window_slice = _integer(window_slice_bytes, "window_slice_bytes")
    budget.state = _integer(state_bytes, "state_bytes")
    budget.window_min = _integer(window_min, "window_min")
    budget.window_max = _integer(window_max, "window_max")
    for name, value in (("budget_bytes", budget.budget), ("fixed_bytes", budget.fixed),
                        ("window_slice_bytes", budget.window_slice), ("state_bytes", budget.state)):
        if value < 0:
            raise ValueError(f"{name} must be >= 0, got {value}")
    return budget


def plan_window(timesteps, *, window_min, window_max, budget_bytes, fixed_bytes, window_slice_bytes,
                state_bytes, lookback, lag, bint free_initial, double forward_step, double reverse_step,
                double forward_call, double reverse_call, double save, double load):
    """Window and snapshots with the least makespan inside a budget; window 0 where the budget holds none."""
    cdef CppWindowBudget budget
    cdef CppStepCosts costs
    cdef CppWindowChoice choice
    cdef int64_t n = _integer(timesteps, "n_timesteps")
    cdef int64_t d = _integer(lookback, "lookback")
    cdef int64_t delay = _integer(lag, "lag")
    budget = _budget(window_min, window_max, budget_bytes, fixed_bytes, window_slice_bytes, state_bytes)
    _problem(n, 1, max(1, d), d, delay, free_initial)
    costs = _step_costs(forward_step, reverse_step, forward_call, reverse_call, save, load)
    with nogil:
        choice = choose_window(n, d, delay, free_initial, budget, costs)
    return WindowChoice(choice.window, choice.snapshots, choice.seconds, _counts(choice.counts))


def plan_tiers(timesteps, *, bint periodic, window_min, window_max, budget_bytes, fixed_bytes,
               window_slice_bytes, state_bytes, disk_states, lookback, lag, bint free_initial,
               bint overlapped, buffers, double forward_step, double reverse_step, double forward_call,
               double reverse_call, double save, double load, double write, double read,
               double interference=0.0):
    """The best periodic, or multistage, schedule over RAM and disk; window 0 where the budgets hold none."""
    cdef CppTierProblem problem
    cdef CppTierChoice choice
    problem.timesteps = _integer(timesteps, "n_timesteps")
    problem.lookback = _integer(lookback, "lookback")
    problem.lag = _integer(lag, "lag")
    problem.free_initial_state = free_initial
    _problem(problem.timesteps, 1, max(1, problem.lookback), problem.lookback, problem.lag, free_initial)
    problem.memory = _budget(
        window_min, window_max, budget_bytes, fixed_bytes, window_slice_bytes, state_bytes)
    problem.disk_states = _integer(disk_states, "disk_states")
    problem.overlapped = overlapped
    problem.interference = interference
    problem.costs.buffers = _integer(buffers, "buffers")
    problem.costs.write = write
    problem.costs.read = read
    problem.costs.steps = _step_costs(forward_step, reverse_step, forward_call, reverse_call, save, load)
    with nogil:
        choice = choose_periodic(problem) if periodic else choose_multistage(problem)
    counts = _tally(choice.counts) if choice.window > 0 else None
    return TierChoice(choice.window, choice.slots, choice.on_disk, choice.period, choice.seconds,
                      choice.waiting, counts)


# --- schedules -----------------------------------------------------------------------------------------

@cython.final
@cython.freelist(64)
cdef class Instruction:
    """One instruction of a schedule; attributes that do not apply to its kind are None.

    ========  ============================  ==========================================================
    kind      attributes                    meaning
    ========  ============================  ==========================================================
    FORWARD   start, stop, kept             run the forward operator over timesteps [start, stop); None, or:
                                            nobody needs the step data of those before `kept`
    SAVE      t, tier, slot, content        copy state x_t, or timestep t's step data, into the slot
    LOAD      t, tier, slot, content, keep  copy it back; keep False frees the slot. Tier and slot -1
                                            stand for a free initial state, which the user re-creates
    REVERSE   start, stop                   one adjoint call over timesteps stop - 1 down to start
    FREE      t, tier, slot                 drop what the slot holds
    TURN                                    the first sweep is done
    END                                     nothing is left to do
    ========  ============================  ==========================================================
    """

    def __init__(self):
        raise TypeError("instructions come from a schedule")

    @property
    def kind(self):
        return _KINDS[<int>self.value.kind]

    @property
    def start(self):
        return None if self.value.start < 0 else self.value.start

    @property
    def stop(self):
        return None if self.value.stop < 0 else self.value.stop

    @property
    def t(self):
        return None if self.value.t < 0 else self.value.t

    @property
    def tier(self):
        return None if self.value.t < 0 else self.value.tier

    @property
    def slot(self):
        return None if self.value.t < 0 else self.value.slot

    @property
    def content(self):
        if self.value.kind != CppKind.load and self.value.kind != CppKind.save:
            return None
        return _CONTENTS[<int>self.value.content]

    @property
    def keep(self):
        return None if self.value.kind != CppKind.load else self.value.keep != 0

    @property
    def kept(self):
        return None if self.first_kept == 0 else self.first_kept

    def keeping(self, first):
        """Return the same FORWARD, of whose timesteps only those from `first` on need keep their step data.

        Raises
        ------
        ValueError
            The instruction is no FORWARD, or ``start < first <= stop`` does not hold.
        """
        cdef Instruction result = Instruction.__new__(Instruction)
        cdef int64_t kept = first
        if self.kind is not Kind.FORWARD or not self.value.start < kept <= self.value.stop:
            raise ValueError(f"{self!r} cannot keep the step data from timestep {first} on only")
        result.value = self.value
        result.first_kept = kept
        return result

    def at(self, tier, slot):
        """Return the same SAVE, LOAD or FREE for another slot."""
        cdef Instruction result = Instruction.__new__(Instruction)
        if self.value.t < 0 or self.value.slot < 0:
            raise ValueError(f"{self!r} names no slot")
        result.value = self.value
        result.value.tier = tier
        result.value.slot = slot
        return result

    cdef tuple _key(self):
        return (<int>self.value.kind, self.value.start, self.value.stop, self.value.t, self.value.tier,
                self.value.slot, self.value.keep, <int>self.value.content, self.first_kept)

    def __eq__(self, other):
        if not isinstance(other, Instruction):
            return NotImplemented
        return self._key() == (<Instruction>other)._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        names = ("start", "stop", "kept", "t", "tier", "slot", "keep")
        given = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None]
        if self.content is Content.STEP_DATA:
            given.append("content=STEP_DATA")
        return f"{self.kind.name}({', '.join(given)})"

    def __reduce__(self):
        return _instruction, self._key()


def _instruction(int8_t kind, int64_t start, int64_t stop, int64_t t, int32_t tier, int64_t slot,
                 int8_t keep, int8_t content, int64_t first_kept=0):
    """Rebuild an instruction when it is unpickled."""
    cdef Instruction result = Instruction.__new__(Instruction)
    result.value.kind = <CppKind>kind
    result.value.start = start
    result.value.stop = stop
    result.value.t = t
    result.value.tier = tier
    result.value.slot = slot
    result.value.keep = keep
    result.value.content = <CppContent>content
    result.first_kept = first_kept
    return result


#: Fields of one row of `Instructions.fill`, in the layout of the C++ struct: (name, format, offset).
INSTRUCTION_FIELDS = (
    ("kind", "i1", 0), ("keep", "?", 1), ("content", "i1", 2), ("tier", "i4", 4), ("slot", "i8", 8),
    ("t", "i8", 16), ("start", "i8", 24), ("stop", "i8", 32),
)
INSTRUCTION_BYTES = sizeof(CppInstruction)


@cython.final
cdef class Instructions:
    """Iterator over the instructions of a schedule, END included."""

    def __init__(self):
        raise TypeError("iterators over instructions come from a schedule")

    def __iter__(self):
        return self

    cdef int _claim(self) except -1:
        """Refuse use by a second thread while the first works without the interpreter's lock."""
        if self.busy:
            raise RuntimeError("another thread uses this iterator; let every thread have its own")
        return 0

    def __next__(self):
        self._claim()
        if not self.live:
            raise StopIteration
        cdef Instruction result = Instruction.__new__(Instruction)
        result.value = dereference(self.schedule).next()
        self.live = result.value.kind != CppKind.end
        return result

    def fill(self, uint8_t[::1] rows not None):
        """Write the next instructions into `rows`, INSTRUCTION_BYTES each; return how many there were."""
        cdef Py_ssize_t capacity = rows.shape[0] // <Py_ssize_t>sizeof(CppInstruction)
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t chunk
        cdef CppInstruction* target
        cdef CppSchedule* schedule = self.schedule.get()
        cdef bint live
        self._claim()
        live = self.live
        if capacity == 0:
            return 0
        target = <CppInstruction*>&rows[0]
        self.busy = True
        try:
            while count < capacity and live:
                chunk = min(capacity, count + (1 << 18))
                with nogil:
                    while count < chunk and live:
                        target[count] = schedule.next()
                        live = target[count].kind != CppKind.end
                        count += 1
                self.live = live
                PyErr_CheckSignals()
        finally:
            self.busy = False
        return count

    def tally(self):
        """Go through all instructions that are left and return their `Counts`; can be interrupted."""
        cdef CppSchedule* schedule = self.schedule.get()
        cdef CppTally result
        self._claim()
        if not self.live:
            raise ValueError("no instructions are left")
        self.busy = True
        try:
            with nogil:
                result = cpp_tally(dereference(schedule), check_signals, self.held)
        finally:
            self.busy = False
        self.live = False
        return _tally(result)


cdef Instructions _instructions(unique_ptr[CppSchedule] schedule):
    cdef Instructions result = Instructions.__new__(Instructions)
    result.schedule = move(schedule)
    result.live = True
    return result


cdef vector[int32_t] _tiers(object tiers) except *:
    cdef vector[int32_t] result
    for tier in tiers:
        result.push_back(_tier(tier))
    return result


cdef int32_t _tier(object value) except -1:
    """The number of a tier, of which a thousand are enough."""
    cdef int64_t tier = _integer(value, "tier")
    if not 0 <= tier < 1000:
        raise ValueError(f"tier must be between 0 and 999, got {tier}")
    return <int32_t>tier


def windowed_instructions(timesteps, snapshots, window=1, lookback=0, lag=1, bint free_initial=False,
                          tiers=(), layout=None):
    """Windowed Revolve; `layout`: (stored, position, loaded_at, remaining), see `Revolve.from_layout`.

    `tiers` names the tier of the i-th snapshot from the left; empty: all are in tier 0.
    """
    cdef CppProblem problem = _problem(timesteps, snapshots, window, lookback, lag, free_initial)
    cdef vector[int32_t] places = _tiers(tiers)
    cdef unique_ptr[CppSchedule] schedule
    cdef CppLayout start
    cdef CppStoredState state
    cdef Instructions result
    if layout is None:
        return _instructions(windowed_schedule(problem, places))
    stored, position, loaded_at, remaining = layout
    for t, tier, slot in stored:
        state.t = _integer(t, "t")
        state.tier = _tier(tier)
        state.slot = _integer(slot, "slot")
        start.stored.push_back(state)
    start.position = _integer(position, "position")
    start.loaded_at = _integer(loaded_at, "loaded_at")
    start.turned = remaining is not None
    start.remaining = _integer(remaining, "remaining") if start.turned else problem.timesteps
    with nogil:
        schedule = windowed_schedule(problem, start, places, check_signals)
    result = _instructions(move(schedule))
    for state in start.stored:
        if <size_t>state.tier >= result.held.size():
            result.held.resize(state.tier + 1)
        result.held[state.tier] += 1
    return result


def rank_counts(timesteps, snapshots, window=1, lookback=0, lag=1, bint free_initial=False):
    """How often the i-th snapshot from the left is saved and loaded: a list of (saves, loads)."""
    cdef CppProblem problem = _problem(timesteps, snapshots, window, lookback, lag, free_initial)
    return [(rank.saves, rank.loads) for rank in cpp_rank_counts(problem)]


def place_ranks(timesteps, in_memory, on_disk, window, lookback, lag, bint free_initial, tuple save,
                tuple load):
    """Tier of the i-th snapshot from the left in the cheapest placement of windowed Revolve's snapshots."""
    cdef CppTwoTierCosts costs
    cdef CppProblem problem = _problem(timesteps, in_memory + on_disk, window, lookback, lag, free_initial)
    costs.save[0], costs.save[1] = save
    costs.load[0], costs.load[1] = load
    return tuple(cpp_place_ranks(cpp_rank_counts(problem), _integer(in_memory, "n_snapshots"),
                                 _integer(on_disk, "n_on_disk"), costs))


cdef CppPeriodicProblem _periodic(timesteps, period, slots, window, lookback, lag, bint free_initial,
                                  spine_tier, bint one_read) except *:
    cdef CppPeriodicProblem problem
    problem.timesteps = _integer(timesteps, "n_timesteps")
    problem.period = _integer(period, "period")
    problem.slots = _integer(slots, "n_snapshots")
    problem.model.window = _integer(window, "window")
    problem.model.lookback = _integer(lookback, "lookback")
    problem.model.lag = _integer(lag, "lag")
    problem.free_initial_state = free_initial
    problem.spine_tier = _tier(spine_tier)
    problem.one_read = one_read
    problem.validate()
    return problem


def periodic_instructions(timesteps, period, slots, window=1, lookback=0, lag=1, bint free_initial=False,
                          spine_tier=1, bint one_read=False):
    """A snapshot every `period` timesteps, segments solved with windowed Revolve in tier 0."""
    return _instructions(periodic_schedule(
        _periodic(timesteps, period, slots, window, lookback, lag, free_initial, spine_tier, one_read)))


def periodic_counts(timesteps, period, slots, window=1, lookback=0, lag=1, bint free_initial=False,
                    spine_tier=1, bint one_read=True):
    """Exact counts of the schedule of `periodic_instructions`, without running it; one_read or slots 0."""
    return _tally(cpp_periodic_counts(
        _periodic(timesteps, period, slots, window, lookback, lag, free_initial, spine_tier, one_read)))


def periodic_overlap(timesteps, period, slots, window, lookback, lag, bint free_initial, buffers, *,
                     double forward_step, double reverse_step, double forward_call, double reverse_call,
                     double save, double load, double write, double read):
    """Predicted (seconds, write_wait, read_wait) where a background thread writes and reads the spine."""
    cdef CppOverlapCosts costs
    cdef CppOverlapTime time
    costs.steps = _step_costs(forward_step, reverse_step, forward_call, reverse_call, save, load)
    costs.write = write
    costs.read = read
    costs.buffers = _integer(buffers, "buffers")
    time = cpp_overlap(
        _periodic(timesteps, period, slots, window, lookback, lag, free_initial, 1, True), costs)
    return time.seconds, time.write_wait, time.read_wait


def forward_instructions(timesteps):
    """The forward sweep alone."""
    cdef int64_t n = _integer(timesteps, "n_timesteps")
    _problem(n, 1, 1, 0, 1, False)
    return _instructions(unique_ptr[CppSchedule](new CppForwardOnly(n)))


# --- online --------------------------------------------------------------------------------------------

#: Names of the online rules, in the order of the C++ enumeration; the first is the default.
ONLINE_RULES = ("spaced", "target_gap", "minimal_repetition", "greedy", "late_greedy", "stumm_walther")


cdef CppOnlineRule _online_rule(object rule) except *:
    if rule not in ONLINE_RULES:
        raise ValueError(f"rule must be one of {', '.join(ONLINE_RULES)}, got {rule!r}")
    return <CppOnlineRule><int8_t>ONLINE_RULES.index(rule)


@cython.final
cdef class OnlineForward:
    """The forward run of `pyrevolve.Online`: an iterator over the instructions that lead to the goal."""

    def __cinit__(self, snapshots, rule, window, lookback, lag, bint free_initial):
        cdef CppProblem problem = _problem(0, snapshots, window, lookback, lag, free_initial)
        self.forward = make_unique[CppOnlineForward](problem.snapshots, problem.model, free_initial,
                                                     _online_rule(rule))

    def set_goal(self, goal, bint last):
        """Go on to x_goal; `last`: the run ends there."""
        dereference(self.forward).set_goal(_integer(goal, "t"), last)

    def __iter__(self):
        return self

    def __next__(self):
        cdef Instruction result = Instruction.__new__(Instruction)
        if not dereference(self.forward).next(result.value):
            raise StopIteration
        return result

    @property
    def arrived(self):
        """Whether all instructions that lead to the goal have been taken."""
        return dereference(self.forward).arrived()

    @property
    def position(self):
        """Index of the state in the workspace once the instructions taken so far are carried out."""
        return dereference(self.forward).position()

    @property
    def next_stop(self):
        """The next state that may have to be saved before the run goes on; above 2**62: none."""
        return dereference(self.forward).layout().next_stop()

    @property
    def stored(self):
        """(t, slot) of the stored states, ascending."""
        return tuple([(state.at, state.slot) for state in dereference(self.forward).layout().stored()
                      if state.slot >= 0])


# --- the classic state machine -------------------------------------------------------------------------

@cython.final
cdef class MixedTable:
    """Fewest forward steps where states (1 unit) and step data (`stages` units) share the memory."""

    def __cinit__(self, timesteps, units, stages=1, bint stiffly_accurate=False):
        cdef CppMixedProblem problem
        problem.timesteps = _integer(timesteps, "n_timesteps")
        problem.units = _integer(units, "units")
        problem.stages = _integer(stages, "stages")
        problem.stiffly_accurate = stiffly_accurate
        with nogil:
            self.table = make_shared[CppMixedTable](problem, check_signals)

    @property
    def forward_steps(self):
        """Forward steps of the whole run, the first sweep included."""
        return dereference(self.table).forward_steps()

    def peak_units(self):
        """Go through the schedule and return the most units in use; can be interrupted."""
        cdef int64_t result
        with nogil:
            result = cpp_peak_units(self.table, check_signals)
        return result

    def instructions(self):
        """Return a new iterator over the instructions."""
        return _instructions(mixed_schedule(self.table))


@cython.final
cdef class CRevolve:
    """The Revolve state machine; for a known number of timesteps action for action ACM Algorithm 799.

    Parameters
    ----------
    snapshots : int
        Slots for states in RAM, the initial state's included, >= 1, or >= 0 beside slots on disk.
    timesteps : int, optional
        Number of timesteps, >= 0. None: it becomes known on the way, see `turn`.
    snapshots_disk : int, optional
        Slots on disk, >= 0, for a known number of timesteps. The actions are those of as many slots in all;
        `where` tells which lie on disk: those with the fewest copies (see `pyrevolve.Multistage`).
    rule : str
        Which states to keep while the number of timesteps is unknown, see `pyrevolve.Online`.

    Raises
    ------
    TypeError
        An argument is no integer.
    ValueError
        An argument is out of its range, or ``snapshots_disk`` is given without ``timesteps``.

    References
    ----------
    Griewank & Walther (2000), ACM TOMS 26(1), 19-45, doi:10.1145/347837.347846.
    """

    def __cinit__(self, snapshots, timesteps=None, snapshots_disk=None, rule=ONLINE_RULES[0]):
        cdef CppOnlineRule online_rule = _online_rule(rule)
        cdef int64_t on_disk = 0 if snapshots_disk is None else _integer(snapshots_disk, "snapshots_disk")
        self.snapshots = _integer(snapshots, "snapshots")
        self.tiers = ()
        if timesteps is None:
            if snapshots_disk is not None:
                raise ValueError("slots on disk need a known number of timesteps; give timesteps")
            self.online = new CppOnlineRevolve(self.snapshots, online_rule)
            self.machine.reset(self.online)
        else:
            self.timesteps = _integer(timesteps, "timesteps")
            if on_disk < 0 or (on_disk > 0 and self.snapshots < 0):
                raise ValueError("snapshots and snapshots_disk must be >= 0, "
                                 f"got {self.snapshots} and {on_disk}")
            self.machine = make_unique[CppOfflineRevolve](
                <int64_t>self.timesteps, _integer(int(self.snapshots) + on_disk, "snapshots"))
            if on_disk > 0:
                self.tiers = place_ranks(self.timesteps, self.snapshots, on_disk, 1, 0, 1, False,
                                         (0.0, 1.0), (0.0, 1.0))

    def revolve(self):
        """Go on to the next action and return it; after `terminate`, `terminate` for ever.

        Before `turn` there are only `takeshot`, into a slot that may hold another state, and `advance`, at
        most as far as nothing needs to be stored; with one slot that is without end.
        """
        return _ACTIONS[<int>dereference(self.machine).revolve()]

    def turn(self, final):
        """End the forward run of a chain of unknown length: timestep `final` is the last, `firstrun` is next.

        Parameters
        ----------
        final : int
            The workspace holds x_final: `capo`, or from `oldcapo` on where the caller broke off an advance.
            The chain has ``final + 1`` timesteps. Where the end shows only after the last timestep was run,
            what follows it, such as the seed of the adjoint, takes the part of timestep `final`.

        Raises
        ------
        TypeError
            ``final`` is no integer.
        ValueError
            The last action neither left x_final in the workspace nor passed it.
        RuntimeError
            The number of timesteps is known already.
        """
        if self.online is NULL:
            raise RuntimeError(f"the chain was announced with {self.timesteps} timesteps; "
                               "make the machine without timesteps to turn it")
        self.online.turn(_integer(final, "final"))
        self.timesteps = final + 1

    @property
    def capo(self):
        """Index of the state in the workspace after the action."""
        return dereference(self.machine).capo()

    @property
    def oldcapo(self):
        """Index of the state in the workspace before the action."""
        return dereference(self.machine).old_capo()

    @property
    def fine(self):
        """Timesteps from here on have been reversed; -1 while the number of timesteps is unknown."""
        return dereference(self.machine).fine()

    @property
    def check(self):
        """Slot on top of the stack: written by `takeshot`, read by `restore`; -1 where nothing is stored."""
        return dereference(self.machine).check()

    @property
    def where(self):
        """Whether slot `check` is in RAM, and not on disk."""
        cdef int64_t slot = self.check
        return not 0 <= slot < len(self.tiers) or self.tiers[slot] == 0

    @property
    def advances(self):
        """Timesteps advanced so far, recorded runs not counted."""
        return dereference(self.machine).advances()

    @property
    def info(self):
        """Algorithm 799's error code: always 0, because errors are raised."""
        return 0


# --- several tiers ---------------------------------------------------------------------------------------

cdef CppHierarchicalProblem _hierarchical(timesteps, tiers, window, lookback, lag, bint free_initial,
                                          double forward_step, double forward_call,
                                          double reverse_call) except *:
    cdef CppHierarchicalProblem problem
    cdef CppTierCosts costs
    problem.timesteps = _integer(timesteps, "n_timesteps")
    problem.model = _problem(timesteps, 1, window, lookback, lag, free_initial).model
    problem.free_initial_state = free_initial
    problem.forward_step = forward_step
    problem.forward_call = forward_call
    problem.reverse_call = reverse_call
    for capacity, write, read, one_read in tiers:
        costs.capacity = cpp_unbounded if capacity is None else _integer(capacity, "capacities")
        if capacity is not None and costs.capacity < 0:
            raise ValueError(f"capacities must be >= 0, got {capacity}")
        costs.write = write
        costs.read = read
        costs.one_read = one_read
        problem.tiers.push_back(costs)
    problem.validate()
    return problem


@cython.final
cdef class HierarchicalPlan:
    """Solved tables of a hierarchical schedule; any number of iterators share them.

    `tiers`: (capacity or None, write cost, read cost, whether a snapshot is read only once) of each, the
    fastest first.
    """

    def __cinit__(self, timesteps, tiers, window, lookback, lag, free_initial, forward_step, forward_call,
                  reverse_call):
        cdef CppHierarchicalProblem problem = _hierarchical(
            timesteps, tiers, window, lookback, lag, free_initial, forward_step, forward_call, reverse_call)
        with nogil:
            self.tables = plan_hierarchical(problem, check_signals)

    @property
    def cost(self):
        """Least cost, reverse steps not counted."""
        return dereference(self.tables).cost()

    def instructions(self):
        """Return a new iterator over the instructions."""
        return _instructions(hierarchical_schedule(self.tables))


@cython.final
cdef class PeriodicDiskPlan:
    """Solved segments of a schedule with a snapshot in tier 1 every `period` timesteps.

    `tiers` as for `HierarchicalPlan`, two of them; `period` None: the best period.
    """

    def __cinit__(self, timesteps, tiers, window, lookback, lag, period, forward_step, forward_call,
                  reverse_call):
        cdef CppHierarchicalProblem problem = _hierarchical(
            timesteps, tiers, window, lookback, lag, False, forward_step, forward_call, reverse_call)
        cdef int64_t every = 0 if period is None else _integer(period, "period")
        if period is not None and every < 1:
            raise ValueError(f"period must be >= 1 timestep, got {period}; leave it out for the best one")
        with nogil:
            self.plan = plan_periodic_disk(problem, every, check_signals)

    @property
    def period(self):
        """Timesteps between forced snapshots; 0 where the window holds the run."""
        return self.plan.period

    @property
    def cost(self):
        """Cost, reverse steps not counted."""
        return self.plan.cost

    def instructions(self):
        """Return a new iterator over the instructions."""
        return _instructions(periodic_disk_schedule(self.plan))


# --- memory and copies ---------------------------------------------------------------------------------

@cython.final
cdef class Arena:
    """Page-aligned, zero-filled bytes behind the buffer protocol, in huge pages where the system offers them.

    Raises
    ------
    ValueError
        ``nbytes`` is negative.
    MemoryError
        The system refuses.
    """

    def __cinit__(self, nbytes):
        cdef int64_t size = _integer(nbytes, "nbytes")
        if size < 0:
            raise ValueError(f"nbytes must be >= 0, got {size}")
        self.arena = make_unique[CppArena](<size_t>size)
        self.shape = size
        self.stride = 1

    @property
    def nbytes(self):
        """Bytes."""
        return self.shape

    def __len__(self):
        return self.shape

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        buffer.buf = dereference(self.arena).data() if self.shape > 0 else <void*>&self.shape
        buffer.obj = self
        buffer.len = self.shape
        buffer.readonly = 0
        buffer.itemsize = 1
        buffer.format = b"B"
        buffer.ndim = 1
        buffer.shape = &self.shape
        buffer.strides = &self.stride
        buffer.suboffsets = NULL
        buffer.internal = NULL


cdef class _Views:
    """Buffers of a sequence of arrays, held while they are copied."""

    cdef vector[Py_buffer] buffers
    cdef vector[ArrayView] views

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        cdef size_t i
        for i in range(self.buffers.size()):
            PyBuffer_Release(&self.buffers[i])
        self.buffers.clear()

    cdef int hold(self, object arrays, bint writable) except -1:
        cdef Py_buffer buffer
        cdef ArrayView view
        cdef int i
        cdef int flags = PyBUF_STRIDED if writable else PyBUF_STRIDED_RO
        for array in arrays:
            if getattr(array, "dtype", None) is not None and array.dtype.hasobject:
                raise TypeError("arrays of Python objects cannot be copied to a snapshot")
            PyObject_GetBuffer(array, &buffer, flags)
            self.buffers.push_back(buffer)
            view.data = <byte*>buffer.buf
            view.item_size = buffer.itemsize
            view.shape.clear()
            view.strides.clear()
            for i in range(buffer.ndim):
                view.shape.push_back(buffer.shape[i])
                view.strides.push_back(buffer.strides[i])
            self.views.push_back(view)
        return 0


def packed_nbytes(arrays):
    """Bytes that the arrays take in a slot: each starts at a multiple of 64, and so does what follows."""
    cdef _Views views = _Views()
    views.hold(arrays, False)
    cdef size_t size = packed_bytes(views.views)
    views.release()
    return size


@cython.final
cdef class SnapshotCopier:
    """Copies arrays of any dtype and strides to one contiguous slot and back, in parallel, without the GIL.

    Parameters
    ----------
    threads : int, optional
        Threads per copy, >= 1. By default ``OMP_NUM_THREADS``, else the cores of this process, at most 8.
        GNU's OpenMP runtime provides them where the process has loaded it; otherwise the copier has its own.

    Raises
    ------
    TypeError, ValueError
        ``threads`` is no integer, or below 1.
    """

    def __cinit__(self, threads=None):
        cdef int64_t count = default_copy_threads() if threads is None else _integer(threads, "threads")
        if not 1 <= count <= 4096:
            raise ValueError(f"threads must be between 1 and 4096, got {count}")
        self.copier = make_unique[CppSnapshotCopier](<int>count)

    @property
    def threads(self):
        """Threads per copy."""
        return dereference(self.copier).threads()

    cdef int _copy(self, object slot_buffer, object offset, object arrays, bint to_slot) except -1:
        cdef int64_t start = _integer(offset, "offset")
        cdef _Views views = _Views()
        cdef Py_buffer slot
        cdef size_t size
        cdef CppSnapshotCopier* copier = self.copier.get()
        views.hold(arrays, not to_slot)
        size = packed_bytes(views.views)
        PyObject_GetBuffer(slot_buffer, &slot, PyBUF_SIMPLE | (PyBUF_WRITABLE if to_slot else 0))
        try:
            if start < 0 or start > slot.len or size > <size_t>(slot.len - start):
                raise ValueError(
                    f"the arrays need {size} bytes from offset {start}, the buffer has {slot.len}")
            with nogil:
                if to_slot:
                    copier.save(<byte*>slot.buf + start, views.views)
                else:
                    copier.load(<byte*>slot.buf + start, views.views)
        finally:
            PyBuffer_Release(&slot)
            views.release()
        return 0

    def save(self, slot_buffer, offset, arrays):
        """Copy the arrays into ``slot_buffer`` from byte ``offset`` on, packed as `packed_nbytes` says.

        Raises
        ------
        ValueError
            The buffer ends before the arrays do.
        BufferError, TypeError
            An argument has no buffer of the kind that is needed, or holds Python objects.
        """
        self._copy(slot_buffer, offset, arrays, True)

    def load(self, slot_buffer, offset, arrays):
        """Copy from ``slot_buffer``, from byte ``offset`` on, back into the arrays; raises as `save` does."""
        self._copy(slot_buffer, offset, arrays, False)

    def prefault(self, buffer):
        """Have the system provide all pages of ``buffer`` now, in parallel. Its contents are lost."""
        cdef Py_buffer view
        cdef CppSnapshotCopier* copier = self.copier.get()
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            with nogil:
                copier.prefault(<byte*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
