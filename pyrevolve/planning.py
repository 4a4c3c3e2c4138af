"""From budgets of memory and disk to the fastest schedule that fits them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from . import crevolve
from .arguments import at_least, check_initial_state, resolve_lag
from .budget import Bytes, exact_bytes, parse_bytes
from .costs import RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK, CompressionCosts, Costs, check_costs
from .crevolve import Counts
from .errors import BudgetError
from .plans import Family, Plan, Tier
from .schedules import HRevolve
from .storage.file import BLOCK

__all__ = ["Plan", "plan", "plan_curve"]

#: Up to so much n**2 times rows in all, tables of H-Revolve are worth the time of a plan (about 30 ms).
_MOST_TABLE_WORK = 600_000_000

#: How many times fewer compressed snapshots than fit are tried from one number to the next: where only these
#: are looked for, and where those on disk are too.
_FINELY, _COARSELY = 2**0.25, 2.0

#: Shares of the memory for snapshots that bare ones are tried with, where others are compressed.
_SHARES = (0.25, 0.5, 0.75)

_LOG = logging.getLogger("pyrevolve.planning")

_INT64_MAX = (1 << 63) - 1


def plan(
    n_timesteps: int,
    *,
    state_bytes: int,
    window_slice_bytes: int,
    memory: Bytes,
    disk: Bytes | None = None,
    fixed_bytes: int = 0,
    lookback: int = 0,
    lag: int | None = None,
    initial_state: Literal["stored", "free"] = "stored",
    min_window: int = 1,
    max_window: int | None = None,
    costs: Costs | None = None,
    compression: CompressionCosts | None = None,
    overlap: bool = True,
    buffers: int = 2,
) -> Plan:
    """Choose the schedule, the window and the snapshots that take the least predicted time.

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
    disk : int, float or str, optional
        The budget for snapshots on disk. None: none are put there.
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
    costs : Costs, optional
        What the operations cost, with two tiers where `disk` is given. Measured costs give the best plan
        (`measure_costs`); without them typical ratios are assumed.
    compression : CompressionCosts, optional
        What compression makes of the snapshots, and costs; see `measure_compression`. Plans that compress
        what lies in RAM, on disk, or both are then weighed beside those that do not. None: only the latter.
    overlap : bool
        Whether the storage on disk writes behind the run and reads ahead, as `DiskStorage` does, so that
        transfers run beside timesteps. False: every transfer is waited for, and there are no buffers.
    buffers : int
        Staging buffers of one state each that an overlapping storage takes from `memory`, >= 1.

    Returns
    -------
    Plan
        With what it holds in RAM <= memory and on disk <= disk, and with the best plan of every other family
        as ``runners_up``.

    Raises
    ------
    TypeError
        A float where an integer belongs, `costs` is no Costs, or `compression` no CompressionCosts.
    ValueError
        An argument is outside the range stated above, or `disk` is given and `costs` have no tier for it.
    BudgetError
        The budget does not hold the smallest window and, where the initial state is stored and there is no
        disk for it, one snapshot; the message and its attribute ``required`` say how much does. A ValueError.
    OverflowError
        A count or a number of bytes does not fit in 64 bits.

    Notes
    -----
    Every family is searched over windows, with exact counts and without iterating a schedule, for the least

        T = forward_step*F + (reverse_step + recording)*n + forward_call*C_f + reverse_call*C_b
            + save*saves + load*loads

    (copies summed over tiers), or for the least overlapped time (`AsyncTwoTier.overlap`); of the other
    families with a disk, whose transfers are not foreseen in detail, every transfer is taken to be waited
    for. A fifth of the transfers that are hidden is added: they slow the timesteps down. The window of the
    RAM-only family is the best of all. For the others windows and numbers of
    snapshots are tried in geometric steps; `HRevolve` only for the windows that are best for the other
    families, with as many snapshots in RAM as its dynamic program can weigh within the time that a plan may
    take (about 200 for n = 1000, a few for n = 10**4, none beyond n = 24,000), and it is named only where it
    is the fastest; with compression it also divides RAM, in quarters, between bare and compressed
    snapshots. A small window reaches the fewest forward steps F with very many short calls and copies; a
    larger one trades some forward steps for far fewer of both.

    References
    ----------
    A. Griewank, A. Walther (2000), Algorithm 799: Revolve, ACM Trans. Math. Softw. 26(1), 19-45,
    doi:10.1145/347837.347846, for the schedule of window 1.

    Examples
    --------
    >>> chosen = plan(3000, state_bytes=7_000_000, window_slice_bytes=3_500_000, memory="350 MB", lookback=2)
    >>> chosen.planned_bytes <= 350_000_000
    True
    >>> chosen = plan(
    ...     3000, state_bytes=2 * 10**6, window_slice_bytes=10**6, memory="30 MB", disk="1 GB", lookback=2
    ... )
    >>> chosen.family, chosen.forward_steps < 2 * 3000
    ('two-tier', True)
    """
    n = at_least("n_timesteps", n_timesteps, 0)
    state = at_least("state_bytes", state_bytes, 0)
    piece = at_least("window_slice_bytes", window_slice_bytes, 0)
    fixed = at_least("fixed_bytes", fixed_bytes, 0)
    lookback = at_least("lookback", lookback, 0)
    buffers = at_least("buffers", buffers, 1)
    lag = resolve_lag(lookback, lag)
    check_initial_state(initial_state)
    smallest = max(at_least("min_window", min_window, 1), lookback)
    # With lag 0 the workspace at x_n also retains what x_n carries: n timesteps need a window of n + 1.
    everything = max(smallest, n + 1 - lag)
    largest = everything
    if max_window is not None:
        limit = at_least("max_window", max_window, 1)
        if limit < smallest:
            raise ValueError(
                f"max_window must be >= min_window and >= lookback, here {smallest}, got {limit}"
            )
        largest = min(largest, limit)
    budget = parse_bytes(memory)
    on_disk = 0 if disk is None else parse_bytes(disk, "disk")
    if costs is None:
        costs = RELATIVE_COSTS if disk is None else RELATIVE_COSTS_WITH_DISK
    check_costs(costs)
    if disk is not None and costs.tiers < 2:
        raise ValueError(
            "costs must have two tiers where disk= is given, save=(ram, disk) and load=(ram, disk), got "
            f"{costs!r}; measure_costs(..., directory=...) measures them"
        )
    if compression is not None and not isinstance(compression, CompressionCosts):
        raise TypeError(f"compression must be CompressionCosts, got {type(compression).__name__}")
    search = _Search(
        n=n,
        state=state,
        piece=piece,
        fixed=fixed,
        lookback=lookback,
        lag=lag,
        initial_state=initial_state,
        smallest=smallest,
        largest=largest,
        everything=everything,
        memory=budget,
        disk=on_disk,
        costs=costs,
        overlap=overlap,
        buffers=buffers if overlap else 0,
    )
    found = search.run(compression)
    if not found:
        required, what = search.required()
        raise BudgetError(
            f"memory must be >= {exact_bytes(required)} for {what}, got {exact_bytes(budget)}",
            required,
            budget,
        )
    found.sort(key=lambda candidate: candidate.predicted_seconds)
    best_of_kind = {(candidate.family, candidate.compressed): candidate for candidate in reversed(found)}
    others = tuple(
        candidate
        for candidate in found[1:]
        if candidate is best_of_kind[candidate.family, candidate.compressed]
    )
    chosen = dataclasses.replace(found[0], runners_up=others)
    _LOG.debug("plan: %s", chosen)
    return chosen


@dataclasses.dataclass(frozen=True)
class _Kept:
    """How snapshots are kept in a tier: bytes of one, seconds to copy it there and back."""

    nbytes: int
    save: float
    load: float
    compressed: bool = False


@dataclasses.dataclass(frozen=True)
class _Search:
    """All that is known of a problem, and the search of every family."""

    n: int
    state: int
    piece: int
    fixed: int
    lookback: int
    lag: int
    initial_state: Literal["stored", "free"]
    smallest: int
    largest: int
    everything: int
    memory: int
    disk: int
    costs: Costs
    overlap: bool
    buffers: int

    # --- what there is ---

    @property
    def padded(self) -> int:
        """What a state takes on disk and in a buffer [bytes]."""
        return -(-self.state // BLOCK) * BLOCK if self.overlap else self.state

    @property
    def disk_is_of_use(self) -> bool:
        return self.disk >= self.padded and self.disk > 0

    def required(self) -> tuple[int, str]:
        """Return the smallest budget that works [bytes], and what it is for."""
        snapshot = self.initial_state == "stored" and self.smallest < self.everything
        # The smallest window or, where slices are tiny beside a state, one that makes snapshots needless.
        kept = "" if not snapshot else " and one snapshot"
        plans = [
            (self.fixed + self.smallest * self.piece + snapshot * self.state, f"window {self.smallest}{kept}")
        ]
        if snapshot and self.disk_is_of_use:
            staging = self.buffers * self.padded
            plans.append(
                (
                    self.fixed + self.smallest * self.piece + staging,
                    f"window {self.smallest} and what is on its way to disk",
                )
            )
        if self.everything <= self.largest:
            plans.append((self.fixed + self.everything * self.piece, f"window {self.everything}"))
        return min(plans)

    def run(self, compression: CompressionCosts | None) -> list[Plan]:
        """Return the best plan of every family, with and without compression."""
        costs = self.costs
        bare = _Kept(self.state, costs.save_at(0), costs.load_at(0))
        small = None
        scratch = 0
        if compression is not None:
            scratch = compression.scratch_bytes
            small = _Kept(
                max(1, math.ceil(self.state / compression.ratio)), compression.save, compression.load, True
            )
        plain = self._in_memory(bare, 0)
        found = list(plain)
        if small is not None:
            for ram in self._fewer(small, _FINELY):
                found += self._in_memory(ram, scratch)
        choices: list[tuple[_Kept, _Kept, int]] = []
        if self.disk_is_of_use:
            staged_bare = self._with_disk(bare, bare, 0)
            plain += staged_bare
            found += staged_bare
            if small is not None:
                choices.append((bare, small, scratch))
                for ram in self._fewer(small, _COARSELY):
                    choices += [(ram, bare, scratch), (ram, small, scratch)]
            for ram, staged, extra in choices:
                found += self._with_disk(ram, staged, extra)
        found += self._hierarchical(found, plain, bare, small, scratch)
        return found

    def _fewer(self, small: _Kept, step: float) -> Iterator[_Kept]:
        """Yield how to keep as many compressed snapshots as fit, and fewer, by counting more bytes for each.

        Fewer are faster where copies are dear.
        """
        yield small
        nbytes = self.state / step
        while nbytes > small.nbytes:
            yield dataclasses.replace(small, nbytes=math.ceil(nbytes))
            nbytes /= step

    # --- families ---

    def _in_memory(self, ram: _Kept, scratch: int) -> list[Plan]:
        if self._largest_beside(ram, scratch) < self.smallest:
            return []
        choice = crevolve.plan_window(self.n, **self._window_search(ram, scratch))
        if not choice.window:
            return []
        return self._made(
            "revolve",
            choice.counts,
            (ram,),
            None,
            0,
            scratch,
            window=choice.window,
            predicted_seconds=choice.seconds,
        )

    def _with_disk(self, ram: _Kept, staged: _Kept, scratch: int) -> list[Plan]:
        plans: list[Plan] = []
        write, read, each = self._transfer(staged)
        staging = self.buffers * self.padded
        families: tuple[Family, ...] = ("two-tier", "multistage")
        for family in families:
            periodic = family == "two-tier"
            overlapped = periodic and self.overlap
            if periodic and ram.compressed and not staged.compressed:
                continue  # it keeps hardly anything in RAM
            # The copies to a buffer are part of what the background cannot hide; encoding is no part of a
            # transfer even where that is waited for.
            waited = float(not overlapped and (self.overlap or staged.compressed))
            if self._largest_beside(ram, scratch + staging) < self.smallest:
                continue
            search = self._window_search(ram, scratch + staging)
            if overlapped:
                search.update(save=staged.save, load=staged.load)
            choice = crevolve.plan_tiers(
                self.n,
                periodic=periodic,
                disk_states=min(self.n, self.disk // each) if each else self.n,
                overlapped=overlapped,
                buffers=max(1, self.buffers),
                write=write + waited * staged.save,
                read=read + waited * staged.load,
                interference=self.costs.interference if overlapped else 0.0,
                **search,
            )
            if choice.window and choice.counts is not None:
                plans += self._made(
                    family,
                    choice.counts,
                    (ram,),
                    staged,
                    staging,
                    scratch,
                    window=choice.window,
                    slots=(choice.slots, choice.on_disk),
                    period=choice.period or None,
                    predicted_seconds=choice.seconds,
                    # What is left of sums of many transfers and steps is rounding.
                    predicted_wait=choice.waiting if choice.waiting > 1e-9 * choice.seconds else 0.0,
                    overlapped=overlapped,
                    costs=self._costs_of((ram,), staged, waited),
                )
        return plans

    def _hierarchical(
        self, found: list[Plan], plain: list[Plan], bare: _Kept, small: _Kept | None, scratch: int
    ) -> list[Plan]:
        """Return what H-Revolve makes of the windows that are best for the other families.

        `plain` are the plans of those that were found as if there were no compression.
        """
        # (tiers in RAM with the share of it that each has), what is on disk
        bare_trials: list[tuple[tuple[tuple[_Kept, float], ...], _Kept | None]] = []
        trials: list[tuple[tuple[tuple[_Kept, float], ...], _Kept | None]] = []
        if self.disk_is_of_use:
            bare_trials.append((((bare, 1.0),), bare))
            if small is not None:
                trials.append((((small, 1.0),), small))
        if small is not None:
            for share in _SHARES:
                split = ((bare, share), (small, 1.0 - share))
                trials.append((split, None))
                if self.disk_is_of_use:
                    trials.append((split, bare))
        plans: list[Plan] = []
        # What is tried without compression does not depend on it, so that it never makes a plan worse.
        for some, among in ((bare_trials, plain), (trials, found)):
            windows = sorted({plan.window for plan in among})
            work = _MOST_TABLE_WORK // max(1, len(windows) * len(some))
            for window in windows:
                for in_memory, staged in some:
                    plans += self._one_table(window, in_memory, staged, scratch, work, [*found, *plans])
        return plans

    def _one_table(
        self,
        window: int,
        in_memory: tuple[tuple[_Kept, float], ...],
        staged: _Kept | None,
        scratch: int,
        work: int,
        found: list[Plan],
    ) -> list[Plan]:
        kept = [ram for ram, _ in in_memory] + ([] if staged is None else [staged])
        packs = any(tier.compressed for tier in kept)
        scratch *= packs
        staging = self.buffers * self.padded if staged is not None else 0
        left = self.memory - self.fixed - scratch - staging - window * self.piece
        if left < 0 or self.n < window + self.lag:
            return []
        rows = work // max(1, self.n * self.n)
        slots: list[int | None] = []
        for ram, share in in_memory:
            fits = int(left * share) // ram.nbytes if ram.nbytes else self.n
            slots.append(min(self.n, fits, max(0, rows - 1 - sum(s or 0 for s in slots))))
        save = [ram.save for ram, _ in in_memory]
        load = [ram.load for ram, _ in in_memory]
        states_on_disk = 0
        if staged is not None:
            write, read, each = self._transfer(staged)
            states_on_disk = min(self.n, self.disk // each if each else self.n)
            # A few states on disk are rows of the table each; many are as good as no bound, one row. In
            # between, as many are counted on as the table may have rows.
            enough = states_on_disk * (window + self.lookback) >= self.n
            if not enough:
                states_on_disk = min(states_on_disk, rows - sum(s or 0 for s in slots))
                if states_on_disk < 1:
                    return []
            slots.append(None if enough else states_on_disk)
            waited = self.overlap or staged.compressed
            save.append(write + waited * staged.save)
            load.append(read + waited * staged.load)
        if rows < 1 or (len(slots) > 1 and staged is None and 0 in slots):
            return []
        costs = dataclasses.replace(self.costs, save=tuple(save), load=tuple(load))
        if self.initial_state == "stored" and not any(count is None or count for count in slots):
            return []
        table = HRevolve(
            self.n,
            tuple(slots),
            costs=costs,
            window=window,
            lookback=self.lookback,
            lag=self.lag,
            initial_state=self.initial_state,
        )
        if table.optimal_cost >= min(candidate.predicted_seconds for candidate in found):
            return []
        tiers = table.counts.tiers
        slower = tiers[len(in_memory) :]
        if staged is not None and not 0 < sum(tier.peak for tier in slower) <= states_on_disk:
            return []  # without any snapshot on disk it is no plan with a disk
        if packs and not any(ram.compressed and tier.peak for ram, tier in zip(kept, tiers, strict=False)):
            return []  # nor is it one with compression where nothing is compressed
        return self._made(
            "hierarchical",
            table.counts,
            tuple(ram for ram, _ in in_memory),
            staged,
            staging,
            scratch,
            window=window,
            slots=table.capacities,
            costs=costs,
            predicted_seconds=table.makespan(costs),
            predicted_wait=sum(tier.saves * save[-1] + tier.loads * load[-1] for tier in slower),
        )

    # --- inside ---

    def _transfer(self, staged: _Kept) -> tuple[float, float, int]:
        """Return the seconds that a transfer to and from the disk takes, and bytes of a state there."""
        write, read = self.costs.save_at(1), self.costs.load_at(1)
        if not staged.compressed:
            return write, read, self.padded
        share = staged.nbytes / max(1, self.state)
        return write * share, read * share, -(-staged.nbytes // BLOCK) * BLOCK

    def _costs_of(self, in_memory: tuple[_Kept, ...], staged: _Kept | None, waited: float) -> Costs:
        """Return the costs of the tiers; with `waited` = 1, copies to and from buffers are the disk's."""
        bare = not any(tier.compressed for tier in (*in_memory, *([] if staged is None else [staged])))
        if bare and not waited:
            return self.costs
        save = [ram.save for ram in in_memory]
        load = [ram.load for ram in in_memory]
        if staged is not None:
            write, read, _ = self._transfer(staged)
            save.append(write + waited * staged.save)
            load.append(read + waited * staged.load)
        return dataclasses.replace(
            self.costs,
            save=tuple(save) if len(save) > 1 else save[0],
            load=tuple(load) if len(load) > 1 else load[0],
        )

    def _largest_beside(self, ram: _Kept, extra: int) -> int:
        """Return the largest window; beside one, what is compressed needs room for a bare state."""
        if not ram.compressed:
            return self.largest
        left = self.memory - self.fixed - extra - self.state - BLOCK
        return min(self.largest, left // self.piece if self.piece else self.largest * (left >= 0))

    def _window_search(self, ram: _Kept, extra: int) -> dict[str, Any]:
        return {
            "window_min": self.smallest,
            "window_max": self._largest_beside(ram, extra),
            "budget_bytes": min(self.memory, _INT64_MAX),
            "fixed_bytes": self.fixed + extra,
            "window_slice_bytes": self.piece,
            "state_bytes": ram.nbytes,
            "lookback": self.lookback,
            "lag": self.lag,
            "free_initial": self.initial_state == "free",
            "forward_step": self.costs.forward_step,
            "reverse_step": self.costs.reversal,
            "forward_call": self.costs.forward_call,
            "reverse_call": self.costs.reverse_call,
            "save": ram.save,
            "load": ram.load,
        }

    def _made(
        self,
        family: Family,
        counts: Counts,
        in_memory: tuple[_Kept, ...],
        staged: _Kept | None,
        staging: int,
        scratch: int,
        **found: Any,
    ) -> list[Plan]:
        """Return a plan, in a list; none where a compressed tier could not hold a single bare state.

        In RAM are held, besides what is always held, the window and the snapshots: `staging` and, where
        anything is compressed, `scratch` [bytes].
        """
        kept = in_memory + (() if staged is None else (staged,))
        peaks = [tier.peak for tier in counts.tiers] + [0] * (len(kept) - len(counts.tiers))
        if family != "hierarchical" and in_memory[0].compressed and not peaks[0]:
            return []  # It was tried without compression there, at whose costs x_0 is made again.
        held = self.fixed + staging + found["window"] * self.piece
        held += scratch * any(tier.compressed and peak for tier, peak in zip(kept, peaks, strict=False))
        held += sum(
            peak * self.state for ram, peak in zip(in_memory, peaks, strict=False) if not ram.compressed
        )
        tiers = []
        for ram, peak in zip(in_memory, peaks, strict=False):
            nbytes = peak * self.state
            small = ram.compressed and peak > 0
            if small:
                # It may have all that is left, which is of use where it compresses well; as long as not all
                # states fit without being compressed.
                nbytes = min(self.memory - held, self.n * self.state + BLOCK)
                if nbytes < self.state + BLOCK:
                    return []
                held += nbytes
            tiers.append(Tier(medium="memory", compressed=small, slots=peak, nbytes=nbytes))
        on_disk = 0
        if staged is not None:
            on_disk = peaks[-1] * self.padded
            if staged.compressed:
                on_disk = min(self.disk, on_disk)
                if on_disk < self.padded:
                    return []
            small = staged.compressed and peaks[-1] > 0
            tiers.append(Tier(medium="disk", compressed=small, slots=peaks[-1], nbytes=on_disk))
        if "costs" not in found:
            found["costs"] = self._costs_of(in_memory, staged, 0.0)
        return [
            Plan(
                n_timesteps=self.n,
                family=family,
                lookback=self.lookback,
                lag=self.lag,
                initial_state=self.initial_state,
                memory=self.memory,
                disk=self.disk,
                planned_bytes=held,
                n_snapshots=sum(peaks[: len(in_memory)]),
                n_on_disk=sum(peaks[len(in_memory) :]),
                planned_disk_bytes=on_disk,
                tiers=tuple(tiers),
                forward_steps=counts.forward_steps,
                saves=counts.saves,
                loads=counts.loads,
                forward_calls=counts.forward_calls,
                reverse_calls=counts.reverse_calls,
                saves_per_tier=tuple(tier.saves for tier in counts.tiers),
                loads_per_tier=tuple(tier.loads for tier in counts.tiers),
                measured=self.costs not in (RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK),
                **found,
            )
        ]


def plan_curve(
    n_timesteps: int,
    *,
    state_bytes: int,
    window_slice_bytes: int,
    memory: Iterable[Bytes] | None = None,
    points: int = 40,
    fixed_bytes: int = 0,
    **options: Any,
) -> list[Plan]:
    """Return the best plan for each of many memory budgets: predicted time over memory.

    Parameters
    ----------
    n_timesteps, state_bytes, window_slice_bytes, fixed_bytes
        As of `plan`.
    memory : iterable of int, float or str, optional
        The budgets. None: `points` of them, in geometric steps from the smallest that works to what storing
        everything takes.
    points : int
        How many budgets where `memory` is not given, >= 2.
    **options
        Everything else that `plan` takes: ``disk``, ``lookback``, ``costs`` and so on.

    Returns
    -------
    list of Plan
        One for each budget, in the order given. ``[(p.planned_bytes, p.predicted_seconds) for p in ...]`` is
        the trade-off picture.

    Raises
    ------
    TypeError, ValueError, BudgetError, OverflowError
        As of `plan`.

    Examples
    --------
    >>> curve = plan_curve(1000, state_bytes=2, window_slice_bytes=1, lookback=2, points=5)
    >>> [p.memory for p in curve]
    [4, 16, 64, 252, 1001]
    """
    arguments: dict[str, Any] = {
        "state_bytes": state_bytes,
        "window_slice_bytes": window_slice_bytes,
        "fixed_bytes": fixed_bytes,
        **options,
    }
    if memory is None:
        points = at_least("points", points, 2)
        try:
            least = plan(n_timesteps, memory=0, **arguments).planned_bytes
        except BudgetError as error:
            least = error.required
        most = max(least, plan(n_timesteps, memory=2**62, **arguments).planned_bytes)
        ratio = (most / max(1, least)) ** (1.0 / (points - 1))
        memory = [max(least, math.ceil(least * ratio**point)) for point in range(points - 1)] + [most]
    given: object = memory
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"memory must be a list of budgets, got {given!r}")
    return [plan(n_timesteps, memory=budget, **arguments) for budget in memory]
