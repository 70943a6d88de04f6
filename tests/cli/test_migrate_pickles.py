"""`sgdb migrate-pickles` as a process: exit codes, streams, formats and signals."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from sgdb.database.locks import lock_set
from sgdb.records import GameConfig
from tests.cli.conftest import Process, clean_environment
from tests.legacy import write_legacy
from tests.steps import ask, count, database_state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small file and a larger one of another set."""
    path = tmp_path / "pickles"
    path.mkdir()
    write_legacy(path / "1.pkl", layout="D", config=(3, 3, 3), base_seed=1)
    write_legacy(path / "2.pkl", num_games=300, base_seed=2)
    return path


def test_json_is_one_pure_document(sgdb_process: Process, folder: Path) -> None:
    """stdout holds the document that scripts rely on and nothing else; a second run is identical."""
    (folder / "notes.txt").write_text("no pickle")
    done = sgdb_process("migrate-pickles", folder, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert list(document) == ["run_id", "dry_run", "seconds", "files", "skipped", "interrupted", "totals"]
    assert list(document["files"][1]) == [
        "path", "sha256", "status", "benchmark_set_id", "config", "base_seed", "num_games", "games",
        "results", "notes", "error",
    ]  # fmt: skip
    assert document["files"][1]["games"] == {
        "read": 300, "inserted": 300, "identical": 0, "rejected": 0, "regenerated": 0,
    }  # fmt: skip
    assert document["files"][1]["config"] == {"num_rows": 5, "num_cols": 5, "num_colors": 3}
    assert document["totals"]["files"] == {"migrated": 2, "identical": 0, "rejected": 0}
    assert document["skipped"] == [{"path": str(folder / "notes.txt"), "reason": "text, not a pickle"}]
    again = json.loads(sgdb_process("migrate-pickles", folder, "--format", "json").stdout)
    assert (again["run_id"], again["totals"]["files"]["identical"]) == (None, 2)


def test_a_table_for_people_and_a_summary_on_stderr(sgdb_process: Process, folder: Path) -> None:
    """The sums are written out; in a pipe there is neither a progress bar nor colour."""
    done = sgdb_process("migrate-pickles", folder)
    assert done.returncode == 0
    assert "2.pkl" in done.stdout
    assert "games:   310 read = 310 inserted + 0 identical + 0 rejected" in done.stderr
    assert "next: sgdb verify" in done.stderr
    for stream in (done.stdout, done.stderr):
        assert not set(stream) & {"\r", "\x1b", "%"}


@pytest.mark.parametrize("format", ["csv", "markdown"])
def test_rows_for_other_programs(sgdb_process: Process, folder: Path, format: str) -> None:
    """One line a file below the heading, whichever format."""
    lines = sgdb_process("migrate-pickles", folder, "--format", format).stdout.splitlines()
    if format == "csv":
        rows = list(csv.DictReader(lines))
        assert [row["status"] for row in rows] == ["migrated", "migrated"]
        assert rows[1]["games"] == "300"
    else:
        assert lines[1].replace(" ", "").startswith("|---|")
        assert len(lines) == 4


def test_a_dry_run_says_so_and_writes_nothing(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """Same sums, no row, no sequence."""
    state = database_state(engine)
    done = sgdb_process("migrate-pickles", folder, "--dry-run")
    assert done.returncode == 0
    assert "310 inserted" in done.stderr
    assert "dry run: nothing was written" in done.stderr
    assert database_state(engine) == state


def test_exit_codes_of_refusals(sgdb_process: Process, folder: Path) -> None:
    """1 among others, 4 when it is the one thing asked for; the reason stands on stderr either way."""
    bad = write_legacy(folder / "0.pkl", spoil_bytes=lambda raw: raw[:-3])
    among = sgdb_process("migrate-pickles", folder, "--format", "json")
    alone = sgdb_process("migrate-pickles", bad, "--format", "json")
    fast = sgdb_process("migrate-pickles", folder, "--fail-fast", "--format", "json")
    assert (among.returncode, alone.returncode, fast.returncode) == (1, 4, 1)
    for done in (among, alone, fast):
        assert "rejected 0.pkl: the file ends in the middle" in done.stderr
        assert json.loads(done.stdout)["files"][0]["status"] == "rejected"
    assert len(json.loads(fast.stdout)["files"]) == 1


def test_another_command_at_work_is_busy(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """Exit 5 after the configured time, with what to do next; what came before is kept."""
    with engine.begin() as connection:
        lock_set(connection, GameConfig(5, 5, 3), 2, timeout=1)
        done = sgdb_process("migrate-pickles", folder, SGDB_LOCK_TIMEOUT="0.2")
    assert (done.returncode, done.stdout) == (5, "")
    assert "waiting for another command" in done.stderr
    assert "1 of 2 files were done before" in done.stderr
    assert "next: " in done.stderr
    assert count(engine, "benchmark_sets") == 1


# -- signals --------------------------------------------------------------------------------------


def _start(database_url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sgdb", "migrate-pickles", str(folder), "--format", "json"],
        env=clean_environment(SGDB_DATABASE_URL=database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _until(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def _assert_interrupted(process: subprocess.Popen[str], engine: Engine) -> None:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    document = json.loads(out)
    assert document["interrupted"] is True
    assert [Path(file["path"]).name for file in document["files"]] == ["1.pkl"]
    assert ask(engine, "SELECT base_seed FROM benchmark_sets") == [(1,)]
    assert ask(engine, "SELECT status FROM runs") == [("interrupted",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_rows_are_sent(database_url: str, engine: Engine, folder: Path, number: int) -> None:
    """130 with the summary; the current file is rolled back, the one before it stays."""
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE game_results IN ACCESS EXCLUSIVE MODE"))
        process = _start(database_url, folder)
        blocked = "query LIKE 'COPY game_results%' AND wait_event_type = 'Lock'"
        _until(lambda: ask(engine, f"SELECT 1 FROM pg_stat_activity WHERE {blocked}"))
        process.send_signal(number)
        time.sleep(0.2)
        connection.rollback()
    _assert_interrupted(process, engine)


def test_ctrl_c_while_waiting_for_a_lock(database_url: str, engine: Engine, folder: Path) -> None:
    """It ends at once, not when the other command has finished."""
    with engine.begin() as connection:
        lock_set(connection, GameConfig(5, 5, 3), 2, timeout=1)
        process = _start(database_url, folder)
        _until(lambda: count(engine, "source_files"))
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _assert_interrupted(process, engine)
