"""`sgdb rollback` as a process: asking, exit codes and streams; and runs that were killed."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.engine import transaction
from sgdb.database.locks import lock_set
from sgdb.records import GameConfig
from sgdb.settings import Settings
from tests.cli.conftest import Process, clean_environment
from tests.legacy import write_legacy
from tests.steps import ask, count, database_state, migrate


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    """A folder with two files that one run has brought."""
    path = tmp_path / "pickles"
    path.mkdir()
    write_legacy(path / "1.pkl", base_seed=1)
    write_legacy(path / "2.pkl", base_seed=2, num_games=30, bots=("A", "B"))
    migrate(settings, path)
    return path


def test_json_is_one_pure_document(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """What went, and where each file is; a dry run says the same and touches nothing."""
    state = database_state(engine)
    dry = sgdb_process("rollback", "--dry-run", "--format", "json")
    assert (dry.returncode, dry.stderr, database_state(engine)) == (0, "", state)
    done = sgdb_process("rollback", "1", "--yes", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert list(document) == [
        "run_id", "rollback_run_id", "dry_run", "seconds", "files", "removed", "kept",
    ]  # fmt: skip
    assert document["removed"] == {
        "games": 40, "results": 70, "sets": 2, "bots": 3, "configs": 1, "originals": 2,
    }  # fmt: skip
    assert [list(file) for file in document["files"]] == [
        ["path", "sha256", "benchmark_set_id", "games", "results", "original", "written_to"]
    ] * 2
    assert [(file["path"], file["games"], file["original"]) for file in document["files"]] == [
        (str(folder / "1.pkl"), 10, "on disk"),
        (str(folder / "2.pkl"), 30, "on disk"),
    ]
    assert (document["run_id"], document["rollback_run_id"]) == (1, 2)
    same = {"dry_run": None, "seconds": None, "rollback_run_id": None}
    assert {**json.loads(dry.stdout), **same} == {**document, **same}
    assert count(engine, "games") == 0


def test_a_table_for_people_and_what_comes_next_on_stderr(sgdb_process: Process, folder: Path) -> None:
    """Paths as they are typed from here."""
    done = sgdb_process("rollback", "--yes")
    assert done.returncode == 0
    assert done.stdout.splitlines()[3].split() == ["pickles/2.pkl", "2", "30", "60", "on", "disk"]
    assert done.stderr == (
        "run 1 taken back: 40 games, 70 results, 2 benchmark sets, 3 bots, 1 board config, "
        "2 stored originals\n"
        "next: sgdb verify; migrating the files again brings everything back\n"
    )
    again = sgdb_process("rollback", "--yes")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.startswith("nothing to take back: no run")


def test_what_stays_and_what_there_is_nothing_of_is_said(sgdb_process: Process, folder: Path) -> None:
    """A bot that others use, and a run that only refused files."""
    bad = write_legacy(folder / "bad.pkl", spoil_bytes=lambda raw: raw[:-1])
    assert sgdb_process("migrate-pickles", bad).returncode == 4
    assert sgdb_process("migrate-pickles", write_legacy(folder / "3.pkl", bots=("A",))).returncode == 0
    done = sgdb_process("rollback", "2", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "nothing to take back: run 2 brought nothing\n"
    done = sgdb_process("rollback", "1", "--yes")
    assert done.returncode == 0
    assert "kept, because others use them: 1 bot, 1 board config" in done.stderr
    assert sgdb_process("verify").returncode == 0


@pytest.mark.parametrize("format", ["csv", "markdown"])
def test_rows_for_other_programs(sgdb_process: Process, folder: Path, format: str) -> None:
    """One line a file below the heading."""
    lines = sgdb_process("rollback", "--yes", "--format", format).stdout.splitlines()
    if format == "csv":
        assert [row["results"] for row in csv.DictReader(lines)] == ["10", "60"]
    else:
        assert len(lines) == 4


def test_without_anybody_to_ask_the_answer_is_no(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """Exit 1, nothing on stdout, nothing changed, and how to go on; where there is nothing to do, nobody is
    asked."""
    state = database_state(engine)
    done = sgdb_process("rollback")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--yes" in done.stderr
    assert database_state(engine) == state
    assert sgdb_process("rollback", "--yes").returncode == 0
    assert sgdb_process("rollback").returncode == 0


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(
    database_url: str, engine: Engine, folder: Path, tmp_path: Path, answer: str, code: int
) -> None:
    """The question says what would go; anything but yes leaves everything as it is."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sgdb", "rollback"],
        env=clean_environment(SGDB_DATABASE_URL=database_url),
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    _, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code
    assert "run 1 would be taken back: 40 games, 70 results, " in err
    assert "Take run 1 back? [y/N] " in err
    assert count(engine, "games") == (0 if code == 0 else 40)


def test_exit_codes_of_refusals(sgdb_process: Process, engine: Engine, folder: Path, tmp_path: Path) -> None:
    """2 for a call that is wrong, 4 for a run that others need or that has the last copy of a file, 5 for one
    that is busy; asked or not, and whatever the format, stdout stays empty."""
    assert [sgdb_process("rollback", *arguments).returncode for arguments in (["77"], ["x"])] == [2, 2]
    later = write_legacy(folder / "3.pkl", base_seed=2, num_games=40, bots=("A",))
    assert sgdb_process("migrate-pickles", later).returncode == 0
    done = sgdb_process("rollback", "1", "--yes", "--format", "json")
    assert (done.returncode, done.stdout) == (4, "")
    assert f"run 2, {later}" in done.stderr
    assert "sgdb rollback 2" in done.stderr
    later.unlink()
    done = sgdb_process("rollback")
    assert (done.returncode, done.stdout) == (4, "")
    assert "last copy" in done.stderr
    assert "--originals FOLDER" in done.stderr
    with transaction(engine) as connection:
        lock_set(connection, GameConfig(1, 1, 1), 1, timeout=1)
        done = sgdb_process("rollback", "--yes", "--originals", "kept", SGDB_LOCK_TIMEOUT="0.2")
    assert (done.returncode, done.stdout) == (5, "")
    assert "waiting for another program" in done.stderr
    done = sgdb_process("rollback", "--yes", "--originals", "kept")
    assert done.returncode == 0
    assert "written to kept/3.pkl" in done.stdout
    assert (tmp_path / "kept" / "3.pkl").exists()


# -- runs that were killed ------------------------------------------------------------------------


def _until(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def test_a_killed_run_is_told_from_one_at_work_and_taken_back(
    database_url: str, sgdb_process: Process, engine: Engine, tmp_path: Path
) -> None:
    """Killed with SIGKILL between two files: what it had brought is there, `query runs` and `status` say that
    it broke off, and rollback, which leaves it alone while it is at work, takes it back."""
    write_legacy(tmp_path / "1.pkl", base_seed=1)
    write_legacy(tmp_path / "2.pkl", base_seed=2, num_games=50)

    def told() -> str:
        (run,) = json.loads(sgdb_process("query", "runs", "--format", "json").stdout)
        assert run["id"] == 1
        return str(run["status"])

    with transaction(engine) as connection:
        lock_set(connection, GameConfig(5, 5, 3), 2, timeout=1)
        process = subprocess.Popen(
            [sys.executable, "-m", "sgdb", "migrate-pickles", str(tmp_path)],
            env=clean_environment(SGDB_DATABASE_URL=database_url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _until(lambda: count(engine, "runs"))
        assert told() == "at work"
        busy = sgdb_process("rollback", "--yes")
        assert busy.returncode == 5
        assert "run 1 is still at work" in busy.stderr
        process.send_signal(signal.SIGKILL)
        process.wait()
    _until(lambda: told() == "broken off")
    status = sgdb_process("status")
    assert "last run: 1, migrate-pickles, broken off" in status.stdout
    assert "run 1 broke off" in status.stderr
    assert "`sgdb rollback 1`" in status.stderr
    assert ask(engine, "SELECT base_seed FROM benchmark_sets") == [(1,)]
    assert sgdb_process("rollback", "--yes").returncode == 0
    assert count(engine, "benchmark_sets") == 0
    assert sgdb_process("status").stderr == ""
