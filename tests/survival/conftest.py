"""The server that is killed, once a test process, and what is moved while it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sgdb.database.engine import make_engine
from tests.legacy import write_legacy
from tests.steps import migrate
from tests.survival.child_server import ChildServer, new_server, settings_for
from tests.survival.contents import Contents, contents

DAMAGED = "5.pkl"
MIGRATED = "survival_migrated"


@pytest.fixture(scope="session")
def _child_server() -> Iterator[ChildServer]:
    with new_server() as server:
        yield server


@pytest.fixture
def child_server(_child_server: ChildServer) -> ChildServer:
    """A running server that tests may kill."""
    _child_server.restart()
    return _child_server


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two sets: boards to be drawn from seeds, two bots, another bot for the same set, more games
    for it, a file that is refused, and one content under two names."""
    path = tmp_path_factory.mktemp("pickles")
    write_legacy(path / "1.pkl", num_games=200, num_results=500, base_seed=7)
    write_legacy(path / "2.pkl", layout="A", config=(6, 6, 4), num_games=600, bots=("One", "Two"))
    write_legacy(path / "3.pkl", layout="B", config=(6, 6, 4), num_games=300, bots=("Three",))
    write_legacy(path / "4.pkl", config=(6, 6, 4), num_games=900, bots=("One", "Four"))
    write_legacy(path / DAMAGED, num_games=300, spoil_bytes=lambda raw: raw[:-9])
    for name in ("6.pkl", "7.pkl"):
        write_legacy(path / name, layout="D", config=(3, 3, 3), num_games=300)
    return path


@pytest.fixture(scope="session")
def _migrated(_child_server: ChildServer, folder: Path) -> Contents:
    with _child_server.template(MIGRATED) as url:
        migrate(settings_for(url), folder)
        engine = make_engine(url)
        found = contents(engine)
        engine.dispose()
    return found


@pytest.fixture
def migrated(child_server: ChildServer, _migrated: Contents) -> str:
    """The name of a database to copy, into which `folder` has been migrated."""
    return MIGRATED


@pytest.fixture
def moved(_migrated: Contents) -> Contents:
    """What that database says."""
    return _migrated
