"""From a memory budget to the fastest schedule that fits it."""

from __future__ import annotations

import dataclasses
import logging
import operator
from typing import Literal

from . import crevolve
from .budget import Bytes, format_bytes, parse_bytes
from .costs import RELATIVE_COSTS, Costs
from .errors import BudgetError
from .schedules import Revolve
from .schedules.offline import resolve_lag

__all__ = ["Plan", "plan"]

_LOG = logging.getLogger("pyrevolve.planning")

_INT64_MAX = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do within a memory budget, and what that is predicted to cost.

    Made by `plan`; ``plan.schedule`` is the schedule to run and ``str(plan)`` a readable summary.

    Attributes
    ----------
    n_timesteps : int
        Timesteps n of the forward run.
    window : int
        Timesteps whose step data the workspace must retain; the forward field's ring is built for it.
    n_snapshots : int
        Snapshots held at once, at most.
    lookback, lag : int
        What a loaded state carries, as given.
    initial_state : {"stored", "free"}
        Whether x_0 is stored like any state or re-created at no cost.
    memory : int
        The budget [bytes].
    planned_bytes : int
        What is held at the peak: fixed bytes, window and snapshots [bytes]; <= memory.
    predicted_seconds : float
        The schedule's time in the unit of `costs`, normally seconds.
    forward_steps : int
        Forward timesteps executed, first sweep included.
    saves, loads, forward_calls, reverse_calls : int
        Copies into slots, copies back, and calls of the two operators.
    costs : Costs
        What the prediction rests on.
    """

    n_timesteps: int
    window: int
    n_snapshots: int
    lookback: int
    lag: int
    initial_state: Literal["stored", "free"]
    memory: int
    planned_bytes: int
    predicted_seconds: float
    forward_steps: int
    saves: int
    loads: int
    forward_calls: int
    reverse_calls: int
    costs: Costs

    @property
    def recompute_factor(self) -> float:
        """Forward timesteps executed per timestep; 1.0 where there are none."""
        return self.forward_steps / self.n_timesteps if self.n_timesteps else 1.0

    @property
    def calls(self) -> int:
        """Calls of the forward and the reverse operator."""
        return self.forward_calls + self.reverse_calls

    @property
    def schedule(self) -> Revolve:
        """The schedule that carries the plan out."""
        # Where the workspace retains everything, no snapshot is taken, whatever number is allowed.
        return Revolve(
            self.n_timesteps,
            max(self.n_snapshots, int(self.initial_state == "stored")),
            window=self.window,
            lookback=self.lookback,
            lag=self.lag,
            initial_state=self.initial_state,
        )

    def __str__(self) -> str:
        unit = "forward steps (nothing was measured)" if self.costs == RELATIVE_COSTS else "s"
        return "\n".join(
            (
                f"{self.n_timesteps} timesteps in {format_bytes(self.memory)}",
                f"  window          {self.window} timesteps (lookback {self.lookback}, lag {self.lag})",
                f"  snapshots       {self.n_snapshots} (initial state {self.initial_state})",
                f"  memory held     {format_bytes(self.planned_bytes)}",
                f"  forward steps   {self.forward_steps} ({self.recompute_factor:.3f} per timestep)",
                f"  copies          {self.saves} saves, {self.loads} loads",
                f"  calls           {self.forward_calls} forward, {self.reverse_calls} reverse",
                f"  predicted time  {self.predicted_seconds:.4g} {unit}",
            )
        )


def plan(
    n_timesteps: int,
    *,
    state_bytes: int,
    window_slice_bytes: int,
    memory: Bytes,
    fixed_bytes: int = 0,
    lookback: int = 0,
    lag: int | None = None,
    initial_state: Literal["stored", "free"] = "stored",
    min_window: int = 1,
    max_window: int | None = None,
    costs: Costs = RELATIVE_COSTS,
) -> Plan:
    """Choose the window and the number of snapshots that take the least predicted time.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, >= 0.
    state_bytes : int
        What one snapshot takes [bytes], >= 0.
    window_slice_bytes : int
        By how much the workspace grows where its window grows by one timestep: one slice of every field that
        the reverse operator reads [bytes], >= 0.
    memory : int, float or str
        The budget: bytes, or a string such as ``"8 GiB"``. It covers everything named here, at the peak.
    fixed_bytes : int
        What the workspace takes besides ``window * window_slice_bytes`` [bytes], >= 0.
    lookback : int
        Timesteps whose step data a loaded state carries by itself, >= 0.
    lag : {0, 1}, optional
        1: step data exists only after its timestep was run. 0: the state carries it (needs lookback >= 1).
        None: 1 where lookback is 0, otherwise 0.
    initial_state : {"stored", "free"}
        ``"free"``: x_0 is re-created at no cost and needs no snapshot.
    min_window : int
        The smallest window that the operators allow, >= 1; never less than `lookback` is planned.
    max_window : int, optional
        The largest window that is allowed, >= min_window and >= lookback. None: as large as is of use.
    costs : Costs
        What the operations cost. Measured costs give the best plan; without them typical ratios are assumed.

    Returns
    -------
    Plan
        With ``fixed_bytes + window*window_slice_bytes + n_snapshots*state_bytes <= memory``.

    Raises
    ------
    TypeError
        A float where an integer belongs, or `costs` is no Costs.
    ValueError
        An argument is outside the range stated above.
    BudgetError
        The budget does not hold the smallest window and, where the initial state is stored, one snapshot; the
        message and its attribute ``required`` say how much does. A ValueError.
    OverflowError
        A count or a number of bytes does not fit in 64 bits.

    Notes
    -----
    Minimises over the window K, with the exact counts of the schedule that has as many snapshots as the
    budget then leaves and as are of use,

        T = forward_step*F + reverse_step*n + forward_call*C_f + reverse_call*C_b + save*saves + load*loads.

    A small window reaches the fewest forward steps F with very many short calls and copies; a larger one
    trades some forward steps for far fewer of both. Takes milliseconds for n = 10**6: no schedule is
    iterated.

    References
    ----------
    A. Griewank, A. Walther (2000), Algorithm 799: Revolve, ACM Trans. Math. Softw. 26(1), 19-45,
    doi:10.1145/347837.347846, for the schedule of window 1.

    Examples
    --------
    >>> chosen = plan(3000, state_bytes=7_000_000, window_slice_bytes=3_500_000, memory="350 MB", lookback=2)
    >>> chosen.planned_bytes <= 350_000_000
    True
    """
    n = _integer("n_timesteps", n_timesteps, 0)
    state = _integer("state_bytes", state_bytes, 0)
    piece = _integer("window_slice_bytes", window_slice_bytes, 0)
    fixed = _integer("fixed_bytes", fixed_bytes, 0)
    lookback = _integer("lookback", lookback, 0)
    lag = resolve_lag(lookback, lag)
    if initial_state not in ("stored", "free"):
        raise ValueError(f'initial_state must be "stored" or "free", got {initial_state!r}')
    smallest = max(_integer("min_window", min_window, 1), lookback)
    # With lag 0 the workspace at x_n also retains what x_n carries: n timesteps need a window of n + 1.
    everything = max(smallest, n + 1 - lag)
    largest = everything
    if max_window is not None:
        limit = _integer("max_window", max_window, 1)
        if limit < smallest:
            raise ValueError(
                f"max_window must be >= min_window and >= lookback, here {smallest}, got {limit}"
            )
        largest = min(largest, limit)
    if not isinstance(costs, Costs):
        raise TypeError(f"costs must be pyrevolve.Costs, got {type(costs).__name__}")
    budget = parse_bytes(memory)

    # The smallest budget that works is that of the smallest window or, where slices are tiny beside a state,
    # that of a window that makes snapshots needless.
    snapshot = initial_state == "stored" and smallest < everything
    smallest_plans = [
        (
            fixed + smallest * piece + snapshot * state,
            f"window {smallest}" + " and one snapshot" * snapshot,
        )
    ]
    if everything <= largest:
        smallest_plans.append((fixed + everything * piece, f"window {everything}"))
    required, what = min(smallest_plans)
    if budget < required:
        raise BudgetError(
            f"memory must be >= {required} bytes ({format_bytes(required)}) for {what}, got {budget} bytes "
            f"({format_bytes(budget)})",
            required,
            budget,
        )
    choice = crevolve.plan_window(
        n,
        window_min=smallest,
        window_max=largest,
        budget_bytes=min(budget, _INT64_MAX),
        fixed_bytes=fixed,
        window_slice_bytes=piece,
        state_bytes=state,
        lookback=lookback,
        lag=lag,
        free_initial=initial_state == "free",
        forward_step=costs.forward_step,
        reverse_step=costs.reverse_step,
        forward_call=costs.forward_call,
        reverse_call=costs.reverse_call,
        save=costs.save_at(0),
        load=costs.load_at(0),
    )
    counts = choice.counts
    chosen = Plan(
        n_timesteps=n,
        window=choice.window,
        n_snapshots=choice.snapshots,
        lookback=lookback,
        lag=lag,
        initial_state=initial_state,
        memory=budget,
        planned_bytes=fixed + choice.window * piece + choice.snapshots * state,
        predicted_seconds=choice.seconds,
        forward_steps=counts.forward_steps,
        saves=counts.saves,
        loads=counts.loads,
        forward_calls=counts.forward_calls,
        reverse_calls=counts.reverse_calls,
        costs=costs,
    )
    _LOG.debug("plan: %s", chosen)
    return chosen


def _integer(name: str, value: int, minimum: int) -> int:
    """Return `value` as an int >= `minimum`; refuse floats instead of cutting them."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {number}")
    return number
