"""Settings and places that several test modules share."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from mpi_launch import launch, launch_devito  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

# No time limits: the machine that runs the tests may be busy.
settings.register_profile(
    "pyrevolve", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("pyrevolve"), max_examples=1000)
settings.load_profile(os.environ.get("PYREVOLVE_HYPOTHESIS", "pyrevolve"))

_CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def golden() -> Callable[..., list[dict[str, str]]]:
    """Read a file of reviewed reference values; skip the test where there is none.

    `columns` names the columns of a file without a header.
    """
    folder = Path(os.environ.get("PYREVOLVE_GOLDEN", _CHECKOUT.parent / "shared" / "golden"))

    def read(name: str, columns: list[str] | None = None) -> list[dict[str, str]]:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"no golden file {name}: set PYREVOLVE_GOLDEN to the folder that has it")
        with path.open(newline="") as lines:
            return list(csv.DictReader(lines, columns))

    return read
