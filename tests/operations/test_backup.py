"""Making, listing and verifying backups, and going back to one, as operations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.backup_files import list_backups, manifest_path
from sgdb.database.engine import make_engine
from sgdb.database.revisions import head
from sgdb.database.schema import downgrade
from sgdb.database.server import EmbeddedServer
from sgdb.errors import BackupError, FileAccessError, NotFoundError, SchemaError, UsageError
from sgdb.operations.backup import (
    BACKUP_FIELDS,
    BackupOptions,
    VerifyBackupOptions,
    backup,
    list_,
    verify,
)
from sgdb.operations.init import InitOptions, init
from sgdb.operations.rollback import BackupRollbackOptions, rollback_to_backup
from sgdb.operations.verify import VerifyOptions
from sgdb.operations.verify import verify as verify_pickles
from sgdb.settings import Settings, load_settings
from tests.backups import contents, names, pair
from tests.conftest import FAST
from tests.legacy import write_legacy
from tests.steps import Listener, ask, count, database_state, migrate, tamper
from tests.totals import assert_true


@pytest.fixture
def filled(settings: Settings, engine: Engine, tmp_path: Path) -> Engine:
    """A database with one set."""
    migrate(settings, write_legacy(tmp_path / "a.pkl"))
    return engine


class TestMaking:
    def test_the_document(self, settings: Settings, filled: Engine) -> None:
        """Says where it is and what is in it; the database is only read."""
        state = database_state(filled)
        result = backup(BackupOptions(), settings)
        assert database_state(filled) == state
        document = result.to_json()
        assert list(document) == [
            "path", "manifest", "created_at", "why", "proven", "proven_at", "size_bytes", "sha256", "rows",
            "tables", "schema_revision", "sgdb_version", "server_version", "pg_dump_version", "database",
            "pruned", "damaged", "seconds",
        ]  # fmt: skip
        assert set(BACKUP_FIELDS) <= set(document)
        path = Path(document["path"])
        assert (path.parent, names(path.parent)) == (settings.backups_folder, pair(path))
        assert (document["why"], document["proven"], document["pruned"]) == ("asked", True, [])
        assert document["tables"]["games"] == 10
        assert document["rows"] == sum(document["tables"].values())

    def test_keeping_some(self, settings: Settings, filled: Engine) -> None:
        """The newest proven ones stay, and all unproven ones; the others go once the new one is there."""
        first = backup(BackupOptions(), settings).backup.path
        unproven = backup(BackupOptions(prove=False), settings).backup.path
        second = backup(BackupOptions(), settings).backup.path
        result = backup(BackupOptions(keep=2), settings)
        assert (result.pruned, result.damaged) == ((first,), ())
        assert {one.path for one in list_backups(settings.backups_folder)[0]} == {
            unproven, second, result.backup.path,
        }  # fmt: skip
        # An unproven one counts for nothing: the two proven ones stay.
        again = backup(BackupOptions(prove=False, keep=2), settings)
        assert again.pruned == ()

    def test_nothing_is_deleted_unless_the_new_one_is_there(
        self, settings: Settings, filled: Engine, tmp_path: Path
    ) -> None:
        """A call that is wrong or fails leaves the old ones alone."""
        first = backup(BackupOptions(), settings).backup
        before = names(settings.backups_folder)
        with pytest.raises(UsageError):
            backup(BackupOptions(keep=0), settings)
        downgrade(filled, "base")
        with pytest.raises(SchemaError):
            backup(BackupOptions(keep=1), settings)
        assert names(settings.backups_folder) == before == pair(first.path)

    def test_damaged_ones_are_said_and_do_not_count(self, settings: Settings, filled: Engine) -> None:
        """A sound older one is not deleted in favour of a damaged newer one."""
        sound = backup(BackupOptions(), settings).backup.path
        broken = backup(BackupOptions(), settings).backup.path
        raw = bytearray(broken.read_bytes())
        raw[-1] ^= 1
        broken.write_bytes(raw)
        result = backup(BackupOptions(keep=2), settings)
        assert result.pruned == ()
        assert [one.path for one in result.damaged] == [broken]
        assert sound.exists()
        assert result.to_json()["damaged"][0]["path"] == str(broken)

    def test_without_a_database_there_is_no_backup(self, tmp_path: Path) -> None:
        """An embedded server is not set up for it, and the way is named."""
        settings = load_settings({"home": tmp_path / "fresh"})
        for call in (
            lambda: backup(BackupOptions(), settings),
            lambda: rollback_to_backup(BackupRollbackOptions(tmp_path / "x.dump"), settings),
        ):
            with pytest.raises((SchemaError, NotFoundError)):
                call()
        assert not (tmp_path / "fresh").exists()


class TestListing:
    def test_oldest_first_and_what_is_none(self, settings: Settings, filled: Engine, tmp_path: Path) -> None:
        """Of the usual folder or another; a backup without its manifest is named as unusable."""
        assert list_(None, settings).to_json() == {
            "folder": str(settings.backups_folder), "backups": [], "unusable": [],
        }  # fmt: skip
        made = [backup(BackupOptions(prove=False), settings).backup for _ in range(2)]
        assert list_(None, settings).backups == tuple(made)
        manifest_path(made[0].path).unlink()
        result = list_(settings.backups_folder, settings)
        assert result.backups == (made[1],)
        assert [one.path for one in result.unusable] == [made[0].path]
        with pytest.raises(NotFoundError):
            list_(tmp_path / "nowhere", settings)


class TestVerifying:
    def test_without_a_database(self, settings: Settings, filled: Engine, tmp_path: Path) -> None:
        """A backup that was taken elsewhere is read whole; nothing is started or made."""
        made = backup(BackupOptions(prove=False), settings).backup
        nowhere = load_settings({"home": tmp_path / "fresh"})
        result = verify(VerifyBackupOptions(made.path), nowhere)
        assert result.to_json()["sound"] is True
        assert not (tmp_path / "fresh").exists()
        with pytest.raises(SchemaError, match="no database"):
            verify(VerifyBackupOptions(made.path, prove=True), nowhere)

    def test_a_proof_later(self, settings: Settings, filled: Engine) -> None:
        """Is written into the manifest; the database itself is not looked at."""
        made = backup(BackupOptions(prove=False), settings).backup
        downgrade(filled, "base")
        result = verify(VerifyBackupOptions(made.path, prove=True), settings)
        assert result.backup.manifest.proven
        assert list_backups(settings.backups_folder)[0] == [result.backup]

    def test_a_wrong_bit(self, settings: Settings, filled: Engine) -> None:
        """Is found, proof or not."""
        made = backup(BackupOptions(prove=False), settings).backup
        raw = bytearray(made.path.read_bytes())
        raw[len(raw) // 2] ^= 4
        made.path.write_bytes(raw)
        for prove in (False, True):
            with pytest.raises(BackupError, match="SHA-256"):
                verify(VerifyBackupOptions(made.path, prove), settings)


class TestGoingBack:
    def test_what_was_migrated_is_equal_again(self, settings: Settings, filled: Engine) -> None:
        """After rows were spoiled by hand, `verify` finds the pickles' values in the database again."""
        made = backup(BackupOptions(), settings).backup
        before = contents(filled)
        tamper(filled, "DELETE FROM game_results")
        tamper(filled, "UPDATE games SET seed = seed + 1")
        assert not verify_pickles(VerifyOptions(), settings).equal
        assert rollback_to_backup(BackupRollbackOptions(made.path, dry_run=True), settings).dry_run
        assert count(filled, "game_results") == 0
        rollback_to_backup(BackupRollbackOptions(made.path), settings)
        assert contents(filled) == before
        assert verify_pickles(VerifyOptions(), settings).equal


class TestBeforeAnUpgrade:
    @pytest.fixture
    def older(self, filled: Engine) -> Engine:
        """A database of the first schema, with rows."""
        downgrade(filled, "0001")
        return filled

    def test_it_is_backed_up(self, settings: Settings, older: Engine) -> None:
        """Proven, at the old schema; a check says so beforehand, and the second time there is none."""
        games = "SELECT g::text FROM games g ORDER BY id"
        rows = ask(older, games)
        assert init(InitOptions(check=True), settings).to_do == (
            "back up the database", f"migrate the schema from 0001 to {head()}",
        )  # fmt: skip
        assert not settings.backups_folder.exists()
        listener = Listener()
        result = init(InitOptions(), settings, listener)
        (made,) = list_backups(settings.backups_folder)[0]
        assert result.backup == str(made.path)
        assert (made.manifest.why, made.manifest.schema_revision) == ("before upgrade", "0001")
        assert made.manifest.proven
        assert (result.before, result.after) == ("0001", head())
        assert listener.notices[0].startswith("backing up")
        assert init(InitOptions(), settings).backup is None
        tamper(older, "DELETE FROM game_results")
        rollback_to_backup(BackupRollbackOptions(made.path), settings)
        assert ask(older, games) == rows
        assert count(older, "game_results") > 0
        assert_true(older)

    def test_nothing_to_lose_and_not_wanted(self, settings: Settings, engine: Engine, older: Engine) -> None:
        """Then there is none, and the check does not promise one."""
        for options in (InitOptions(check=True, backup=False), InitOptions(backup=False)):
            result = init(options, settings)
            assert "back up the database" not in result.to_do
            assert result.backup is None
        downgrade(engine, "base")
        init(InitOptions(), settings)
        downgrade(engine, "0001")
        assert init(InitOptions(), settings).backup is None
        assert not settings.backups_folder.exists()

    def test_without_the_backup_there_is_no_upgrade(
        self, settings: Settings, older: Engine, database_url: str, tmp_path: Path
    ) -> None:
        """The schema stays what it was."""
        (tmp_path / "taken").write_text("")
        odd = load_settings(
            {"database_url": database_url, "home": settings.home, "backup_dir": tmp_path / "taken"}
        )
        with pytest.raises(FileAccessError, match="taken"):
            init(InitOptions(), odd)
        assert init(InitOptions(check=True), settings).before == "0001"


class TestTheEmbeddedServer:
    @pytest.fixture
    def embedded(self) -> Iterator[Settings]:
        """Settings without a server of one's own; sockets want a short path."""
        with tempfile.TemporaryDirectory(prefix="sgdb-") as name:
            server = EmbeddedServer(Path(name), options=FAST)
            server.ensure_running()
            try:
                yield load_settings({"home": Path(name)})
            finally:
                server.stop("immediate")

    def test_there_and_back(self, embedded: Settings, tmp_path: Path) -> None:
        """Backups go to its home folder, through its socket, as whoever runs sgdb."""
        init(InitOptions(), embedded)
        migrate(embedded, write_legacy(tmp_path / "a.pkl"))
        result = backup(BackupOptions(), embedded)
        assert result.backup.path.parent == embedded.home / "backups"
        assert result.backup.manifest.proven
        back = rollback_to_backup(BackupRollbackOptions(result.backup.path), embedded)
        assert back.saved is not None
        engine = make_engine(EmbeddedServer(embedded.home).ensure_running())
        assert count(engine, "games") == 10
        engine.dispose()
