"""Fixtures: a scrubbed environment, and real databases on a real server for every test that asks.

One server and one migrated template database per test process; each test gets a clone of its own.
SGDB_TEST_DATABASE_URL runs the same tests on another server, whose user must be allowed to create
databases. No test skips because a database is missing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from sgdb.database.engine import make_engine, parse_url
from sgdb.database.schema import upgrade
from sgdb.database.server import EmbeddedServer
from sgdb.settings import Settings, load_settings

# Read before the scrubbing below.
_TEST_DATABASE_URL = os.environ.get("SGDB_TEST_DATABASE_URL")

# Databases are cloned for every test, and files synced to the disk: several times faster in memory.
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# SQLAlchemy compiles a statement once for each engine, and every operation has an engine of its own: that is
# a quarter of the suite's time. Here all engines, which are alike, share what one of them has compiled.
_compiled: dict[tuple[Any, ...], Any] = {}


class _SharedCache(MutableMapping[tuple[Any, ...], Any]):
    """Statements by what they say. Each engine has its own dialect, of which only the class counts."""

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        return _compiled[self._shared(key)]

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        _compiled[self._shared(key)] = value

    def __delitem__(self, key: tuple[Any, ...]) -> None:
        del _compiled[self._shared(key)]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(_compiled)

    def __len__(self) -> int:
        return len(_compiled)

    @staticmethod
    def _shared(key: tuple[Any, ...]) -> tuple[Any, ...]:
        return type(key[0]), *key[1:]


@event.listens_for(Engine, "engine_connect")
def _share_what_is_compiled(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_SharedCache())


FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "1GB"}


@pytest.fixture(autouse=True)
def _scrubbed_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a developer's settings, or touches a developer's data."""
    for name in list(os.environ):
        if name.upper().startswith(("SGDB_", "PG", "XDG_")) or name in (
            "NO_COLOR",
            "FORCE_COLOR",
            "CLICOLOR",
        ):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def server_url() -> Iterator[URL]:
    """A server on which databases may be created; the database in the URL is not for use."""
    if _TEST_DATABASE_URL:
        yield parse_url(_TEST_DATABASE_URL)
        return
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        server = EmbeddedServer(Path(folder), options=FAST)
        try:
            yield server.ensure_running()
        finally:
            server.stop("immediate")


@pytest.fixture(scope="session")
def _administrator(server_url: URL) -> Iterator[Engine]:
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


class _Databases:
    """Creates databases with names of their own and drops them, sessions or not."""

    def __init__(self, administrator: Engine) -> None:
        self._administrator = administrator

    def create(self, template: str = "template0") -> URL:
        name = f"sgdb_test_{secrets.token_hex(6)}"
        encoding = " ENCODING 'UTF8'" if template == "template0" else ""
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{encoding}')
        return self._administrator.url.set(database=name)

    def drop(self, url: URL) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        with self._administrator.connect() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="session")
def _databases(_administrator: Engine) -> _Databases:
    return _Databases(_administrator)


@pytest.fixture(scope="session")
def _template(_databases: _Databases) -> Iterator[str]:
    url = _databases.create()
    engine = make_engine(url)
    try:
        upgrade(engine)
        # A template must have no sessions while it is copied.
        engine.dispose()
        assert url.database
        yield url.database
    finally:
        engine.dispose()
        _databases.drop(url)


@pytest.fixture
def empty_database(_databases: _Databases) -> Iterator[str]:
    """The URL of a fresh database without tables, password included."""
    url = _databases.create()
    yield url.render_as_string(hide_password=False)
    _databases.drop(url)


@pytest.fixture
def database_url(_databases: _Databases, _template: str) -> Iterator[str]:
    """The URL of a fresh database with sgdb's tables, password included."""
    url = _databases.create(_template)
    yield url.render_as_string(hide_password=False)
    _databases.drop(url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings that point at `database_url`, with a home that does not exist yet."""
    return load_settings({"database_url": database_url, "home": tmp_path / "sgdb-home"})


@pytest.fixture
def shared_pickles() -> Path | None:
    """The folder of real pickles beside the checkout, or None where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "pickles"
    return folder if folder.is_dir() else None
