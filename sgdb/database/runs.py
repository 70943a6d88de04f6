"""A run of `migrate-pickles`: its transactions, its new ids and its row, for real or as a dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from sgdb.database.engine import transaction
from sgdb.database.ids import DryRunIds, IdSource, SequenceIds
from sgdb.database.locks import lock_all_sets, lock_set
from sgdb.database.provenance import finish_run, make_run
from sgdb.errors import SgdbError
from sgdb.records import Contents

KIND = "migrate-pickles"
# Whatever the server's default: behind a lock, what its former holder has committed must be seen.
_ISOLATION = "READ COMMITTED"


class AnyRun(Protocol):
    """What a run offers, dry or not."""

    ids: IdSource
    committed_id: int | None
    """The run's id, once something of it is in the database."""

    def whole(self) -> AbstractContextManager[None]:
        """Around all files."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """Around one file: all of it or nothing."""

    def lock(self, connection: Connection, contents: Contents) -> None:
        """Keeps other writers out of the file's set until it is committed. Raises BusyError."""

    def id(self, connection: Connection) -> int:
        """The run's id; its row is made in the transaction that first needs it."""


class RealRun:
    """Real transactions, and a row in `runs` as soon as there is something to write down."""

    def __init__(
        self, engine: Engine, *, lock_timeout: float, options: dict[str, Any], on_wait: Callable[[], object]
    ) -> None:
        self.ids: IdSource = SequenceIds()
        self.committed_id: int | None = None
        self._engine = engine
        self._lock_timeout = lock_timeout
        self._options = options
        self._on_wait = on_wait
        self._pending_id: int | None = None

    def id(self, connection: Connection) -> int:
        """The run's id."""
        run_id = self.committed_id or self._pending_id
        if run_id is None:
            run_id = self._pending_id = make_run(connection, self.ids, KIND, self._options)
        return run_id

    def lock(self, connection: Connection, contents: Contents) -> None:
        """This set only: commands on other sets go on beside it."""
        lock_set(
            connection,
            contents.config,
            contents.base_seed,
            timeout=self._lock_timeout,
            on_wait=self._on_wait,
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One file's transaction."""
        self._pending_id = None
        with transaction(self._engine, isolation=_ISOLATION, lock_timeout=self._lock_timeout) as connection:
            yield connection
        self.committed_id = self.committed_id or self._pending_id

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Writes down how the run ended."""
        try:
            yield
        except BaseException as error:
            # What ended the run is what the user has to hear about, not that it cannot be written down.
            with suppress(SgdbError):
                self._finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        self._finish("done")

    def _finish(self, status: str) -> None:
        if self.committed_id is not None:
            with transaction(self._engine) as connection:
                finish_run(connection, self.committed_id, status)


class DryRun:
    """The same in one transaction, with a savepoint a file, and a rollback at the end."""

    def __init__(self, engine: Engine, *, lock_timeout: float, on_wait: Callable[[], object]) -> None:
        self.ids: IdSource = DryRunIds()
        self.committed_id: int | None = None
        self._engine = engine
        self._lock_timeout = lock_timeout
        self._on_wait = on_wait
        self._connection: Connection
        self._run_id: int | None = None

    def id(self, connection: Connection) -> int:
        """The id of a run that will never have been."""
        if self._run_id is None:
            self._run_id = make_run(connection, self.ids, KIND, {})
        return self._run_id

    def lock(self, connection: Connection, contents: Contents) -> None:
        """Nothing: `whole` has locked every set, because its one transaction goes through many."""

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One file's savepoint."""
        before = self._run_id
        try:
            with self._connection.begin_nested():
                yield self._connection
        except BaseException:
            self._run_id = before  # the row went with the savepoint
            raise

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The transaction, which is never committed."""
        with transaction(self._engine, isolation=_ISOLATION, lock_timeout=self._lock_timeout) as connection:
            lock_all_sets(connection, timeout=self._lock_timeout, on_wait=self._on_wait)
            self._connection = connection
            yield
            ours = connection.get_transaction()
            assert ours is not None
            ours.rollback()
