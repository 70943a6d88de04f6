"""`sgdb init` as people and scripts call it, alone and in a crowd."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from sgdb.database.engine import make_engine, transaction
from sgdb.database.revisions import VERSION_TABLE, head
from tests.cli.conftest import Process, clean_environment
from tests.preloaded import start

CROWD = 8


@pytest.fixture
def absent_database(server_url: URL) -> Iterator[str]:
    """The URL of a database that does not exist yet, password included."""
    url = server_url.set(database=f"sgdb_test_{secrets.token_hex(6)}")
    yield url.render_as_string(hide_password=False)
    engine = make_engine(server_url)
    with transaction(engine, isolation="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)'))
    engine.dispose()


def all_at_once(folder: Path, **variables: str) -> list[dict[str, object]]:
    """What `sgdb init` prints in each of a crowd of processes; all must succeed."""
    arguments = ["init", "--format", "json"]
    crowd = [start(folder, arguments, clean_environment(**variables)) for _ in range(CROWD)]
    ends = [command.end(180) for command in crowd]
    assert [ended.returncode for ended in ends] == [0] * CROWD, [ended.stderr for ended in ends]
    return [json.loads(ended.stdout) for ended in ends]


def test_the_first_and_the_second_time(embedded_process: Process, tmp_path: Path) -> None:
    """Where the data live goes to stdout; what was done and the next command to stderr."""
    first = embedded_process("init")
    assert first.returncode == 0, first.stderr
    assert str(tmp_path / "sgdb-home" / "postgres") in first.stdout
    assert f"schema:   {head()}" in first.stdout
    # A notice on what had to be changed on this machine may precede.
    assert first.stderr.splitlines()[-3:] == [
        "created the database",
        f"created the tables (schema {head()})",
        "next: sgdb migrate-pickles FOLDER",
    ]
    second = embedded_process("init")
    assert second.returncode == 0
    assert second.stdout == first.stdout
    assert second.stderr.splitlines() == [
        "nothing to do: everything is up to date",
        "next: sgdb migrate-pickles FOLDER",
    ]
    assert embedded_process("init", "--check").returncode == 0


def test_a_check_exits_with_1_and_names_what_is_to_be_done(embedded_process: Process, tmp_path: Path) -> None:
    """And leaves no trace."""
    done = embedded_process("init", "--check")
    assert done.returncode == 1
    assert "to do:    set up the embedded server" in done.stdout
    assert done.stderr == "next: sgdb init\n"
    assert not (tmp_path / "sgdb-home").exists()
    document = json.loads(embedded_process("init", "--check", "--format", "json").stdout)
    assert document["to_do"] == ["set up the embedded server", "create the tables"]
    assert document["changed"] is False


def test_a_check_of_a_server_of_ones_own(sgdb_process: Process, empty_database: str) -> None:
    """Exit 1 without tables, 0 with."""
    assert sgdb_process("init", "--check", SGDB_DATABASE_URL=empty_database).returncode == 1
    assert sgdb_process("init", "--check").returncode == 0


def test_a_crowd_on_a_fresh_home(embedded_process: Process, tmp_path: Path) -> None:
    """All succeed, one of them makes the tables, and there is one server."""
    reports = all_at_once(tmp_path, SGDB_HOME=str(tmp_path / "sgdb-home"))
    assert sum(report["revision_before"] is None for report in reports) == 1
    assert sum(report["changed"] is True for report in reports) == 1
    assert {report["revision"] for report in reports} == {head()}
    assert len({report["address"] for report in reports}) == 1
    assert json.loads(embedded_process("status", "--format", "json").stdout)["state"] == "ready"


def test_a_crowd_on_a_server_of_ones_own(tmp_path: Path, absent_database: str) -> None:
    """All succeed; one of them creates the database, and one, maybe another, the tables."""
    reports = all_at_once(tmp_path, SGDB_DATABASE_URL=absent_database)
    assert sum(report["created_database"] is True for report in reports) == 1
    assert sum(report["revision_before"] is None for report in reports) == 1
    assert {report["revision"] for report in reports} == {head()}


@pytest.mark.parametrize("arguments", [["init"], ["init", "--check"]])
def test_a_newer_schema_names_the_way_out(
    sgdb_process: Process, database_url: str, arguments: list[str]
) -> None:
    """Exit 3, stdout empty, and the command that upgrades sgdb."""
    engine = make_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    done = sgdb_process(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert "pip install --upgrade sgdb" in done.stderr


def test_an_unreachable_server(sgdb_process: Process) -> None:
    """Exit 3, the address told and the password not."""
    done = sgdb_process("init", SGDB_DATABASE_URL="postgresql://ann:geheim@127.0.0.1:1/games")
    assert (done.returncode, done.stdout) == (3, "")
    assert "ann@127.0.0.1:1/games" in done.stderr
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr


def test_totals_are_counted_anew(sgdb_process: Process, database_url: str) -> None:
    """How many had been wrong goes to stderr; a check and a count do not go together."""
    done = sgdb_process("init", "--refresh-totals", SGDB_DATABASE_URL=database_url)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == "counted the totals anew: 0 had been wrong"
    assert sgdb_process("init", "--refresh-totals", "--check").returncode == 2
