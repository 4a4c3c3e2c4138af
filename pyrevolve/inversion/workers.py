"""Shots computed by the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import queue
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from typing import Any

from .resident import resident_memory
from .runner import Holder, Worker

try:
    import distributed
except ImportError as error:
    raise ImportError("computing shots with Dask needs distributed: pip install 'pyrevolve[dask]'") from error

__all__ = ["DaskWorkers"]

#: Share of a worker's memory limit that its process may fill before Dask moves results to disk, and later
#: stops it; the budget is what is left of that when the problem is made.
SHARE_OF_LIMIT = 0.6

#: How long shots wait for a first worker, or for another one where all are gone [s].
PATIENCE = 60.0

#: How often it is looked whether there are workers [s].
_HEARTBEAT = 1.0

_LOG = logging.getLogger("pyrevolve.inversion")


class DaskWorkers:
    """The shots of a ShotRunner, one task each.

    Parameters
    ----------
    client : distributed.Client
        Where the workers are.
    make : callable
        ``make(memory)`` returns the problem of a process.
    budget : int, optional
        Budget of each process [bytes]; None: from the worker's memory limit.
    """

    def __init__(self, client: Any, make: Callable[[int], Any], budget: int | None) -> None:
        if not isinstance(client, distributed.Client):
            raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}")
        if client.asynchronous:
            raise TypeError("client must not be asynchronous: distributed.Client(..., asynchronous=False)")
        self._client = client
        self._token = f"pyrevolve-{uuid.uuid4().hex}"
        self._calls = itertools.count()
        # Every worker has the plugin, also one that joins later or takes the place of one that died.
        client.register_plugin(ProblemPlugin(make, budget), name=self._token)

    def run(
        self, method: str, arguments: Sequence[Any], shots: Sequence[Any], names: Sequence[str]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield numbers and results in the order in which they come."""
        call = f"{self._token}-{next(self._calls)}"
        # Arguments are tasks of their own: they are sent once, and can be had again when a worker dies that
        # held them, which what is scattered cannot.
        shared = [
            self._client.submit(_itself, argument, key=f"{call}-argument-{number}")
            for number, argument in enumerate(arguments)
        ]
        futures = {
            self._client.submit(
                _compute, self._token, method, shot, names[index], *shared, key=f"{call}-shot-{index}"
            ): index
            for index, shot in enumerate(shots)
        }
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for future in futures:
            future.add_done_callback(done.put)
        try:
            while futures:
                future = self._next(done)
                index = futures.pop(future)
                if future.cancelled():
                    raise RuntimeError(
                        f"Dask gave up {names[index]}: its tasks were cancelled, or the cluster was restarted"
                    )
                result = future.result()
                # What has come here need not be computed again when the worker that did it dies.
                future.release()
                yield index, result
        finally:
            if self._connected:
                self._client.cancel([*futures, *shared], force=True)

    def _next(self, done: queue.SimpleQueue[Any]) -> Any:
        """Return the next future that is done; raise where nobody is left who could compute it."""
        alone_since = None
        while True:
            try:
                return done.get(timeout=_HEARTBEAT)
            except queue.Empty:
                now = time.monotonic()
            if self._client.nthreads():
                alone_since = None
                continue
            alone_since = alone_since or now
            if now - alone_since > PATIENCE:
                raise TimeoutError(
                    f"the Dask cluster has had no workers for {PATIENCE:g} s; start some and call again"
                )

    def workers(self) -> list[Worker]:
        """Return what the processes have needed; a worker that is just dying is left out."""
        found = self._client.run(functools.partial(_tell, self._token), on_error="return")
        return [worker for _, worker in sorted(found.items()) if isinstance(worker, Worker)]

    @property
    def _connected(self) -> bool:
        """Whether there is a cluster to talk to still; where it is closed, everything on it is."""
        return self._client.status == "running" and self._client.scheduler is not None

    def close(self) -> None:
        """Close the problems."""
        if not self._connected:
            return
        try:
            self._client.unregister_worker_plugin(self._token)
        except (OSError, KeyError) as error:
            # Workers that have died, or have just come, cannot be told, and have nothing to close.
            _LOG.info("a worker could not be told that the shots are done: %r", error)


class ProblemPlugin(distributed.WorkerPlugin):  # type: ignore[misc]
    """A worker's one problem, from when it is first asked for until the runner is closed.

    Parameters
    ----------
    make : callable
        ``make(memory)``.
    budget : int, optional
        Bytes; None: from the worker's memory limit.
    """

    def __init__(self, make: Callable[[int], Any], budget: int | None) -> None:
        self._make = make
        self._budget = budget

    def setup(self, worker: Any) -> None:
        """Get ready in a worker."""
        limit = worker.memory_manager.memory_limit
        self.holder = Holder(self._make, functools.partial(_budget, self._budget, limit), str(worker.address))

    async def teardown(self, worker: Any) -> None:
        """Close the problem, if there is one; a shot that is still computed is waited for elsewhere."""
        await asyncio.to_thread(self.holder.close)


def _budget(given: int | None, limit: int | None) -> int:
    """Return the budget of a worker with this memory limit [bytes]."""
    if given is not None:
        return given
    if limit is None:
        raise ValueError(
            "the worker has no memory limit from which a budget could be derived; give memory=, or start "
            "workers with --memory-limit"
        )
    resident = resident_memory()
    budget = int(SHARE_OF_LIMIT * limit) - resident
    if budget <= 0:
        raise MemoryError(
            f"the worker already holds {resident} of the {limit} bytes of its limit; start workers with "
            "a larger --memory-limit"
        )
    return budget


def _itself(argument: Any) -> Any:
    return argument


def _compute(token: str, method: str, shot: Any, name: str, *arguments: Any) -> Any:
    """Compute one shot, on a worker."""
    plugin = distributed.get_worker().plugins.get(token)
    if plugin is None:
        raise ValueError("the ShotRunner was closed meanwhile")
    try:
        return plugin.holder.call(method, arguments, shot, name)
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # with which Dask would wait for ever
        raise RuntimeError(f"{method}() of {name} raised {error!r}") from error


def _tell(token: str, dask_worker: Any) -> Worker | None:
    """Return what a worker has needed, on that worker."""
    plugin = dask_worker.plugins.get(token)
    told: Worker | None = None if plugin is None else plugin.holder.worker()
    return told
