"""A query that a user has written, run so that it can do little harm: one statement, which only reads.

Its text is handed to the server as a value, and a block on the server opens a cursor for it. So the server
itself refuses what is not exactly one query that gives rows: several statements, and with them the end of the
transaction, COPY, SET, DO. The transaction is READ ONLY. That is a seat belt and no sandbox: a function that
the user may call is called, one that ends another's session or writes a file on the server included.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar, cast

import psycopg2
from psycopg2.extensions import cursor as _Cursor  # noqa: N812
from psycopg2.extensions import new_array_type, new_type, register_type
from sqlalchemy import Connection

from sgdb.database.driver_errors import translate
from sgdb.database.engine import lift_timeouts, undo
from sgdb.database.views import VIEWS_SCHEMA
from sgdb.errors import SgdbError, UsageError

_MOST_ROWS = 500  # fetched at a time, or fewer: as many as
_CHARACTERS = 4_000_000  # have, more or less
_POLL = 0.05  # seconds
_CURSOR = "sgdb_user_query"
_OPEN = (
    f"DO $$ DECLARE found refcursor := '{_CURSOR}';"
    " BEGIN OPEN found NO SCROLL FOR EXECUTE current_setting('sgdb.user_query'); END $$"
)
# One spelling of values, whatever this server or user prefers.
_SPELLING = (
    "SELECT set_config('datestyle', 'ISO, YMD', true), set_config('intervalstyle', 'iso_8601', true),"
    " set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '1', true)"
)
# Views can be named as they are; behind the tables, which keep their names.
_SEARCH_PATH = (
    "SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), %s), true)"
)
# Vectors and arrays of boxes are written otherwise than arrays are.
_TYPES = (
    "SELECT a.oid, a.typelem FROM pg_type a JOIN pg_type e ON e.oid = a.typelem AND e.typarray = a.oid"
    " WHERE a.oid = ANY(%s) AND a.typdelim = ','"
)
# What is not the fault of a query, by SQLSTATE: translated as everywhere.
_SURROUNDINGS = ("08", "25P", "28", "40", "42501", "53", "55P03", "57", "58", "F0", "XX")
_NO_QUERY, _READ_ONLY, _CANCELLED = "42P11", "25006", "57014"
_MOMENT = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(?:([+-]\d\d)(:\d\d(?::\d\d)?)?)?")

T = TypeVar("T")
Value = Any  # None, bool, int, float, Decimal, str, or a list or dict of these
Cast = Callable[[str], Value]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result. Two columns of one name get different ones here."""

    name: str
    is_number: bool


class UserQuery:
    """A query that has been opened: its columns, and its rows as they are asked for."""

    def __init__(self, run: _Run, columns: tuple[Column, ...], types: list[Any]) -> None:
        self.columns = columns
        self._run = run
        self._types = types

    def rows(self, limit: int | None = None) -> Iterator[tuple[Value, ...]]:
        """At most `limit` rows. Numbers, truth values and JSON come as such, numerics as Decimal; arrays as
        lists; times in ISO 8601; all else as the server writes it, bytes as \\x and hexadecimal digits.

        Raises as `user_query`.
        """
        taken, most = 0, 1
        while limit is None or taken < limit:
            size = most if limit is None else min(most, limit - taken)
            rows = self._run.on_server(partial(self._fetch, size))
            yield from rows
            taken += len(rows)
            if len(rows) < size:
                return
            # A row may hold the weights of a network.
            characters = sum(len(value) for row in rows for value in row if isinstance(value, str))
            most = min(_MOST_ROWS, 2 * most) if characters * 2 <= _CHARACTERS else max(1, most // 2)

    def _fetch(self, size: int, cursor: _Cursor) -> list[tuple[Value, ...]]:
        for one in self._types:
            register_type(one, cursor)
        cursor.execute(f"FETCH FORWARD {size} FROM {_CURSOR}")
        rows: list[tuple[Value, ...]] = cursor.fetchall()
        return rows


@contextmanager
def user_query(connection: Connection, sql: str, *, timeout: float | None = None) -> Iterator[UserQuery]:
    """The query, open as long as the block lasts, in the caller's transaction, which is READ ONLY.

    At the end the transaction is taken back: servers before 16 let large objects be written in it. `timeout`
    is how many seconds the server may work on it, opening and all rows together; time in which nobody asks
    for rows does not count. A KeyboardInterrupt cancels what the server is at.

    Raises UsageError, with PostgreSQL's words and the place, where the query is at fault: also when it takes
    too long, or wants to write. Otherwise as every statement.
    """
    if not sql.strip():
        raise UsageError("the query is empty", hint='give one, such as: sgdb query sql "SELECT * FROM bots"')
    if "\0" in sql or _is_no_text(sql):
        raise UsageError("the query holds bytes that are no text", hint="write it in UTF-8, without NUL")
    lift_timeouts(connection)
    run = _Run(connection, sql, timeout)
    names, oids, elements = run.on_server(partial(_open, sql))
    columns = tuple(Column(name, oid in _NUMBERS) for name, oid in zip(_distinct(names), oids, strict=True))
    yield UserQuery(run, columns, [_type(oid, elements.get(oid)) for oid in sorted(set(oids))])
    undo(connection)


def _is_no_text(sql: str) -> bool:
    try:
        sql.encode()
    except UnicodeEncodeError:  # what the terminal's encoding could not read
        return True
    return False


def _open(sql: str, cursor: _Cursor) -> tuple[list[str], list[int], dict[int, int]]:
    """Names and types of the columns; by the number of each type that is an array, that of its elements."""
    cursor.execute(_SPELLING)
    cursor.execute(_SEARCH_PATH, [VIEWS_SCHEMA])
    cursor.execute("SELECT set_config('sgdb.user_query', %s, true)", [sql])
    cursor.execute(_OPEN)
    cursor.execute(f"FETCH FORWARD 0 FROM {_CURSOR}")
    columns = cursor.description or ()
    oids = [int(one.type_code) for one in columns]
    cursor.execute(_TYPES, [oids])
    return [str(one.name) for one in columns], oids, dict(cursor.fetchall())


@dataclass(slots=True)
class _Run:
    """One query on its way, and the seconds that the server has left for it (None: no limit)."""

    connection: Connection
    sql: str
    left: float | None

    def on_server(self, work: Callable[[_Cursor], T]) -> T:
        """What `work` gives. Its statements together have no more time than what is left."""
        driver = cast("psycopg2.extensions.connection", self.connection.connection.driver_connection)

        def do() -> T:
            with driver.cursor() as cursor:
                if self.left is not None:
                    milliseconds = max(1, round(self.left * 1000))
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
                return work(cursor)

        begin = time.monotonic()
        try:
            return _interruptible(driver, do)
        except psycopg2.Error as error:
            ran_out = self.left is not None and time.monotonic() - begin >= self.left * 0.99
            raise self._fault(error, ran_out=ran_out) from error
        finally:
            if self.left is not None:
                self.left = max(0.0, self.left - (time.monotonic() - begin))

    def _fault(self, error: psycopg2.Error, *, ran_out: bool) -> SgdbError:
        code = error.pgcode or ""
        said = " ".join((error.diag.message_primary or str(error)).split())
        if code == _CANCELLED and ran_out:
            hint = "give it more seconds with --timeout, or 0 for no limit"
            return UsageError("the query took too long", hint=hint)
        if code == _READ_ONLY:
            return UsageError(f"the query wants to write: {said}", hint="`sgdb query sql` only reads")
        if code == _NO_QUERY:
            return UsageError(
                f"this is not one query that gives rows: {said}",
                hint="give one SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN",
            )
        if not code or code.startswith(_SURROUNDINGS):
            return translate(error, self.connection.engine.url)
        return UsageError(
            f"PostgreSQL refuses the query{self._place(error)}: {said}",
            hint=error.diag.message_hint or "correct the query; docs/analytics.md has examples",
        )

    def _place(self, error: psycopg2.Error) -> str:
        """Where in the user's text, if that is known; a place within a function that it calls is not."""
        position = error.diag.internal_position
        if not position or error.diag.internal_query != self.sql:
            return ""
        lines = self.sql[: int(position) - 1].split("\n")
        return f" at line {len(lines)}, column {len(lines[-1]) + 1}"


def _interruptible(driver: psycopg2.extensions.connection, work: Callable[[], T]) -> T:
    """What `work` gives. It is done in a thread, since libpq lets no KeyboardInterrupt through while it waits
    for the server; one cancels it there."""
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(work)
        try:
            return future.result()
        except BaseException:
            while not future.done():
                with suppress(psycopg2.Error):
                    driver.cancel()
                wait([future], timeout=_POLL)
            raise


def _distinct(names: list[str]) -> list[str]:
    """The names, those that were there before with a number behind."""
    found: list[str] = []
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name}_{number}"
        found.append(distinct)
    return found


# -- values -------------------------------------------------------------------------------------------


def _type(oid: int, element: int | None) -> Any:
    """What turns the server's text for a type into a value."""
    if element is None:
        return _plain_type(oid)
    return new_array_type((oid,), f"SGDB{oid}", _plain_type(element))


def _plain_type(oid: int) -> Any:
    read = _CASTS.get(oid, str)

    def value(text: str | None, _: Any) -> Value:
        return None if text is None else read(text)

    return new_type((oid,), f"SGDB{oid}", value)


def _truth(text: str) -> bool:
    return text == "t"


def _integer(text: str) -> int:
    return int(text)


def _number(text: str) -> float | str:
    """A number; NaN and the infinities stay text, since JSON has none."""
    number = float(text)
    return number if math.isfinite(number) else text


def _decimal(text: str) -> Decimal | str:
    number = Decimal(text)
    return number if number.is_finite() else text


def _json(text: str) -> Value:
    """The value; as text where Python cannot hold it."""
    try:
        return json.loads(text, parse_float=_number)
    except (ValueError, RecursionError):
        return text


def _moment(text: str) -> str:
    """With a T in it and minutes in the zone, where it is an ordinary time."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return text
    day, clock, hours, minutes = found.groups()
    zone = "" if hours is None else hours + (minutes or ":00")
    return f"{day}T{clock}{zone}"


# By the number of the type, which is the same on every server (pg_type.dat of PostgreSQL).
_CASTS: dict[int, Cast] = {
    16: _truth, 20: _integer, 21: _integer, 23: _integer, 26: _integer, 700: _number, 701: _number,
    1700: _decimal, 114: _json, 3802: _json, 1114: _moment, 1184: _moment,
}  # fmt: skip
_NUMBERS = frozenset({20, 21, 23, 26, 700, 701, 1700})
