"""Transactions that the server gives up are tried again, a bounded number of times, and it is said."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, text

from sgdb.database.engine import make_engine, transaction
from sgdb.database.retry import retried
from sgdb.errors import BusyError, ConflictError, InternalError


@pytest.fixture
def bots(engine: Engine) -> Engine:
    """Two rows to fight over."""
    with transaction(engine) as connection:
        connection.execute(text("INSERT INTO bots (name, version) VALUES ('a', '0'), ('b', '0')"))
    return engine


def test_a_deadlock_is_tried_again(bots: Engine) -> None:
    """Two transactions that wait for each other both get through, and the loser is told so."""
    each_holds_one = threading.Barrier(2)
    said: list[str] = []

    def raise_both(first: str, second: str) -> None:
        attempts = iter(range(10))

        def once() -> None:
            is_first = next(attempts) == 0
            with transaction(bots, isolation="READ COMMITTED") as connection:
                raise_version(connection, first)
                if is_first:
                    each_holds_one.wait()
                raise_version(connection, second)

        retried(once, on_retry=said.append)

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(raise_both, *names) for names in ("ab", "ba")]:
            done.result()
    assert len(said) == 1
    assert "deadlock" in said[0]
    with transaction(bots, read_only=True) as connection:
        assert connection.execute(text("SELECT version FROM bots ORDER BY name")).scalars().all() == [
            "2",
            "2",
        ]


def raise_version(connection: Connection, bot: str) -> None:
    connection.execute(
        text("UPDATE bots SET version = (version::int + 1)::text WHERE name = :bot"), {"bot": bot}
    )


def test_no_free_connection_is_waited_for(engine: Engine) -> None:
    """A database that takes no more sessions is asked again until it does."""
    role, database = f"sgdb_test_{secrets.token_hex(6)}", engine.url.database
    run = partial(execute, engine)
    run(f"CREATE ROLE {role} LOGIN PASSWORD 'guest'")
    run(f'ALTER DATABASE "{database}" CONNECTION LIMIT 0')  # does not bind a superuser
    guest = make_engine(engine.url.set(username=role, password="guest"))
    said: list[str] = []

    def on_retry(message: str) -> None:
        said.append(message)
        run(f'ALTER DATABASE "{database}" CONNECTION LIMIT -1')

    def work() -> int:
        with transaction(guest) as connection:
            return connection.execute(text("SELECT 7")).scalar_one()

    try:
        assert retried(work, on_retry=on_retry) == 7
    finally:
        guest.dispose()
        run(f"DROP ROLE {role}")
    assert len(said) == 1
    assert "no free connection" in said[0]


def execute(engine: Engine, statement: str) -> None:
    with transaction(engine, isolation="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def test_the_number_of_attempts_is_bounded(engine: Engine) -> None:
    """What fails the same way every time comes out in the end, as it is."""
    calls = 0
    said: list[str] = []

    def fail() -> None:
        nonlocal calls
        calls += 1
        with transaction(engine) as connection:
            connection.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001' USING MESSAGE = 'no way'; END $$"))

    with pytest.raises(BusyError, match="no way"):
        retried(fail, on_retry=said.append, attempts=3, first_wait=0.001)
    assert calls == 3
    assert [line[:24] for line in said] == ["trying again (1 of 2): A", "trying again (2 of 2): A"]


def test_other_errors_are_not_tried_again(engine: Engine) -> None:
    """A conflict or a bug does not pass by waiting."""
    for sqlstate, kind in (("23505", InternalError), ("55P03", BusyError)):
        calls = 0

        def fail(sqlstate: str = sqlstate) -> None:
            nonlocal calls
            calls += 1
            with transaction(engine) as connection:
                connection.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$"))

        with pytest.raises(kind):
            retried(fail)
        assert calls == 1

    def conflict() -> None:
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        retried(conflict)
