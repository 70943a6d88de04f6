"""Games on the machines of a Ray cluster, which store what they play in the shared database themselves.

On each machine an actor holds a pool of one process: there a bot may hang or die as on this machine. What an
actor is at work on when its machine is lost is given to another one.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from sgdb.benchmark.named_bots import BotSource, open_bot
from sgdb.benchmark.pool import TIME_LIMIT, ProcessPool
from sgdb.benchmark.reports import Failed, Played, Report, Task, Terms, in_a_line
from sgdb.benchmark.strategy import Keeper, Strategy
from sgdb.errors import ClusterError, SgdbError

_FIRST_BATCH = 2
_LARGEST_BATCH = 2000
_BATCH_SECONDS = 1.0
_ATTEMPTS = 3  # times that a batch is given to another machine, when the one that had it is lost
_KNOCK = 5.0  # seconds that a machine has for answering at all
_PATIENCE = 120.0  # seconds that the cluster has for starting the first worker


class RayCluster(Strategy):
    """Plays on the cluster at `address`: HOST:PORT, ray://HOST:PORT, "auto" for the one that this machine
    belongs to, "local" for one of its own.

    `jobs` workers (default: one for each core of the cluster) with `time_limit` as in ProcessPool. sgdb of
    this version, and the modules of the bots, have to be installed on every machine. Raises ClusterError
    when Ray is not installed or the cluster is not to be had.
    """

    def __init__(
        self, address: str, jobs: int | None = None, *, time_limit: float | None = TIME_LIMIT
    ) -> None:
        ProcessPool(jobs, time_limit=time_limit)  # the same values are refused
        self._address = address
        self._jobs = jobs
        self._time_limit = time_limit
        self._ray: Any = None
        self._is_ours = False
        self._workers: dict[Any, Any] = {}  # from the worker's sign of life to the worker
        self._ready: deque[Any] = deque()
        self._names: list[tuple[BotSource, str]] = []
        self._last_loss = "none has started"

    def introduce(self, source: BotSource) -> str:
        """See `Strategy`. The bot is made on one machine of the cluster."""
        if source.is_built_in:
            return open_bot(source).name
        for known, name in self._names:
            if source.is_same_as(known):
                return name
        while True:
            worker = self._any_worker()
            try:
                name = str(self._result(worker.introduce.remote(source)))
            except _LostWorkerError as lost:
                self._ready.remove(worker)
                self._last_loss = str(lost)
            else:
                self._names.append((source, name))
                return name

    def play(
        self, source: BotSource, games: Iterable[Task], terms: Terms, keeper: Keeper | None = None
    ) -> Generator[Report, None, None]:
        """See `Strategy`. Without `keeper` what was played comes back, to be stored by the caller."""
        ray = self._connected()
        batches = _Batches(games)
        at_work: dict[Any, tuple[Any, list[Task]]] = {}
        name = self.introduce(source)
        try:
            while True:
                while self._ready and (batch := batches.take()):
                    worker = self._ready.popleft()
                    at_work[worker.play.remote(source, name, batch, terms, keeper)] = (worker, batch)
                if not at_work and not batches.more():
                    return
                self._require_workers(at_work)
                done, _ = ray.wait([*at_work, *self._workers], timeout=_PATIENCE)
                if not done and not at_work:
                    raise self._no_worker()
                for ref in done:
                    if ref in self._workers:
                        self._has_started(ref)
                    else:
                        worker, batch = at_work.pop(ref)
                        yield from self._finished(ref, worker, batch, batches)
        finally:
            for worker, _ in at_work.values():  # they go on otherwise
                with suppress(Exception):
                    ray.kill(worker)
            if at_work:
                self.close()

    def close(self) -> None:
        """Ends the workers, and the connection to the cluster if it was made here."""
        if self._ray is None:
            return
        for worker in [*self._workers.values(), *self._ready]:
            with suppress(Exception):
                self._ray.kill(worker)
        self._workers.clear()
        self._ready.clear()
        if self._is_ours:
            self._ray.shutdown()
        self._ray = None

    # -- workers ----------------------------------------------------------------------------------

    def _connected(self) -> Any:
        """Ray itself, connected, with workers that have started or are starting."""
        if self._ray is not None:
            return self._ray
        try:
            import ray
        except ImportError as error:
            raise ClusterError("Ray is not installed", hint="pip install 'sgdb[ray]'") from error
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._require_listener()
            try:
                ray.init(address=self._address, logging_level=logging.ERROR, log_to_driver=False)
            except Exception as error:  # of a dozen kinds
                raise ClusterError(
                    f"there is no Ray cluster to be had at {self._address!a:.120}: {in_a_line(error)}",
                    hint="`ray status` tells whether it is up; `ray start --head` starts one",
                ) from error
        self._ray = ray
        cores = int(ray.cluster_resources().get("CPU", 1))
        actor = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        path = [os.path.abspath(place) for place in sys.path]  # noqa: PTH100
        for _ in range(self._jobs or max(cores, 1)):
            worker = actor.remote(path, self._time_limit)
            self._workers[worker.is_there.remote()] = worker
        return ray

    def _require_listener(self) -> None:
        """Raises ClusterError when nobody listens at a HOST:PORT: Ray itself would try for ten minutes."""
        host, colon, port = self._address.removeprefix("ray://").rpartition(":")
        if not colon or not port.isdigit():
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(
                f"nobody answers at {self._address!a:.120}: {in_a_line(error)}",
                hint="`ray status` tells whether the cluster is up; `ray start --head` starts one",
            ) from error

    def _any_worker(self) -> Any:
        ray = self._connected()
        while not self._ready:
            self._require_workers({})
            done, _ = ray.wait([*self._workers], timeout=_PATIENCE)
            if not done:
                raise self._no_worker()
            for ref in done:
                self._has_started(ref)
        return self._ready[0]

    def _has_started(self, ref: Any) -> None:
        worker = self._workers.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._last_loss = in_a_line(error)
        else:
            self._ready.append(worker)

    def _require_workers(self, at_work: dict[Any, Any]) -> None:
        if not self._workers and not self._ready and not at_work:
            raise ClusterError(
                f"the cluster has no worker left: {self._last_loss}",
                hint="what was played is saved; see to the cluster, and run the command again",
            )

    def _no_worker(self) -> ClusterError:
        return ClusterError(
            f"the cluster has not started a worker within {_PATIENCE:g} seconds",
            hint="`ray status` tells whether it has a free core",
        )

    def _finished(self, ref: Any, worker: Any, batch: list[Task], batches: _Batches) -> Iterator[Report]:
        """What a worker says of its batch, or what becomes of the batch when the worker is lost."""
        try:
            reports, seconds = self._result(ref)
        except _LostWorkerError as lost:
            self._last_loss = str(lost)
            with suppress(Exception):
                self._ray.kill(worker)  # it may only be out of reach
            yield from batches.give_back(batch, self._last_loss)
            return
        self._ready.append(worker)
        batches.went(len(batch), seconds)
        yield from reports

    def _result(self, ref: Any) -> Any:
        """What a worker's call returns, or raises, if that is an error of ours."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(ref)
        except (errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError) as error:
            raise _LostWorkerError(f"the machine that played it was lost: {in_a_line(error)}") from error
        except errors.RayTaskError as error:
            raise ClusterError(f"a worker of the cluster failed: {in_a_line(error)}") from error
        if isinstance(found, SgdbError):
            raise found
        return found


class _LostWorkerError(Exception):
    """A worker is gone with its machine or its process."""


class _Batches:
    """Games in batches of about a second's work; what a lost worker had comes again."""

    def __init__(self, games: Iterable[Task]) -> None:
        self._games = iter(games)
        self._again: deque[list[Task]] = deque()
        self._attempts: dict[int, int] = {}
        self._size = _FIRST_BATCH
        self._next: list[Task] = []

    def take(self) -> list[Task]:
        """The next batch; empty when there is none for now."""
        if self._again:
            return self._again.popleft()
        batch, self._next = self._next or list(islice(self._games, self._size)), []
        return batch

    def more(self) -> bool:
        """Whether another batch is to come."""
        if not self._next:
            self._next = self.take()
        return bool(self._next)

    def went(self, count: int, seconds: float) -> None:
        """So many games took so long."""
        self._size = min(max(1, int(count / max(seconds, 1e-3) * _BATCH_SECONDS)), _LARGEST_BATCH)

    def give_back(self, batch: Sequence[Task], reason: str) -> Iterator[Failed]:
        """The batch is to be played by another worker, unless it has been the end of several."""
        first = batch[0].game_id
        self._attempts[first] = self._attempts.get(first, 0) + 1
        if self._attempts[first] < _ATTEMPTS:
            self._again.append(list(batch))
            return
        for task in batch:
            yield Failed(task.game_id, reason)


class _Worker:
    """One process on a machine of the cluster, and what it needs there. Errors of ours are returned: what an
    actor raises comes out wrapped."""

    def __init__(self, path: Sequence[str], time_limit: float | None) -> None:
        self._pool = ProcessPool(1, time_limit=time_limit, path=path)

    def is_there(self) -> bool:
        return True

    def introduce(self, source: BotSource) -> str | SgdbError:
        try:
            return self._pool.introduce(source)
        except SgdbError as error:
            return error

    def play(
        self, source: BotSource, name: str, games: list[Task], terms: Terms, keeper: Keeper | None
    ) -> tuple[list[Report], float] | SgdbError:
        """Plays and, with a keeper, stores these games; returns the reports and the seconds it took."""
        began = time.monotonic()
        try:
            reports: list[Report] = list(self._pool.play(source, games, terms))
            seconds = time.monotonic() - began
            if keeper is not None:
                played = [report for report in reports if isinstance(report, Played)]
                reports = [report for report in reports if not isinstance(report, Played)]
                reports += keeper.keep(name, played, games)
        except SgdbError as error:
            return error
        return reports, seconds
