"""`backup` struck in the middle: what looks like a backup is one, and the database is as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.database.backup_files import MANIFEST_SUFFIX
from sgdb.operations.backup import BackupOptions, VerifyBackupOptions, backup, list_, verify
from sgdb.settings import Settings
from tests.preloaded import Command, start
from tests.steps import ask
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.contents import Contents, contents
from tests.survival.killing import Round, Survivor, many, survivors

_SCRATCH = "SELECT datname FROM pg_database WHERE datname LIKE 'sgdb_proof_%'"


def _survive(server: ChildServer, migrated: str, moved: Contents, rounds: list[Round], folder: Path) -> None:
    home = folder / "home"

    def begin(url: URL) -> Command:
        shutil.rmtree(home, ignore_errors=True)
        return start(folder, ["backup"], environment_for(url, home))

    for survivor in survivors(server, rounds, begin, template=migrated):
        settings = settings_for(survivor.url, home)
        before = require_sound_backups(settings)
        assert contents(survivor.engine) == moved
        made = backup(BackupOptions(), settings).backup
        assert require_sound_backups(settings) == [*before, made.path]
        _require_nothing_left(survivor, settings, made.path)


def require_sound_backups(settings: Settings) -> list[Path]:
    """Every file that looks like a backup is one, to the last bit, and proven; oldest first."""
    found = list_(None, settings)
    assert not found.unusable
    for each in found.backups:
        assert verify(VerifyBackupOptions(each.path), settings).backup.manifest.proven
    return [each.path for each in found.backups]


def _require_nothing_left(survivor: Survivor, settings: Settings, made: Path) -> None:
    """The next backup has cleared away what the struck one had begun."""
    names = {path.name for path in settings.backups_folder.iterdir()}
    dumps = {path.name for path in settings.backups_folder.glob("*.dump")}
    assert made.name in dumps
    # A manifest gets its name before its dump. Without that it is no backup.
    assert {name for name in names - dumps if not name.endswith(MANIFEST_SUFFIX)} == set()
    assert ask(survivor.engine, _SCRATCH) == []


@pytest.mark.survival
@many(100, others=20)
def test_at_every_moment(
    child_server: ChildServer, migrated: str, moved: Contents, tmp_path: Path, rounds: list[Round]
) -> None:
    """No backup, or a proven one; the next one is made, and clears up."""
    _survive(child_server, migrated, moved, rounds, tmp_path)
