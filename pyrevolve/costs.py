"""What the operations of a checkpointed adjoint cost."""

from __future__ import annotations

import dataclasses
import math
import numbers

__all__ = ["RELATIVE_COSTS", "Costs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Hold the costs from which a plan predicts time.

    Parameters
    ----------
    forward_step : float
        One forward timestep inside a call [s], finite, >= 0.
    reverse_step : float
        One adjoint timestep inside a call [s], finite, >= 0.
    forward_call : float
        What one call of the forward operator costs besides its timesteps [s], finite, >= 0.
    reverse_call : float
        What one call of the reverse operator costs besides its timesteps [s], finite, >= 0.
    save : float
        Copying one state into a slot [s], finite, >= 0.
    load : float
        Copying one state back from a slot [s], finite, >= 0.

    Raises
    ------
    TypeError
        A cost is not a real number.
    ValueError
        A cost is negative, infinite or NaN.

    Notes
    -----
    The predicted time of a schedule is

        T = forward_step*F + reverse_step*n + forward_call*C_f + reverse_call*C_b + save*saves + load*loads

    with F the forward timesteps that are run, C_f and C_b the calls of the two operators. Only ratios decide
    which plan is best, so any unit may be used; with seconds, ``Plan.predicted_seconds`` is in seconds.

    Examples
    --------
    >>> Costs(forward_step=0.8e-3, reverse_step=1.2e-3, save=0.5e-3, load=0.5e-3).reverse_step
    0.0012
    """

    forward_step: float
    reverse_step: float
    forward_call: float = 0.0
    reverse_call: float = 0.0
    save: float = 0.0
    load: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"{field.name} must be a number of seconds, got {value!r}")
            seconds = float(value)
            if not math.isfinite(seconds) or seconds < 0.0:
                raise ValueError(f"{field.name} must be finite and >= 0 seconds, got {value!r}")
            object.__setattr__(self, field.name, seconds)

    def total(
        self,
        *,
        forward_steps: int,
        reverse_steps: int,
        forward_calls: int,
        reverse_calls: int,
        saves: int,
        loads: int,
    ) -> float:
        """Return the time that these counts take.

        Parameters
        ----------
        forward_steps, reverse_steps, forward_calls, reverse_calls, saves, loads : int
            Counts of a schedule, >= 0.

        Returns
        -------
        float
            Predicted time [s].
        """
        return (
            self.forward_step * forward_steps
            + self.reverse_step * reverse_steps
            + self.forward_call * forward_calls
            + self.reverse_call * reverse_calls
            + self.save * saves
            + self.load * loads
        )


#: Costs in units of one forward timestep, used where nobody measured: an acoustic wave equation of second
#: order in time on two cores, where a state is copied in about half a forward step and a call costs a few
#: hundredths of one.
RELATIVE_COSTS = Costs(
    forward_step=1.0, reverse_step=1.5, forward_call=0.02, reverse_call=0.02, save=0.5, load=0.5
)
