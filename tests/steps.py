"""Steps that many tests take: migrate, look at the database from another connection, tamper with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from sgdb.database.models import Base
from sgdb.operations.migrate_pickles import (
    MigratePicklesOptions,
    MigratePicklesResult,
    migrate_pickles,
)
from sgdb.progress import Silent
from sgdb.settings import Settings


class Listener(Silent):
    """A progress that keeps the notices and hands every report of bytes to a function."""

    def __init__(
        self,
        on_advance: Callable[[int], object] | None = None,
        on_start: Callable[[], object] | None = None,
    ) -> None:
        self.notices: list[str] = []
        self.calls = 0
        self._on_advance = on_advance
        self._on_start = on_start

    def notice(self, message: str) -> None:
        self.notices.append(message)

    def start(self, total: int, unit: str) -> None:
        if self._on_start is not None:
            self._on_start()

    def advance(self, amount: int, label: str | None = None) -> None:
        self.calls += 1
        if self._on_advance is not None:
            self._on_advance(self.calls)


def migrate(
    settings: Settings, *paths: Path, progress: Listener | None = None, **options: Any
) -> MigratePicklesResult:
    """Runs `migrate-pickles` and proves that its sums add up, whatever the outcome."""
    result = migrate_pickles(MigratePicklesOptions(paths, **options), settings, progress)
    totals = result.totals
    for kind in ("games", "results"):
        counts = [getattr(report, kind) for report in result.files]
        for each in (*counts, totals[kind]):
            assert each["read"] == each["inserted"] + each["identical"] + each["rejected"], each
        assert all(sum(each[name] for each in counts) == total for name, total in totals[kind].items())
    assert sum(totals["files"].values()) == len(result.files)
    return result


def ask(engine: Engine, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """Rows of a query, on a connection of its own."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]


def tamper(engine: Engine, statement: str, **values: Any) -> int:
    """Executes and commits one statement; returns how many rows it met."""
    with engine.begin() as connection:
        return connection.execute(text(statement), values).rowcount


def count(engine: Engine, table: str) -> int:
    """How many rows a table has."""
    return int(ask(engine, f"SELECT count(*) FROM {table}")[0][0])


def database_state(engine: Engine) -> dict[str, Any]:
    """A digest of every table, with the writer and place of each row, and every sequence's position."""
    state: dict[str, Any] = {}
    with engine.connect() as connection:
        for table in Base.metadata.tables:
            digest = (
                "SELECT count(*), md5(coalesce(string_agg(concat(t.xmin, t.ctid, t::text), '' "
                f"ORDER BY t.ctid), '')) FROM {table} t"
            )
            state[table] = tuple(connection.execute(text(digest)).one())
        for name in connection.execute(text("SELECT sequencename FROM pg_sequences ORDER BY 1")).scalars():
            state[name] = tuple(connection.execute(text(f'SELECT last_value, is_called FROM "{name}"')).one())
    return state


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Waits for something that is going to be so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)
