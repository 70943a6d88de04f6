"""What a server is busy with, as seen by users with and without rights."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from sgdb.database.activity import Activity, activity
from sgdb.database.engine import make_engine, transaction
from tests.steps import ask, tamper, until


def look(engine: Engine) -> Activity:
    """As `sgdb stats` does."""
    with transaction(engine, read_only=True) as connection:
        return activity(connection)


@contextmanager
def nobody(engine: Engine) -> Iterator[Engine]:
    """The same database, for a user who may do nothing but look."""
    role = f"sgdb_test_{secrets.token_hex(6)}"
    tamper(engine, f"CREATE ROLE {role}")
    other = make_engine(engine.url.update_query_dict({"options": f"-c role={role}"}))
    try:
        yield other
    finally:
        other.dispose()
        tamper(engine, f"DROP ROLE {role}")


def test_an_open_transaction_is_told_with_its_statement(engine: Engine) -> None:
    """Who, for how long, and what it did last; a statement that sets a password is not shown."""
    with make_engine(engine.url).connect() as other:
        pid = other.scalar(text("SELECT pg_backend_pid()"))
        found = look(engine)
        (one,) = found.transactions
        assert (one.pid, one.state, one.query) == (pid, "idle in transaction", "SELECT pg_backend_pid()")
        assert one.seconds >= 0
        assert found.connections.by_state["idle in transaction"] == 1
        assert found.connections.used <= found.connections.most
        other.execute(text("SELECT 'PASSWORD ''secret'''"))
        assert look(engine).transactions[0].query == "(not shown: it speaks of a password)"
        other.engine.dispose()


def test_who_waits_is_told_with_whom_it_waits_for(engine: Engine) -> None:
    """Also where the wait is for another's transaction and not for a table."""
    others = make_engine(engine.url)
    with others.connect() as holder:
        holder.execute(text("LOCK TABLE bots IN ACCESS EXCLUSIVE MODE"))
        blocker = holder.scalar(text("SELECT pg_backend_pid()"))

        def wait() -> None:
            with others.connect() as waiting:
                waiting.execute(text("SELECT count(*) FROM bots"))

        thread = Thread(target=wait)
        thread.start()
        until(lambda: look(engine).waiting)
        (one,) = look(engine).waiting
        assert one.wants == "AccessShareLock on bots"
        assert one.blocked_by == (blocker,)
        assert one.query == "SELECT count(*) FROM bots"
        holder.rollback()
        thread.join()
    others.dispose()
    assert look(engine).waiting == ()


def test_what_is_hidden_is_counted_and_said(engine: Engine) -> None:
    """A user without rights sees that there are sessions, and is told which right shows them."""
    with make_engine(engine.url).connect() as other, nobody(engine) as humble:
        other.execute(text("SELECT 1"))
        found = look(humble)
        assert found.connections.hidden >= 1
        assert found.transactions == ()
        assert any("GRANT pg_read_all_stats TO" in sentence for sentence in found.unseen)
        assert sum(found.connections.by_state.values()) >= 2
        other.engine.dispose()


def test_the_cache_is_told_as_the_server_counts(engine: Engine) -> None:
    """A ratio of what was counted; none where nothing was. Before 15 the server's counts come in later."""
    until(lambda: look(engine).cache.hits > 0)
    found = look(engine).cache
    assert found.hit_ratio == pytest.approx(found.hits / (found.hits + found.reads))


def test_the_slowest_statements(engine: Engine) -> None:
    """From the view, in whatever schema it is; where there is none, or it answers not, that is said."""
    found = look(engine)
    if ask(engine, "SELECT to_regclass('pg_stat_statements')")[0][0] is None:
        assert found.statements is None
        assert any("CREATE EXTENSION pg_stat_statements" in sentence for sentence in found.unseen)
        tamper(engine, 'CREATE SCHEMA "odd: %"')
        # The columns that the extension's view has, in the schema that an administrator has chosen.
        tamper(
            engine,
            """
            CREATE VIEW "odd\\: %".pg_stat_statements AS
            SELECT d.oid AS dbid, q AS queryid, 'SELECT ' || q AS query, q AS calls, 2 * q AS rows,
                1000.0::float8 * q AS total_exec_time, 1000.0::float8 AS mean_exec_time
            FROM pg_database d, generate_series(1::bigint, 30) q
            """,
        )
        found = look(engine)
        assert found.statements is not None
        assert [one.id for one in found.statements] == list(range(30, 20, -1))
        slowest = found.statements[0]
        assert (slowest.query, slowest.calls, slowest.rows) == ("SELECT 30", 30, 60)
        assert (slowest.total_seconds, slowest.mean_seconds) == (30.0, 1.0)
        tamper(engine, 'DROP VIEW "odd\\: %".pg_stat_statements')
        tamper(engine, 'CREATE VIEW "odd\\: %".pg_stat_statements AS SELECT 1 AS calls')
        found = look(engine)
        assert found.statements is None
        assert any("does not exist" in sentence for sentence in found.unseen)
    else:
        assert found.statements is not None
        assert all(one.total_seconds >= 0 for one in found.statements)


def test_a_lost_connection_is_no_blind_spot(engine: Engine) -> None:
    """It ends the command as every lost connection does."""
    with pytest.raises(DBAPIError), engine.connect() as connection:
        (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        ask(make_engine(engine.url), f"SELECT pg_terminate_backend({pid})")
        activity(connection)
