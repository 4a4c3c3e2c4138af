"""The options that say what timesteps, calls and copies cost, and what is assumed where they do not."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from ..costs import RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK, Costs
from ..quantities import cost_text, time_text
from .quantities import Transfer, argument, listed, parse_duration, parse_transfer

__all__ = ["GivenCosts", "add_cost_options", "given_costs"]

_DURATIONS = ("forward_step", "reverse_step", "forward_call", "reverse_call")
_TRANSFERS = ("save", "load")
_SHARE = "interference"
#: Durations for which there is no option.
_IN_FILES = ("recording",)


@dataclasses.dataclass(frozen=True)
class GivenCosts:
    """Costs, and where they come from.

    Attributes
    ----------
    costs : Costs
        For as many tiers as were asked for, or more.
    measured : bool
        Whether they are seconds. False: nothing was given, and the unit is a forward timestep.
    assumed : dict of str to float
        Those that were not given, in words, such as ``"save to disk"``.
    """

    costs: Costs
    measured: bool
    assumed: dict[str, float]

    @property
    def unit(self) -> str:
        """The unit of time."""
        return "s" if self.measured else "forward timesteps"

    def text(self, value: float) -> str:
        """Return a time in this unit for people to read."""
        return cost_text(value, self.measured)

    def sentence(self) -> str:
        """Return in words what was assumed; empty where nothing was."""
        values = [
            f"{name} {time_text(value) if self.measured else f'{value:g}'}"
            for name, value in self.assumed.items()
        ]
        if not values:
            return ""
        why = (
            "in proportion to the forward step"
            if self.measured
            else "in forward timesteps; nothing was measured"
        )
        return f"{', '.join(values)} ({why}, as of an acoustic wave equation)"


def add_cost_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group(
        "costs",
        "A time such as 0.8ms; without a unit it is in seconds. What is not given is assumed in proportion\n"
        "to the forward timestep; without that all times are told in forward timesteps.",
    )
    duration = argument(parse_duration)
    group.add_argument("--forward-step", type=duration, metavar="TIME", help="one forward timestep")
    group.add_argument("--reverse-step", type=duration, metavar="TIME", help="one adjoint timestep")
    group.add_argument(
        "--forward-call",
        type=duration,
        metavar="TIME",
        help="what a call of the forward operator costs besides",
    )
    group.add_argument(
        "--reverse-call",
        type=duration,
        metavar="TIME",
        help="what a call of the reverse operator costs besides",
    )
    transfers = argument(listed(parse_transfer))
    for name, what in (("--save", "storing a state"), ("--load", "loading a state")):
        group.add_argument(
            name,
            type=transfers,
            metavar="RAM[,DISK]",
            help=f"{what}, one for each tier: a time such as 8ms or a bandwidth such as 1.2GB/s",
        )
    group.add_argument(
        "--costs",
        type=Path,
        metavar="FILE",
        help="JSON object with the same names in seconds (forward_step, ..., save and load a number or a "
        "list, recording and interference, see pyrevolve.Costs), or one that has such an object under "
        '"costs"; options go before it',
    )


def given_costs(options: argparse.Namespace, tiers: int, state_bytes: int | None = None) -> GivenCosts:
    """Return the costs that the options say, completed by assumptions.

    Parameters
    ----------
    options : argparse.Namespace
        With what `add_cost_options` added.
    tiers : int
        For how many tiers, >= 1.
    state_bytes : int, optional
        Bytes of a state, of which bandwidths make times.

    Raises
    ------
    ValueError
        The file is no such object, a cost is out of its range, there are costs for fewer tiers than needed,
        or there are some but none for the forward timestep.
    """
    given: dict[str, Any] = {} if options.costs is None else _read(options.costs)
    for name in _DURATIONS:
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    for name in _TRANSFERS:
        transfers: tuple[Transfer, ...] | None = getattr(options, name)
        if transfers is not None:
            given[name] = [transfer.of(state_bytes) for transfer in transfers]
    if given and "forward_step" not in given:
        raise ValueError(
            f"{', '.join(map(_option, given))} given without --forward-step: how long does one timestep take?"
        )
    measured = bool(given)
    numbers = {name: _per_tier(given[name]) for name in _TRANSFERS if name in given}
    tiers = max([tiers, *map(len, numbers.values())])
    typical = RELATIVE_COSTS if tiers == 1 else RELATIVE_COSTS_WITH_DISK
    unit = given.get("forward_step", 1.0)
    assumed: dict[str, float] = {}
    for name in _DURATIONS:
        if name not in given:
            assumed[name.replace("_", " ")] = given[name] = getattr(typical, name) * unit
    for name, cost_at in (("save", typical.save_at), ("load", typical.load_at)):
        known = numbers.get(name, ())
        if len(known) < tiers > 2:
            raise ValueError(
                f"{tiers} tiers need as many costs for --{name}, got {len(known)}: give one for each tier, "
                "commas between, the fastest first"
            )
        rest = tuple(cost_at(tier) * unit for tier in range(len(known), tiers))
        for tier, value in enumerate(rest, start=len(known)):
            assumed[f"{name} {'to' if name == 'save' else 'from'} {('RAM', 'disk')[tier]}"] = value
        given[name] = (*known, *rest)
    for name in _TRANSFERS:
        if tiers == 1:
            given[name] = given[name][0]
    return GivenCosts(Costs(**given), measured, assumed)


def _per_tier(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read(path: Path) -> dict[str, Any]:
    """Return the costs in a file, as they are named there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the costs: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that can be read: {error}") from None
    if isinstance(found, dict) and "costs" in found:
        found = found["costs"]
    names = (*_DURATIONS, *_IN_FILES, *_TRANSFERS, _SHARE)
    if not isinstance(found, dict) or not set(found) <= set(names):
        raise ValueError(
            f"{path} must hold a JSON object with some of {', '.join(names)}, got {found!r:.200}"
        )
    for name, value in found.items():
        numbers = _per_tier(value) if name in _TRANSFERS else (value,)
        if not numbers or not all(type(number) in (int, float) and 0 <= number <= 1e12 for number in numbers):
            what = "a number" if name == _SHARE else "a number of seconds"
            raise ValueError(f"{path}: {name} must be {what}, 0 to 1e12, got {value!r:.200}")
    return found
