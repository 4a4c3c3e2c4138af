"""What the operations of a checkpointed adjoint cost."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence

from .arguments import at_least

__all__ = ["RELATIVE_COSTS", "RELATIVE_COSTS_WITH_DISK", "CompressionCosts", "Costs", "check_costs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Hold the costs from which a plan predicts time.

    Parameters
    ----------
    forward_step : float
        One forward timestep inside a call [s], finite, >= 0; one whose step data nobody needs, where the
        operator makes a difference (`Operator.apply_unrecorded`).
    reverse_step : float
        One adjoint timestep inside a call [s], finite, >= 0.
    forward_call : float
        What one call of the forward operator costs besides its timesteps [s], finite, >= 0.
    reverse_call : float
        What one call of the reverse operator costs besides its timesteps [s], finite, >= 0.
    save : float or sequence of float
        Copying one state into a slot [s], finite, >= 0: one number for RAM, or one for each tier, RAM first.
    load : float or sequence of float
        Copying one state back from a slot [s], finite, >= 0: likewise.
    recording : float
        What a forward timestep takes longer where its step data is kept for the reverse operator [s], finite,
        >= 0. Every timestep that is reversed is run once like that.
    interference : float
        By what part of the time of transfers that run beside them timesteps get slower, finite, >= 0: such
        transfers take memory bandwidth, and for checksums a processor. The default is typical of two
        processors; `measure_costs` finds out where it is given a directory.

    Raises
    ------
    TypeError
        A cost is not a real number.
    ValueError
        A cost is negative, infinite or NaN, or `save` and `load` differ in their number of tiers.

    Notes
    -----
    The predicted time of a schedule that waits for every copy is

        T = forward_step*F + (reverse_step + recording)*n + forward_call*C_f + reverse_call*C_b
            + save*saves + load*loads

    with F the forward timesteps that are run, C_f and C_b the calls of the two operators, and the
    last two terms summed over tiers. Only ratios decide which plan is best, so any unit may be used; with
    seconds, ``Plan.predicted_seconds`` is in seconds.

    Examples
    --------
    >>> Costs(forward_step=0.8e-3, reverse_step=1.2e-3, save=0.5e-3, load=0.5e-3).reverse_step
    0.0012
    >>> Costs(forward_step=1, reverse_step=1, save=(0.5, 8), load=(0.5, 6)).save_at(1)
    8.0
    """

    forward_step: float
    reverse_step: float
    forward_call: float = 0.0
    reverse_call: float = 0.0
    save: float | tuple[float, ...] = 0.0
    load: float | tuple[float, ...] = 0.0
    recording: float = 0.0
    interference: float = 0.2

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("save", "load") and isinstance(value, (tuple, list)):
                if not value:
                    raise ValueError(f"{field.name} must have a number for each tier, got {value!r}")
                seconds: object = tuple(_seconds(field.name, number) for number in value)
            elif field.name == "interference":
                seconds = _number(field.name, value)
            else:
                seconds = _seconds(field.name, value)
            object.__setattr__(self, field.name, seconds)
        if self.tiers != (len(self.load) if isinstance(self.load, tuple) else 1):
            raise ValueError(
                f"save and load must have a number for each tier alike, got {self.save!r} and {self.load!r}"
            )

    @property
    def reversal(self) -> float:
        """What it takes to reverse one timestep: the adjoint timestep, and recording what it reads [s]."""
        return self.reverse_step + self.recording

    @property
    def tiers(self) -> int:
        """How many tiers there are costs for."""
        return len(self.save) if isinstance(self.save, tuple) else 1

    def save_at(self, tier: int) -> float:
        """Return what saving one state to a tier costs [s].

        Parameters
        ----------
        tier : int
            0 is RAM.

        Raises
        ------
        ValueError
            There is no cost for this tier.
        """
        return self._at("save", self.save, tier)

    def load_at(self, tier: int) -> float:
        """Return what loading one state from a tier costs [s].

        Parameters
        ----------
        tier : int
            0 is RAM.

        Raises
        ------
        ValueError
            There is no cost for this tier.
        """
        return self._at("load", self.load, tier)

    def _at(self, name: str, costs: float | tuple[float, ...], tier: int) -> float:
        if not 0 <= tier < self.tiers:
            raise ValueError(
                f"these costs are for {self.tiers} tier{'s' * (self.tiers > 1)}, tier {tier} is asked for; "
                f"give {name}= one number for each tier, RAM first"
            )
        return costs[tier] if isinstance(costs, tuple) else costs

    def total(
        self,
        *,
        forward_steps: int,
        reverse_steps: int,
        forward_calls: int,
        reverse_calls: int,
        saves: int | Sequence[int],
        loads: int | Sequence[int],
    ) -> float:
        """Return the time that these counts take.

        Parameters
        ----------
        forward_steps, reverse_steps, forward_calls, reverse_calls : int
            Counts of a schedule, >= 0.
        saves, loads : int or sequence of int
            Copies, >= 0: to and from RAM, or to and from each tier.

        Returns
        -------
        float
            Predicted time [s].

        Raises
        ------
        ValueError
            A tier is used for which there are no costs.
        """
        operators = (
            self.forward_step * forward_steps
            + self.reversal * reverse_steps
            + self.forward_call * forward_calls
            + self.reverse_call * reverse_calls
        )
        copies = 0.0
        for counts, cost_at in ((saves, self.save_at), (loads, self.load_at)):
            per_tier = (counts,) if isinstance(counts, int) else counts
            copies += sum(count * cost_at(tier) for tier, count in enumerate(per_tier) if count)
        return operators + copies


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressionCosts:
    """Hold what compression makes of a state, and what it takes.

    Parameters
    ----------
    ratio : float
        How many times smaller a state becomes, on average over the run, finite, > 0.
    save : float
        Encoding one state into a slot in RAM [s], finite, >= 0.
    load : float
        Decoding one state from a slot in RAM [s], finite, >= 0.
    scratch_bytes : int
        What codecs take in memory to work [bytes], >= 0.

    Raises
    ------
    TypeError
        A number is none.
    ValueError
        A number is out of its range.
    """

    ratio: float
    save: float
    load: float
    scratch_bytes: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", _number("ratio", self.ratio))
        for name in ("save", "load"):
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        if self.ratio <= 0:
            raise ValueError(f"ratio must be > 0, got {self.ratio}")
        object.__setattr__(self, "scratch_bytes", at_least("scratch_bytes", self.scratch_bytes, 0))


def check_costs(given: object, *, disk: bool = False) -> None:
    """Raise TypeError where `given` is no `Costs`; with `disk`, ValueError where it is not for two tiers."""
    if not isinstance(given, Costs):
        raise TypeError(f"costs must be pyrevolve.Costs, got {type(given).__name__}")
    if disk and given.tiers != 2:
        raise ValueError(f"costs must be for two tiers, save=(ram, disk) and load=(ram, disk), got {given!r}")


def _seconds(name: str, value: object) -> float:
    return _number(name, value, "a number of seconds", " seconds")


def _number(name: str, value: object, what: str = "a number", unit: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {what}, got {value!r}")
    number = float(value)
    if not math.isfinite(number) or number < 0.0:
        raise ValueError(f"{name} must be finite and >= 0{unit}, got {value!r}")
    return number


#: Costs in units of one forward timestep, used where nobody measured: an acoustic wave equation of second
#: order in time on two cores, where a state is copied in about half a forward step and a call costs a few
#: hundredths of one.
RELATIVE_COSTS = Costs(
    forward_step=1.0, reverse_step=1.5, forward_call=0.02, reverse_call=0.02, save=0.5, load=0.5
)

#: The same with a disk that writes a state in twelve forward timesteps and reads it in eight.
RELATIVE_COSTS_WITH_DISK = dataclasses.replace(RELATIVE_COSTS, save=(0.5, 12.0), load=(0.5, 8.0))
