"""The database of a training, which may be away, and to which nothing stays connected between calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar, cast

from sqlalchemy import URL, Connection, Engine

from sgdb.database.access import check_ready, require_set_up
from sgdb.database.engine import address_of, make_engine, open_engine, transaction
from sgdb.database.retry import retried
from sgdb.database.server import EmbeddedServer
from sgdb.database.sessions import NewSession, find_sessions
from sgdb.errors import DatabaseUnreachableError, DiskFullError, FileAccessError, SgdbError
from sgdb.settings import Settings
from sgdb.storage.breaker import breaker_of
from sgdb.storage.checkpoint_files import checkpoint_files
from sgdb.storage.checkpoint_reading import Checkpoint, load_checkpoint
from sgdb.storage.checkpoint_saving import Destination
from sgdb.storage.guard import Guard
from sgdb.storage.training_events import Event, write_event
from sgdb.storage.wires import Wires, answers

log = logging.getLogger(__name__)
LOCK_TIMEOUT = 30.0  # seconds for which others may keep a training waiting, before it writes a note instead
T = TypeVar("T")


class TrainingDatabase:
    """Transactions of a training, each on a connection of its own: between two epochs may lie hours, in which
    hundreds of trainings would hold a connection each for nothing, and a fork would share it.

    A call comes to an end whatever state the server is in, and fails at once for a while after a failure: see
    `Guard`. A training that uses a dual storage on the same database shares what is known of it.
    """

    def __init__(self, settings: Settings, *, may_start: bool = True) -> None:
        """An embedded server that has been stopped is started, if `may_start` says so."""
        self.settings = settings
        self._may_start = may_start
        self.address = address_of(settings)
        self._url: URL | None = None
        self._wires = Wires()
        self._guard = Guard(
            breaker_of(f"database {self.address}"),
            seconds=settings.connect_timeout,
            answers=self._answers,
            abandon=self._wires.cut,
        )

    @property
    def is_stopped(self) -> bool:
        """Whether it is an embedded server that does not run: a call would start it."""
        return (
            self.settings.server_address is None and not EmbeddedServer(self.settings.home).status().running
        )

    def write(self, session: NewSession, event: Event) -> str | None:
        """Writes an event in a transaction; returns what is to be told about it.

        Raises what `Guard.call` does, and what `Event.write` does.
        """
        return self.transact(lambda connection: write_event(self._destination(connection), session, event))

    def write_plainly(self, session: NewSession, event: Event) -> str | None:
        """As `write`, for a command: it waits as long as it takes, and is not kept from trying."""
        return self._run(lambda connection: write_event(self._destination(connection), session, event))

    def load(self, session: NewSession, epoch: int | None) -> Checkpoint | None:
        """A session's checkpoint after this epoch, or its last one; None where there is none.

        Raises what `Guard.call` does, and CheckpointError.
        """

        def read(connection: Connection) -> Checkpoint | None:
            found = find_sessions(connection, uid=session.uid)
            files = checkpoint_files(self.settings, connection)
            return load_checkpoint(connection, files, found[0].id, epoch) if found else None

        return self.transact(read)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a transaction that is committed when it does; tried again as `retried`
        does. Raises what `Guard.call` does."""
        file_faults: list[SgdbError] = []

        def run() -> T | None:
            try:
                return self._run(work)
            except (FileAccessError, DiskFullError) as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                file_faults.append(error)  # of a file on this machine: the database is there
                return None

        value = self._guard.call(run)
        if file_faults:
            raise file_faults[0]
        return cast("T", value)

    def _destination(self, connection: Connection) -> Destination:
        return Destination(
            connection,
            checkpoint_files(self.settings, connection),
            self.settings.checkpoint_limit,
            LOCK_TIMEOUT,
        )

    def _run(self, work: Callable[[Connection], T]) -> T:
        require_set_up(self.settings)
        engine = self._engine()
        self._url = engine.url
        self._wires.watch(engine)

        def once() -> T:
            check_ready(engine)
            # Whatever the server's default: behind a lock, what its former holder has done must be seen.
            with transaction(engine, isolation="READ COMMITTED", lock_timeout=LOCK_TIMEOUT) as connection:
                return work(connection)

        try:
            return retried(once, on_retry=log.info)
        finally:
            engine.dispose()

    def _engine(self) -> Engine:
        if self._may_start or self.settings.server_address is not None:
            return open_engine(self.settings, on_notice=log.info)
        url = EmbeddedServer(self.settings.home).running_url()
        if url is None:
            raise DatabaseUnreachableError(
                f"the embedded server in {self.settings.home} has been stopped", hint="sgdb server start"
            )
        return make_engine(url, connect_timeout=self.settings.connect_timeout)

    def _answers(self, seconds: float) -> bool:
        return self._url is not None and answers(self._url, seconds)
