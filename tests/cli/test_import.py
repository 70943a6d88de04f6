"""`sgdb import` as a process: the table, the JSON that scripts rely on, exit codes, and nothing half."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.settings import Settings
from tests.cli.conftest import Process
from tests.legacy import write_legacy
from tests.steps import ask, count, migrate, tamper


@pytest.fixture
def folder(settings: Settings, sgdb_process: Process, engine: Engine, tmp_path: Path) -> Path:
    """An export whose rows are in the database no longer."""
    for seed in (1, 2):
        migrate(settings, write_legacy(tmp_path / f"{seed}.pkl", num_games=4, base_seed=seed))
    assert sgdb_process("export", "--to", "out", "--all", "--format", "csv").returncode == 0
    for run in (2, 1):
        assert sgdb_process("rollback", run, "--yes").returncode == 0
    assert count(engine, "games") == 0
    return tmp_path / "out"


def test_the_table_and_the_sums(sgdb_process: Process, folder: Path) -> None:
    """Data on stdout, sums and the next command on stderr; a dry run says that it was one."""
    dry = sgdb_process("import", "out", "--dry-run")
    assert dry.returncode == 0
    assert "dry run: nothing was written" in dry.stderr
    done = sgdb_process("import", "out")
    assert done.returncode == 0
    assert done.stdout.count("imported  5x5x3") == 2
    assert "games:     8 read = 8 inserted + 0 identical + 0 rejected" in done.stderr
    assert done.stderr.endswith("next: sgdb verify\n")
    assert sgdb_process("verify").returncode == 0
    listed = sgdb_process("query", "runs", "--format", "json").stdout
    assert [run["kind"] for run in json.loads(listed)][-1] == "import"


def test_the_json_document(sgdb_process: Process, folder: Path) -> None:
    """Its keys, whole."""
    document = json.loads(sgdb_process("import", "out", "--format", "json").stdout)
    four = {"read": 4, "inserted": 4, "identical": 0, "rejected": 0}
    none = dict.fromkeys(four, 0)
    assert document.pop("seconds") >= 0
    first, second = document.pop("sets")
    run_id = document.pop("run_id")
    assert run_id is not None
    assert second["base_seed"] == 2
    assert first == {
        "config": {"num_rows": 5, "num_cols": 5, "num_colors": 3},
        "base_seed": 1,
        "num_games": 4,
        "status": "imported",
        "benchmark_set_id": first["benchmark_set_id"],
        "games": four,
        "results": four,
        "histories": none,
        "notes": [],
        "error": None,
    }
    eight = {name: 2 * number for name, number in four.items()}
    assert document == {
        "dry_run": False,
        "folder": "out",
        "format": "csv",
        "trainings": [],
        "without_weights": False,
        "interrupted": False,
        "totals": {
            "games": eight,
            "results": eight,
            "histories": none,
            "checkpoints": none,
            "sets": {"imported": 2, "identical": 0, "rejected": 0},
            "trainings": {"imported": 0, "identical": 0, "rejected": 0},
        },
    }


def test_exit_codes(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """1 for a set that was rejected, 2 for no folder, 4 for one that is no export."""
    assert sgdb_process("import", "out").returncode == 0
    tamper(engine, "UPDATE games SET seed = 5 WHERE game_index = 3")
    done = sgdb_process("import", "out")
    assert done.returncode == 1
    assert "game 3, field seed" in done.stderr
    assert sgdb_process("import", "nowhere").returncode == 2
    assert sgdb_process("import", ".").returncode == 4
    (folder / "bots.csv").write_text("mine")
    done = sgdb_process("import", "out")
    assert (done.returncode, done.stdout) == (4, "")
    assert "bots.csv is not the file that manifest.json describes" in done.stderr


def test_an_import_is_taken_back(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """Like a migration; the folder is where it was, so nothing is lost by it."""
    assert sgdb_process("import", "out").returncode == 0
    assert sgdb_process("export", "--all", "--format", "jsonl", "--to", "same").returncode == 0
    assert sgdb_process("import", "same").returncode == 0
    done = sgdb_process("rollback", "--yes")
    assert done.returncode == 0
    assert " taken back: no rows, only what is on record of it\n" in done.stderr
    done = sgdb_process("rollback", "--yes")
    assert done.returncode == 0
    assert "importing the folder again brings everything back" in done.stderr
    assert count(engine, "games") == 0
    assert ask(engine, "SELECT status FROM runs WHERE kind = 'import'") == [("rolled-back",)] * 2
    assert sgdb_process("import", "out").returncode == 0
