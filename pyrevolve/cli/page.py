"""A schedule as one interactive page, which needs nothing but a browser."""

from __future__ import annotations

import base64
import dataclasses
import html
import importlib.resources
import json
import zlib
from typing import Any

import numpy as np

from .. import __version__
from ..colours import BLUE, FORWARD, ON_DARK, REVERSE, SKY, TIERS, VERMILLION
from ..crevolve import Content, Kind
from ..quantities import number_text, time_text
from .cost_options import GivenCosts
from .shown import Shown

__all__ = ["page"]

#: Bits beside the kind of an instruction, as page.js reads them.
_KEEP, _STEP_DATA = 8, 16


def page(shown: Shown, costs: GivenCosts) -> str:
    """Return the page: timesteps against execution, snapshots held, with hover and play.

    Parameters
    ----------
    shown : Shown
        The schedule.
    costs : GivenCosts
        From which the time comes.

    Returns
    -------
    str
        HTML with its style, its script and all instructions in it; it loads nothing.
    """
    title = f"{shown.name}: {', '.join(shown.parameters())}"
    # "</" would end the script element that the data is in.
    data = json.dumps(_data(shown, costs), separators=(",", ":")).replace("</", "<\\/")
    parts = {
        "title": html.escape(title),
        "name": html.escape(shown.name),
        "parameters": html.escape(" · ".join(shown.parameters())),
        "counts": "\n".join(_counts(shown, costs)),
        "assumptions": html.escape(_assumptions(costs)),
        "version": __version__,
        "style": _palette() + _file("page.css"),
        "data": data,
        "script": _file("page.js"),
    }
    text = _file("page.html")
    for name, value in parts.items():
        text = text.replace(f"<!-- {name} -->", value)
    return text


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _palette() -> str:
    """Return the colours that page.css takes from this package."""
    return f":root {{ --blue: {BLUE}; --sky: {SKY}; --vermillion: {VERMILLION}; }}\n"


def _data(shown: Shown, costs: GivenCosts) -> dict[str, Any]:
    window, lookback, lag = shown.schedule.needs
    return {
        "timesteps": shown.n_timesteps,
        "window": window,
        "lookback": lookback,
        "lag": lag,
        # Loaded step data brings the next state along.
        "carries": bool(getattr(shown.schedule, "stiffly_accurate", False)),
        "unit": costs.unit,
        "colors": {"forward": FORWARD, "reverse": REVERSE, "onDark": ON_DARK},
        "tiers": [
            {
                "name": shown.tiers[tier],
                "where": shown.where(tier),
                "slots": shown.capacities[tier],
                "color": TIERS[tier % len(TIERS)],
                "save": costs.costs.save_at(tier) if shown.copies(Kind.SAVE, tier) else 0.0,
                "load": costs.costs.load_at(tier),
            }
            for tier in range(len(shown.tiers))
        ],
        "costs": {
            name: value
            for name, value in dataclasses.asdict(costs.costs).items()
            if name not in ("save", "load")
        },
        "length": len(shown.rows),
        "instructions": _packed(shown),
    }


def _packed(shown: Shown) -> str:
    """Return the instructions as columns, deflated, in base64.

    Little-endian: start or t, stop or slot (float64 each), tier (int8), kind and bits (uint8).
    """
    rows = shown.rows
    ranges = shown.of_kind(Kind.FORWARD, Kind.REVERSE)
    first = np.where(ranges, rows["start"], rows["t"])
    second = np.where(ranges, rows["stop"], rows["slot"])
    if max(first.max(initial=0), second.max(initial=0)) > 2**53:
        raise ValueError("a page counts to 2**53 timesteps; give fewer")
    bits = rows["kind"] + _KEEP * rows["keep"] + _STEP_DATA * (rows["content"] == Content.STEP_DATA)
    columns = (first.astype("<f8"), second.astype("<f8"), rows["tier"].astype("i1"), bits.astype("u1"))
    return base64.b64encode(zlib.compress(b"".join(c.tobytes() for c in columns))).decode()


def _counts(shown: Shown, costs: GivenCosts) -> list[str]:
    """Return the counts at the top, each with its name and a remark."""
    total = float(shown.ends(costs.costs)[-1])
    counts = [
        ("forward timesteps", f"{shown.forward_steps:,}", f"{shown.recompute_factor:.3f} per timestep"),
        ("forward calls", f"{shown.calls(Kind.FORWARD):,}", ""),
        ("reverse calls", f"{shown.calls(Kind.REVERSE):,}", ""),
    ]
    counts += [
        (f"snapshots {shown.where(tier)}", f"≤ {int(shown.held(tier).max()):,}", shown.traffic(tier))
        for tier in shown.used_tiers
        if shown.copies(Kind.SAVE, tier) or shown.copies(Kind.LOAD, tier)
    ]
    time = time_text(total) if costs.measured else f"{total:,.0f}" if total >= 1000 else number_text(total)
    counts.append(("predicted time", time, "" if costs.measured else "forward timesteps"))
    return [
        f"<div><dt>{name}</dt><dd>{html.escape(value)}<small>{html.escape(remark)}</small></dd></div>"
        for name, value, remark in counts
    ]


def _assumptions(costs: GivenCosts) -> str:
    said = costs.sentence()
    return "Every copy is waited for." + (f" Assumed: {said}." if said else "")
