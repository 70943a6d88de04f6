"""Scratch databases: there for one proof, and gone however it ends."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from sgdb.database.engine import make_engine, transaction
from sgdb.database.scratch import require_right_to_create, scratch_database
from sgdb.errors import DatabasePermissionError, DatabaseUnreachableError
from tests.backups import opened, role, scratch_databases
from tests.steps import ask, until

_HOLD = """
import sys, time
from sgdb.database.engine import make_engine
from sgdb.database.scratch import scratch_database
with scratch_database(make_engine(sys.argv[1])) as scratch:
    print(scratch.url.database, flush=True)
    sys.stdin.read()
"""


def test_it_is_empty_in_utf_8_and_gone_afterwards(engine: Engine) -> None:
    """Also when sessions are still in it."""
    with scratch_database(engine) as scratch:
        assert scratch.url.database in scratch_databases(engine)
        assert ask(scratch, "SHOW server_encoding") == [("UTF8",)]
        assert ask(scratch, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        left_open = scratch.connect()
        left_open.execute(text("SELECT 1"))
    assert scratch.url.database not in scratch_databases(engine)
    left_open.invalidate()
    with pytest.raises(ZeroDivisionError), scratch_database(engine) as scratch:
        _ = 1 / 0
    assert scratch.url.database not in scratch_databases(engine)


def test_what_a_killed_process_left_is_dropped_by_the_next_one_and_nothing_else(engine: Engine) -> None:
    """One that lives keeps its own, though it has no session in it."""
    url = engine.url.render_as_string(hide_password=False)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE sgdb_proof_mine"))  # some user's, not of that form
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        names = []
        for process in processes:
            assert process.stdout is not None
            names.append(process.stdout.readline().strip())
        processes[0].kill()
        processes[0].wait()
        assert set(names) <= scratch_databases(engine)
        while names[0] in scratch_databases(engine):  # the server takes a moment to notice the kill
            with scratch_database(engine):
                pass
        assert {names[1], "sgdb_proof_mine"} <= scratch_databases(engine)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        while set(names) & scratch_databases(engine):
            with scratch_database(engine):
                pass
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("DROP DATABASE sgdb_proof_mine"))


def test_a_user_who_may_not(engine: Engine) -> None:
    """Hears what the administrator has to say, and how to go on without."""
    with role(engine) as url, opened(url) as other:
        with transaction(other) as connection, pytest.raises(DatabasePermissionError) as caught:
            require_right_to_create(connection)
        assert f'ALTER ROLE "{url.username}" CREATEDB' in str(caught.value.hint)
        assert "--no-prove" in str(caught.value.hint)
        with pytest.raises(DatabasePermissionError), scratch_database(other):
            pass
    with role(engine, "CREATEDB") as url, opened(url) as other, scratch_database(other) as scratch:
        assert scratch.url.database in scratch_databases(engine)


def test_a_server_that_goes_away_while_one_is_made_is_told_as_that(engine: Engine) -> None:
    """Not as what the attempt to drop it again meets, without a connection."""

    def make() -> None:
        with scratch_database(make_engine(engine.url)):
            raise AssertionError("it cannot have been made")

    waiting = """
        SELECT pid FROM pg_stat_activity
        WHERE query LIKE 'CREATE DATABASE _sgdb_proof%' AND wait_event_type = 'Lock'
        AND datname = current_database()
    """
    with engine.connect() as holder, ThreadPoolExecutor(1) as thread:
        holder.execute(text("COMMENT ON DATABASE template0 IS 'nobody can copy it meanwhile'"))
        made = thread.submit(make)
        until(lambda: ask(engine, waiting))
        ask(engine, f"SELECT pg_terminate_backend(pid) FROM ({waiting}) w")
        with pytest.raises(DatabaseUnreachableError):
            made.result()
        holder.rollback()
