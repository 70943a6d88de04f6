"""Checkpoint files on the command line: what scripts rely on, and what people read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.cli.conftest import Process
from tests.legacy import write_legacy
from tests.legacy_checkpoints import write_checkpoint
from tests.steps import count, database_state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A benchmark, and two checkpoints with their weights in another folder."""
    path, weights = tmp_path / "pickles", tmp_path / "weights"
    for each in (path, weights):
        each.mkdir()
    write_legacy(path / "benchmark.pkl")
    for epoch in (1, 2):
        write_checkpoint(path, epoch=epoch, weights_folder=weights)
    return path


@pytest.fixture
def migrated(sgdb_process: Process, folder: Path) -> Path:
    """The same, migrated."""
    assert sgdb_process("migrate-pickles", folder, "--weights-dir", "weights").returncode == 0
    return folder


def test_json_of_a_migration(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """A benchmark's entry is what it always was; a checkpoint's has more. A dry run says the same."""
    state = database_state(engine)
    arguments = ("migrate-pickles", folder, "--weights-dir", "weights", "--format", "json")
    dry = sgdb_process(*arguments, "--dry-run")
    assert (dry.returncode, dry.stderr, database_state(engine)) == (0, "", state)
    done = sgdb_process(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    benchmark, first, second = document["files"]
    usual = [
        "path", "sha256", "status", "benchmark_set_id", "config", "base_seed", "num_games", "games",
        "results", "notes", "error",
    ]  # fmt: skip
    assert list(benchmark) == usual
    assert list(first) == list(second) == [*usual, "kind", "training_session_id", "checkpoints"]
    assert (first["kind"], first["training_session_id"]) == ("checkpoint", 1)
    assert first["checkpoints"] == {"read": 1, "inserted": 1, "identical": 0, "rejected": 0}
    assert document["totals"]["checkpoints"] == {"read": 2, "inserted": 2, "identical": 0, "rejected": 0}
    assert json.loads(dry.stdout)["totals"] == document["totals"]
    assert count(engine, "blobs") == 2


def test_a_table_for_people(sgdb_process: Process, folder: Path) -> None:
    """Its columns are those of benchmarks where there is nothing else, and what is missing is said."""
    alone = sgdb_process("migrate-pickles", folder / "benchmark.pkl")
    assert "checkpoints" not in alone.stdout + alone.stderr
    done = sgdb_process("migrate-pickles", folder)
    assert done.returncode == 0
    assert "+checkpoints" in done.stdout
    assert "checkpoints: 2 read = 2 inserted + 0 identical + 0 rejected" in done.stderr
    assert "were not found beside it or in a folder given with --weights-dir" in done.stderr
    rows = csv.DictReader(sgdb_process("migrate-pickles", folder, "--format", "csv").stdout.splitlines())
    assert [(row["kind"], row["checkpoints"]) for row in rows] == [
        ("benchmark", "0"), ("checkpoint", "1"), ("checkpoint", "1"),
    ]  # fmt: skip


def test_a_folder_of_weights_has_to_be_there(sgdb_process: Process, engine: Engine, folder: Path) -> None:
    """Exit 2 before anything is done."""
    done = sgdb_process("migrate-pickles", folder, "--weights-dir", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr
    assert count(engine, "runs") == 0


def test_verify_tells_differences(sgdb_process: Process, migrated: Path) -> None:
    """Equal, with the weights where they were; another value is exit 1, named by experiment and epoch."""
    assert sgdb_process("verify", migrated).returncode == 0
    assert sgdb_process("verify").returncode == 0
    write_checkpoint(migrated, epoch=2, weights=None, metadata={"a": 1})
    done = sgdb_process("verify", migrated, "--format", "json")
    assert done.returncode == 1
    different = json.loads(done.stdout)["files"][2]
    assert (different["kind"], different["status"]) == ("checkpoint", "different")
    (example,) = different["examples"]
    assert example == {
        "game_id": None, "bot": "dqn_small", "field": "epoch 2, metadata", "pickle": {"a": 1}, "database": {},
    }  # fmt: skip
    timed = sgdb_process("verify", migrated, "--timings")
    assert "dqn_small_epoch_1.pkl is a checkpoint" in timed.stderr
    assert "dqn_small_epoch_2.pkl is different" in timed.stderr


def test_export_writes_pickles_and_weights(sgdb_process: Process, migrated: Path, tmp_path: Path) -> None:
    """Of one training or of all; every path is printed."""
    done = sgdb_process("export", "--session", "dqn_small", "--to", "one", "--format", "original")
    assert done.returncode == 0
    names = [f"dqn_small_epoch_{epoch}{end}" for epoch in (1, 2) for end in (".pkl", "_model.pth")]
    assert sorted(Path(line).name for line in done.stdout.splitlines()) == sorted(names)
    for name in names:
        original = migrated / name if name.endswith("pkl") else tmp_path / "weights" / name
        assert (tmp_path / "one" / name).read_bytes() == original.read_bytes()
    done = sgdb_process("export", "--all", "--to", "all")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5)
    for wrong in (("--session", "dqn_small", "--all"), (), ("--session", "other")):
        assert sgdb_process("export", *wrong, "--to", "none").returncode == 2


def test_an_import_lists_its_trainings(sgdb_process: Process, engine: Engine, migrated: Path) -> None:
    """Below the sets; in CSV, which is one table, where there are no sets."""
    tables = ("--format", "jsonl", "--to")
    assert sgdb_process("export", "--session", "dqn_small", *tables, "alone").returncode == 0
    assert sgdb_process("export", "--all", *tables, "all").returncode == 0
    (row,) = csv.DictReader(sgdb_process("import", "alone", "--format", "csv").stdout.splitlines())
    assert (row["name"], row["status"], row["checkpoints"], row["+checkpoints"]) == (
        "dqn_small", "identical", "2", "0",
    )  # fmt: skip
    (row,) = csv.DictReader(sgdb_process("import", "all", "--format", "csv").stdout.splitlines())
    assert row["config"] == "5x5x3"
    both = sgdb_process("import", "all").stdout
    assert both.index("results") < both.index("training") < both.index("dqn_small")


def test_a_run_is_listed_and_taken_back(sgdb_process: Process, engine: Engine, migrated: Path) -> None:
    """With what it brought of each kind."""
    listed = json.loads(sgdb_process("query", "runs", "--format", "json").stdout)
    assert [run["checkpoints_inserted"] for run in listed] == [2]
    assert "+checkpoints" in sgdb_process("query", "runs").stdout
    files = json.loads(sgdb_process("query", "runs", 1, "--format", "json").stdout)
    assert sorted(file["checkpoints_inserted"] for file in files) == [0, 0, 0, 1, 1]
    assert json.loads(sgdb_process("status", "--format", "json").stdout)["files"]["unchanged"] == 5
    rows = list(csv.DictReader(sgdb_process("rollback", "--dry-run", "--format", "csv").stdout.splitlines()))
    assert [row["checkpoints"] for row in rows] == ["", "1", "0", "1", "0"]
    document = json.loads(sgdb_process("rollback", "--yes", "--format", "json").stdout)
    assert document["removed"] == {
        "games": 10, "results": 10, "sessions": 1, "checkpoints": 2, "weights": 2, "sets": 1, "bots": 2,
        "configs": 1, "originals": 3,
    }  # fmt: skip
    assert [file.get("checkpoints") for file in document["files"]] == [None, 1, 0, 1, 0]
    assert (count(engine, "training_sessions"), count(engine, "blobs")) == (0, 0)
