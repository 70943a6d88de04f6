"""The database of a training, which may be away, and to which nothing stays connected between calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar, cast

from sqlalchemy import URL, Connection, Engine

from sgdb.database.access import check_ready, require_set_up
from sgdb.database.engine import address_of, database_url, make_engine, transaction
from sgdb.database.retry import retried
from sgdb.database.server import EmbeddedServer
from sgdb.database.sessions import NewSession, find_sessions
from sgdb.errors import DatabaseUnreachableError, DiskFullError, FileAccessError, SgdbError
from sgdb.settings import Settings
from sgdb.storage.breaker import breaker_of
from sgdb.storage.checkpoint_files import CheckpointFiles, checkpoint_files
from sgdb.storage.checkpoint_reading import Checkpoint, load_checkpoint
from sgdb.storage.checkpoint_saving import Destination
from sgdb.storage.guard import Guard, is_absence
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
        self._opened: Engine | None = None
        self._ready: Engine | None = None
        self._files: CheckpointFiles | None = None
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
                if is_absence(error):
                    raise
                file_faults.append(error)  # no reason to leave the database alone
                return None

        value = self._guard.call(run)
        if file_faults:
            raise file_faults[0]
        return cast("T", value)

    def _destination(self, connection: Connection) -> Destination:
        self._files = files = self._files or checkpoint_files(self.settings, connection)
        return Destination(connection, files, self.settings.checkpoint_limit, LOCK_TIMEOUT)

    def _run(self, work: Callable[[Connection], T]) -> T:
        require_set_up(self.settings)
        engine = self._engine()

        def once() -> T:
            if self._ready is not engine:
                check_ready(engine)
                self._ready = engine
            # Whatever the server's default: behind a lock, what its former holder has done must be seen.
            with transaction(engine, isolation="READ COMMITTED", lock_timeout=LOCK_TIMEOUT) as connection:
                return work(connection)

        try:
            return retried(once, on_retry=log.info)
        except BaseException:
            self._opened = self._ready = self._files = None  # what was known may be so no longer
            raise
        finally:
            engine.dispose()

    def _engine(self) -> Engine:
        """An engine without connections. The same one again as long as nothing goes wrong: what it has learnt
        of the server need not be asked for with every call."""
        url = self._address()
        engine = self._opened
        if engine is None or engine.url != url:
            engine = make_engine(url, connect_timeout=self.settings.connect_timeout)
            self._wires.watch(engine)
            self._opened, self._ready, self._files = engine, None, None
        self._url = url
        return engine

    def _address(self) -> URL:
        if self._may_start or self.settings.server_address is not None:
            return database_url(self.settings, on_notice=log.info)
        url = EmbeddedServer(self.settings.home).running_url()
        if url is None:
            raise DatabaseUnreachableError(
                f"the embedded server in {self.settings.home} has been stopped", hint="sgdb server start"
            )
        return url

    def _answers(self, seconds: float) -> bool:
        return self._url is not None and answers(self._url, seconds)
