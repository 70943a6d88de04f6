"""`sgdb status` as people and scripts call it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import make_url

from sgdb.database.models import Base
from sgdb.database.revisions import head
from tests.cli.conftest import Process
from tests.legacy import write_legacy


def test_a_ready_database(sgdb_process: Process, tmp_path: Path) -> None:
    """Everything on stdout, nothing on stderr: there is no next step."""
    write_legacy(tmp_path / "pickles.pkl", num_games=3)
    assert sgdb_process("migrate-pickles", "pickles.pkl").returncode == 0
    done = sgdb_process("status", SGDB_PICKLE_DIR="elsewhere")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "state:    ready" in lines
    assert f"schema:   {head()} (newest)" in lines
    assert "runs:     1" in lines
    assert f"pickles:  {tmp_path / 'elsewhere'}" in lines
    assert any(line.startswith("last run: ") and "migrate-pickles, done" in line for line in lines)
    assert any(line.split()[:2] == ["games", "3"] for line in lines)


def test_files_that_are_not_what_was_migrated(sgdb_process: Process, tmp_path: Path) -> None:
    """Counted on stdout, and named on stderr with what to do; not looked for when that is not wanted."""
    for number in range(8):
        write_legacy(tmp_path / f"{number}.pkl", num_games=3, base_seed=number)
    assert sgdb_process("migrate-pickles", tmp_path).returncode == 0
    for number in range(6):
        write_legacy(tmp_path / f"{number}.pkl", num_games=4, base_seed=number)
    (tmp_path / "6.pkl").unlink()
    done = sgdb_process("status")
    assert "files:    8 migrated: 1 unchanged, 6 changed since, 1 gone" in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0] == "changed: 0.pkl is not what was migrated; see `sgdb verify 0.pkl`"
    assert lines[5:] == ["changed: 1 more, named by --format json"]
    files = json.loads(sgdb_process("status", "--format", "json").stdout)["files"]
    assert (files["recorded"], files["unchanged"], len(files["changed"])) == (8, 1, 6)
    assert files["gone"] == [str(tmp_path / "6.pkl")]
    done = sgdb_process("status", "--no-files")
    assert (done.stderr, "files:" in done.stdout) == ("", False)


def test_the_formats(sgdb_process: Process) -> None:
    """JSON says it all; CSV and Markdown hold the tables."""
    document = json.loads(sgdb_process("status", "--format", "json").stdout)
    assert (document["state"], document["embedded"], document["revision"]) == ("ready", False, head())
    names = list(Base.metadata.tables)
    assert [table["table"] for table in document["tables"]] == names
    rows = list(csv.DictReader(io.StringIO(sgdb_process("status", "-f", "csv").stdout)))
    assert [row["table"] for row in rows] == names
    assert all(row["rows"] == "0" and int(row["bytes"]) > 0 for row in rows)
    assert sgdb_process("status", "-f", "markdown").stdout.startswith("| table | rows | bytes |\n| --- |")


def test_the_password_is_nowhere(sgdb_process: Process, database_url: str) -> None:
    """Not in any format, not on any stream, not in a traceback."""
    url = make_url(database_url)
    if url.password is None:
        database_url = url.set(password="geheim").render_as_string(hide_password=False)
    password = str(make_url(database_url).password)
    for arguments in (["status"], ["status", "-f", "json"], ["--debug", "status"]):
        done = sgdb_process(*arguments, SGDB_DATABASE_URL=database_url)
        assert done.returncode == 0
        assert password not in done.stdout + done.stderr


def test_before_init(sgdb_process: Process, empty_database: str) -> None:
    """No tables is an answer, not an error; the next command goes to stderr."""
    done = sgdb_process("status", SGDB_DATABASE_URL=empty_database)
    assert done.returncode == 0
    assert "state:    no tables" in done.stdout
    assert f"schema:   none (this program has {head()})" in done.stdout
    assert done.stderr == "no tables; next: sgdb init\n"
    absent = make_url(empty_database).set(database="sgdb_test_absent")
    done = sgdb_process("status", SGDB_DATABASE_URL=absent.render_as_string(hide_password=False))
    assert done.returncode == 0
    assert done.stderr == "no database; next: sgdb init\n"


def test_the_embedded_server_through_its_life(embedded_process: Process, tmp_path: Path) -> None:
    """Not set up, ready, stopped: told each time, and left so."""
    done = embedded_process("status")
    assert (done.returncode, done.stderr) == (0, "not set up; next: sgdb init\n")
    assert not (tmp_path / "sgdb-home").exists()
    assert embedded_process("init").returncode == 0
    done = embedded_process("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "state:    ready" in done.stdout
    assert embedded_process("server", "stop").returncode == 0
    for _ in range(2):
        done = embedded_process("status")
        assert (done.returncode, done.stderr) == (0, "stopped; next: sgdb server start\n")


@pytest.mark.parametrize("format", ["table", "json"])
def test_an_unreachable_server(sgdb_process: Process, format: str) -> None:
    """Exit 3, and stdout stays empty."""
    url = "postgresql://ann:geheim@127.0.0.1:1/games"
    done = sgdb_process("status", "--format", format, SGDB_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (3, "")
    assert "geheim" not in done.stderr


def test_a_path_with_an_escape_sequence_is_harmless(embedded_process: Process, tmp_path: Path) -> None:
    """What a setting holds cannot rewrite the screen."""
    done = embedded_process("status", SGDB_PICKLE_DIR=f"{tmp_path}/\x1b[2J")
    assert "\x1b" not in done.stdout + done.stderr
    assert "\\x1b[2J" in done.stdout
