"""Runs: what is on record of them, and the isolation that the locks rely on."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from sgdb.database.runs import DryRun, RealRun
from sgdb.errors import DatabaseUnreachableError, InputRefusedError
from tests.steps import ask, database_state, tamper


def _real(engine: Engine) -> RealRun:
    return RealRun(engine, lock_timeout=1, options={"a": 1}, on_wait=lambda: None)


def _dry(engine: Engine) -> DryRun:
    return DryRun(engine, lock_timeout=1, on_wait=lambda: None)


def test_a_run_without_anything_to_write_down_leaves_no_trace(engine: Engine) -> None:
    """No row, no sequence, no id."""
    state = database_state(engine)
    run = _real(engine)
    with run.whole(), run.transaction() as connection:
        connection.execute(text("SELECT 1"))
    assert (run.committed_id, database_state(engine)) == (None, state)


def test_the_row_of_a_run_is_made_once_and_with_what_needs_it(engine: Engine) -> None:
    """If that is rolled back, so is the row, and the next file makes it anew."""
    run = _real(engine)
    with run.whole():
        with pytest.raises(InputRefusedError), run.transaction() as connection:
            run.id(connection)
            raise InputRefusedError("no")
        assert run.committed_id is None
        for _ in range(2):
            with run.transaction() as connection:
                first = run.id(connection)
                assert run.id(connection) == first
    assert run.committed_id == first
    assert ask(engine, "SELECT id, status, options FROM runs") == [(first, "done", {"a": 1})]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ZeroDivisionError(), "failed")]
)
def test_how_a_run_ended_is_on_record(engine: Engine, error: BaseException, status: str) -> None:
    """And what ended it comes out as it is."""
    run = _real(engine)
    with pytest.raises(type(error)), run.whole():
        with run.transaction() as connection:
            run.id(connection)
        raise error
    assert ask(engine, "SELECT status, finished_at IS NOT NULL FROM runs") == [(status, True)]


def test_a_run_that_cannot_be_ended_on_record_keeps_the_first_error(engine: Engine) -> None:
    """With the database gone for good, the interruption is still an interruption."""
    run = _real(engine)
    with pytest.raises(KeyboardInterrupt), run.whole():
        with run.transaction() as connection:
            run.id(connection)
        tamper(engine, "ALTER TABLE runs RENAME TO elsewhere")
        raise KeyboardInterrupt


def test_a_dry_run_sees_its_own_rows_and_keeps_none(engine: Engine) -> None:
    """Files build on each other, a failed one leaves nothing for the next, and all is gone at the end."""
    state = database_state(engine)
    run = _dry(engine)
    insert = text("INSERT INTO bots (id, name) VALUES (:id, :name)")
    with run.whole():
        with run.transaction() as connection:
            run.id(connection)
            connection.execute(insert, {"id": -50, "name": "one"})
        with pytest.raises(InputRefusedError), run.transaction() as connection:
            connection.execute(insert, {"id": -51, "name": "two"})
            raise InputRefusedError("no")
        with run.transaction() as connection:
            assert connection.execute(text("SELECT name FROM bots")).scalars().all() == ["one"]
            assert connection.execute(text("SELECT count(*) FROM runs")).scalar() == 1
    assert (run.committed_id, database_state(engine)) == (None, state)


@pytest.mark.parametrize("make", [_real, _dry])
def test_what_others_commit_meanwhile_is_seen(engine: Engine, make: type[RealRun]) -> None:
    """Even where the server's default isolation would hide it: the locks would be worthless otherwise."""
    (name,) = ask(engine, "SELECT current_database()")[0]
    tamper(engine, f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    engine.dispose()
    run = make(engine)
    with run.whole(), run.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM bots")).scalar() == 0
        tamper(engine, "INSERT INTO bots (name) VALUES ('new')")
        assert connection.execute(text("SELECT count(*) FROM bots")).scalar() == 1


def test_a_dry_run_reports_a_lost_connection_as_such(engine: Engine) -> None:
    """The rollback that fails then does not hide it."""
    run = _dry(engine)
    with pytest.raises(DatabaseUnreachableError), run.whole(), run.transaction() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        ask(engine, "SELECT pg_terminate_backend(:pid)", pid=pid)
        connection.execute(text("SELECT 1"))
