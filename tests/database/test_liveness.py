"""Whether a run is at work is seen from outside, also when it was killed and could say nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from sgdb.database.engine import make_engine, transaction
from sgdb.database.liveness import at_work, broken_off
from sgdb.database.runs import RealRun
from sgdb.errors import BusyError
from tests.steps import ask, tamper


def _run(engine: Engine) -> RealRun:
    return RealRun(engine, lock_timeout=1, options={}, on_wait=lambda: None)


def _look(engine: Engine, *run_ids: int) -> set[int]:
    with transaction(engine, read_only=True) as connection:
        return at_work(connection, run_ids)


@pytest.fixture
def elsewhere(engine: Engine) -> Iterator[Engine]:
    """Another program on the same database."""
    elsewhere = make_engine(engine.url)
    yield elsewhere
    elsewhere.dispose()


def test_a_run_is_at_work_from_its_row_on_until_its_connection_ends(
    engine: Engine, elsewhere: Engine
) -> None:
    """No moment in which the row is there and the run not at work, between two files least of all."""
    run = _run(elsewhere)
    with run.transaction() as connection:
        run_id = run.id(connection)
        assert _look(engine, run_id, run_id + 1) == {run_id}
    assert run.committed_id == run_id
    assert _look(engine, run_id) == {run_id}
    assert broken_off(engine, [run_id]) == set()
    elsewhere.dispose()
    assert _look(engine, run_id) == set()
    assert broken_off(engine, [run_id]) == {run_id}


def test_a_run_of_another_database_is_not_taken_for_one(engine: Engine, empty_database: str) -> None:
    """Locks are kept by the server, numbers of runs by the database."""
    other = make_engine(empty_database)
    run = _run(engine)
    with run.transaction() as connection:
        run_id = run.id(connection)
        with transaction(other, read_only=True) as looking:
            assert at_work(looking, [run_id]) == set()
    other.dispose()


def test_a_run_that_ended_after_it_was_seen_is_not_broken_off(engine: Engine, elsewhere: Engine) -> None:
    """Whoever read its row as running, a moment ago, is not told that it was killed."""
    run = _run(elsewhere)
    with run.whole():
        run.attempt(run.id)
    elsewhere.dispose()
    assert run.committed_id is not None
    assert broken_off(engine, [run.committed_id]) == set()


def _lose_connection(engine: Engine) -> None:
    others = "pid <> pg_backend_pid() AND datname = current_database() AND state = 'idle'"
    assert ask(engine, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


def test_a_run_on_a_new_connection_is_at_work_again(engine: Engine, elsewhere: Engine) -> None:
    """A connection that is lost between two files is replaced, and the new one shows the run."""
    run = _run(elsewhere)
    with run.whole():
        run.attempt(run.id)
        assert run.committed_id is not None
        _lose_connection(engine)
        assert _look(engine, run.committed_id) == set()

        def look(_: Connection) -> set[int]:
            assert run.committed_id is not None
            return _look(engine, run.committed_id)

        assert run.attempt(look) == {run.committed_id}
    assert ask(engine, "SELECT status FROM runs") == [("done",)]


def test_a_run_that_was_taken_back_meanwhile_writes_nothing_more(engine: Engine, elsewhere: Engine) -> None:
    """Whoever took it back thought it broken off. It stops, and its row stays as it is."""
    run = _run(elsewhere)

    def write(_: Connection) -> None:
        pytest.fail("the run goes on")

    with pytest.raises(BusyError, match="taken back"), run.whole():
        run.attempt(run.id)
        _lose_connection(engine)
        tamper(engine, "UPDATE runs SET status = 'rolled-back'")
        run.attempt(write)
    assert ask(engine, "SELECT status, finished_at FROM runs") == [("rolled-back", None)]


@pytest.mark.parametrize(
    "statement", ["DELETE FROM runs", "UPDATE runs SET started_at = started_at - interval '1 h'"]
)
def test_a_run_that_another_has_taken_the_place_of_stops(
    engine: Engine, elsewhere: Engine, statement: str
) -> None:
    """After the database was put back to a backup, its number is unknown or that of another run."""
    run = _run(elsewhere)
    with pytest.raises(BusyError, match="put back to a backup"), run.whole():
        run.attempt(run.id)
        tamper(engine, statement)
        run.attempt(lambda _: pytest.fail("the run goes on"))
