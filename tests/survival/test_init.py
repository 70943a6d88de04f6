"""`init` struck in the middle: no database, an empty one, or a whole schema, never a part; no row is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.database.engine import make_engine, transaction
from sgdb.database.revisions import SchemaState, SchemaStatus, head, state
from sgdb.database.schema import downgrade
from sgdb.errors import DatabaseMissingError
from sgdb.operations.init import InitOptions, init
from sgdb.operations.verify import VerifyOptions, verify
from tests.preloaded import Command, start
from tests.steps import ask, migrate
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.contents import Contents, contents
from tests.survival.killing import Round, Survivor, many, survivors
from tests.survival.test_backup import require_sound_backups

_OLDER = "survival_older"
_FIRST = "0001"


@pytest.fixture(scope="session")
def upgraded(_child_server: ChildServer, folder: Path) -> Contents:
    """Makes a database to copy with the first schema and rows in it; what they say under the newest."""
    with _child_server.template(_OLDER) as url:
        migrate(settings_for(url), folder)
        engine = make_engine(url)
        downgrade(engine, _FIRST)
        engine.dispose()
    with _child_server.database(_OLDER) as url:
        init(InitOptions(backup=False), settings_for(url))
        engine = make_engine(url)
        after = contents(engine)
        engine.dispose()
    return after


def _survive_creation(server: ChildServer, rounds: list[Round], folder: Path) -> None:
    def begin(url: URL) -> Command:
        server.run(f"DROP DATABASE {url.database}")
        return start(folder, ["init"], environment_for(url))

    for survivor in survivors(server, rounds, begin):
        found = _state(survivor)
        tables = found and ask(survivor.engine, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
        assert not tables or (found and found.status is SchemaStatus.CURRENT)
        init(InitOptions(), settings_for(survivor.url))
        assert verify(VerifyOptions(), settings_for(survivor.url)).equal


def _survive_upgrade(server: ChildServer, upgraded: Contents, rounds: list[Round], folder: Path) -> None:
    home = folder / "home"

    def begin(url: URL) -> Command:
        shutil.rmtree(home, ignore_errors=True)
        return start(folder, ["init"], environment_for(url, home))

    for survivor in survivors(server, rounds, begin, template=_OLDER):
        settings = settings_for(survivor.url, home)
        found, backups = _state(survivor), require_sound_backups(settings)
        assert found is not None
        assert found.current == _FIRST or (found.current == head() and backups)
        init(InitOptions(), settings)
        assert contents(survivor.engine) == upgraded
        assert verify(VerifyOptions(), settings).equal
        assert require_sound_backups(settings)


def _state(survivor: Survivor) -> SchemaState | None:
    """None where there is no database."""
    try:
        with transaction(survivor.engine, read_only=True) as connection:
            return state(connection)
    except DatabaseMissingError:
        return None


@pytest.mark.survival
@many(100, others=20)
def test_a_creation_at_every_moment(child_server: ChildServer, tmp_path: Path, rounds: list[Round]) -> None:
    """Nothing, or all tables and the record of it; the next `init` completes."""
    _survive_creation(child_server, rounds, tmp_path)


@pytest.mark.survival
@many(100, others=20)
def test_an_upgrade_at_every_moment(
    child_server: ChildServer, upgraded: Contents, tmp_path: Path, rounds: list[Round]
) -> None:
    """The old schema or the new one with a proven backup, every row in either; the next `init` completes."""
    _survive_upgrade(child_server, upgraded, rounds, tmp_path)
