"""Compute the FWI gradient of one shot inside a memory budget, and say what it took."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..budget import format_bytes
from ..cli.figures import PICTURES, new_figure, path_ending_in
from ..cli.output import tell
from ..cli.parsing import Parser
from ..cli.quantities import (
    argument,
    parse_directory,
    parse_file,
    parse_positive,
    parse_shape,
    parse_size,
)
from ..inversion.models import check_resolution, generated_model, load_model, smooth
from ..inversion.resident import resident_memory
from ..storage import MemoryStorage

if TYPE_CHECKING:
    from typing_extensions import Self

    from .figure import MemorySamples


def parser() -> Parser:
    """Return the command's parser."""
    result = Parser(
        prog="pyrevolve demo",
        description="The gradient of full waveform inversion for one shot, inside a memory budget: simulates "
        "data in a true model, then back-propagates the residual of a smooth background model.",
    )
    result.add_argument(
        "--memory",
        type=argument(parse_size),
        default="100 MiB",
        metavar="SIZE",
        help='budget for the wavefield and all snapshots, such as "2 GiB"; default %(default)s',
    )
    result.add_argument(
        "--disk",
        type=argument(parse_size),
        metavar="SIZE",
        help='budget for snapshots on disk, such as "20 GiB"; default: none there',
    )
    result.add_argument(
        "--disk-dir",
        type=argument(parse_directory),
        metavar="DIR",
        help="directory for them, default where temporary files go",
    )
    result.add_argument(
        "--model",
        type=argument(parse_file),
        metavar="FILE",
        help="P velocity in km/s: .npy, SEG-Y (.sgy, .segy; one trace per x), or raw float32 with --shape; "
        "by default a layered model with anomalies is generated",
    )
    result.add_argument(
        "--shape",
        type=argument(parse_shape),
        metavar="NXxNZ",
        help="points of a raw model file, such as 1601x401, x slowest, z fastest",
    )
    result.add_argument(
        "--compression",
        choices=("lz4", "zstd", "pcodec"),
        help="compress snapshots where the plan finds that faster (needs pyrevolve[compression])",
    )
    result.add_argument(
        "--spacing", type=argument(parse_positive), default=7.5, help="grid spacing [m], default 7.5"
    )
    result.add_argument(
        "--size", type=int, default=301, help="points a side of the generated model, default 301"
    )
    result.add_argument(
        "--tn", type=argument(parse_positive), default=1500.0, help="recording time [ms], default 1500"
    )
    result.add_argument(
        "--f0",
        type=argument(parse_positive),
        default=15.0,
        help="peak frequency of the source [Hz], default 15",
    )
    result.add_argument(
        "--check", action="store_true", help="compare the gradient with store-all (as many timesteps as fit)"
    )
    result.add_argument(
        "--output",
        type=argument(path_ending_in(*PICTURES)),
        default=Path("pyrevolve-demo.png"),
        metavar="FILE",
        help="picture to write, default %(default)s",
    )
    return result


class MemoryWatch:
    """Samples memory in the background, 50 times a second, until the end of its ``with`` block."""

    def __init__(self) -> None:
        #: What of the wavefield and the snapshots is in use [bytes]; may be replaced while samples are taken.
        self.in_use: Callable[[], int] = lambda: 0
        self._stop = threading.Event()
        self._samples: list[tuple[float, int, int]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._base = resident_memory()
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    def samples(self) -> MemorySamples:
        """Return times [s], resident bytes beyond those at the start, and bytes in use."""
        times, resident, used = np.array(self._samples, dtype=np.float64).T
        return times, resident, used

    def _watch(self) -> None:
        while True:
            resident = resident_memory() - self._base
            self._samples.append((self.now(), resident, self.in_use()))
            if self._stop.wait(0.02):
                return


def main(given: list[str] | None = None) -> int:
    """Run the demonstration; returns the exit status."""
    reader = parser()
    options = reader.parse_args(given)
    with reader.speaking():
        return _demonstrate(options)


def _demonstrate(options: argparse.Namespace) -> int:
    given_model = options.model is not None
    if options.shape is not None and not given_model:
        raise ValueError("--shape is that of a raw file; give --model too, or --size for the generated model")
    vp = load_model(options.model, options.shape) if given_model else generated_model(options.size)
    points = check_resolution(vp, options.spacing, options.f0)
    logger = logging.getLogger("pyrevolve")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return run(vp, points, options)
    finally:
        logger.setLevel(level)


def run(vp: npt.NDArray[np.float32], points: float, options: argparse.Namespace) -> int:
    """Compute, print and draw; the shortest wavelength has so many grid points."""
    from devito import configuration

    from ..crevolve import Kind
    from ..devito import CheckpointedAdjoint, Problem
    from ..inversion.acoustic import Acoustic, Shot
    from .figure import draw

    memory = options.memory
    figure = new_figure(12, 8.2)  # Now, so that nothing is computed where there is no Matplotlib.
    configuration["log-level"] = "ERROR"
    if "DEVITO_LANGUAGE" not in os.environ:
        configuration["language"] = "openmp"
    background = smooth(vp, max(5, min(vp.shape) // 12))
    model = Acoustic(vp, options.spacing)
    shot = Shot(model, options.tn, f0=options.f0 / 1000)
    gradient = model.gradient_field()
    v = model.wavefield(name="v")
    where = options.model.name if options.model else "generated"
    tell(
        f"model      {where}: {' x '.join(map(str, vp.shape))} points of {options.spacing:g} m, "
        f"{vp.min():.2f} to {vp.max():.2f} km/s, absorbing layers of {model.layers} points"
    )
    tell(
        f"shot       {options.tn:g} ms in {shot.steps} timesteps of {shot.dt:g} ms, {options.f0:g} Hz: "
        f"{points:.1f} points in the shortest wavelength"
    )

    tell("observed   simulating in the true model ...")
    u = model.wavefield()
    model.forward(u, shot).apply(u=u, **shot.arguments())
    observed = shot.simulated.data.copy()
    slice_bytes = u.data_with_halo[0].nbytes
    del u
    model.set_velocity(background)

    def build(save: Any) -> Problem:
        u = model.wavefield(save)
        return Problem(
            forward=model.forward(u, shot),
            recompute=model.forward(u, shot, receivers=False),
            reverse=model.gradient(u, v, shot, gradient),
        )

    def compute(runner: Any) -> npt.NDArray[Any]:
        gradient.data[:] = 0
        runner.forward()
        shot.residual.data[:] = shot.simulated.data - observed
        runner.reverse()
        return np.array(gradient.data)

    tell("plan       building and measuring the operators ...")
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(MemoryWatch())
        adjoint = stack.enter_context(
            CheckpointedAdjoint(
                build,
                memory=memory,
                disk=options.disk,
                disk_dir=options.disk_dir,
                compression=options.compression,
                arguments=shot.arguments(),
            )
        )
        plan = adjoint.plan
        store_all = (shot.steps + 2) * slice_bytes
        tell(plan)
        ring_bytes = adjoint.memory_held

        def in_use() -> int:
            storages = () if adjoint.revolver is None else adjoint.revolver.storages
            return ring_bytes + sum(_in_use(each) for each in storages if isinstance(each, MemoryStorage))

        watch.in_use = in_use
        tell("gradient   forward and reverse sweep ...")
        gradient.data[:] = 0
        began = watch.now()
        adjoint.forward()
        turn = watch.now()
        shot.residual.data[:] = shot.simulated.data - observed
        adjoint.reverse()
        ended = watch.now()
        seconds = ended - began
        samples = watch.samples()
        misfit = 0.5 * float(np.sum(shot.residual.data.astype(np.float64) ** 2)) * shot.dt
        image = np.array(gradient.data)
        steps = adjoint.profiler[Kind.FORWARD].steps
        tell(f"misfit     {misfit:.6g}")
        tell(
            f"forward    {plan.forward_steps} steps predicted, {steps} run, "
            f"{steps / shot.steps:.2f} per timestep"
        )
        tell(f"time       {plan.predicted_seconds:.2f} s predicted, {seconds:.2f} s run")
        if seconds > 3 * plan.predicted_seconds:
            tell(
                "           Something else runs on this machine, and threads wait for each other at every "
                "timestep:\n           try OMP_WAIT_POLICY=passive, or OMP_NUM_THREADS=1"
            )
        if plan.n_on_disk:
            hidden = sum(tier.transfers.hidden_seconds for tier in adjoint.profiler.tiers)
            tell(
                f"disk       {format_bytes(adjoint.disk_held)} held; {plan.predicted_wait:.2f} s of waiting "
                f"predicted, {adjoint.profiler.waited_seconds:.2f} s waited, {hidden:.2f} s hidden"
            )
        if plan.compressed:
            tell(f"compressed {adjoint.compression_ratio:.2f} times smaller; {adjoint.compression_error}")
        tell(
            f"memory     {format_bytes(adjoint.memory_held)} of {format_bytes(memory)} held; "
            f"store-all would take {format_bytes(store_all)}, "
            f"{store_all / adjoint.memory_held:.1f} times as much"
        )
        tell(
            f"           {format_bytes(int(samples[1].max()))} more resident at the peak than before planning"
        )
        draw(
            figure,
            options.output,
            vp=vp,
            background=background,
            gradient=model.physical(image),
            spacing=options.spacing,
            samples=samples,
            sweeps=(began, turn),
            held=adjoint.memory_held,
            budget=memory,
            store_all=store_all,
        )
        tell(f"picture    {options.output}")
        if not options.check:
            return 0
        tell("check      comparing with store-all ...")
        verification = adjoint.verify(compute)
        tell(verification)
        return 0 if verification.passed else 1


def _in_use(storage: MemoryStorage) -> int:
    """Return how many bytes of a storage are full; may be called while it is used by another thread."""
    left = storage.bytes_left
    if left is not None:
        return storage.nbytes - left
    return storage.state_nbytes * sum(t is not None for t in storage.timesteps)


if __name__ == "__main__":
    from ..cli import main as command

    sys.exit(command(["demo", *sys.argv[1:]]))
