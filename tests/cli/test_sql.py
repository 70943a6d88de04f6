"""`sgdb query sql` as people and scripts call it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.settings import Settings
from tests.cli.conftest import Process, clean_environment
from tests.legacy import write_legacy
from tests.preloaded import start
from tests.steps import ask, migrate, until


def test_the_formats(sgdb_process: Process) -> None:
    """The same rows: texts as PostgreSQL writes them for people, values for programs."""
    sql = (
        "SELECT 12345 AS bot_id, 0.10 AS share, 'a|b' AS \"x|y\","
        " NULL AS none, true AS yes, '[1]'::jsonb AS j"
    )
    done = sgdb_process("query", "sql", sql)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["bot_id", "share", "x|y", "none", "yes", "j"]
    assert lines[2].split() == ["12345", "0.10", "a|b", "true", "[1]"]
    markdown = sgdb_process("query", "sql", sql, "-f", "markdown").stdout.splitlines()
    assert markdown[0] == "| bot_id | share | x\\|y | none | yes | j |"
    assert markdown[2] == "| 12345 | 0.10 | a\\|b |  | true | [1] |"
    document = json.loads(sgdb_process("query", "sql", sql, "-f", "json").stdout)
    assert document == [{"bot_id": 12345, "share": 0.1, "x|y": "a|b", "none": None, "yes": True, "j": [1]}]
    rows = list(csv.reader(sgdb_process("query", "sql", sql, "-f", "csv").stdout.splitlines()))
    assert rows[1] == ["12345", "0.10", "a|b", "", "true", "[1]"]


def test_numbers_that_a_double_cannot_hold(sgdb_process: Process) -> None:
    """Exact in CSV; in JSON rounded, or a text where there is no such double."""
    sql = (
        "SELECT 0.12345678901234567890 AS a, 1e400::numeric AS b,"
        " '{0.5,2}'::numeric[] AS c, 1e-9::numeric AS d"
    )
    document = json.loads(sgdb_process("query", "sql", sql, "-f", "json").stdout)[0]
    assert document == {"a": 0.12345678901234568, "b": "1" + "0" * 400, "c": [0.5, 2], "d": 1e-9}
    rows = list(csv.reader(sgdb_process("query", "sql", sql, "-f", "csv").stdout.splitlines()))
    assert rows[1] == ["0.12345678901234567890", "1" + "0" * 400, "[0.5, 2]", "0.000000001"]


def test_a_table_is_cut_and_says_so(sgdb_process: Process) -> None:
    """After a thousand rows, or as many as are wanted; programs get all."""
    sql = "SELECT n FROM generate_series(1, 1001) n"
    done = sgdb_process("query", "sql", sql)
    assert len(done.stdout.splitlines()) == 2 + 1000
    assert "cut after 1,000 rows" in done.stderr
    done = sgdb_process("query", "sql", sql, "--limit", "0")
    assert (len(done.stdout.splitlines()), done.stderr) == (2 + 1001, "")
    assert len(json.loads(sgdb_process("query", "sql", sql, "-f", "json").stdout)) == 1001
    done = sgdb_process("query", "sql", sql, "-f", "json", "--limit", "2")
    assert json.loads(done.stdout) == [{"n": 1}, {"n": 2}]
    assert "cut after 2 rows" in done.stderr
    done = sgdb_process("query", "sql", sql, "-f", "csv", "--limit", "1001")
    assert done.stderr == ""


def test_no_rows_and_no_columns(sgdb_process: Process) -> None:
    """Headings alone; an empty list."""
    assert sgdb_process("query", "sql", "SELECT 1 AS n WHERE false").stdout.split() == ["n", "\u2500"]
    assert sgdb_process("query", "sql", "SELECT 1 AS n WHERE false", "-f", "csv").stdout == "n\n"
    assert json.loads(sgdb_process("query", "sql", "SELECT 1 WHERE false", "-f", "json").stdout) == []
    assert sgdb_process("query", "sql", "SELECT").returncode == 0


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_a_mistake_leaves_stdout_empty(sgdb_process: Process, format: str) -> None:
    """Exit 2, PostgreSQL's words, and no traceback; also where the first row is the mistake."""
    done = sgdb_process("query", "sql", "SELECT nope FROM bots", "-f", format)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'column "nope" does not exist' in done.stderr
    done = sgdb_process("query", "sql", "SELECT 1 / (n - 1) FROM generate_series(1, 2) n", "-f", format)
    assert (done.returncode, done.stdout) == (2, "")
    assert "division by zero" in done.stderr
    for option in (["--limit", "-1"], ["--timeout", "-1"], ["--timeout", "nan"], ["--timeout", "1e9"]):
        assert sgdb_process("query", "sql", "SELECT 1", *option).returncode == 2


def test_what_comes_from_the_database_cannot_rewrite_the_screen(sgdb_process: Process) -> None:
    """Neither a value nor the name of a column."""
    done = sgdb_process("query", "sql", "SELECT E'\\x1b[2J' AS \"a\x1b[2J\"")
    assert "\x1b" not in done.stdout
    done = sgdb_process("query", "sql", "SELECT E'\\x1b[2J' AS \"a\x1b[2J\"", "-f", "markdown")
    assert "\x1b" not in done.stdout


def test_the_query_from_stdin(database_url: str, tmp_path: Path) -> None:
    """So that a file of SQL can be piped in."""
    for raw, code, said in (
        (b"SELECT 1 AS n -- \xc3\xa4\n", 0, b"n\n1\n"),
        (b"SELECT '\xff'", 2, b""),
        (b"", 2, b""),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sgdb", "query", "sql", "-", "--format", "csv"],
            input=raw,
            capture_output=True,
            env={**os.environ, "SGDB_DATABASE_URL": database_url},
            cwd=tmp_path,
            check=False,
        )
        assert (done.returncode, done.stdout) == (code, said)


def test_ctrl_c_ends_the_query_on_the_server(database_url: str, engine: Engine, tmp_path: Path) -> None:
    """At once, although libpq waits for the answer."""
    at_work = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO $$%' OR query LIKE 'FETCH%'"
    command = start(
        tmp_path,
        ["query", "sql", "SELECT pg_sleep(600)"],
        clean_environment(SGDB_DATABASE_URL=database_url),
    )
    until(lambda: ask(engine, f"{at_work} AND state = 'active'"))
    os.kill(command.pid, signal.SIGINT)
    done = command.end()
    assert (done.returncode, done.stdout) == (130, "")
    assert ask(engine, f"{at_work} AND state = 'active'") == []


def test_it_sees_what_was_migrated(sgdb_process: Process, settings: Settings, tmp_path: Path) -> None:
    """The tables themselves, and boards as lists."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", num_games=2))
    sql = "SELECT game_index, board_state FROM games ORDER BY 1"
    document = json.loads(sgdb_process("query", "sql", sql, "-f", "json").stdout)
    assert [(row["game_index"], len(row["board_state"])) for row in document] == [(0, 5), (1, 5)]
