"""`sgdb query sql`: a query that a user has written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.user_query import Column, UserQuery, user_query
from sgdb.errors import UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

LONGEST = 7 * 86_400  # seconds


@dataclass(frozen=True, slots=True)
class SqlOptions:
    """One query, the most rows to give (None: all), and the seconds that the server may work on it (0: as
    long as it takes)."""

    sql: str
    limit: int | None = None
    timeout: float = 60.0


class SqlResult:
    """The columns, and the rows as they are asked for; `is_cut` tells afterwards whether there were more."""

    def __init__(self, query: UserQuery, limit: int | None) -> None:
        self.columns: tuple[Column, ...] = query.columns
        self.is_cut = False
        self._query = query
        self._limit = limit

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, each of them once."""
        return tuple(column.name for column in self.columns)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row by column, with values as `UserQuery.rows` gives them."""
        one_more = None if self._limit is None else self._limit + 1
        for number, row in enumerate(self._query.rows(one_more)):
            if number == self._limit:
                self.is_cut = True
                return
            yield dict(zip(self.names, row, strict=True))


@contextmanager
def sql(options: SqlOptions, settings: Settings, progress: Progress | None = None) -> Iterator[SqlResult]:
    """The query's result, which is there as long as the block lasts; nothing is written.

    Raises UsageError where the query is at fault (see `user_query`).
    """
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit} is too few", hint="give a number of rows, or 0 for all")
    if not 0 <= options.timeout <= LONGEST:
        raise UsageError(
            f"--timeout {options.timeout:g} is out of range", hint=f"give seconds, 0 to {LONGEST}"
        )
    notice = (progress or Silent()).notice
    with (
        ready_engine(settings, notice) as engine,
        transaction(engine, read_only=True) as connection,
        user_query(connection, options.sql, timeout=options.timeout or None) as query,
    ):
        yield SqlResult(query, options.limit)
