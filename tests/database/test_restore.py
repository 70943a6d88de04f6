"""Back to a backup: everything, or nothing has been touched."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from sgdb.atomic import atomic_file
from sgdb.database.backup_files import Backup, list_backups, manifest_path
from sgdb.database.backups import make_backup
from sgdb.database.engine import transaction
from sgdb.database.liveness import show_at_work
from sgdb.database.locks import lock_set
from sgdb.database.manifest import Dump
from sgdb.database.models import Base
from sgdb.database.restore import restore_backup
from sgdb.database.revisions import head
from sgdb.database.schema import downgrade, upgrade
from sgdb.errors import (
    BackupError,
    BusyError,
    DatabasePermissionError,
    DatabaseUnreachableError,
    NotFoundError,
    SchemaError,
    SgdbError,
)
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from tests.backups import (
    catalog,
    contents,
    execute,
    fill,
    names,
    no_scratch_database_is_left,
    opened,
    role,
    terminate,
)
from tests.cli.conftest import clean_environment
from tests.legacy import write_legacy
from tests.steps import Listener, ask, count, database_state, migrate
from tests.totals import assert_true

CHANGES = """
    DELETE FROM game_histories;
    UPDATE game_results SET tiles_cleared = 0, metadata = NULL WHERE id % 2 = 0;
    DELETE FROM model_checkpoints WHERE epoch = 2;
    INSERT INTO bots (name) VALUES ('later');
"""


@pytest.fixture
def filled(settings: Settings, engine: Engine, tmp_path: Path) -> Engine:
    """A database with something in every table."""
    fill(settings, engine, tmp_path)
    return engine


@pytest.fixture
def backup(filled: Engine, tmp_path: Path) -> Backup:
    """A backup of it, after which the database has been changed in many ways."""
    made = make_backup(filled, tmp_path / "elsewhere", tmp_path / "elsewhere" / "first.dump", proven=False)
    execute(filled, CHANGES)
    return made


def settings_of(url: str, settings: Settings, **more: Any) -> Settings:
    """The same settings for another database."""
    return load_settings({"database_url": url, "home": settings.home, **more})


def rewrite(backup: Backup, **values: Any) -> Backup:
    """Puts another manifest beside the dump, sound in itself."""
    manifest = replace(backup.manifest, **values)
    with atomic_file(manifest_path(backup.path), overwrite=True) as file:
        file.write(manifest.to_bytes())
    return Backup(backup.path, manifest)


class TestEverything:
    def test_there_and_back(self, settings: Settings, filled: Engine, tmp_path: Path) -> None:
        """Every value and sequence is as it was, and so is what it replaced when that is restored in turn."""
        first = contents(filled)
        backup = make_backup(filled, tmp_path / "elsewhere", proven=False)
        execute(filled, CHANGES)
        migrate(settings, write_legacy(tmp_path / "later.pkl", base_seed=7, bots=("Another",)))
        second = contents(filled)
        assert second != first
        result = restore_backup(settings, backup.path)
        assert contents(filled) == first
        assert_true(filled)
        assert [(table.table, table.before, table.after) for table in result.tables] == [
            (name, len(second[name]), len(first[name])) for name in Base.metadata.tables
        ]
        assert result.saved is not None
        assert result.saved.path.parent == settings.backups_folder
        assert result.saved.manifest.proven
        assert result.saved.manifest.why == "before restore"
        back = restore_backup(settings, result.saved.path)
        assert contents(filled) == second
        assert back.saved is not None
        assert len(list_backups(settings.backups_folder)[0]) == 2
        assert no_scratch_database_is_left(filled)

    def test_twice_is_once(self, settings: Settings, filled: Engine, backup: Backup) -> None:
        """And afterwards the database is one like any other."""
        restore_backup(settings, backup.path)
        once = contents(filled)
        restore_backup(settings, backup.path)
        assert contents(filled) == once
        execute(filled, "INSERT INTO bots (name) VALUES ('next'); DELETE FROM games WHERE game_index % 2 = 0")
        assert_true(filled)
        assert upgrade(filled).changed is False

    def test_into_a_database_without_tables(
        self, settings: Settings, filled: Engine, empty_database: str, tmp_path: Path
    ) -> None:
        """Tables come into being as `sgdb init` makes them; there is nothing to back up first."""
        backup = make_backup(filled, tmp_path / "elsewhere", proven=False)
        other = settings_of(empty_database, settings)
        dry = restore_backup(other, backup.path, dry_run=True)
        with opened(empty_database) as engine:
            assert ask(engine, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
            result = restore_backup(other, backup.path)
            assert contents(engine) == contents(filled)
            assert catalog(engine) == catalog(filled)
        assert (result.revision_before, result.revision, result.saved) == (None, head(), None)
        assert replace(dry, dry_run=False) == result
        assert not settings.backups_folder.exists()

    def test_empty_tables_are_not_backed_up_first(
        self, settings: Settings, filled: Engine, database_url: str, tmp_path: Path
    ) -> None:
        """There is nothing to lose."""
        backup = make_backup(filled, tmp_path / "elsewhere", proven=False)
        execute(filled, f"TRUNCATE {', '.join(Base.metadata.tables)}")
        assert restore_backup(settings, backup.path).saved is None
        assert count(filled, "games") == 30

    def test_what_others_have_stays_as_it_is(
        self, settings: Settings, filled: Engine, backup: Backup
    ) -> None:
        """Their tables, and their views, grants and triggers on sgdb's; no trigger fires."""
        with role(filled) as url:
            execute(
                filled,
                "CREATE TABLE others (n int); INSERT INTO others VALUES (1);"
                " CREATE VIEW best AS SELECT name, tiles_cleared FROM game_results JOIN bots"
                " ON bots.id = bot_id;"
                " CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO others VALUES (2); RETURN NEW; END';"
                ' CREATE TRIGGER "a % b" AFTER INSERT ON bots FOR EACH ROW EXECUTE FUNCTION noted();'
                " CREATE TRIGGER always AFTER INSERT OR TRUNCATE ON games EXECUTE FUNCTION noted();"
                " ALTER TABLE games ENABLE ALWAYS TRIGGER always;"
                f" GRANT SELECT ON games TO {url.username}",
            )
            before = catalog(filled)
            restore_backup(settings, backup.path)
            assert catalog(filled) == before
            assert ask(filled, "SELECT count(*) FROM best") == [(count(filled, "game_results"),)]
            assert set(ask(filled, "SELECT n FROM others")) <= {(1,), (2,)}

    def test_an_older_schema_comes_up_to_date_on_the_way(
        self, settings: Settings, filled: Engine, tmp_path: Path
    ) -> None:
        """From a backup of it, into a newer one; in the end it is what an upgrade would have made of it."""
        downgrade(filled, "0001")
        backup = make_backup(filled, tmp_path / "elsewhere", proven=False)
        upgrade(filled)
        expected = contents(filled, revisions=False)
        structure = catalog(filled)
        execute(filled, "DELETE FROM game_histories")
        result = restore_backup(settings, backup.path)
        assert (result.revision_before, result.revision) == (head(), head())
        assert backup.manifest.schema_revision == "0001"
        assert contents(filled, revisions=False) == expected
        assert catalog(filled) == structure
        assert_true(filled)

    def test_a_newer_backup_into_an_older_schema(
        self, settings: Settings, filled: Engine, tmp_path: Path
    ) -> None:
        """Which is backed up as it is."""
        expected = contents(filled)
        backup = make_backup(filled, tmp_path / "elsewhere", proven=False)
        downgrade(filled, "0001")
        result = restore_backup(settings, backup.path)
        assert (result.revision_before, result.revision) == ("0001", head())
        assert result.saved is not None
        assert result.saved.manifest.schema_revision == "0001"
        assert contents(filled) == expected
        assert_true(filled)

    def test_by_a_user_who_may_not_create_databases(
        self, settings: Settings, filled: Engine, backup: Backup
    ) -> None:
        """The state before is saved without a proof, and that is said."""
        with role(filled) as url:
            execute(filled, f"ALTER SCHEMA public OWNER TO {url.username}")
            for table in (*Base.metadata.tables, "sgdb_alembic_version"):
                execute(filled, f"ALTER TABLE {table} OWNER TO {url.username}")
            listener = Listener()
            theirs = settings_of(url.render_as_string(hide_password=False), settings)
            result = restore_backup(theirs, backup.path, progress=listener)
            execute(filled, "ALTER SCHEMA public OWNER TO CURRENT_USER")
        assert result.saved is not None
        assert not result.saved.manifest.proven
        assert result.to_json()["saved_is_proven"] is False
        assert any("not proven" in notice for notice in listener.notices)


class TestDryRun:
    def test_it_counts_and_changes_nothing(self, settings: Settings, filled: Engine, backup: Backup) -> None:
        """Neither in the database nor in the folder of backups."""
        state = database_state(filled)
        result = restore_backup(settings, backup.path, dry_run=True)
        assert database_state(filled) == state
        assert not settings.backups_folder.exists()
        tables = {table.table: (table.before, table.after) for table in result.tables}
        assert tables["game_histories"] == (0, 3)
        assert tables["games"] == (30, 30)
        document = result.to_json()
        assert list(document) == [
            "backup", "created_at", "proven", "dry_run", "revision_before", "revision_of_backup", "revision",
            "tables", "saved", "saved_is_proven",
        ]  # fmt: skip
        assert document["dry_run"] is True


def _flip_in(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << at % 8
    path.write_bytes(raw)


def _cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of the dump": lambda dump: _flip_in(dump, dump.stat().st_size // 2),
    "the dump's last byte": lambda dump: _flip_in(dump, dump.stat().st_size - 1),
    "a bit of the manifest": lambda dump: _flip_in(manifest_path(dump), 700),
    "a dump cut short": lambda dump: _cut(dump, 100),
    "a dump with more behind it": lambda dump: dump.write_bytes(dump.read_bytes() + b"\0"),
    "a manifest cut short": lambda dump: manifest_path(dump).write_bytes(
        manifest_path(dump).read_bytes()[:-2]
    ),
    "no manifest": lambda dump: manifest_path(dump).unlink(),
    "an empty dump": lambda dump: dump.write_bytes(b""),
}


class TestNothing:
    """The database is untouched to the last bit, sequences included."""

    @pytest.fixture(autouse=True)
    def _untouched(self, filled: Engine, backup: Backup) -> Any:
        state = database_state(filled)
        structure = catalog(filled)
        yield
        assert database_state(filled) == state
        assert catalog(filled) == structure

    @pytest.mark.parametrize("damage", list(DAMAGES))
    def test_a_damaged_backup(self, settings: Settings, backup: Backup, damage: str) -> None:
        """Is refused before anything else is done."""
        DAMAGES[damage](backup.path)
        for dry_run in (True, False):
            with pytest.raises(BackupError):
                restore_backup(settings, backup.path, dry_run=dry_run)
        assert not settings.backups_folder.exists()

    def test_parts_of_two_backups(self, settings: Settings, filled: Engine, backup: Backup) -> None:
        """Do not belong together, though each is sound."""
        other = make_backup(filled, backup.path.parent, proven=False)
        backup.path.write_bytes(other.path.read_bytes())
        with pytest.raises(BackupError):
            restore_backup(settings, backup.path)

    def test_no_backup(self, settings: Settings, tmp_path: Path) -> None:
        """Or a folder, or something else."""
        with pytest.raises(NotFoundError):
            restore_backup(settings, tmp_path / "nowhere")
        (tmp_path / "pickle").write_bytes(b"\x80\x04.")
        for path in (tmp_path, tmp_path / "pickle"):
            with pytest.raises(BackupError):
                restore_backup(settings, path)

    def test_a_schema_that_is_yet_to_come(self, settings: Settings, backup: Backup) -> None:
        """The program says that it is too old."""
        rewrite(backup, schema_revision="0999")
        with pytest.raises(SchemaError, match="0999") as caught:
            restore_backup(settings, backup.path)
        assert "upgrade sgdb" in str(caught.value.hint)

    @pytest.mark.parametrize("what", ["a digest", "a count", "a column", "a table"])
    def test_something_else_than_the_manifest_says(
        self, settings: Settings, backup: Backup, what: str
    ) -> None:
        """Is found in the same transaction, and taken back with it."""
        tables = backup.manifest.tables
        games = tables["games"]
        odd = {
            "a digest": {**tables, "games": replace(games, digest=tables["bots"].digest)},
            "a count": {**tables, "games": replace(games, rows=games.rows + 1)},
            "a column": {**tables, "games": replace(games, columns=(*games.columns, "x"))},
            "a table": {**tables, "imagined": games},
        }[what]
        rewrite(backup, tables=odd)
        with pytest.raises(BackupError, match="imagined" if what == "a table" else "games"):
            restore_backup(settings, backup.path)

    def test_a_dump_that_is_none(self, settings: Settings, backup: Backup) -> None:
        """Though its hash is right."""
        for raw in (b"", b"PGDMP", b"no dump", backup.path.read_bytes()[:-5000]):
            backup.path.write_bytes(raw)
            rewrite(backup, dump=Dump(sha256(raw).hexdigest(), len(raw)))
            with pytest.raises(BackupError):
                restore_backup(settings, backup.path)

    @pytest.mark.parametrize("mode", ["ROW EXCLUSIVE", "ACCESS SHARE", "a set"])
    def test_others_at_work(
        self, settings: Settings, database_url: str, filled: Engine, backup: Backup, mode: str
    ) -> None:
        """Writers, sgdb or not, and readers are waited for as long as the settings say."""
        listener = Listener()
        hurried = settings_of(database_url, settings, lock_timeout=0.3)
        with transaction(filled) as connection:
            if mode == "a set":
                lock_set(connection, GameConfig(1, 1, 1), 1, timeout=1)
            else:
                connection.execute(text(f"LOCK TABLE bots IN {mode} MODE"))
            with pytest.raises(BusyError):
                restore_backup(hurried, backup.path, progress=listener)
        assert any("waiting" in notice for notice in listener.notices)

    def test_tables_of_others_that_refer_to_sgdbs(
        self, settings: Settings, filled: Engine, backup: Backup
    ) -> None:
        """They would be emptied, too: they are named instead."""
        execute(filled, "CREATE TABLE theirs (bot int CONSTRAINT loved REFERENCES bots)")
        for dry_run in (True, False):
            with pytest.raises(SchemaError, match=r"theirs \(loved\)"):
                restore_backup(settings, backup.path, dry_run=dry_run)
        execute(filled, "DROP TABLE theirs")

    def test_the_state_before_cannot_be_saved(
        self, settings: Settings, database_url: str, backup: Backup, tmp_path: Path
    ) -> None:
        """Then it is not given up."""
        (tmp_path / "full").write_text("")
        odd = settings_of(database_url, settings, backup_dir=tmp_path / "full")
        with pytest.raises(SgdbError, match="full"):
            restore_backup(odd, backup.path)

    @pytest.mark.parametrize("label", ["restoring source_files", "restoring game_results"])
    def test_the_connection_being_lost(
        self, settings: Settings, filled: Engine, backup: Backup, label: str
    ) -> None:
        """In the middle of the rows."""
        seen: list[str | None] = []

        class Cutting(Listener):
            def advance(self, amount: int, text: str | None = None) -> None:
                if text == label and text not in seen:
                    terminate(filled, "application_name = 'sgdb'")
                seen.append(text)

        with pytest.raises(DatabaseUnreachableError):
            restore_backup(settings, backup.path, progress=Cutting())
        assert label in seen


_DYING = """
import os, sys
from pathlib import Path
from sgdb.database.restore import restore_backup
from sgdb.database.revisions import head
from sgdb.progress import Silent
from sgdb.settings import load_settings

class Dying(Silent):
    # As many steps every time: how many pieces rows come in depends on the pipe.
    steps, labels = 0, set()
    def step(self, *_):
        Dying.steps += 1
        if Dying.steps == int(sys.argv[4]):
            os.kill(os.getpid(), 9)
    start = step
    def finish(self):
        self.step()
    def advance(self, amount, label=None):
        if label not in self.labels:
            self.labels.add(label)
            self.step()

restore_backup(load_settings({"database_url": sys.argv[1], "home": sys.argv[2]}), Path(sys.argv[3]), progress=Dying())
print(Dying.steps)
"""  # noqa: E501


def restore_and_die(
    settings: Settings, url: str, backup: Path, step: int
) -> subprocess.CompletedProcess[str]:
    """A restore in a process that kills itself at its n-th step, or at none."""
    return subprocess.run(
        [sys.executable, "-c", _DYING, url, str(settings.home), str(backup), str(step)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def kill_many(settings: Settings, engine: Engine, backup: Backup, url: str, times: int) -> None:
    """Kills that many restores, ever later in their course; each of them leaves the old state."""
    before = contents(engine)
    structure = catalog(engine)
    done = restore_and_die(settings, url, backup.path, 0)
    assert done.returncode == 0, done.stderr
    after = contents(engine)
    saved = list_backups(settings.backups_folder)[0][0]
    restore_backup(settings, saved.path)
    assert contents(engine) == before != after
    steps = int(done.stdout)
    for number in range(times):
        died = restore_and_die(settings, url, backup.path, 1 + number * steps // times)
        assert died.returncode == -signal.SIGKILL
        assert contents(engine) == before
        assert catalog(engine) == structure
        assert list_backups(settings.backups_folder)[1] == []
    restore_backup(settings, backup.path)
    assert contents(engine) == after
    assert not [name for name in names(settings.backups_folder) if name.startswith(".")]
    assert no_scratch_database_is_left(engine)


@pytest.mark.slow
def test_kills_at_any_moment(settings: Settings, database_url: str, filled: Engine, backup: Backup) -> None:
    """Leave the old state; whoever tries again gets there."""
    kill_many(settings, filled, backup, database_url, 3)


@pytest.mark.survival
def test_kills_at_a_hundred_moments(
    settings: Settings, database_url: str, filled: Engine, backup: Backup
) -> None:
    """The same, for longer."""
    kill_many(settings, filled, backup, database_url, 100)


def test_a_run_at_work(settings: Settings, filled: Engine, backup: Backup) -> None:
    """Is not disturbed, also between two of its files, when it holds no lock on a set; one that broke off is
    no hindrance."""
    execute(filled, "UPDATE runs SET status = 'running' WHERE id = 1")
    state = database_state(filled)
    with opened(filled.url) as other:
        with other.connect() as connection:
            show_at_work(connection, 1)
            connection.commit()
            with pytest.raises(BusyError, match="run 1 is still at work"):
                restore_backup(settings, backup.path)
        assert database_state(filled) == state
        assert not settings.backups_folder.exists()
    restore_backup(settings, backup.path)


def test_no_right(settings: Settings, filled: Engine, backup: Backup) -> None:
    """A user who can read everything and write rows, but not empty tables."""
    state = database_state(filled)
    with role(filled) as url:
        execute(
            filled,
            f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {url.username};"
            f" GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {url.username}",
        )
        with pytest.raises(DatabasePermissionError):
            restore_backup(settings_of(url.render_as_string(hide_password=False), settings), backup.path)
    assert database_state(filled) == state


def test_a_program_that_saves_meanwhile(settings: Settings, filled: Engine, backup: Backup) -> None:
    """Waits, and then its rows are there beside what was restored."""

    class Late(Listener):
        saving: Any = None

        def notice(self, message: str) -> None:
            if self.saving is None and "first" in message:
                self.saving = threads.submit(execute, filled, "INSERT INTO bots (name) VALUES ('waited')")

    with ThreadPoolExecutor(1) as threads:
        late = Late()
        restore_backup(settings, backup.path, progress=late)
        late.saving.result()
    assert ask(filled, "SELECT name FROM bots WHERE name IN ('later', 'waited')") == [("waited",)]


def test_rows_that_the_tables_do_not_take(settings: Settings, filled: Engine, tmp_path: Path) -> None:
    """A backup of a database that somebody had freed of a constraint: refused, and nothing is changed."""
    execute(
        filled,
        "ALTER TABLE game_histories DROP CONSTRAINT fk_game_histories_bot_id;"
        " UPDATE game_histories SET bot_id = 99999 WHERE id = (SELECT min(id) FROM game_histories)",
    )
    backup = make_backup(filled, tmp_path / "elsewhere", proven=False)
    downgrade(filled, "base")
    upgrade(filled)
    state = database_state(filled)
    with pytest.raises(BackupError, match="fk_game_histories_bot_id"):
        restore_backup(settings, backup.path)
    assert database_state(filled) == state
