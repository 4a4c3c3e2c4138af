"""Full waveform inversion of many shots inside a memory budget, from a starting model to figures.

The whole of it, to read and to change: a true model makes the observed data, L-BFGS-B of SciPy fits a smooth
starting model to them between bounds, and every gradient is checkpointed by pyrevolve. Shots are computed by
Dask workers, each of which compiles once and keeps its snapshots' memory; with --mpi every shot is divided
among processes instead.

    python examples/fwi/fwi.py                                        # a generated model, about two minutes
    python examples/fwi/fwi.py --model vp_marmousi_bi                 # Marmousi, every fourth point
    python examples/fwi/fwi.py --3d --size 41                         # the same in three dimensions
    mpirun -n 2 python examples/fwi/fwi.py --mpi                      # domain decomposition
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import functools
import hashlib
import io
import logging
import math
import os
import signal
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

try:
    from matplotlib.figure import Figure
    from scipy.optimize import minimize
    from tqdm.auto import tqdm
except ImportError as error:
    raise ImportError(f"{error}; what the inversion needs: pip install 'pyrevolve[fwi]'") from error

from pyrevolve import PeerError
from pyrevolve.budget import format_bytes, parse_bytes
from pyrevolve.cli import reported
from pyrevolve.cli.figures import save_figure
from pyrevolve.cli.output import tell
from pyrevolve.cli.parsing import Parser
from pyrevolve.cli.quantities import argument, parse_file, parse_positive, parse_shape, parse_size
from pyrevolve.colours import BLACK, BLUE, VERMILLION
from pyrevolve.inversion import AcousticShots, Gather, ShotRunner, Survey
from pyrevolve.inversion.models import (
    check_resolution,
    generated_model,
    generated_model_3d,
    load_model,
    smooth,
    water,
)
from pyrevolve.storage.file import process_rank
from pyrevolve.team import Team, together

_EPILOG = """\
examples:
  pyrevolve fwi                                            a generated model, about two minutes on two cores
  pyrevolve fwi --memory "60 MiB" --shots 24 --output more-shots
  pyrevolve fwi --model vp.bin --shape 1601x401 --spacing 7.5 --coarsen 5 --shots 16
  pyrevolve fwi --resume --iterations 10                   ten more, from where the last run ended
  pyrevolve fwi --3d --size 41                             in three dimensions
  pyrevolve fwi --scheduler tcp://head-node:8786           on a Dask cluster that is running
  mpirun -n 2 pyrevolve fwi --mpi                          every shot divided between two processes

what is written: fwi.png, and after every iteration result.npz with the arrays model, true and start [km/s],
spacing [m], misfits and errors (one value per iteration, the start first), and what tells the experiment
"""


def _directory(text: str) -> Path:
    if not text:
        raise ValueError("must name a directory")
    return Path(text)


def parser() -> Parser:
    """Return the command line."""
    result = Parser(
        prog="pyrevolve fwi",
        description="Full waveform inversion of many shots inside a memory budget: true model, observed\n"
        "data, L-BFGS-B with bounds, checkpointed gradients, figures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = argument(parse_size)
    model = result.add_argument_group("model")
    model.add_argument(
        "--model",
        type=argument(parse_file),
        metavar="FILE",
        help="P velocity in km/s: .npy, SEG-Y, or raw float32 with --shape; default: one is generated",
    )
    model.add_argument(
        "--shape",
        type=argument(parse_shape),
        metavar="NXxNZ",
        help="points of a raw file, such as 1601x401 or 401x401x201, z fastest",
    )
    model.add_argument(
        "--coarsen",
        type=int,
        metavar="N",
        help="take every so many points of the file in each dimension; default: as many as leave 50,000",
    )
    model.add_argument(
        "--spacing",
        type=argument(parse_positive),
        metavar="M",
        help="grid spacing [m] of the file before --coarsen, default 7.5, or of the generated model, "
        "default 20",
    )
    model.add_argument(
        "--size", type=int, default=101, metavar="N", help="points a side of the generated model, default 101"
    )
    model.add_argument("--3d", dest="three", action="store_true", help="generate it in three dimensions")
    model.add_argument(
        "--smoothing",
        type=argument(parse_positive),
        default=200.0,
        metavar="M",
        help="the starting model is the true one, its slowness averaged over so many metres (three "
        "points at least) three times, default 200",
    )
    shots = result.add_argument_group("shots")
    shots.add_argument("--shots", type=int, default=12, metavar="N", help="how many, default 12")
    shots.add_argument(
        "--receivers",
        type=int,
        metavar="N",
        help="of each shot, in 3D for each horizontal dimension; default: at every third point",
    )
    shots.add_argument(
        "--f0",
        type=argument(parse_positive),
        metavar="HZ",
        help="peak frequency; default: 12 points a wavelength at the top",
    )
    shots.add_argument(
        "--tn",
        type=argument(parse_positive),
        metavar="MS",
        help="recording time; default: 1100 for each km of depth",
    )
    search = result.add_argument_group("inversion")
    search.add_argument(
        "--iterations",
        type=int,
        default=25,
        metavar="N",
        help="of L-BFGS-B in this run, at most; default 25",
    )
    search.add_argument(
        "--bounds",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of the P velocity [km/s]; default: 5%% beyond those of the true model",
    )
    machine = result.add_argument_group("machine")
    machine.add_argument(
        "--memory",
        type=size,
        metavar="SIZE",
        help='budget of each process for wavefields and snapshots, such as "2 GiB"; default 20 MiB, in 3D '
        "500 MiB",
    )
    machine.add_argument(
        "--disk",
        type=size,
        metavar="SIZE",
        help="budget of each process for snapshots on disk; default: none there",
    )
    machine.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="Dask workers on this machine, default one for every core; 0: none, shots run one by one with "
        "all threads",
    )
    machine.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask cluster to use instead")
    machine.add_argument("--mpi", action="store_true", help="divide every shot among the processes of mpirun")
    output = result.add_argument_group("output")
    output.add_argument(
        "--output",
        type=argument(_directory),
        default=Path("fwi-results"),
        metavar="DIR",
        help="where results go, default %(default)s",
    )
    again = output.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last model in --output; L-BFGS-B begins anew there",
    )
    again.add_argument(
        "--overwrite", action="store_true", help="begin anew, whatever results there are in --output"
    )
    return result


# --- the experiment -----------------------------------------------------------------------------------------


@dataclass
class Experiment:
    """True and starting model, what may change, and the shots."""

    name: str
    true: np.ndarray  # km/s, shape (x, z) or (x, y, z)
    start: np.ndarray
    free: np.ndarray  # bool: not in the water, nor at the sources and receivers
    bounds: tuple[float, float]
    survey: Survey
    gathers: list[Gather]

    def digest(self) -> str:
        """Return what tells this experiment from all others."""
        told = hashlib.sha256(repr((self.bounds, self.survey)).encode())
        for array in (self.true, self.start, self.free, *(shot.source for shot in self.gathers)):
            told.update(np.ascontiguousarray(array))
        told.update(np.ascontiguousarray(self.gathers[0].receivers))
        return told.hexdigest()


def check(options: argparse.Namespace) -> None:
    """Find out what cannot be before anything is computed."""
    for name, least in (("shots", 1), ("iterations", 1), ("coarsen", 1), ("workers", 0), ("receivers", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be >= {least}, got {value}")
    for useless, given, why in (
        ("--coarsen", options.coarsen is not None and options.model is None, "without --model"),
        ("--shape", options.shape is not None and options.model is None, "without --model"),
        ("--3d", options.three and options.model is not None, "with --model"),
        ("--workers", options.workers is not None and options.mpi, "with --mpi"),
        ("--workers", options.workers is not None and options.scheduler, "with --scheduler"),
        ("--scheduler", options.scheduler is not None and options.mpi, "with --mpi"),
    ):
        if given:
            raise ValueError(f"{useless} is of no use {why}")
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"--output: {options.output} is no directory")
    there = [name for name in ("result.npz", "fwi.png") if (options.output / name).exists()]
    if options.resume and "result.npz" not in there:
        raise ValueError(f"--resume: there is no result.npz in {options.output} to go on from")
    if there and not options.resume and not options.overwrite:
        goes_on = "--resume goes on from it, " if "result.npz" in there else ""
        raise ValueError(
            f"{options.output} holds the {there[0]} of another run: {goes_on}--overwrite begins anew, and "
            "--output names another directory"
        )


def prepare(options: argparse.Namespace) -> Experiment:
    """Make models and acquisition."""
    if options.model is not None:
        true = load_model(options.model, options.shape)
        every = options.coarsen or max(1, math.ceil((true.size / 50_000) ** (1 / true.ndim)))
        true = true[(slice(None, None, every),) * true.ndim]
        name, spacing = options.model.name, (options.spacing or 7.5) * every
    elif options.three:
        true, name, spacing = generated_model_3d(options.size), "generated in 3D", options.spacing or 20.0
    else:
        true, name, spacing = generated_model(options.size), "generated", options.spacing or 20.0
    if not 1e-3 <= spacing <= 1e6:
        raise ValueError(f"--spacing must be between 1e-3 and 1e6 m, got {spacing:g}")
    f0 = options.f0 or float(f"{1000 * np.median(true[..., 0]) / (12 * spacing):.2g}")
    check_resolution(true, spacing, f0)
    true = true.astype(np.float64)
    extent = (np.array(true.shape) - 1) * spacing
    if options.smoothing > extent.max():
        raise ValueError(
            f"--smoothing must be at most the model's largest extent, {extent.max():g} m, got "
            f"{options.smoothing:g}"
        )
    start = smooth(true.astype(np.float32), max(3, round(options.smoothing / spacing))).astype(np.float64)
    low, high = options.bounds or (0.95 * true.min(), 1.05 * true.max())
    if not 0 < low <= start.min() <= start.max() <= high:
        raise ValueError(
            f"--bounds must include the starting model, {start.min():.2f} to {start.max():.2f} km/s, "
            f"got {low:g} {high:g}"
        )
    free = ~water(start)
    free[..., :4] = False  # Sources and receivers are here, where gradients are largest and tell least.
    if not free.any():
        raise ValueError(
            "the starting model is all water, of which nothing can change: a model needs more below"
        )
    survey = Survey(true.shape, spacing, options.tn or 1.1 * extent[-1], f0, vmax=high)
    depth = 2.3 * spacing  # Between grid points, so that Devito spreads every point over its neighbours.

    def line(count: int, axis: int) -> np.ndarray:
        return np.linspace(1.3 * spacing, extent[axis] - 1.3 * spacing, count)

    count = options.receivers or max(2, (true.shape[0] - 1) // 3)
    if true.ndim == 2:
        receivers = np.stack([line(count, 0), np.full(count, depth)], axis=1)
        sources = np.stack([line(options.shots, 0), np.full(options.shots, depth)], axis=1)
    else:
        x, y = np.meshgrid(line(count, 0), line(count, 1), indexing="ij")
        receivers = np.stack([x.ravel(), y.ravel(), np.full(x.size, depth)], axis=1)
        side = int(np.ceil(np.sqrt(options.shots)))
        x, y = np.meshgrid(line(side + 2, 0)[1:-1], line(side + 2, 1)[1:-1], indexing="ij")
        sources = np.stack([x.ravel(), y.ravel(), np.full(x.size, depth)], axis=1)[: options.shots]
    gathers = [Gather(source, receivers) for source in sources]
    return Experiment(name, true, start, free, (low, high), survey, gathers)


def make_problem(memory: int, survey: Survey, gather: Gather, disk: int | None) -> AcousticShots:
    """Make what a process needs to compute shots; called once in each."""
    from devito import configuration

    configuration["log-level"] = "ERROR"
    if "DEVITO_LANGUAGE" not in os.environ:
        configuration["language"] = "openmp"
    problem = AcousticShots(survey, gather, memory=memory, disk=disk)
    problem.prepare()  # A budget that is too small is known before anything is simulated.
    return problem


# --- the inversion ------------------------------------------------------------------------------------------


@dataclass
class Inversion:
    """L-BFGS-B over the free part of the model, in variables scaled by the illumination.

    v = start + scale * x: the scale is a diagonal preconditioner, 1 / sqrt(illumination), so that what few
    waves reach changes as much as what many do (Shin, Jang and Min 2001,
    doi:10.1046/j.1365-2478.2001.00279.x).
    """

    experiment: Experiment
    runner: ShotRunner
    gathers: list[Gather]  # with observed data
    misfits: list[float] = field(default_factory=list)  # after every iteration, the start's first
    errors: list[float] = field(default_factory=list)  # relative, of the model where it is free
    evaluations: int = 0

    def run(
        self, start: np.ndarray, iterations: int, after: Callable[[np.ndarray, Inversion], None]
    ) -> np.ndarray:
        """Return the model that fits best."""
        free = self.experiment.free
        low, high = self.experiment.bounds
        illumination = self.runner.sum("illumination", start)[free]
        scale = 1.0 / np.sqrt(illumination / illumination.max() + 1e-3)
        misfit, gradient = self.gradient(start)
        if not self.misfits:
            self.misfits, self.errors = [misfit], [self.model_error(start)]
        # SciPy's first step has length 1 in x: let it change no velocity by more than 0.05 km/s.
        slope = scale * gradient[free]
        if not slope.any():
            raise ValueError(
                f"the data do not depend on the model in {self.experiment.survey.tn:g} ms; give a longer --tn"
            )
        scale *= 0.05 / np.abs(scale * slope / np.linalg.norm(slope)).max()
        latest = (np.zeros(slope.size), misfit, gradient)

        def velocity(x: np.ndarray) -> np.ndarray:
            model = start.copy()
            model[free] = np.clip(start[free] + scale * x, low, high)
            return model

        def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal latest
            if not np.array_equal(x, latest[0]):
                latest = (x.copy(), *self.gradient(velocity(x)))
                self.evaluations += 1
            _, misfit, gradient = latest
            return misfit / self.misfits[0], scale * gradient[free] / self.misfits[0]

        def accepted(x: np.ndarray) -> None:
            evaluate(x)  # which it has been, as a rule
            model = velocity(x)
            self.misfits.append(latest[1])
            self.errors.append(self.model_error(model))
            after(model, self)

        found = minimize(
            evaluate,
            np.zeros(slope.size),
            jac=True,
            method="L-BFGS-B",
            bounds=np.stack([(low - start[free]) / scale, (high - start[free]) / scale], axis=1),
            callback=accepted,
            options={"maxiter": iterations, "maxcor": 10, "ftol": 1e-9, "gtol": 0.0},
        )
        return velocity(found.x)

    def gradient(self, model: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the misfit of all shots and its gradient."""
        misfit, gradient = self.runner.sum("misfit_and_gradient", model, shots=self.gathers)
        return misfit, gradient

    def model_error(self, model: np.ndarray) -> float:
        """Return the relative error of the model where it is free."""
        free, true = self.experiment.free, self.experiment.true
        return float(np.linalg.norm(model[free] - true[free]) / np.linalg.norm(true[free]))


# --- who computes, who prints -------------------------------------------------------------------------------


@contextlib.contextmanager
def dask_client(options: argparse.Namespace) -> Iterator[Any]:
    """Yield a Dask client, or None where shots are computed in this process."""
    workers = options.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if options.mpi or (workers == 0 and not options.scheduler):
        yield None
        return
    from distributed import Client, LocalCluster

    if options.scheduler:
        try:
            client = Client(options.scheduler)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--scheduler {options.scheduler}: {error}; give the address of a scheduler that is running, "
                "such as tcp://host:8786"
            ) from error
        with client:
            yield client
        return
    # Ctrl-C is for this process, which then ends the workers; they are not to hear it themselves.
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # One thread each: many shots side by side are faster than many threads on one shot.
        cluster = LocalCluster(
            n_workers=min(workers, options.shots),
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,  # What goes wrong is raised here.
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    with cluster, Client(cluster) as client:
        yield client


class Progress:
    """Bars on a terminal or in a notebook; elsewhere a line after each iteration."""

    def __init__(self, iterations: int, quiet: bool) -> None:
        hidden = True if quiet else None  # None: hidden where standard error is no terminal.
        self._iterations = tqdm(total=iterations, unit="iteration", desc="inversion", disable=hidden)
        self._shots = tqdm(unit="shot", leave=False, disable=hidden)
        self._lines = bool(self._iterations.disable) and not quiet
        self._began = time.perf_counter()
        self._done = 0

    def shot(self, done: int, total: int) -> None:
        """Take notice of a shot."""
        if done == 1:
            self._shots.reset(total)
        self._shots.update()

    def iteration(self, inversion: Inversion) -> None:
        """Take notice of an iteration."""
        self._done += 1
        resident = max(worker.peak_resident for worker in inversion.runner.workers())
        said = {
            "misfit": f"{inversion.misfits[-1] / inversion.misfits[0]:.2%}",
            "model error": f"{inversion.errors[-1]:.2%}",
            "largest process": f"{format_bytes(resident)} resident",
        }
        self._iterations.set_postfix(said)
        self._iterations.update()
        if self._lines:
            all_of_them = self._iterations.total + len(inversion.misfits) - 1 - self._done
            left = (time.perf_counter() - self._began) / self._done * (self._iterations.total - self._done)
            text = ", ".join(f"{name} {value}" for name, value in said.items())
            tell(f"iteration  {len(inversion.misfits) - 1:3d} of {all_of_them}: {text}, {left:.0f} s left")

    def close(self) -> None:
        """Take the bars away."""
        self._shots.close()
        self._iterations.close()


def main(given: list[str] | None = None) -> int:
    """Run the inversion; returns the exit status."""
    arguments = sys.argv[1:] if given is None else given
    # What is wrong with the arguments is wrong in all processes of mpirun alike.
    others = "--mpi" in arguments and bool(process_rank())
    reader, unsaid, options = parser(), io.StringIO(), None
    try:
        with contextlib.redirect_stderr(unsaid) if others else contextlib.nullcontext():
            options = reader.parse_args(arguments)
        with reader.speaking():
            return run(options)
    except (SystemExit, ValueError, ImportError) as error:
        status = error.code if isinstance(error, SystemExit) else 1 + isinstance(error, ValueError)
        if others and status and ended_within(3.0):
            return status
        print(unsaid.getvalue(), end="", file=sys.stderr)
        raise
    except PeerError:  # Whose error it was says so.
        ended_within(5.0)
        return 1
    except KeyboardInterrupt:
        if options is not None and not others and (options.output / "result.npz").is_file():
            print(f"the last model is in {options.output}: --resume goes on", file=sys.stderr)
        raise


def ended_within(seconds: float) -> bool:
    """Wait for mpirun, which ends all processes once one has said what is wrong; return whether it did."""
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return True
    return False


def in_step(comm: Any, work: Callable[[], None]) -> None:
    """Let the first process do something that may fail; where it does, the others raise PeerError."""
    first = comm is None or comm.rank == 0
    together(None if comm is None else Team(comm), work if first else lambda: None)()


#: Where Open MPI, MPICH with Intel MPI, and MVAPICH say how many processes were started.
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def run(options: argparse.Namespace) -> int:
    """Invert, in this process or in step with others."""
    if not options.mpi:
        if any(int(os.environ.get(name, "1")) > 1 for name in LAUNCHED):
            raise ValueError("started by mpirun without --mpi: every process would do the same")
        return invert(options, None)
    from devito import configuration
    from mpi4py import MPI

    mine = not MPI.Is_initialized()  # Devito asks mpi4py to leave this to whoever needs it.
    if mine:
        MPI.Init()
    configuration["mpi"] = True
    status = invert(options, MPI.COMM_WORLD)
    if mine:  # Not after a failure, where it would wait for processes that do not know of that.
        atexit.register(MPI.Finalize)
    return status


def invert(options: argparse.Namespace, comm: Any) -> int:
    """Prepare, invert, report, draw."""
    first = comm is None or comm.rank == 0

    def say(text: str) -> None:
        if first:
            tell(text)

    began = time.perf_counter()
    in_step(comm, functools.partial(check, options))
    experiment = prepare(options)
    kept = read_result(options.output, experiment) if options.resume else None
    true, survey = experiment.true, experiment.survey
    memory = options.memory
    if memory is None:
        memory = parse_bytes("20 MiB" if true.ndim == 2 else "500 MiB")
    say(
        f"model      {experiment.name}: {' x '.join(map(str, true.shape))} points of {survey.spacing:g} m, "
        f"{true.min():.2f} to {true.max():.2f} km/s"
    )
    say(
        f"shots      {len(experiment.gathers)} of {survey.tn:g} ms and {survey.f0:g} Hz, "
        f"{len(experiment.gathers[0].receivers)} receivers each"
    )
    make = functools.partial(make_problem, survey=survey, gather=experiment.gathers[0], disk=options.disk)
    with dask_client(options) as client:
        if client is not None:
            say(f"workers    {len(client.scheduler_info()['workers'])} of Dask at {client.scheduler.address}")
        elif comm is not None and comm.size > 1:
            say(f"workers    {comm.size} processes share every shot")
        elif comm is not None:
            say("workers    one process alone; start with: mpirun -n 2 pyrevolve fwi --mpi")
        progress = Progress(options.iterations, quiet=not first)
        with (
            contextlib.closing(progress),
            ShotRunner(
                make, experiment.gathers, memory=memory, client=client, on_shot=progress.shot
            ) as runner,
        ):
            say("observed   compiling, then simulating in the true model ...")
            observed = runner.map("simulate", true)
            gathers = [
                Gather(shot.source, shot.receivers, data)
                for shot, data in zip(experiment.gathers, observed, strict=True)
            ]
            say(f"plan       {runner.workers()[0].problem}")
            inversion = Inversion(experiment, runner, gathers)
            start = experiment.start
            if kept is not None:
                start, inversion.misfits, inversion.errors = kept
            before = max(0, len(inversion.misfits) - 1)
            say("inversion  L-BFGS-B ...")

            def after(model: np.ndarray, inversion: Inversion) -> None:
                in_step(comm, functools.partial(save, options.output, model, inversion))
                progress.iteration(inversion)

            result = inversion.run(start, options.iterations, after)
            in_step(comm, functools.partial(save, options.output, result, inversion))
            gather = gathers[len(gathers) // 2]  # The shot that is drawn.
            simulated = [
                runner.map("simulate", model, shots=[gather])[0] for model in (experiment.start, result)
            ]
            times = runner.map("times", shots=[gather])[0] / 1000
            workers = runner.workers()
    if comm is not None:
        workers = [
            dataclasses.replace(worker, name=f"process {rank}")
            for rank, each in enumerate(comm.gather(workers, root=0) or [])
            for worker in each
        ]
    if not first:
        return 0
    misfits, errors = inversion.misfits, inversion.errors
    picture = options.output / "fwi.png"
    draw(picture, inversion, result, gather, simulated, times)
    digest = hashlib.sha256(np.ascontiguousarray(result)).hexdigest()[:16]
    say(
        f"misfit     {misfits[0]:.6g} at the start, {misfits[-1]:.6g} after {len(misfits) - 1} iterations "
        f"({len(misfits) - 1 - before} in this run, with {inversion.evaluations + 1} gradients): "
        f"{misfits[-1] / misfits[0]:.2%}"
    )
    say(
        f"model      {errors[0]:.2%} from the true one at the start, {errors[-1]:.2%} at the end; "
        f"SHA-256 {digest} ..."
    )
    for worker in workers:
        say(f"memory     {worker}")
    say(f"time       {time.perf_counter() - began:.1f} s")
    say(f"written    {picture}, {options.output / 'result.npz'}")
    return 0


# --- files --------------------------------------------------------------------------------------------------


def save(directory: Path, model: np.ndarray, inversion: Inversion) -> None:
    """Write the model and how it came about, so that what is there is always whole."""
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / "result.partial.npz"
    try:
        np.savez_compressed(
            partial,
            model=model,
            true=inversion.experiment.true,
            start=inversion.experiment.start,
            spacing=inversion.experiment.survey.spacing,
            experiment=inversion.experiment.digest(),
            misfits=inversion.misfits,
            errors=inversion.errors,
        )
        os.replace(partial, directory / "result.npz")
    finally:
        partial.unlink(missing_ok=True)


def read_result(directory: Path, experiment: Experiment) -> tuple[np.ndarray, list[float], list[float]]:
    """Return the last model, misfits and errors; what L-BFGS-B knew of the curvature is lost."""
    path = directory / "result.npz"
    try:
        with np.load(path) as kept:
            digest = str(kept["experiment"])
            model, misfits, errors = (np.array(kept[name]) for name in ("model", "misfits", "errors"))
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path} is damaged, or was not written by pyrevolve fwi; choose another --output"
        ) from error
    if digest != experiment.digest():
        raise ValueError(f"{path} is of another model or other shots; choose another --output")
    whole = (
        all(array.dtype == np.float64 and np.isfinite(array).all() for array in (model, misfits, errors))
        and model.shape == experiment.true.shape
        and misfits.shape == errors.shape == (len(misfits),)
        and len(misfits) > 0
        and misfits[0] > 0
        and min(misfits.min(), errors.min()) >= 0
    )
    if not whole:
        raise ValueError(f"{path} was changed since pyrevolve fwi wrote it; choose another --output")
    return model, misfits.tolist(), errors.tolist()


def draw(
    path: Path,
    inversion: Inversion,
    result: np.ndarray,
    gather: Gather,
    simulated: list[np.ndarray],
    times: np.ndarray,
) -> None:
    """Write the picture: models, misfit and model error, data of one shot."""
    experiment = inversion.experiment
    middle = experiment.true.shape[1] // 2 if experiment.true.ndim == 3 else None
    spacing = experiment.survey.spacing / 1000
    figure = Figure(figsize=(15, 8.4), layout="constrained")
    axes = figure.subplots(2, 3)

    limits = {"vmin": experiment.true.min(), "vmax": experiment.true.max()}
    for axis, values, title in zip(
        axes.flat,
        (experiment.true, experiment.start, result),
        ("True model", "Start", "Result"),
        strict=False,
    ):
        section = values if middle is None else values[:, middle, :]
        extent = (0.0, (section.shape[0] - 1) * spacing, (section.shape[1] - 1) * spacing, 0.0)
        shown = axis.imshow(section.T, extent=extent, cmap="viridis", aspect="auto", **limits)
        axis.set(title=title, xlabel="x [km]", ylabel="depth [km]")
    figure.colorbar(shown, ax=axes[0, :], label="P velocity [km/s]")

    axis, iterations = axes[1, 0], np.arange(len(inversion.misfits))
    for values, style, colour, label in (
        (inversion.misfits, "o-", BLUE, "data misfit"),
        (inversion.errors, "s--", VERMILLION, "model error"),
    ):
        axis.semilogy(
            iterations, np.array(values) / (values[0] or 1.0), style, color=colour, ms=3, label=label
        )
    axis.set(title="Convergence", xlabel="iteration", ylabel="relative to the start")
    axis.grid(alpha=0.3, which="both")
    axis.legend()

    assert gather.observed is not None
    axis, clip = axes[1, 1], np.percentile(np.abs(gather.observed), 97)
    shown = [gather.observed, *(gather.observed - data for data in simulated)]
    width = gather.observed.shape[1]
    image = axis.imshow(
        np.concatenate(shown, axis=1),
        cmap="RdBu_r",
        vmin=-clip,
        vmax=clip,
        aspect="auto",
        extent=(0, 3, times[-1], 0),
    )
    for edge in (1, 2):
        axis.axvline(edge, color=BLACK, lw=1)
    axis.set_xticks([0.5, 1.5, 2.5], ["observed", "observed\n- start", "observed\n- result"])
    x = gather.source[0] / 1000
    axis.set(title=f"Shot at x = {x:.2f} km", xlabel=f"{width} receivers each", ylabel="time [s]")
    figure.colorbar(image, ax=axis, location="bottom", aspect=40, label="pressure, clipped [a.u.]")

    axis, trace = axes[1, 2], width // 5
    for data, style, label in (
        (gather.observed, {"color": BLACK, "lw": 2.2}, "observed"),
        (simulated[0], {"color": VERMILLION, "ls": "--"}, "start"),
        (simulated[1], {"color": BLUE, "ls": "-"}, "result"),
    ):
        axis.plot(times, data[:, trace], label=label, **style)
    axis.set(title=f"The same shot, receiver {trace + 1}", xlabel="time [s]", ylabel="pressure [a.u.]")
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path, dpi=100)


if __name__ == "__main__":
    sys.exit(reported("pyrevolve fwi", main))
