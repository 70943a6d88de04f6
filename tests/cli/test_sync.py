"""`sgdb sync`, and how `status` and `query mismatches` tell what it is for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgdb.database.engine import address_of
from sgdb.settings import Settings
from sgdb.storage import PickleStorage, PostgresStorage
from sgdb.storage.journal import Debt, Journal, Pair
from sgdb.testing.contract import CONFIG, result, whole
from tests.cli.conftest import Process


@pytest.fixture
def pair(settings: Settings, tmp_path: Path) -> Pair:
    """A set that a dual storage has in a pickle and in this test's database."""
    return Pair(CONFIG, 42, str(tmp_path / "pickles" / "set.pkl"), address_of(settings))


@pytest.fixture
def owed(pair: Pair, settings: Settings) -> Journal:
    """The pickle has a set of which the database lacks one bot, which is noted."""
    PickleStorage(pair.pickle, CONFIG, 42).save_data(whole(42))
    with PostgresStorage(settings, CONFIG, 42) as database:
        database.save_data(whole(42, bots=("A",)))
    journal = Journal(settings.journal_folder)
    with journal.note(Debt(pair, "database", since="2026-11-25T09:00:00+00:00")) as note:
        note.owe("database", "the server was away")
    return journal


def test_nothing_to_do(sgdb_process: Process, settings: Settings) -> None:
    """Without debts the database is not even asked."""
    done = sgdb_process(
        "sync", SGDB_HOME=str(settings.home), SGDB_DATABASE_URL="postgresql://x@127.0.0.1:1/y"
    )
    assert (done.returncode, "nothing to sync" in done.stderr) == (0, True)
    done = sgdb_process("query", "mismatches", "--format", "json", SGDB_HOME=str(settings.home))
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_a_debt_is_told_and_paid(
    sgdb_process: Process, settings: Settings, owed: Journal, pair: Pair
) -> None:
    """By status, by a dry run, and by the real one, after which it is gone."""
    home = str(settings.home)
    assert (
        "owed:     1 save since 2026-11-25T09:00:00+00:00: sgdb sync"
        in sgdb_process("status", SGDB_HOME=home).stdout
    )
    dry = sgdb_process("sync", "--dry-run", SGDB_HOME=home)
    assert (dry.returncode, "dry run" in dry.stderr) == (0, True)
    assert owed.debts()
    done = sgdb_process("sync", "--format", "json", SGDB_HOME=home)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "dry_run": False,
        "sets": [
            {
                "config": {"num_rows": 2, "num_cols": 3, "num_colors": 4},
                "base_seed": 42,
                "pickle": pair.pickle,
                "database": pair.database,
                "lacks": ["database"],
                "since": "2026-11-25T09:00:00+00:00",
                "reason": "the server was away",
                "status": "level",
                "to_database": {"games": 0, "results": 4},
                "to_pickle": {"games": 0, "results": 0},
                "mismatches": 0,
                "error": None,
            }
        ],
        "sessions": [],
    }
    assert not owed.debts()
    assert "owed" not in sgdb_process("status", SGDB_HOME=home).stdout
    assert sgdb_process("verify").returncode == 0


def test_differences_are_left_and_listed(
    sgdb_process: Process, settings: Settings, owed: Journal, pair: Pair
) -> None:
    """A value that both sides have otherwise is for a person to decide: exit 1, and where to look."""
    home = str(settings.home)
    PickleStorage(pair.pickle, CONFIG, 42).save_results("A", [result("A", 2, tiles=9)], replace=True)
    done = sgdb_process("sync", SGDB_HOME=home)
    assert (done.returncode, "next: sgdb query mismatches" in done.stderr) == (1, True)
    assert "differs" in done.stdout
    assert "differ:   1 value: sgdb query mismatches" in sgdb_process("status", SGDB_HOME=home).stdout
    listed = sgdb_process("query", "mismatches", "--format", "csv", SGDB_HOME=home).stdout.splitlines()
    assert listed[1].startswith(f"{pair.pickle},2,3,4,42,2,A,tiles_cleared,9,4,")
    table = sgdb_process("query", "mismatches", SGDB_HOME=home).stdout
    assert "set.pkl  2x3x4   42" in table


def test_a_debt_that_cannot_be_paid(
    sgdb_process: Process, settings: Settings, owed: Journal, pair: Pair
) -> None:
    """It stays, with the reason; without the database the command fails as others do."""
    home = str(settings.home)
    away = sgdb_process("sync", SGDB_HOME=home, SGDB_DATABASE_URL="postgresql://x@127.0.0.1:1/y")
    assert (away.returncode, "No connection" in away.stderr) == (3, True)
    Path(pair.pickle).write_bytes(b"\x80\x04")
    done = sgdb_process("sync", SGDB_HOME=home)
    assert done.returncode == 1
    assert "still owed" in done.stderr
    assert "the file ends in the middle of the pickle" in done.stderr
    assert len(owed.debts()) == 1
