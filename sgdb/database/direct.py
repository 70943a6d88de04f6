"""Questions that are one statement, asked as directly as the driver can.

One statement sees one moment by itself, so no transaction is opened around it, and a connection that has
answered stays at hand for the next. On a session of its own the server plans a question once (PREPARE) and
only executes it from then on. Behind a pooler that hands sessions round, such as PgBouncer, nothing stays
with a session: there the plain statement is sent each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import Connection, Engine

from sgdb.database.driver_errors import translate, translated_errors

if TYPE_CHECKING:
    from sqlalchemy.pool import PoolProxiedConnection

# The pool has more: whatever is asked at once, some remain for transactions.
_MOST_IDLE = 2
_PREPARED = "sgdb_prepared"  # what a connection's session has prepared; None where it is not its own
# A pooler has changed the session after all, or another of its clients has prepared the same.
_NOT_OURS = (errorcodes.INVALID_SQL_STATEMENT_NAME, errorcodes.DUPLICATE_PREPARED_STATEMENT)


@dataclass(frozen=True)
class Question:
    """A statement with `%(name)s` where values go, and the SQL types of these values by name. It only reads,
    so that it may be asked again when an answer is lost."""

    sql: str
    types: Mapping[str, str]

    @cached_property
    def name(self) -> str:
        """What sessions call it: from its text, so that programs of two versions never mean each other's."""
        return f"sgdb_{sha256(self.sql.encode()).hexdigest()[:16]}"

    @cached_property
    def preparation(self) -> str:
        """The statement that prepares it."""
        numbered = self.sql % {name: f"${at}" for at, name in enumerate(self.types, 1)}
        return f"PREPARE {self.name}{_in_brackets(self.types.values())} AS {numbered}"

    @cached_property
    def execution(self) -> str:
        """The statements that execute it once it is prepared."""
        # Left to itself the server plans anew for each value, which takes longer than to execute it. The two
        # are one transaction, so the setting is gone with it.
        return (
            "SET LOCAL plan_cache_mode = force_generic_plan; "
            f"EXECUTE {self.name}{_in_brackets(f'%({name})s' for name in self.types)}"
        )


def _in_brackets(parts: Iterable[str]) -> str:
    inside = ", ".join(parts)
    return f" ({inside})" if inside else ""


class DirectConnections:
    """Connections of an engine's pool that stand ready for questions; for any number of threads.

    Those at hand count as in use for the pool: `give_back` before opening a transaction, or the process holds
    more connections than it needs. Belongs to the process that made it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._process = os.getpid()
        self._idle: list[PoolProxiedConnection] = []

    @property
    def is_own(self) -> bool:
        """Whether this process made it, rather than one that it was forked from."""
        return self._process == os.getpid()

    def ask_at_hand(self, question: Question, values: Mapping[str, Any]) -> list[Any] | None:
        """The rows; None when no connection is at hand, or the one that was turned out to be lost. Other
        errors come as sgdb errors."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return None
        session = _session(connection)
        try:
            return self._ask(connection, question, values)
        except psycopg2.Error as error:
            if session.closed:
                self.give_back()  # the others are no better; the pool looks at them before they are used
                return None
            raise translate(error, self.engine.url) from error

    def ask(self, question: Question, values: Mapping[str, Any]) -> list[Any]:
        """The rows, through a connection from the pool. Errors come as sgdb errors."""
        with translated_errors(self.engine.url):
            connection = self.engine.raw_connection()
            try:
                session = _session(connection)
                # What a transaction was told stays with the connection, and would be told to the session now.
                session.set_session(isolation_level="DEFAULT", readonly="DEFAULT", deferrable="DEFAULT")
                session.autocommit = True
            except BaseException:
                connection.invalidate()
                raise
            return self._ask(connection, question, values)

    def give_back(self) -> None:
        """Returns the connections at hand to the pool."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread has it
                return
            _return(connection)

    def close(self) -> None:
        """Closes the engine's connections. In a child of fork they are left to the parent, who would be cut
        off."""
        if self.is_own:
            self.give_back()
            self.engine.dispose()
        else:
            for connection in self._idle:
                connection.detach()
            self._idle.clear()
            self.engine.dispose(close=False)

    def _ask(
        self, connection: PoolProxiedConnection, question: Question, values: Mapping[str, Any]
    ) -> list[Any]:
        session = _session(connection)
        try:
            rows = _answer(connection, question, values)
        except psycopg2.Error as error:
            if session.closed:
                connection.invalidate(error)
            else:
                self._put_by(connection)
            raise
        except BaseException:
            connection.invalidate()
            raise
        self._put_by(connection)
        return rows

    def _put_by(self, connection: PoolProxiedConnection) -> None:
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            _return(connection)


@contextmanager
def driver_session(connection: Connection) -> Iterator[Any]:
    """The driver's own connection below a transaction's."""
    session: Any = connection.connection.driver_connection
    try:
        yield session
    except psycopg2.Error as error:
        if session.closed:
            # Or SQLAlchemy, which has not seen this statement, fails over the rollback instead.
            connection.invalidate(error)
        raise


def ask_within(connection: Connection, question: Question, values: Mapping[str, Any]) -> list[Any]:
    """The answer as of the transaction's moment."""
    with driver_session(connection) as session, session.cursor() as cursor:
        cursor.execute(question.sql, values)
        return cast("list[Any]", cursor.fetchall())


def _answer(connection: PoolProxiedConnection, question: Question, values: Mapping[str, Any]) -> list[Any]:
    session = _session(connection)
    with session.cursor() as cursor:
        if _PREPARED not in connection.info:
            connection.info[_PREPARED] = _prepared(cursor)
        prepared: set[str] | None = connection.info[_PREPARED]
        if prepared is not None:
            try:
                if question.name in prepared:
                    cursor.execute(question.execution, values)
                else:
                    cursor.execute(f"{question.preparation}; {question.execution}", values)
                    prepared.add(question.name)
                return cast("list[Any]", cursor.fetchall())
            except psycopg2.Error as error:
                if error.pgcode not in _NOT_OURS:
                    raise
                connection.info[_PREPARED] = None
        cursor.execute(question.sql, values)
        return cast("list[Any]", cursor.fetchall())


def _prepared(cursor: Any) -> set[str] | None:
    """An empty set for a session that is the connection's own; None behind a pooler, which tells its clients
    a process id of its own making."""
    cursor.execute("SELECT pg_backend_pid()")
    return set() if cursor.fetchone()[0] == cursor.connection.info.backend_pid else None


def _session(connection: PoolProxiedConnection) -> Any:
    return connection.driver_connection


def _return(connection: PoolProxiedConnection) -> None:
    try:
        _session(connection).autocommit = False
    except psycopg2.Error as error:  # it has been lost meanwhile
        connection.invalidate(error)
    else:
        connection.close()
