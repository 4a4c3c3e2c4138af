"""Checkpointing for a number of timesteps that is not known until the forward run ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NoReturn

from ..arguments import check_initial_state, index, resolve_lag
from ..crevolve import Instruction, OnlineForward
from ..errors import ScheduleError
from .offline import Revolve

__all__ = ["MOST_TIMESTEPS", "Online"]

#: A run may have no more.
MOST_TIMESTEPS = 2**62


class Online:
    """Chooses states to keep while a run goes on; `finish` gives the schedule of its reversal.

    Unlike a `Schedule` it changes, and cannot be pickled: it stands where the instructions that were taken
    from it lead. Of a run of n timesteps, the last window's are never run again.

    Parameters
    ----------
    n_snapshots : int
        Slots S for states, >= 1, or >= 0 with a free initial state.
    rule : str, default "spaced"
        Which stored state a new one drives out once the slots are full. rho is the number of times that a
        timestep is run forward at most, the first time included.

        ``"spaced"``
            The default. Of the states off their place in the optimal layout for rho, the newest goes whose
            two gaps merge into one that rho allows. For rho >= 4 a state is stored only every (rho - 1) K + d
            timesteps, as far as one can be run from without a slot. The least rho at every n, the fewest
            writes but for the greedy rules, and all in all the fewest forward timesteps.
        ``"target_gap"``
            The same, but every K + d timesteps for every rho.
        ``"minimal_repetition"``
            Wang, Moin & Iaccarino: the least rho at every n, but up to a third more forward timesteps than
            the optimum. With a lookback it makes calls of only d timesteps.
        ``"greedy"``
            After Hinze & Sternberg: stores where that lowers the cost of ending 2 K timesteps later. Asked
            every K timesteps, few writes, O(S) per decision.
        ``"late_greedy"``
            "target_gap" while rho <= 3, "greedy" beyond.
        ``"stumm_walther"``
            After Stumm & Walther: much like "spaced" while rho <= 4, beyond that "minimal_repetition".
    window : int, default 1
        Timesteps K whose step data the workspace retains at once, >= 1.
    lookback : int, default 0
        Timesteps d whose step data a loaded state carries by itself, 0 <= d <= window.
    lag : {None, 0, 1}
        As of `Revolve`.
    initial_state : {"stored", "free"}
        As of `Revolve`.

    Raises
    ------
    TypeError
        A parameter that must be an integer is none.
    ValueError
        A parameter is out of its range, or `rule` is none of these.

    Notes
    -----
    Between stored neighbours i and i + 1 there may be d + L(S - 1 - i, rho - 1) timesteps, with L the
    capacity of a chain (see `Revolve`); every gap of the optimal layout for rho is as large as that.
    Decisions cost O(log S) to O(S), memory is O(S).

    With window 1 and lookback 0, and told in `advance_to` which timestep is the last, the forward timesteps
    are the optimum for all n <= beta(S, 2) with each of the rules but "greedy"; no rule can be optimal for
    all n <= beta(S, 2) + 2. Over the offline optimum are, at the worst that was measured (K <= 50, d <= 8,
    rho <= 6) with S = 3, 5, 10: "spaced" 15, 11, 7%, "target_gap" 19, 11, 7%, "greedy" and "late_greedy" 15,
    11, 7%, "stumm_walther" 23, 26, 27%, "minimal_repetition" 24, 30, 37%. Untold it is 20, 14, 8% for
    "spaced": a state saved at x_p is of use only to runs of more than p + K - d timesteps, and shorter ones
    miss what was given up for it.

    References
    ----------
    Q. Wang, P. Moin, G. Iaccarino (2009), SIAM J. Sci. Comput. 31(4), 2549-2567, doi:10.1137/080727890.
    P. Stumm, A. Walther (2010), SIAM J. Sci. Comput. 32(2), 836-854, doi:10.1137/080742439.
    M. Hinze, J. Sternberg (2005), Optim. Methods Softw. 20(6), 645-663, doi:10.1080/10556780410001684158.

    Examples
    --------
    >>> online = Online(2)
    >>> list(online.advance_to(3))
    [SAVE(t=0, tier=0, slot=0), FORWARD(start=0, stop=1), SAVE(t=1, tier=0, slot=1), FORWARD(start=1, stop=3)]
    >>> list(online.advance_to(5, last=True))
    [FREE(t=1, tier=0, slot=1), SAVE(t=3, tier=0, slot=1), FORWARD(start=3, stop=5)]
    >>> 5 + online.finish().forward_steps == Revolve(5, 2).forward_steps
    True
    """

    def __init__(
        self,
        n_snapshots: int,
        rule: str = "spaced",
        *,
        window: int = 1,
        lookback: int = 0,
        lag: int | None = None,
        initial_state: Literal["stored", "free"] = "stored",
    ) -> None:
        check_initial_state(initial_state)
        self._n_snapshots = index("n_snapshots", n_snapshots)
        self._rule = rule
        self._window = index("window", window)
        self._lookback = index("lookback", lookback)
        self._lag = resolve_lag(self._lookback, lag)
        self._initial_state = initial_state
        self._ended_at: int | None = None
        self._finished = False
        self._forward = OnlineForward(
            self._n_snapshots, rule, *self.needs, free_initial=self.free_initial_state
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Online cannot be pickled; finish() gives a schedule that can")

    def __repr__(self) -> str:
        state = "finished" if self._finished else f"at x_{self.position}"
        return f"<Online: {self._n_snapshots} snapshots, rule {self._rule}, {state}>"

    @property
    def n_snapshots(self) -> int:
        """Slots for states."""
        return self._n_snapshots

    @property
    def rule(self) -> str:
        """Name of the rule."""
        return self._rule

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""
        return self._window, self._lookback, self._lag

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return self._initial_state == "free"

    @property
    def position(self) -> int:
        """The workspace holds x_position once the instructions that were taken are carried out."""
        return self._forward.position

    @property
    def next_stop(self) -> int:
        """The next state that may have to be saved before the run goes on from it, >= `position`.

        To run just there costs no call more than to run further. 2**62 where nothing is to be saved any more.
        """
        over = self._ended_at is not None or self._finished
        return MOST_TIMESTEPS if over else min(self._forward.next_stop, MOST_TIMESTEPS)

    @property
    def stored(self) -> tuple[tuple[int, int], ...]:
        """(t, slot) of every stored state x_t, ascending; up to date where all instructions are taken."""
        return self._forward.stored

    def advance_to(self, t: int, *, last: bool = False) -> Iterator[Instruction]:
        """Return the instructions that lead the run on to x_t: FORWARD, SAVE and FREE.

        Parameters
        ----------
        t : int
            Where to go, position <= t <= 2**62. x_t itself is saved when the run goes on from it.
        last : bool, default False
            The run is known to end with timestep t - 1. Then no state is saved, and none given up for it,
            that only a longer run would need: those of the last K - d timesteps.

        Returns
        -------
        iterator of Instruction
            All of it must be taken before the next call.

        Raises
        ------
        TypeError
            `t` is no integer.
        ValueError
            `t` is out of its range.
        ScheduleError
            The run is over, or instructions are left from the call before.
        """
        self._require_running()
        t = index("t", t)
        if not self.position <= t <= MOST_TIMESTEPS:
            raise ValueError(
                f"t must be between the position, {self.position}, and 2**62, got {t}; "
                "a run goes forward only"
            )
        self._forward.set_goal(t, last)
        if last:
            self._ended_at = t
        return self._forward

    def finish(self, n: int | None = None) -> Revolve:
        """End the run and return the schedule that reverses it, from its TURN on.

        Parameters
        ----------
        n : int, optional
            Number of timesteps, as a check: it must be the position.

        Returns
        -------
        Revolve
            The fewest forward timesteps with what is stored (`Revolve.from_layout`). Its counts are those of
            the reversal alone.

        Raises
        ------
        TypeError
            `n` is no integer.
        ValueError
            `n` is not the position.
        ScheduleError
            The run is finished already, or instructions are left from the call before.
        """
        if self._finished:
            raise ScheduleError("the run is finished already; make a new Online for another run")
        self._require_arrival()
        position = self.position
        if n is not None and index("n", n) != position:
            raise ValueError(
                f"finish({n}) contradicts the {position} timesteps that were run; "
                + (f"call advance_to({n}) first" if n > position else "leave n out")
            )
        self._finished = True
        window, lookback, lag = self.needs
        return Revolve.from_layout(
            position,
            self._n_snapshots,
            self.stored,
            position=position,
            window=window,
            lookback=lookback,
            lag=lag,
            initial_state=self._initial_state,
        )

    def fresh(self) -> Online:
        """Return another one of the same parameters, at the beginning of a run."""
        return Online(
            self._n_snapshots,
            self._rule,
            window=self._window,
            lookback=self._lookback,
            lag=self._lag,
            initial_state=self._initial_state,
        )

    def _require_running(self) -> None:
        if self._finished:
            raise ScheduleError("the run is finished; make a new Online for another run")
        self._require_arrival()
        if self._ended_at is not None:
            raise ScheduleError(f"timestep {self._ended_at - 1} was said to be the last; call finish()")

    def _require_arrival(self) -> None:
        if not self._forward.arrived:
            raise ScheduleError(
                "not all instructions of the last advance_to were taken; the run stands at "
                f"x_{self.position}, take the others first"
            )
