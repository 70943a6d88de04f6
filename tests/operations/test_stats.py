"""What `stats` tells of a database, of what lies beside it, and when it speaks up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from sgdb.database.backup_files import read_backup, replace_manifest
from sgdb.database.engine import make_engine
from sgdb.errors import BusyError, DatabaseUnreachableError, SchemaError
from sgdb.operations.backup import BackupOptions, backup
from sgdb.operations.stats import MANY_BYTES, Limits, StatsOptions, StatsResult, spelled_age, stats
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import TrainingRun
from sgdb.storage.differences import Difference
from sgdb.storage.journal import Debt, Journal, Pair
from tests.legacy import write_legacy
from tests.steps import database_state, migrate, tamper, until

PAIR = Pair(GameConfig(5, 5, 3), 42, "/a.pkl", "somewhere")


def look(settings: Settings, **limits: float) -> StatsResult:
    """With these limits, and the usual ones otherwise."""
    return stats(StatsOptions(replace(Limits(), **limits)), settings)


def reasons(result: StatsResult) -> list[str]:
    """The limits that were passed."""
    return [reason.limit for reason in result.reasons]


def test_an_empty_database_needs_nothing(settings: Settings, engine: Engine) -> None:
    """Not even a backup; the document is JSON, and nothing was written."""
    before = database_state(engine)
    found = look(settings)
    assert (found.fault, found.reasons, found.backup) == (None, (), None)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["database_bytes"] > sum(table["bytes"] for table in document["tables"]) > 0
    assert document["reasons"] == []
    assert database_state(engine) == before


def test_the_newest_proven_backup_of_this_database(
    settings: Settings, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """One of another database, and one that is not proven, are none."""
    migrate(settings, write_legacy(tmp_path / "a.pkl"))
    engine.dispose()
    until(lambda: look(settings).reasons)
    found = look(settings)
    assert reasons(found) == ["backup_age"]
    assert found.reasons[0].next_step == "sgdb backup"
    backup(BackupOptions(prove=False), settings)
    assert look(settings).backup is None
    made = backup(BackupOptions(), settings).backup
    found = look(settings)
    assert found.backup is not None
    assert (found.backup.path, found.backup.created_at) == (str(made.path), made.manifest.created_at)
    assert found.reasons == ()
    old = made.manifest.created_at - timedelta(days=8)
    made = replace_manifest(made, replace(made.manifest, created_at=old))
    assert reasons(look(settings)) == ["backup_age"]
    assert "8.0 days old" in look(settings).reasons[0].says
    assert reasons(look(settings, backup_age=9 * 86_400)) == []
    other = replace(made.manifest.origin, name="another", address="another")
    replace_manifest(read_backup(made.path), replace(made.manifest, origin=other))
    assert look(settings).backup is None


def test_what_dual_storages_owe(settings: Settings) -> None:
    """Debts once they are old, differences at once."""
    journal = Journal(settings.journal_folder)
    since = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="seconds")
    with journal.note(Debt(PAIR, "database", since=since)):
        pass
    journal.record(PAIR, [Difference(1, "bot", "moves_made", 2, 3)])
    found = look(settings)
    assert (found.debts, found.mismatches) == (1, 1)
    assert found.owed_since == datetime.fromisoformat(since)
    assert reasons(found) == ["debt_age", "mismatches"]
    assert "3.0 hours" in found.reasons[0].says
    assert reasons(look(settings, debt_age=4 * 3600)) == ["mismatches"]


def test_what_trainings_owe(settings: Settings, engine: Engine) -> None:
    """It is as much owed as a save; a note that cannot be read is told."""
    away = load_settings({"database_url": "postgresql://ann@127.0.0.1:1/games", "home": settings.home})
    with TrainingRun("first", bot="Agent", hyperparameters={}, settings=away) as run:
        assert run.log_checkpoint(0, b"weights") == "journal"
    found = look(settings, debt_age=0)
    assert found.debts == 0
    assert found.training_debts >= 2
    assert reasons(found) == ["debt_age"]
    assert found.reasons[0].says.startswith(f"{found.training_debts} training events owed for ")
    assert reasons(look(settings)) == []
    min((settings.journal_folder / "trainings").glob("*.note")).write_bytes(b"{")
    damaged = look(settings)
    assert damaged.training_debts == found.training_debts - 1
    assert any(each.startswith("what trainings owe: ") for each in damaged.unseen)


def test_transactions_locks_and_connections(settings: Settings, engine: Engine) -> None:
    """Each names the session, and how to end it."""
    with engine.connect() as other:
        pid = other.scalar(text("SELECT pg_backend_pid()"))
        assert reasons(look(settings)) == []
        found = look(settings, transaction_age=0)
        assert reasons(found) == ["transaction_age"]
        assert found.reasons[0].next_step.endswith(f"SELECT pg_terminate_backend({pid});")
        assert reasons(look(settings, connections=0)) == ["connections"]
        assert reasons(look(settings, cache_hits=1.1)) == ["cache_hits"]
        assert reasons(look(settings, transaction_ids=0)) == ["transaction_ids"]


def test_upkeep_that_was_not_done(settings: Settings, engine: Engine) -> None:
    """Dead rows, a missing index, a column without numbers; the next command is one that helps."""
    tamper(engine, "ALTER TABLE runs SET (autovacuum_enabled = off)")
    tamper(engine, "INSERT INTO runs (sgdb_version) SELECT 'x' FROM generate_series(1, 12000)")
    tamper(engine, "DELETE FROM runs")
    tamper(engine, "DROP INDEX ix_games_seed")
    tamper(engine, "ALTER TABLE bots ALTER COLUMN id RESTART WITH 2147483647")
    tamper(engine, "INSERT INTO bots (name) VALUES ('the last')")
    engine.dispose()
    until(lambda: len(look(settings).reasons) >= 4)
    found = {reason.limit: reason for reason in look(settings).reasons}
    assert set(found) == {"backup_age", "dead_rows", "index", "sequences"}
    assert "12,000 dead rows, 100 % of all" in found["dead_rows"].says
    assert found["index"].next_step == "CREATE INDEX ix_games_seed ON games (seed);"
    assert found["sequences"].says == "bots.id has 0 numbers left, 100 % are used up"
    plain = make_engine(engine.url)
    with plain.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        for name in ("dead_rows", "index"):
            alone.execute(text(found[name].next_step))
    plain.dispose()
    until(lambda: reasons(look(settings)) == ["backup_age", "sequences"])
    assert MANY_BYTES > 0


def test_without_a_database_the_rest_is_told(settings: Settings, empty_database: str) -> None:
    """Why there is none is part of the answer, whether the server is away or has no tables of ours."""
    with Journal(settings.journal_folder).note(Debt(PAIR, "database")):
        pass
    home = settings.home
    away = look(load_settings({"database_url": "postgresql://ann:geheim@127.0.0.1:1/games", "home": home}))
    assert isinstance(away.fault, DatabaseUnreachableError)
    assert (away.database, away.debts) == (None, 1)
    assert "geheim" not in json.dumps(away.to_json())
    bare = look(load_settings({"database_url": empty_database, "home": home}))
    assert isinstance(bare.fault, SchemaError)
    unset = look(load_settings({"home": home / "never"}))
    assert isinstance(unset.fault, SchemaError)
    assert not (home / "never" / "postgres").exists()


def test_a_database_that_is_locked_altogether_is_not_waited_for(settings: Settings, engine: Engine) -> None:
    """Not even the table that tells the revision; busy is a fault like others."""
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE sgdb_alembic_version IN ACCESS EXCLUSIVE MODE"))
        found = look(settings)
    assert isinstance(found.fault, BusyError)
    assert found.database is None


def test_what_cannot_be_read_is_said(settings: Settings, engine: Engine, database_url: str) -> None:
    """A locked table, hidden sequences and a damaged journal are no reason to tell no more."""
    folder = settings.journal_folder / "debts"
    folder.mkdir(parents=True)
    (folder / "5x5x3-42-00000000-database.json").write_text("{")
    settings.backups_folder.write_text("a file")
    role = f"sgdb_test_{make_url(database_url).database}"[:60]
    tamper(engine, f'CREATE ROLE "{role}"')
    tamper(engine, f'GRANT SELECT ON sgdb_alembic_version TO "{role}"')
    humble = make_url(database_url).update_query_dict({"options": f"-c role={role}"})
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE games IN ACCESS EXCLUSIVE MODE"))
        found = look(
            load_settings(
                {
                    "database_url": humble.render_as_string(hide_password=False),
                    "home": settings.home,
                }
            )
        )
    said = "\n".join(found.unseen)
    for part in ("the size of games", "how far these sequences", "debts of dual", "backups: ", "pg_stat_sta"):
        assert part in said
    assert found.database is not None
    assert len(found.database.upkeep.tables) > 10
    tamper(engine, f'DROP OWNED BY "{role}"')
    tamper(engine, f'DROP ROLE "{role}"')


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (0, "0 seconds"),
        (119, "119 seconds"),
        (120, "2.0 minutes"),
        (7200, "2.0 hours"),
        (777_600, "9.0 days"),
    ],
)
def test_ages_as_people_say_them(seconds: float, spelled: str) -> None:
    """In the largest unit of which there are two."""
    assert spelled_age(seconds) == spelled
