"""A run of `migrate-pickles` or `import`: its transactions, new ids and row, for real or as a dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, select

from sgdb.database.driver_errors import translated_errors
from sgdb.database.engine import transaction, undo
from sgdb.database.ids import DryRunIds, IdSource, SequenceIds
from sgdb.database.liveness import is_shown, show_at_work
from sgdb.database.locks import lock_all_sets, lock_experiment, lock_set
from sgdb.database.models import Run
from sgdb.database.provenance import RUNNING, finish_run, make_run
from sgdb.database.retry import retried
from sgdb.errors import BusyError, SgdbError
from sgdb.records import Contents

KIND = "migrate-pickles"
IMPORT = "import"
# Whatever the server's default: behind a lock, what its former holder has committed must be seen.
_ISOLATION = "READ COMMITTED"
T = TypeVar("T")


class AnyRun(Protocol):
    """What a run offers, dry or not."""

    ids: IdSource
    committed_id: int | None
    """The run's id, once something of it is in the database."""

    def whole(self) -> AbstractContextManager[None]:
        """Around all files."""

    def attempt(self, work: Callable[[Connection], T]) -> T:
        """One file's work in a transaction of its own: all of it or nothing. If the server gives that up for
        a reason that passes by itself, the work is done again, a bounded number of times."""

    def lock(self, connection: Connection, contents: Contents) -> None:
        """Keeps other writers out of the file's set until it is committed. Raises BusyError."""

    def lock_experiment(self, connection: Connection, name: str) -> None:
        """The same for an experiment and its checkpoints."""

    def id(self, connection: Connection) -> int:
        """The run's id; its row is made in the transaction that first needs it."""


class RealRun:
    """Real transactions, and a row in `runs` as soon as there is something to write down.

    One connection at a time is used, and it shows others that the run is at work.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lock_timeout: float,
        options: dict[str, Any],
        on_wait: Callable[[], object],
        on_retry: Callable[[str], object] | None = None,
        kind: str = KIND,
    ) -> None:
        self._kind = kind
        self.ids: IdSource = SequenceIds()
        self.committed_id: int | None = None
        self._engine = engine
        self._lock_timeout = lock_timeout
        self._options = options
        self._on_wait = on_wait
        self._on_retry = on_retry
        self._pending_id: int | None = None
        self._started_at: datetime | None = None

    def id(self, connection: Connection) -> int:
        """The run's id."""
        run_id = self.committed_id or self._pending_id
        if run_id is None:
            run_id = self._pending_id = make_run(connection, self.ids, self._kind, self._options)
            self._started_at = connection.execute(select(Run.started_at).where(Run.id == run_id)).scalar_one()
            show_at_work(connection, run_id)  # before others can see the row
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

    def lock_experiment(self, connection: Connection, name: str) -> None:
        """This experiment only."""
        lock_experiment(connection, name, timeout=self._lock_timeout, on_wait=self._on_wait)

    def attempt(self, work: Callable[[Connection], T]) -> T:
        """One file's work."""
        return retried(partial(_within, self.transaction, work), on_retry=self._on_retry)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One file's transaction. Raises BusyError when the run has been taken back."""
        self._pending_id = None
        with transaction(self._engine, isolation=_ISOLATION, lock_timeout=self._lock_timeout) as connection:
            if self.committed_id is not None:
                self._go_on(connection, self.committed_id)
            yield connection
        self.committed_id = self.committed_id or self._pending_id

    def _go_on(self, connection: Connection, run_id: int) -> None:
        if not is_shown(connection, run_id):  # a new connection in place of one that was lost
            show_at_work(connection, run_id)
        # Whoever takes a run back locks its row before looking whether it is at work. Its number may be that
        # of another run by now, if the database was put back to a backup.
        own = (Run.id == run_id) & (Run.started_at == self._started_at) & (Run.status == RUNNING)
        if connection.execute(select(Run.id).where(own).with_for_update(read=True)).first() is None:
            raise BusyError(
                f"run {run_id} was taken back, or the database put back to a backup, while it was at work",
                hint="run the command again: it begins a run of its own",
            )

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
        run_id = self.committed_id
        if run_id is None:
            return

        def finish(connection: Connection) -> None:
            finish_run(connection, run_id, status)

        retried(partial(_within, partial(transaction, self._engine), finish), on_retry=self._on_retry)


class DryRun:
    """The same in one transaction, with a savepoint a file, and a rollback at the end."""

    def __init__(
        self,
        engine: Engine,
        *,
        lock_timeout: float,
        on_wait: Callable[[], object],
        on_retry: Callable[[str], object] | None = None,
    ) -> None:
        self.ids: IdSource = DryRunIds()
        self.committed_id: int | None = None
        self._engine = engine
        self._lock_timeout = lock_timeout
        self._on_wait = on_wait
        self._on_retry = on_retry
        self._connection: Connection
        self._run_id: int | None = None

    def id(self, connection: Connection) -> int:
        """The id of a run that will never have been."""
        if self._run_id is None:
            self._run_id = make_run(connection, self.ids, KIND, {})
        return self._run_id

    def lock(self, connection: Connection, contents: Contents) -> None:
        """Nothing: `whole` has locked every set, because its one transaction goes through many."""

    def lock_experiment(self, connection: Connection, name: str) -> None:
        """Nothing, for the same reason."""

    def attempt(self, work: Callable[[Connection], T]) -> T:
        """One file's work."""
        return retried(partial(_within, self.transaction, work), on_retry=self._on_retry)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One file's savepoint."""
        before = self._run_id
        try:
            with translated_errors(self._engine.url), self._connection.begin_nested():
                yield self._connection
        except BaseException:
            self._run_id = before  # the row went with the savepoint
            raise

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The transaction, which is never committed."""
        begin = partial(transaction, self._engine, isolation=_ISOLATION, lock_timeout=self._lock_timeout)
        with ExitStack() as stack:
            connection = retried(lambda: stack.enter_context(begin()), on_retry=self._on_retry)
            lock_all_sets(connection, timeout=self._lock_timeout, on_wait=self._on_wait)
            self._connection = connection
            yield
            undo(connection)


def _within(begin: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]) -> T:
    with begin() as connection:
        return work(connection)
