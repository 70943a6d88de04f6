"""Which runs are at work.

A run cannot write down that it was killed. So while it is at work its connection holds an advisory lock
that bears its number, and the server lets go of it when the connection ends, however that comes. Others look
at the list of locks and take none.

Rows are seen as of a moment, locks as they are. Whoever compares the two has to look at the rows again after
the locks: in between, a run may have ended as it should.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, Engine, select, text

from sgdb.database.engine import transaction
from sgdb.database.locks import lock_key
from sgdb.database.models import Run
from sgdb.database.provenance import RUNNING

AT_WORK = "at work"
BROKEN_OFF = "broken off"
_HELD = "sgdb run"  # key in what SQLAlchemy remembers of a connection for as long as that lasts
_LOCKS = text(
    "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def show_at_work(connection: Connection, run_id: int) -> None:
    """From now on until the connection is closed, others see that this run is at work."""
    connection.execute(text("SELECT pg_advisory_lock_shared(:key)"), {"key": _key(run_id)})
    connection.info[_HELD] = run_id


def is_shown(connection: Connection, run_id: int) -> bool:
    """Whether it is this connection that shows the run."""
    return connection.info.get(_HELD) == run_id


def at_work(connection: Connection, run_ids: Collection[int]) -> set[int]:
    """Those of these runs that are at work at this moment."""
    held = set(connection.execute(_LOCKS).scalars()) if run_ids else set()
    return {run_id for run_id in run_ids if _key(run_id) in held}


def broken_off(engine: Engine, run_ids: Collection[int]) -> set[int]:
    """Those of these runs, whose rows were seen to say `running`, that have ended without saying so."""
    if not run_ids:
        return set()
    # In this isolation every statement has a moment of its own.
    with transaction(engine, read_only=True, isolation="READ COMMITTED") as connection:
        silent = set(run_ids) - at_work(connection, run_ids)
        still = select(Run.id).where(Run.id.in_(silent), Run.status == RUNNING)
        return set(connection.execute(still).scalars())


def _key(run_id: int) -> int:
    return lock_key(f"sgdb run {run_id}")
