"""`rollback --to-backup` struck in the middle: the old state or that of the backup, and both can be had."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import URL

from sgdb.database.engine import make_engine
from sgdb.operations.backup import BackupOptions, backup
from sgdb.operations.rollback import BackupRollbackOptions, rollback_to_backup
from sgdb.operations.verify import VerifyOptions, verify
from tests.legacy import write_legacy
from tests.preloaded import Command, start
from tests.steps import migrate
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.contents import Contents, contents
from tests.survival.killing import Round, many, survivors
from tests.survival.test_backup import require_sound_backups

_DATABASE = "survival_backed_up"


class _State(NamedTuple):
    """A database to copy that has gone on since a backup was made: what it said then, and what it says."""

    backup: Path
    then: Contents
    now: Contents


@pytest.fixture(scope="session")
def state(_child_server: ChildServer, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> _State:
    """See `_State`."""
    place = tmp_path_factory.mktemp("backed-up")
    write_legacy(place / "more.pkl", config=(7, 7, 5), num_games=400, bots=("One",))
    with _child_server.template(_DATABASE) as url:
        settings = settings_for(url, place)
        engine = make_engine(url)
        migrate(settings, folder)
        made, then = backup(BackupOptions(place / "a.dump"), settings).backup, contents(engine)
        migrate(settings, place / "more.pkl")
        now = contents(engine)
        engine.dispose()
    return _State(made.path, then, now)


def _survive(server: ChildServer, state: _State, rounds: list[Round], folder: Path) -> None:
    home = folder / "home"

    def begin(url: URL) -> Command:
        shutil.rmtree(home, ignore_errors=True)
        command = ["rollback", "--to-backup", str(state.backup), "--yes"]
        return start(folder, command, environment_for(url, home))

    for survivor in survivors(server, rounds, begin, template=_DATABASE):
        settings = settings_for(survivor.url, home)
        saved = require_sound_backups(settings)
        found = contents(survivor.engine)
        assert found == state.now or (found == state.then and saved)
        assert verify(VerifyOptions(), settings).equal
        again = rollback_to_backup(BackupRollbackOptions(state.backup), settings)
        assert contents(survivor.engine) == state.then
        assert verify(VerifyOptions(), settings).equal
        assert again.saved is not None
        # What was there before the struck command is in the first backup that there is.
        rollback_to_backup(BackupRollbackOptions([*saved, again.saved.path][0]), settings)
        assert contents(survivor.engine) == state.now


@pytest.mark.survival
@many(100, others=20)
def test_at_every_moment(
    child_server: ChildServer, state: _State, tmp_path: Path, rounds: list[Round]
) -> None:
    """All is as it was or as in the backup; doing it again completes; the state before is in a backup."""
    _survive(child_server, state, rounds, tmp_path)
