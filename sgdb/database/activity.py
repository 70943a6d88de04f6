"""What a server is busy with: sessions, transactions, locks, its cache, and its slowest statements.

A user without special rights sees little of other users' sessions. What stays hidden is counted and told, as
is whatever a server does not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from sgdb.database.driver_errors import quoted

_SHOWN = 10  # transactions and statements
_HIDDEN = "<insufficient privilege>"
_STATES = ("active", "idle", "idle in transaction", "idle in transaction (aborted)", "fastpath function call")

_CONNECTIONS = """
    SELECT current_setting('max_connections')::int AS most,
        (SELECT sum(numbackends) FROM pg_stat_database)::int AS used,
        pg_postmaster_start_time() AS started_at, d.blks_hit, d.blks_read, d.stats_reset, d.deadlocks
    FROM pg_stat_database d WHERE d.datname = current_database()
"""
_BY_STATE = """
    SELECT CASE WHEN query = :hidden THEN 'hidden' ELSE coalesce(state, 'other') END, count(*)::int
    FROM pg_stat_activity WHERE datname = current_database()
    AND (backend_type = 'client backend' OR query = :hidden) GROUP BY 1
"""
_TRANSACTIONS = """
    SELECT pid, usename, application_name, state, query,
        greatest(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' ORDER BY xact_start LIMIT :shown
"""
_PREPARED = """
    SELECT gid, owner, greatest(extract(epoch FROM clock_timestamp() - prepared), 0)::float8 AS seconds
    FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""
_WAITING = """
    SELECT l.pid, a.usename, l.mode, l.locktype, a.query,
        CASE WHEN l.relation IS NOT NULL THEN CAST(l.relation AS regclass)::text END AS relation,
        greatest(coalesce(extract(epoch FROM clock_timestamp() - l.waitstart), 0), 0)::float8 AS seconds,
        pg_blocking_pids(l.pid) AS blockers
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE NOT l.granted AND a.datname = current_database() ORDER BY 7 DESC, l.pid
"""
_EXTENSION = """
    SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'pg_stat_statements' AND c.relkind = 'v' ORDER BY 1
"""
_STATEMENTS = """
    SELECT queryid, query, calls, rows, total_exec_time / 1000 AS total_seconds,
        mean_exec_time / 1000 AS mean_seconds
    FROM {view} WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY total_exec_time DESC LIMIT :shown
"""


@dataclass(frozen=True, slots=True)
class Connections:
    """Sessions: how many the server takes, how many it has in all its databases, and those of this database
    by state. `hidden` are sessions of others whose state the user may not see."""

    most: int
    used: int
    by_state: dict[str, int]

    @property
    def hidden(self) -> int:
        """Sessions of which nothing can be told."""
        return self.by_state.get("hidden", 0)


@dataclass(frozen=True, slots=True)
class Cache:
    """Blocks of this database that were found in the server's memory, and those that were not, since
    `since` (None: since the server began to count)."""

    hits: int
    reads: int
    since: datetime | None

    @property
    def hit_ratio(self) -> float | None:
        """From 0 to 1; None where nothing was read."""
        return self.hits / (self.hits + self.reads) if self.hits + self.reads else None


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that is open, or prepared: then `pid` is None, and `state` is "prepared"."""

    pid: int | None
    user: str
    application: str
    state: str
    seconds: float
    query: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits for a lock, and the sessions that it waits for."""

    pid: int
    user: str | None
    wants: str
    seconds: float
    blocked_by: tuple[int, ...]
    query: str


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """A statement as pg_stat_statements counts it, with all the time that it has taken."""

    id: int | None
    query: str
    calls: int
    rows: int
    total_seconds: float
    mean_seconds: float


@dataclass(frozen=True, slots=True)
class Activity:
    """`transactions` are the oldest, `statements` those that have taken most time in all; None where the
    server does not count them. `unseen` says in sentences what could not be looked at."""

    started_at: datetime
    connections: Connections
    cache: Cache
    deadlocks: int
    transactions: tuple[OpenTransaction, ...]
    waiting: tuple[Waiting, ...]
    statements: tuple[SlowStatement, ...] | None
    unseen: tuple[str, ...]


def activity(connection: Connection) -> Activity:
    """What this server is busy with in this database. Reads no table, and waits for nobody."""
    server = connection.execute(text(_CONNECTIONS)).one()
    states = connection.execute(text(_BY_STATE), {"hidden": _HIDDEN}).all()
    found = Connections(server.most, server.used, {str(state): count for state, count in sorted(states)})
    unseen = []
    if found.hidden:
        user = connection.scalar(text("SELECT current_user"))
        unseen.append(
            f"what {found.hidden} sessions of other users do; an administrator may run:"
            f" GRANT pg_read_all_stats TO {quoted(str(user))};"
        )
    statements, why_not = _slow_statements(connection)
    if why_not:
        unseen.append(why_not)
    waiting = connection.execute(text(_WAITING)).all()
    return Activity(
        started_at=server.started_at,
        connections=found,
        cache=Cache(server.blks_hit, server.blks_read, server.stats_reset),
        deadlocks=server.deadlocks,
        transactions=tuple(_transactions(connection)),
        waiting=tuple(
            Waiting(
                pid=row.pid,
                user=row.usename,
                wants=f"{row.mode} on {row.relation or row.locktype}",
                seconds=row.seconds,
                blocked_by=tuple(sorted(set(row.blockers))),
                query=_shown(row.query),
            )
            for row in waiting
        ),
        statements=statements,
        unseen=tuple(unseen),
    )


def _transactions(connection: Connection) -> list[OpenTransaction]:
    running = [
        OpenTransaction(
            row.pid, row.usename, row.application_name, row.state or "unknown", row.seconds, _shown(row.query)
        )
        for row in connection.execute(text(_TRANSACTIONS), {"shown": _SHOWN})
    ]
    prepared = [
        OpenTransaction(None, row.owner, "", "prepared", row.seconds, row.gid)
        for row in connection.execute(text(_PREPARED))
    ]
    return sorted([*running, *prepared], key=lambda one: -one.seconds)[:_SHOWN]


def _slow_statements(connection: Connection) -> tuple[tuple[SlowStatement, ...] | None, str | None]:
    """The slowest statements, or why there are none."""
    schema = connection.scalar(text(_EXTENSION))
    if schema is None:
        return None, (
            "the slowest statements: pg_stat_statements is not there; an administrator may add it to"
            " shared_preload_libraries and run: CREATE EXTENSION pg_stat_statements;"
        )
    view = f"{quoted(schema)}.pg_stat_statements".replace(":", r"\:")
    try:
        with connection.begin_nested():
            rows: Sequence[Row[Any]] = connection.execute(
                text(_STATEMENTS.format(view=view)), {"shown": _SHOWN}
            ).all()
    except DBAPIError as error:
        if error.connection_invalidated or not getattr(error.orig, "pgcode", None):
            raise
        said = " ".join(str(error.orig).split())
        return None, f"the slowest statements: {said}"
    return tuple(
        SlowStatement(
            row.queryid, _shown(row.query), row.calls, row.rows, row.total_seconds, row.mean_seconds
        )
        for row in rows
    ), None


def _shown(query: str | None) -> str:
    """A statement in one line. One that sets a password is nobody's business."""
    shown = " ".join((query or "").split())
    return "(not shown: it speaks of a password)" if re.search(r"password", shown, re.IGNORECASE) else shown
