"""`sgdb backup` and `sgdb rollback --to-backup` as processes: streams, exit codes, asking."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.backup_files import manifest_path
from sgdb.database.revisions import head
from sgdb.database.schema import downgrade
from sgdb.settings import Settings
from tests.backups import contents, execute, names, pair
from tests.cli.conftest import Process, clean_environment
from tests.legacy import write_legacy
from tests.steps import count, database_state, migrate

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def sgdb(sgdb_process: Process, settings: Settings, tmp_path: Path) -> Command:
    """Runs `sgdb` on a database with one set; its home is in the test's folder."""
    migrate(settings, write_legacy(tmp_path / "a.pkl"))

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return sgdb_process(*arguments, **{"SGDB_HOME": str(settings.home), **variables})

    return run


def test_a_backup_for_people(sgdb: Command, tmp_path: Path) -> None:
    """What is in it goes to stdout, what happens to stderr; without a proof the next command is named."""
    done = sgdb("backup", "--to", "mine.dump")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "backup:   mine.dump"
    assert [line.split(":")[0] for line in lines] == ["backup", "made", "size", "rows", "schema", "proven"]
    assert lines[-1] == "proven:   yes"
    assert done.stderr == "proving the backup: restoring it into a scratch database\n"
    assert set(pair(tmp_path / "mine.dump")) <= set(names(tmp_path))
    done = sgdb("backup", "--no-prove", "--to", "other.dump")
    assert done.stdout.splitlines()[-1] == "proven:   no"
    assert done.stderr == "not proven; next: sgdb backup verify --prove other.dump\n"
    assert sgdb("backup", "verify", "--prove", "other.dump").stdout.splitlines()[-1] == "proven:   yes"


def test_json_is_one_pure_document(sgdb: Command, settings: Settings) -> None:
    """Of each subcommand, and csv has one line a backup."""
    made = json.loads(sgdb("backup", "--format", "json").stdout)
    listed = json.loads(sgdb("backup", "list", "--format", "json").stdout)
    verified = json.loads(sgdb("backup", "verify", made["path"], "--format", "json").stdout)
    same = {name: value for name, value in made.items() if name not in ("pruned", "damaged", "seconds")}
    assert listed == {"folder": str(settings.backups_folder), "backups": [same], "unusable": []}
    assert verified == {"sound": True, **same}
    (row,) = csv.DictReader(sgdb("backup", "list", "--format", "csv").stdout.splitlines())
    assert (row["path"], row["proven"]) == (made["path"], "true")


def test_the_list_and_what_was_deleted(sgdb: Command, settings: Settings, tmp_path: Path) -> None:
    """Times and sizes as people read them; nothing there is said, with what to do."""
    done = sgdb("backup", "list")
    assert (done.returncode, done.stderr) == (
        0, f"no backups in {settings.backups_folder}; next: sgdb backup\n",
    )  # fmt: skip
    first = sgdb("backup").stdout.splitlines()[0].split()[1]
    done = sgdb("backup", "--keep", "1")
    assert f"deleted:  {first}" in done.stdout
    (tmp_path / first).write_bytes(b"no backup")
    done = sgdb("backup", "list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert "asked" in done.stdout
    assert f"{Path(first).name} has no manifest" in done.stderr


def test_exit_codes(sgdb: Command, engine: Engine, tmp_path: Path) -> None:
    """2 for a call that is wrong, 4 for a damaged backup; stdout stays empty whatever the format."""
    assert sgdb("backup", "--to", "x.dump", "--no-prove").returncode == 0
    for arguments in (
        ("--keep", "0"), ("--to", "x.dump"), ("--to", ""), ("--to", "nowhere/"),
        ("list", "nowhere"), ("verify", "nowhere"), ("verify",),
    ):  # fmt: skip
        done = sgdb("backup", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
    raw = bytearray((tmp_path / "x.dump").read_bytes())
    raw[100] ^= 1
    (tmp_path / "x.dump").write_bytes(raw)
    state = database_state(engine)
    for arguments in (
        ("backup", "verify", "x.dump"), ("backup", "verify", "--prove", "x.dump", "--format", "json"),
        ("rollback", "--to-backup", "x.dump", "--yes"), ("rollback", "--to-backup", "x.dump"),
    ):  # fmt: skip
        done = sgdb(*arguments)
        assert (done.returncode, done.stdout) == (4, ""), arguments
        assert "x.dump is damaged" in done.stderr
        assert "sgdb backup list" in done.stderr
    manifest_path(tmp_path / "x.dump").unlink()
    assert sgdb("backup", "verify", "x.dump").returncode == 4
    assert database_state(engine) == state


class TestGoingBack:
    def test_for_people(self, sgdb: Command, engine: Engine) -> None:
        """Rows before and after, and how to get back to what was there."""
        before = contents(engine)
        assert sgdb("backup", "--to", "x.dump").returncode == 0
        execute(engine, "DELETE FROM game_results; INSERT INTO bots (name) VALUES ('later')")
        state = database_state(engine)
        dry = sgdb("rollback", "--to-backup", "x.dump", "--dry-run")
        assert dry.returncode == 0
        assert "dry run: nothing was changed" in dry.stderr
        assert database_state(engine) == state
        done = sgdb("rollback", "--to-backup", "x.dump", "--yes")
        assert done.returncode == 0
        assert done.stdout == dry.stdout
        rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[2:]}
        assert rows["game_results"] == ["0", str(len(before["game_results"]))]
        assert "the database was put back to the backup of 2" in done.stderr
        assert contents(engine) == before
        (back,) = (line for line in done.stderr.splitlines() if line.startswith("what was there before: "))
        command = back.removeprefix("what was there before: sgdb ").split()
        assert sgdb(*command, "--yes").returncode == 0
        assert count(engine, "game_results") == 0
        assert "later" in str(contents(engine)["bots"])

    def test_json(self, sgdb: Command, engine: Engine) -> None:
        """One pure document; an older schema is named."""
        downgrade(engine, "0001")
        assert sgdb("backup", "--to", "x.dump", "--no-prove").returncode == 0
        done = sgdb("rollback", "--to-backup", "x.dump", "--yes", "--format", "json")
        document = json.loads(done.stdout)
        assert (document["revision_before"], document["revision_of_backup"]) == ("0001", "0001")
        assert document["revision"] == head()
        assert Path(document["saved"]).exists()
        done = sgdb("rollback", "--to-backup", "x.dump", "--yes")
        assert f"on the way, its schema 0001 was brought to {head()}" in done.stderr

    def test_it_goes_with_nothing_of_a_run(self, sgdb: Command) -> None:
        """Both at once make no sense."""
        for other in (("1",), ("--originals", "x"), ("--discard-originals",)):
            done = sgdb("rollback", "--to-backup", "x.dump", *other)
            assert (done.returncode, done.stdout) == (2, "")

    def test_without_anybody_to_ask_the_answer_is_no(self, sgdb: Command, engine: Engine) -> None:
        """Exit 1, nothing on stdout, nothing changed."""
        assert sgdb("backup", "--to", "x.dump", "--no-prove").returncode == 0
        state = database_state(engine)
        done = sgdb("rollback", "--to-backup", "x.dump")
        assert (done.returncode, done.stdout) == (1, "")
        assert "--yes" in done.stderr
        assert database_state(engine) == state

    @pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
    def test_on_a_terminal_it_asks(
        self, sgdb: Command, settings: Settings, engine: Engine, tmp_path: Path, answer: str, code: int
    ) -> None:
        """And says what is at stake."""
        assert sgdb("backup", "--to", "x.dump", "--no-prove").returncode == 0
        execute(engine, "DELETE FROM game_results")
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "sgdb", "rollback", "--to-backup", "x.dump"],
            env=clean_environment(
                SGDB_DATABASE_URL=engine.url.render_as_string(hide_password=False),
                SGDB_HOME=str(settings.home),
            ),
            cwd=tmp_path,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        os.write(ours, answer.encode() + b"\n")
        _, said = process.communicate(timeout=60)
        os.close(ours)
        assert process.returncode == code
        assert "Put the database back to the backup of 2" in said
        assert "(not proven, " in said
        assert (count(engine, "game_results") == 0) is bool(code)


def test_init_tells_where_the_backup_is(sgdb: Command, engine: Engine) -> None:
    """Which it makes before it migrates an older schema, unless it is told not to."""
    downgrade(engine, "0001")
    done = sgdb("init")
    assert done.returncode == 0
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("backup:"))
    assert sgdb("backup", "verify", line.split()[1]).returncode == 0
    downgrade(engine, "0001")
    done = sgdb("init", "--no-backup", "--format", "json")
    assert json.loads(done.stdout)["backup"] is None
